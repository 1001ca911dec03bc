//! [`ParallelIteratorExt`]: adaptors that make any chain of rayon's stop.

use rayon::iter::plumbing::{Consumer, Folder, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Cancellation for any of rayon's parallel iterators.
///
/// An adaptor governs the stages behind it: put it where the work begins, in front of the costly `map`, and behind a
/// `flat_map`, of which an item that has begun runs to its end.
pub trait ParallelIteratorExt: ParallelIterator {
    /// Ends the iterator soon after `token` is cancelled: no further item is taken from it.
    ///
    /// What comes out is not indexed, as behind a `filter`: it may be shorter than what went in. For `collect` and `zip` with
    /// an index there is [`or_cancelled`](Self::or_cancelled).
    ///
    /// # Cancellation
    ///
    /// Looks at `token` before each item, one atomic load. Which items got through is not specified, and the result does not
    /// tell that it was cut short: ask the token by [`check`](CancellationToken::check) afterwards.
    ///
    /// # Costs
    ///
    /// Next to none: a sum of what takes 1 ns an item is 1.0 to 1.3 times as slow, as the compiler has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, ParallelIteratorExt};
    /// use rayon::prelude::*;
    ///
    /// fn primes_below(limit: u32, token: &CancellationToken) -> Result<usize, Cancelled> {
    ///     let is_prime = |number: &u32| (2..*number).all(|divisor| number % divisor != 0);
    ///     let count = (2..limit).into_par_iter().until_cancelled(token).filter(is_prime).count();
    ///     token.check()?;
    ///     Ok(count)
    /// }
    ///
    /// assert_eq!(primes_below(100, &CancellationToken::new())?, 25);
    /// # Ok::<(), Cancelled>(())
    /// ```
    fn until_cancelled(self, token: &CancellationToken) -> UntilCancelled<'_, Self> {
        UntilCancelled { base: self, token }
    }

    /// Makes each item a `Result`, which is [`Cancelled`] once `token` is cancelled; the iterator stays indexed.
    ///
    /// The items of which it is said are not taken from the iterator any more: stages in front are not run for them. Their
    /// number stays, so that `zip`, `enumerate`, `chunks` and `collect` into a vector go on to work. Collected into a
    /// `Result`, or with [`try_for_each`](ParallelIterator::try_for_each), it ends at the first of them.
    ///
    /// # Cancellation
    ///
    /// Looks at `token` before each item, one atomic load. Which items got through is not specified.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, ParallelIteratorExt};
    /// use rayon::prelude::*;
    ///
    /// let token = CancellationToken::new();
    /// let squares = (0..5).into_par_iter().or_cancelled(&token).map(|item| Ok(item? * 2)).collect::<Result<Vec<u32>, Cancelled>>();
    /// assert_eq!(squares?, [0, 2, 4, 6, 8]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    fn or_cancelled(self, token: &CancellationToken) -> OrCancelled<'_, Self>
    where
        Self: IndexedParallelIterator,
    {
        OrCancelled { base: self, token }
    }
}

impl<I: ParallelIterator> ParallelIteratorExt for I {}

/// What [`until_cancelled`](ParallelIteratorExt::until_cancelled) returns.
#[derive(Clone, Debug)]
#[must_use = "iterator adaptors are lazy and do nothing unless consumed"]
pub struct UntilCancelled<'a, B> {
    base: B,
    token: &'a CancellationToken,
}

impl<I: ParallelIterator> ParallelIterator for UntilCancelled<'_, I> {
    type Item = I::Item;

    fn drive_unindexed<C: UnindexedConsumer<I::Item>>(self, consumer: C) -> C::Result {
        self.base.drive_unindexed(UntilCancelled { base: consumer, token: self.token })
    }
}

impl<'a, T, C: Consumer<T>> Consumer<T> for UntilCancelled<'a, C> {
    type Folder = UntilCancelled<'a, C::Folder>;
    type Reducer = C::Reducer;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, C::Reducer) {
        let (left, right, reducer) = self.base.split_at(index);
        (UntilCancelled { base: left, ..self }, UntilCancelled { base: right, ..self }, reducer)
    }

    fn into_folder(self) -> Self::Folder {
        UntilCancelled { base: self.base.into_folder(), token: self.token }
    }

    fn full(&self) -> bool {
        self.token.is_cancelled() || self.base.full()
    }
}

impl<T, C: UnindexedConsumer<T>> UnindexedConsumer<T> for UntilCancelled<'_, C> {
    fn split_off_left(&self) -> Self {
        UntilCancelled { base: self.base.split_off_left(), token: self.token }
    }

    fn to_reducer(&self) -> C::Reducer {
        self.base.to_reducer()
    }
}

impl<T, F: Folder<T>> Folder<T> for UntilCancelled<'_, F> {
    type Result = F::Result;

    fn consume(self, item: T) -> Self {
        if self.token.is_cancelled() { self } else { UntilCancelled { base: self.base.consume(item), ..self } }
    }

    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        let items = UntilCancelled { base: items.into_iter(), token: self.token };
        UntilCancelled { base: self.base.consume_iter(items), ..self }
    }

    fn complete(self) -> F::Result {
        self.base.complete()
    }

    fn full(&self) -> bool {
        self.token.is_cancelled() || self.base.full()
    }
}

impl<I: Iterator> Iterator for UntilCancelled<'_, I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if self.token.is_cancelled() { None } else { self.base.next() }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.base.size_hint().1)
    }
}

/// What [`or_cancelled`](ParallelIteratorExt::or_cancelled) returns.
#[derive(Clone, Debug)]
#[must_use = "iterator adaptors are lazy and do nothing unless consumed"]
pub struct OrCancelled<'a, B> {
    base: B,
    token: &'a CancellationToken,
}

impl<I: IndexedParallelIterator> ParallelIterator for OrCancelled<'_, I> {
    type Item = Result<I::Item, Cancelled>;

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.base.len())
    }
}

impl<I: IndexedParallelIterator> IndexedParallelIterator for OrCancelled<'_, I> {
    fn len(&self) -> usize {
        self.base.len()
    }

    fn drive<C: Consumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<CB: ProducerCallback<Self::Item>>(self, callback: CB) -> CB::Output {
        self.base.with_producer(OrCancelled { base: callback, token: self.token })
    }
}

impl<T, CB: ProducerCallback<Result<T, Cancelled>>> ProducerCallback<T> for OrCancelled<'_, CB> {
    type Output = CB::Output;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> CB::Output {
        self.base.callback(OrCancelled { base: producer, token: self.token })
    }
}

impl<'a, P: Producer> Producer for OrCancelled<'a, P> {
    type Item = Result<P::Item, Cancelled>;
    type IntoIter = OrCancelledIter<'a, P::IntoIter>;

    fn into_iter(self) -> Self::IntoIter {
        OrCancelledIter { base: self.base.into_iter(), token: self.token, skipped: 0 }
    }

    fn min_len(&self) -> usize {
        self.base.min_len()
    }

    fn max_len(&self) -> usize {
        self.base.max_len()
    }

    fn split_at(self, index: usize) -> (Self, Self) {
        let (left, right) = self.base.split_at(index);
        (OrCancelled { base: left, ..self }, OrCancelled { base: right, ..self })
    }
}

/// The items of one job.
#[derive(Debug)]
pub struct OrCancelledIter<'a, I> {
    base: I,
    token: &'a CancellationToken,
    /// How many of the base's items have been replaced; they stay in it.
    skipped: usize,
}

impl<I: ExactSizeIterator> OrCancelledIter<'_, I> {
    #[inline]
    fn step(&mut self, take: impl FnOnce(&mut I) -> Option<I::Item>) -> Option<Result<I::Item, Cancelled>> {
        // A cancellation is final, so nothing is taken from the base after the first item that was skipped.
        match self.token.check() {
            Ok(()) => take(&mut self.base).map(Ok),
            Err(_) if self.len() == 0 => None,
            Err(cancelled) => {
                self.skipped += 1;
                Some(Err(cancelled))
            }
        }
    }
}

impl<I: ExactSizeIterator> Iterator for OrCancelledIter<'_, I> {
    type Item = Result<I::Item, Cancelled>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.step(I::next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.base.len() - self.skipped;
        (left, Some(left))
    }
}

impl<I: ExactSizeIterator + DoubleEndedIterator> DoubleEndedIterator for OrCancelledIter<'_, I> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(I::next_back)
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for OrCancelledIter<'_, I> {}
