//! [`OrCancelled`]: an indexed iterator whose items are `Cancelled` once a token is cancelled.

use rayon::iter::plumbing::{Consumer, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use crate::error::Cancelled;
use crate::token::CancellationToken;

/// The iterator that [`or_cancelled`](super::ParallelIteratorExt::or_cancelled) returns.
#[derive(Clone, Debug)]
#[must_use = "iterator adaptors are lazy and do nothing unless consumed"]
pub struct OrCancelled<'a, B> {
    base: B,
    token: &'a CancellationToken,
}

impl<'a, B> OrCancelled<'a, B> {
    pub(super) fn new(base: B, token: &'a CancellationToken) -> Self {
        OrCancelled { base, token }
    }
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
    /// How many cancelled items have been returned.
    ///
    /// As many items of the base stay in it.
    skipped: usize,
}

impl<I: ExactSizeIterator> OrCancelledIter<'_, I> {
    #[inline]
    fn step(&mut self, take: impl FnOnce(&mut I) -> Option<I::Item>) -> Option<Result<I::Item, Cancelled>> {
        // A cancellation is final, so no item is taken from the base after the first cancelled one.
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
