//! [`Located`]: maps whose error says which item failed.

use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::run::Stopped;
use crate::failure::Failure;
use crate::token::CancellationToken;

/// The fallible forms of a [`ParBuilder`], whose error is a [`Failure`]: with the index of the item that failed, the
/// [name](ParBuilder::named) and the [label](ParBuilder::labelled). Made by [`ParBuilder::located`].
///
/// The closures' error may be any type: of a cancellation a `Failure` knows by itself, as [`Failure::Cancelled`]. A panic is
/// resumed as ever.
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
/// // Or as people count:
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

impl Located<'_> {
    /// As [`ParBuilder::try_map`].
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_map`](crate::try_par_map), as a [`Failure`].
    ///
    /// # Panics
    ///
    /// As for [`try_par_map`](crate::try_par_map), and if the label's closure does.
    pub fn try_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        self.0.run_map(token, items, f).map_err(|stopped| self.locate(stopped))
    }

    /// As [`ParBuilder::try_for_each`].
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_map`](crate::try_par_map), as a [`Failure`].
    ///
    /// # Panics
    ///
    /// As for [`try_map`](Self::try_map).
    pub fn try_for_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        self.0.run_each(token, items, f).map_err(|stopped| self.locate(stopped))
    }

    /// As [`ParBuilder::try_map_init`].
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_map_init`](crate::par::try_par_map_init), as a [`Failure`].
    ///
    /// # Panics
    ///
    /// As for [`try_map`](Self::try_map), and if `init` does.
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
        self.0.run_map_init(token, items, init, f).map_err(|stopped| self.locate(stopped))
    }

    /// As [`ParBuilder::try_reduce`]. An error that comes when two halves are combined has the index of the first item of the
    /// second.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_reduce`](crate::par::try_par_reduce), as a [`Failure`].
    ///
    /// # Panics
    ///
    /// As for [`try_par_reduce`](crate::par::try_par_reduce), and if the label's closure does.
    pub fn try_reduce<I, E, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, Failure<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
    {
        self.0.run_reduce(token, items, op).map_err(|stopped| self.locate(stopped))
    }

    /// As [`ParBuilder::try_fold`]. An error that comes when two halves are combined has the index of the first item of the
    /// second.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_fold`](crate::par::try_par_fold), as a [`Failure`].
    ///
    /// # Panics
    ///
    /// As for [`try_par_fold`](crate::par::try_par_fold), and if the label's closure does.
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
        self.0.run_fold(token, items, identity, fold, combine).map_err(|stopped| self.locate(stopped))
    }

    fn locate<E>(&self, stopped: Stopped<E>) -> Failure<E> {
        match stopped {
            Stopped::Cancelled(cancelled) => cancelled.into(),
            Stopped::Failed(index, error) => {
                Failure::new(Arc::clone(&self.0.name), index, error).labelled(self.0.label(index))
            }
        }
    }
}
