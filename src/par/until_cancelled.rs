//! [`UntilCancelled`]: an iterator that ends when a token is cancelled.

use rayon::iter::ParallelIterator;
use rayon::iter::plumbing::{Consumer, Folder, UnindexedConsumer};

use crate::token::CancellationToken;

/// The iterator that [`until_cancelled`](super::ParallelIteratorExt::until_cancelled) returns.
#[derive(Clone, Debug)]
#[must_use = "iterator adaptors are lazy and do nothing unless consumed"]
pub struct UntilCancelled<'a, B> {
    base: B,
    token: &'a CancellationToken,
}

impl<'a, B> UntilCancelled<'a, B> {
    pub(super) fn new(base: B, token: &'a CancellationToken) -> Self {
        UntilCancelled { base, token }
    }
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
