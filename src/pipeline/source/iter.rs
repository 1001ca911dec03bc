//! Iterators as a source: arbitrary ones, which may block, and ready ones.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::{iter, mem, vec};

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::queue::Queues;
use super::{Batch, Chunk, Feed, Kind, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::panic;
use crate::token::CancellationToken;

impl<I: Iterator + Send> Pipeline<Fused<FromIter<I>, Identity<Cancelled>>>
where
    I::Item: Send,
{
    /// Starts from any iterator. It may block, be endless, or wait for the output of an earlier item.
    ///
    /// Items are pulled one at a time, by one thread at a time, at most a [`window`](Self::window) ahead of
    /// the output. Use this for all that may wait: a pipe, a network, a database, another thread. Lines have sources of
    /// their own; the [module](crate::pipeline#which-source) has a table of all. The calling thread never pulls,
    /// because it alone can output the item that the iterator may wait for. Where the items lie in memory or come from
    /// a range, [`from_data`](Pipeline::from_data) is cheaper; where the iterator never waits,
    /// [`from_ready`](Pipeline::from_ready) is.
    ///
    /// The iterator goes to another thread, so it must be [`Send`]. The lines of a locked
    /// standard input are not; those of `BufReader::new(io::stdin())` are.
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait has no place for the bounds, and the name is the term"
    )]
    pub fn from_iter<T: IntoIterator<IntoIter = I>>(items: T) -> Self {
        Pipeline::from_source(FromIter(items.into_iter()))
    }
}

/// The source of [`Pipeline::from_iter`].
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FromIter<I>(pub(in super::super) I);

impl<I: Iterator + Send> Source for FromIter<I>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Error = Cancelled;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn open<V: Visit<I::Item, Cancelled>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(self)
    }
}

impl<I: Iterator + Send> Feed for FromIter<I>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Stock = Pulled<I::Item>;
    type Inlet = I;
    type Plain = I;

    const KIND: Kind = Kind::Blocking;

    fn split(self) -> (Self::Stock, I) {
        (Pulled::new(), self.0)
    }

    fn plain(self) -> I {
        self.0
    }
}

impl<I: Iterator + Send> Pipeline<Fused<FromReady<I>, Identity<Cancelled>>>
where
    I::Item: Send,
{
    /// Starts from an iterator that never waits: a computation, a walk through directories, a file on a local disk.
    ///
    /// Do not use it for a pipe, a terminal, a socket or a channel. While `next()` waits, all outputs are held back,
    /// also those of earlier items: from a pipe that gives a line a second, every line but the first comes at the end.
    /// For these use [`from_iter`](Pipeline::from_iter), or a source of the [table](crate::pipeline#which-source).
    ///
    /// Each thread that needs work pulls a whole batch, the calling thread too. That is cheaper than
    /// [`from_iter`](Pipeline::from_iter), and the calling thread is never short of work while the others are busy. An
    /// iterator that does wait for an earlier output, directly or not, hangs here.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    /// let digits: Vec<usize> =
    ///     Pipeline::from_ready(powers).map(|power| power.to_string().len()).collect(&CancellationToken::new())?;
    /// assert_eq!(digits, (1..=20).collect::<Vec<_>>());
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn from_ready<T: IntoIterator<IntoIter = I>>(items: T) -> Self {
        Pipeline::from_source(FromReady(items.into_iter()))
    }
}

/// The source of [`Pipeline::from_ready`].
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FromReady<I>(I);

impl<I: Iterator + Send> Source for FromReady<I>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Error = Cancelled;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn open<V: Visit<I::Item, Cancelled>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(self)
    }
}

impl<I: Iterator + Send> Feed for FromReady<I>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Stock = Pulled<I::Item>;
    type Inlet = I;
    type Plain = I;

    const KIND: Kind = Kind::Ready;

    fn split(self) -> (Self::Stock, I) {
        (Pulled::new(), self.0)
    }

    fn plain(self) -> I {
        self.0
    }
}

/// Items that were pulled, already in batches: claiming one moves a pointer.
#[derive(Debug)]
pub struct Pulled<T> {
    batches: VecDeque<Items<T>>,
    len: usize,
}

impl<T> Pulled<T> {
    pub(in super::super) fn new() -> Self {
        Pulled { batches: VecDeque::new(), len: 0 }
    }
}

impl<T: Send> Stock for Pulled<T> {
    type Item = T;
    type Load = T;
    type Batch = Items<T>;

    fn len(&self) -> usize {
        self.len
    }

    // The batches had the right size when they were put here.
    fn take(&mut self, _most: usize) -> Option<(Self::Batch, usize)> {
        let batch = self.batches.pop_front()?;
        let items = batch.len();
        self.len -= items;
        Some((batch, items))
    }

    fn put(&mut self, chunk: Chunk<T>) -> usize {
        let batch = Items::from(chunk);
        let items = batch.len();
        if items > 0 {
            self.len += items;
            self.batches.push_back(batch);
        }
        items
    }
}

/// A batch of pulled items.
#[derive(Debug)]
pub enum Items<T> {
    List(vec::IntoIter<T>),
    Queues(Queues<T>),
}

impl<T> Items<T> {
    pub(in super::super) fn len(&self) -> usize {
        match self {
            Items::List(list) => list.len(),
            Items::Queues(queues) => queues.len(),
        }
    }

    fn pop(&mut self) -> Option<T> {
        match self {
            Items::List(list) => list.next(),
            Items::Queues(queues) => queues.pop(),
        }
    }
}

impl<T> From<Chunk<T>> for Items<T> {
    fn from(chunk: Chunk<T>) -> Self {
        match chunk {
            Chunk::List(list) => Items::List(list.into_iter()),
            Chunk::Queues(queues) => Items::Queues(queues),
        }
    }
}

impl<T: Send> Batch for Items<T> {
    type Item = T;

    #[inline]
    fn run<B>(&mut self, most: usize, f: impl FnMut(T) -> ControlFlow<B>) -> ControlFlow<B> {
        match self {
            Items::List(list) => list.by_ref().take(most).try_for_each(f),
            Items::Queues(queues) => iter::from_fn(|| queues.pop()).take(most).try_for_each(f),
        }
    }

    fn split(&mut self, most: usize) -> Self {
        let front: Vec<T> = iter::from_fn(|| self.pop()).take(most).collect();
        Items::List(front.into_iter())
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            panic::discard_all(iter::from_fn(|| self.pop()));
        }
    }
}
