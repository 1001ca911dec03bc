//! [`Located`]: the fallible forms, with errors that say which item failed.

use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::Stop;
use crate::failure::Failure;
use crate::token::CancellationToken;

/// The fallible forms of a [`ParBuilder`], with an error that says which item failed.
///
/// [`ParBuilder::located`] makes it. The error is a [`Failure`], with the index of the item, the
/// [name](ParBuilder::named) and the [label](ParBuilder::labelled). If two halves are combined in a fold or a
/// reduction, the index is that of the first item of the second half.
///
/// The closures may have any error type, because a `Failure` knows a cancellation by itself, as [`Failure::Cancelled`].
/// A panic of a closure is resumed as in the other forms. A panic of the closure that makes the label is resumed too.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, Failure, ParBuilder};
///
/// let lines = ["1", "2", "x", "y"];
/// let failure = ParBuilder::new()
///     .named("line")
///     .located()
///     .try_map(&CancellationToken::new(), lines, str::parse::<u32>)
///     .unwrap_err();
/// assert_eq!(failure.to_string(), "line#2 failed: invalid digit found in string");
/// // Counted from 1, as people do:
/// if let Failure::Error { index, error, .. } = failure {
///     assert_eq!(format!("line {}: {error}", index + 1), "line 3: invalid digit found in string");
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is given items, by `try_map` for example"]
pub struct Located<'a>(ParBuilder<'a>);

impl<'a> ParBuilder<'a> {
    /// Makes the error of the fallible forms a [`Failure`], which says which item failed.
    pub fn located(self) -> Located<'a> {
        Located(self)
    }
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the method it links to")]
impl Located<'_> {
    /// Runs [`ParBuilder::try_map`] with a located error.
    pub fn try_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        self.0.run_map(token, items, f).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_for_each`] with a located error.
    pub fn try_for_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        self.0.run_for_each(token, items, f).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_map_init`] with a located error.
    pub fn try_map_init<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.0.run_map_init(token, items, init, f).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_map_with_token`] with a located error.
    pub fn try_map_with_token<I, R, E, F>(
        &self,
        token: &CancellationToken,
        items: I,
        f: F,
    ) -> Result<Vec<R>, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(&CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.0.run_map_with_token(token, items, f).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_for_each_with_token`] with a located error.
    pub fn try_for_each_with_token<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(&CancellationToken, I::Item) -> Result<(), E> + Send + Sync,
    {
        self.try_map_with_token(token, items, f).map(|_: Vec<()>| ())
    }

    /// Runs [`ParBuilder::try_map_init_with_token`] with a located error.
    pub fn try_map_init_with_token<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, &CancellationToken, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.0.run_map_init_with_token(token, items, init, f).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_reduce`] with a located error.
    pub fn try_reduce<I, E, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
    {
        self.0.run_reduce(token, items, op).map_err(|stop| self.locate(stop))
    }

    /// Runs [`ParBuilder::try_fold`] with a located error.
    pub fn try_fold<I, A, E, N, F, C>(
        &self,
        token: &CancellationToken,
        items: I,
        identity: N,
        fold: F,
        combine: C,
    ) -> Result<A, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        A: Send,
        E: Send,
        N: Fn() -> A + Send + Sync,
        F: Fn(A, I::Item) -> Result<A, E> + Send + Sync,
        C: Fn(A, A) -> Result<A, E> + Send + Sync,
    {
        self.0.run_fold(token, items, identity, fold, combine).map_err(|stop| self.locate(stop))
    }

    fn locate<E>(&self, stop: Stop<E>) -> Failure<E> {
        match stop {
            Stop::Cancelled(cancelled) => cancelled.into(),
            Stop::Failed(index, error) => {
                Failure::new(Arc::clone(&self.0.name), index, error).labelled(self.0.label(index))
            }
        }
    }
}
