//! Maps whose closures are given a token of their item.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use crate::error::{Cancelled, FromError};
use crate::states::States;
use crate::token::CancellationToken;

/// Maps `items` in parallel until one fails, as [`try_par_map`](super::try_par_map) does, and gives the closure a token
/// of its item.
///
/// The token is cancelled the moment the outcome of the item is no longer wanted: when `token` is cancelled, or when an
/// earlier item fails (with the reason [`Failed`](crate::CancelReason::Failed)). A failure of a later item never
/// cancels it. Give it to all that may take long: inner calls, waits, child processes. What such a call returns then
/// counts for nothing, so the error of the whole stays the real one. Consecutive items of a job share a token.
///
/// The cancellation and the panics are those of [`try_par_map`](super::try_par_map).
///
/// # Errors
///
/// As for [`try_par_map`](super::try_par_map).
///
/// # Costs
///
/// A job makes a token with its first item, for some 200 ns.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::CancellationToken;
/// use brigade::par::try_par_map_with_token;
///
/// // Should both items run at once, the first one fails, and ends the hour that the second one waits.
/// let result = try_par_map_with_token(&CancellationToken::new(), [0, 1], |token, item| match item {
///     0 => Err(anyhow::anyhow!("no such file")),
///     _ => Ok(token.sleep(Duration::from_secs(3600))?),
/// });
/// assert_eq!(result.unwrap_err().to_string(), "no such file");
/// ```
pub fn try_par_map_with_token<I, R, E, F>(token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    R: Send,
    E: FromError<Cancelled> + Send,
    F: Fn(&CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
{
    ParBuilder::new().try_map_with_token(token, items, f)
}

/// Runs a closure for each item in parallel until one fails, as [`try_par_for_each`](super::try_par_for_each) does, and
/// gives it a token of its item, as [`try_par_map_with_token`] does.
///
/// # Errors
///
/// As for [`try_par_for_each`](super::try_par_for_each).
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_for_each_with_token;
/// use brigade::{CancellationToken, Cancelled};
///
/// try_par_for_each_with_token(&CancellationToken::new(), ["a", "b"], |token, _name| token.check())?;
/// # Ok::<(), Cancelled>(())
/// ```
pub fn try_par_for_each_with_token<I, E, F>(token: &CancellationToken, items: I, f: F) -> Result<(), E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    E: FromError<Cancelled> + Send,
    F: Fn(&CancellationToken, I::Item) -> Result<(), E> + Send + Sync,
{
    ParBuilder::new().try_for_each_with_token(token, items, f)
}

/// Maps `items` in parallel with a state for each worker, as [`try_par_map_init`](super::try_par_map_init) does, and
/// gives the closure a token of its item, as [`try_par_map_with_token`] does.
///
/// # Errors
///
/// As for [`try_par_map_init`](super::try_par_map_init).
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_map_init_with_token;
/// use brigade::{CancellationToken, Cancelled};
///
/// let (lengths, buffers) =
///     try_par_map_init_with_token(&CancellationToken::new(), ["a", "bb"], String::new, |buffer, token, word| {
///         token.check()?;
///         buffer.push_str(word);
///         Ok::<_, Cancelled>(word.len())
///     })?;
/// assert_eq!((lengths, buffers.iter().map(String::len).sum()), (vec![1, 2], 3));
/// # Ok::<(), Cancelled>(())
/// ```
pub fn try_par_map_init_with_token<I, S, R, E, N, F>(
    token: &CancellationToken,
    items: I,
    init: N,
    f: F,
) -> Result<(Vec<R>, Vec<S>), E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    S: Send,
    R: Send,
    E: FromError<Cancelled> + Send,
    N: Fn() -> S + Send + Sync,
    F: Fn(&mut S, &CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
{
    ParBuilder::new().try_map_init_with_token(token, items, init, f)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`try_par_map_with_token`] with the switches of this builder.
    pub fn try_map_with_token<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: FromError<Cancelled> + Send,
        F: Fn(&CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map_with_token(token, items, f).map_err(Stop::into_error)
    }

    /// Runs [`try_par_for_each_with_token`] with the switches of this builder.
    pub fn try_for_each_with_token<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: FromError<Cancelled> + Send,
        F: Fn(&CancellationToken, I::Item) -> Result<(), E> + Send + Sync,
    {
        // A vector of `()` takes no memory.
        self.try_map_with_token(token, items, f).map(|_: Vec<()>| ())
    }

    /// Runs [`try_par_map_init_with_token`] with the switches of this builder.
    pub fn try_map_init_with_token<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: FromError<Cancelled> + Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, &CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map_init_with_token(token, items, init, f).map_err(Stop::into_error)
    }

    pub(super) fn run_map_with_token<I, R, E, F>(
        &self,
        token: &CancellationToken,
        items: I,
        f: F,
    ) -> Result<Vec<R>, Stop<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(&CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let call = Call::new(token, items.len());
        let outputs = self.outputs(&call, items, || JobToken::new(&call), |job, index, item| f(job.token(index), item));
        call.finish(outputs)
    }

    pub(super) fn run_map_init_with_token<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Stop<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, &CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (call, states) = (Call::new(token, items.len()), States::new(init));
        let local = || (states.loan(), JobToken::new(&call));
        let outputs =
            self.outputs(&call, items, local, |(loan, job), index, item| f(loan.get(), job.token(index), item));
        call.finish_with(outputs, states.into_vec())
    }
}

/// The token of the items that a job is at.
struct JobToken<'a, E> {
    call: &'a Call<'a, E>,
    given: Option<Given>,
}

struct Given {
    /// The index of the first item that was given it.
    first: usize,
    /// The index that comes next, if the job is still in the same part of the items.
    next: usize,
    token: CancellationToken,
}

impl<'a, E> JobToken<'a, E> {
    fn new(call: &'a Call<'a, E>) -> Self {
        JobToken { call, given: None }
    }

    /// Returns the token of an item.
    ///
    /// Items of another part need another one, because an item between the parts may fail.
    fn token(&mut self, index: usize) -> &CancellationToken {
        if self.given.as_ref().is_none_or(|given| given.next != index) {
            self.forget();
        }
        let call = self.call;
        let given =
            self.given.get_or_insert_with(|| Given { first: index, next: index, token: call.give_token(index) });
        given.next = index + 1;
        &given.token
    }

    fn forget(&mut self) {
        if let Some(given) = self.given.take() {
            self.call.forget_token(given.first);
        }
    }
}

impl<E> Drop for JobToken<'_, E> {
    fn drop(&mut self) {
        self.forget();
    }
}
