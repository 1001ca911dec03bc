//! A map with a state for each worker.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use crate::error::{Cancelled, FromError};
use crate::states::States;
use crate::token::CancellationToken;

/// Maps `items` in parallel with a state for each worker, such as a buffer, a parser or a connection.
///
/// `init` makes a state when a worker first needs one, so at most once for each thread of the pool. There is one
/// exception: if a closure calls rayon, its worker may run another part of this very call meanwhile, which needs a
/// state of its own. A [limit](ParBuilder::limit) bounds their number. The call returns all states beside the outputs:
/// counters to be summed, files to be closed.
///
/// It is not specified which items a state meets, so the outputs should not depend on the state. The items, the
/// cancellation, the threads and the costs are those of [`par_map`](super::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before every item was mapped; the states are dropped then.
///
/// # Panics
///
/// As [`par_map`](super::par_map). A panic of `init` counts as that of the item it was called for.
///
/// # Examples
///
/// ```
/// use brigade::par::par_map_init;
/// use brigade::CancellationToken;
///
/// // One buffer a thread, not one an item.
/// let (hexes, buffers) = par_map_init(&CancellationToken::new(), 0..1_000_u32, String::new, |buffer, number| {
///     use std::fmt::Write;
///     buffer.clear();
///     write!(buffer, "{number:x}").expect("memory");
///     buffer.len()
/// })?;
/// assert_eq!(hexes[255], 2);
/// assert!(buffers.len() <= rayon::current_num_threads());
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_map_init<I, S, R, N, F>(
    token: &CancellationToken,
    items: I,
    init: N,
    f: F,
) -> Result<(Vec<R>, Vec<S>), Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    S: Send,
    R: Send,
    N: Fn() -> S + Send + Sync,
    F: Fn(&mut S, I::Item) -> R + Send + Sync,
{
    ParBuilder::new().map_init(token, items, init, f)
}

/// Maps `items` in parallel with a state for each worker, until one fails.
///
/// The states are those of [`par_map_init`]. The cancellation and the choice of the error are those of
/// [`try_par_map`](super::try_par_map).
///
/// # Errors
///
/// As [`try_par_map`](super::try_par_map); the states are dropped then.
///
/// # Panics
///
/// As [`try_par_map`](super::try_par_map). A panic of `init` counts as that of the item it was called for.
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_map_init;
/// use brigade::CancellationToken;
///
/// let parse = |count: &mut usize, word: &str| {
///     *count += 1;
///     word.parse::<u32>().map_err(anyhow::Error::from)
/// };
/// let (numbers, counts) = try_par_map_init(&CancellationToken::new(), ["1", "2", "3"], || 0, parse)?;
/// assert_eq!((numbers, counts.into_iter().sum()), (vec![1, 2, 3], 3));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn try_par_map_init<I, S, R, E, N, F>(
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
    F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
{
    ParBuilder::new().try_map_init(token, items, init, f)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`par_map_init`] with the switches of this builder.
    pub fn map_init<I, S, R, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, I::Item) -> R + Send + Sync,
    {
        self.try_map_init(token, items, init, |state, item| Ok(f(state, item)))
    }

    /// Runs [`try_par_map_init`] with the switches of this builder.
    pub fn try_map_init<I, S, R, E, N, F>(
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
        F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map_init(token, items, init, f).map_err(Stop::into_error)
    }

    pub(super) fn run_map_init<I, S, R, E, N, F>(
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
        F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (call, states) = (Call::new(token, items.len()), States::new(init));
        let outputs = self.outputs(&call, items, || states.loan(), |loan, _, item| f(loan.get(), item));
        call.finish_with(outputs, states.into_vec())
    }
}
