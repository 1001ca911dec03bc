//! Sources whose items are pulled one by one: iterators and channels.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::{mem, vec};

use crossbeam::channel::Receiver;

use super::claim::{Batch, Feed, Pull, Source, Stock, Visit};
use crate::channel::Until;
use crate::error::Cancelled;
use crate::panic::{self, Unmet};
use crate::token::CancellationToken;

/// The source of [`Pipeline::from_iter`](super::Pipeline::from_iter) and, if it is `READY`, of
/// [`Pipeline::from_ready`](super::Pipeline::from_ready).
#[derive(Clone, Debug)]
pub struct FromIter<I, const READY: bool>(pub(super) I);

impl<I: Iterator + Send, const READY: bool> Source for FromIter<I, READY>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Error = Cancelled;

    fn open<V: Visit<I::Item, Cancelled>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(self)
    }
}

impl<I: Iterator + Send, const READY: bool> Feed for FromIter<I, READY>
where
    I::Item: Send,
{
    type Item = I::Item;
    type Stock = Pulled<I::Item>;
    type Inlet = I;
    type Plain = I;

    const READY: bool = READY;

    fn split(self) -> (Self::Stock, Option<I>) {
        (Pulled::new(), Some(self.0))
    }

    fn plain(self) -> I {
        self.0
    }
}

/// The source of [`Pipeline::from_receiver`](super::Pipeline::from_receiver).
#[derive(Clone, Debug)]
pub struct FromReceiver<T>(pub(super) Receiver<T>);

impl<T: Send> Source for FromReceiver<T> {
    type Item = T;
    type Error = Cancelled;

    fn open<V: Visit<T, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(Messages { receiver: self.0, token: token.child_token() })
    }
}

/// An opened channel.
#[derive(Debug)]
pub(super) struct Messages<T> {
    receiver: Receiver<T>,
    /// Of the run, which cancels it when it wants no more.
    token: CancellationToken,
}

impl<T: Send> Feed for Messages<T> {
    type Item = T;
    type Stock = Pulled<T>;
    type Inlet = Bulk<T>;
    type Plain = Self;

    const READY: bool = false;

    fn waits_for(&self) -> Option<CancellationToken> {
        Some(self.token.clone())
    }

    fn split(self) -> (Pulled<T>, Option<Bulk<T>>) {
        (Pulled::new(), Some(Bulk(self)))
    }

    fn plain(self) -> Self {
        self
    }
}

/// For the plain loop. A cancellation ends it too: the run looks at its token by itself.
impl<T> Iterator for Messages<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.until(&self.token).recv().ok()
    }
}

/// Several messages at a time.
#[derive(Debug)]
pub(super) struct Bulk<T>(Messages<T>);

impl<T: Send> Pull for Bulk<T> {
    type Load = T;

    fn pull(&mut self, most: usize, loads: &mut Vec<T>) -> bool {
        self.0.receiver.until(&self.0.token).recv_many(loads, most).is_ok()
    }
}

/// Items that were pulled, already in batches: claiming one moves a pointer.
#[derive(Debug)]
pub struct Pulled<T> {
    full: VecDeque<Unmet<T>>,
    open: Unmet<T>,
    len: usize,
}

impl<T> Pulled<T> {
    fn new() -> Self {
        Pulled { full: VecDeque::new(), open: Unmet(Vec::new()), len: 0 }
    }
}

impl<T: Send> Stock for Pulled<T> {
    type Item = T;
    type Load = T;
    type Batch = Items<T>;

    const PULLED: bool = true;

    fn len(&self) -> usize {
        self.len
    }

    // `most` is what the batches were made for when they were put here.
    fn take(&mut self, _most: usize) -> Option<(Self::Batch, usize)> {
        let batch = match self.full.pop_front() {
            Some(mut batch) => mem::take(&mut batch.0),
            None => mem::take(&mut self.open.0),
        };
        let items = batch.len();
        self.len -= items;
        (items > 0).then(|| (Items(batch.into_iter()), items))
    }

    fn put(&mut self, item: T, batch: usize) -> usize {
        let open = &mut self.open.0;
        if open.capacity() == 0 {
            open.reserve_exact(batch);
        }
        open.push(item);
        self.len += 1;
        if open.len() >= batch {
            self.full.push_back(Unmet(mem::take(open)));
        }
        1
    }

    fn put_batch(&mut self, batch: Vec<T>) {
        debug_assert!(self.open.0.is_empty(), "a source is pulled by items or by batches");
        self.len += batch.len();
        if !batch.is_empty() {
            self.full.push_back(Unmet(batch));
        }
    }
}

/// A batch of them.
#[derive(Debug)]
pub struct Items<T>(pub(super) vec::IntoIter<T>);

impl<T: Send> Batch for Items<T> {
    type Item = T;

    fn run<B>(&mut self, most: usize, f: impl FnMut(T) -> ControlFlow<B>) -> ControlFlow<B> {
        self.0.by_ref().take(most).try_for_each(f)
    }

    fn split(&mut self, most: usize) -> Self {
        Items(self.0.by_ref().take(most).collect::<Vec<T>>().into_iter())
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            panic::discard_all(self.0.by_ref());
        }
    }
}
