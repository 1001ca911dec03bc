//! The outputs of a pipeline as an iterator: lent to a closure, or owned.

mod outlet;
mod owned;

use std::fmt;
use std::iter::FusedIterator;

use super::Pipeline;
use super::chain::Chain;
use super::end::last;
use super::on_demand::Role;
use super::refill::Upstream;
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

pub use owned::OwnedOutputs;

/// Outputs as an iterator.
impl<C: Chain> Pipeline<C> {
    /// Runs the pipeline and hands its outputs to `f` as an iterator of `Result`s, on the calling thread.
    ///
    /// Use this where a loop needs more than the next output: two at a time, a `zip`, a `peekable`, a `break`. The
    /// outputs are those of [`for_each`](Self::for_each), in their order. Returns the value of `f`. If `f` returns
    /// before the end, the run ends, and what the rest of it would have met does not count.
    ///
    /// The calling thread works no items, because it could not return from `next()` in the midst of one. So
    /// [`threads(n)`](Self::threads) start n threads beside it, and one more where n is 1 and the source may block: it
    /// waits for the source. (If the system refuses to start them, the calling thread works after all.) While `f` is at
    /// the outputs of a batch, they count against the [`window`](Self::window).
    ///
    /// Inside a rayon job the calling thread works item by item, as `f` asks for outputs. The outputs of one item are
    /// then made together, so a [`flat_map`](Self::flat_map) without end hangs there.
    ///
    /// A source that waits for something that `f` has yet to do hangs the `next()` at which the run fails or is
    /// cancelled, because that waits for the source. Let the source observe the token, or use
    /// [`from_receiver`](Self::from_receiver), which needs no token.
    ///
    /// # Cancellation
    ///
    /// `next()` notices it, while it waits too, and returns the error when the items in hand are done.
    ///
    /// # Errors
    ///
    /// The item behind the last output is the error of the first item to fail in a stage, or [`Cancelled`], converted,
    /// if `token` was cancelled before. `None` follows. Without an error, `None` means that the source has ended.
    ///
    /// # Panics
    ///
    /// `next()` resumes a panic of the source or a stage, behind the outputs of the earlier items, when all threads
    /// are joined. So `f` cannot take a run that panicked for one that has ended. A panic of the source's `Drop` is
    /// resumed when `f` has returned.
    ///
    /// # Examples
    ///
    /// Checks that a list is sorted, and stops at the first pair that is not:
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let words = Pipeline::from_data(["Ant", "bee", "cow", "Cat", "dog"]).map(str::to_lowercase);
    /// let unsorted = words.iter(&CancellationToken::new(), |outputs| {
    ///     let mut last = String::new();
    ///     for word in outputs {
    ///         let word = word?;
    ///         if word < last {
    ///             return Ok(Some((last, word)));
    ///         }
    ///         last = word;
    ///     }
    ///     Ok::<_, Cancelled>(None)
    /// })?;
    /// assert_eq!(unsorted, Some(("cow".to_owned(), "cat".to_owned())));
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::iter_not_returning_iterator, reason = "its closure is given the iterator, which borrows the run")]
    pub fn iter<T, F>(self, token: &CancellationToken, f: F) -> T
    where
        F: FnOnce(&mut Outputs<'_, C::Output, C::Error>) -> T,
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        self.run_on_demand(token, Role::Outputs, |run| f(&mut Outputs { run: Upstream::new(run), token }))
    }

    /// Runs the pipeline and returns its outputs as an iterator of `Result`s, which owns the run.
    ///
    /// Use this where the outputs leave the function that made the pipeline: in a struct, as a return value, on another
    /// thread. All that the pipeline has must be [`Send`] and `'static`. Where it borrows, use [`iter`](Self::iter),
    /// which is cheaper.
    ///
    /// The run begins here, and goes on ahead of the iterator: by a [`window`](Self::window) and what the iterator
    /// holds ready: some four batches, or in the first 3 ms up to 32. If a window was set, by no more than that. A
    /// dropped iterator ends its run, and waits for the items in hand. One that is leaked keeps its threads asleep,
    /// until `token` is cancelled.
    ///
    /// A thread of the run's own hands the outputs over, and works as one of [`threads(n)`](Self::threads). It comes
    /// beside the n where there is a [`flat_map`](Self::flat_map) or a window.
    ///
    /// Do not wait for its outputs in a rayon job if a stage calls rayon: `next()` blocks the worker.
    /// [`iter`](Self::iter) does not.
    ///
    /// # Cancellation
    ///
    /// `next()` notices it, while it waits too, and returns the error when the items in hand are done. The run
    /// observes `token` from here on, so a cancel also ends a run whose outputs are not asked for.
    ///
    /// # Errors
    ///
    /// As those of [`iter`](Self::iter). If the system refuses to start the run's own thread, the first item is
    /// [`Cancelled`], whose reason says so.
    ///
    /// # Panics
    ///
    /// As those of [`iter`](Self::iter). A panic of the source's `Drop` is resumed by the last `next()`, or when the
    /// iterator is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::pipeline::OwnedOutputs;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// fn squares(token: &CancellationToken) -> OwnedOutputs<u64, Cancelled> {
    ///     Pipeline::from_iter(1_u64..).map(|number| number * number).into_iter(token)
    /// }
    ///
    /// let mut squares = squares(&CancellationToken::new());
    /// assert_eq!(squares.next(), Some(Ok(1)));
    /// assert_eq!(squares.next(), Some(Ok(4)));
    /// // Ends the run, though the source has no end.
    /// drop(squares);
    /// ```
    pub fn into_iter(self, token: &CancellationToken) -> OwnedOutputs<C::Output, C::Error>
    where
        C: Chain<Output: Send + 'static, Error: FromError<Cancelled> + Send + 'static> + Send + 'static,
    {
        OwnedOutputs::start(self, token)
    }
}

/// The outputs of a run, which [`Pipeline::iter`] lends to its closure.
#[must_use = "an iterator does nothing until it is asked"]
pub struct Outputs<'a, R, E> {
    run: Upstream<'a, R, E>,
    token: &'a CancellationToken,
}

impl<R, E: FromError<Cancelled>> Iterator for Outputs<'_, R, E> {
    type Item = Result<R, E>;

    #[inline]
    fn next(&mut self) -> Option<Result<R, E>> {
        match self.run.next_until(self.token) {
            Ok(output) => Some(Ok(output)),
            Err(ended) => last(ended, self.token).map(Err),
        }
    }
}

impl<R, E: FromError<Cancelled>> FusedIterator for Outputs<'_, R, E> {}

impl<R, E> fmt::Debug for Outputs<'_, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outputs").field("is_over", &self.run.is_over()).finish_non_exhaustive()
    }
}
