//! [`Filling`] and [`Queues`]: the loads of a blocking source, in queues that every member can take from.
//!
//! A chunk lies in short queues, which go back to the puller when they are empty. A queue that grows and shrinks with a
//! chunk of several hundred items allocates seven times for it: 40 ns of CPU time an item against 23. (crossbeam's
//! deque; measured where an atomic operation takes 9 ns and a vector that changes threads costs 8 an item.)

use std::mem;
use std::sync::Arc;

use crossbeam::deque::{Steal, Stealer, Worker};
use parking_lot::Mutex;

use crate::panic;

/// How many loads a queue holds: as many as crossbeam's deque has room for when it is made.
const LENGTH: usize = 64;

/// The puller's side of a chunk.
#[derive(Debug)]
pub(in super::super) struct Filling<L> {
    queue: Worker<L>,
    /// How many loads were pushed into the queue.
    pushed: usize,
    /// Empty queues.
    fresh: Vec<Worker<L>>,
    emptied: Emptied<L>,
}

/// The side of a chunk that every member can reach.
#[derive(Debug)]
pub(in super::super) struct Reachable<L> {
    /// The queues that are full, in order.
    full: Vec<Worker<L>>,
    /// The end of the queue that is being filled.
    last: Stealer<L>,
}

/// The loads of a chunk, in order.
#[derive(Debug)]
pub struct Queues<L> {
    list: Vec<Worker<L>>,
    /// How many of the queues are empty.
    done: usize,
    emptied: Emptied<L>,
}

/// Queues on their way back to the puller.
type Emptied<L> = Arc<Mutex<Vec<Worker<L>>>>;

impl<L> Filling<L> {
    pub(in super::super) fn new() -> (Self, Reachable<L>) {
        let queue = Worker::new_fifo();
        let reachable = Reachable { full: Vec::new(), last: queue.stealer() };
        (Filling { queue, pushed: 0, fresh: Vec::new(), emptied: Arc::default() }, reachable)
    }

    /// Adds a load. If the queue is full now, `reach` is given it, and the other end of the next one.
    #[inline]
    pub(in super::super) fn push(&mut self, load: L, reach: impl FnOnce(Worker<L>, Stealer<L>)) {
        self.queue.push(load);
        self.pushed += 1;
        if self.pushed == LENGTH {
            let full = self.replace();
            reach(full, self.queue.stealer());
        }
    }

    /// Takes the queue that is being filled, for the end of a chunk.
    fn replace(&mut self) -> Worker<L> {
        if self.fresh.is_empty() {
            mem::swap(&mut self.fresh, &mut *self.emptied.lock());
        }
        self.pushed = 0;
        mem::replace(&mut self.queue, self.fresh.pop().unwrap_or_else(Worker::new_fifo))
    }

    /// Takes the last queue of a chunk, if there are loads in it.
    pub(in super::super) fn last(&mut self) -> Option<Worker<L>> {
        (self.pushed > 0).then(|| self.replace())
    }

    pub(in super::super) fn stealer(&self) -> Stealer<L> {
        self.queue.stealer()
    }

    pub(in super::super) fn queues(&self, queues: Vec<Worker<L>>) -> Queues<L> {
        Queues { list: queues, done: 0, emptied: Arc::clone(&self.emptied) }
    }
}

impl<L> Reachable<L> {
    /// A queue is full, and the next one is being filled.
    pub(in super::super) fn add(&mut self, full: Worker<L>, next: Stealer<L>) {
        self.full.push(full);
        self.last = next;
    }

    /// Takes the queues that are full.
    pub(in super::super) fn take_full(&mut self) -> Vec<Worker<L>> {
        mem::take(&mut self.full)
    }

    /// The puller fills another queue.
    pub(in super::super) fn set_last(&mut self, last: Stealer<L>) {
        self.last = last;
    }

    /// Takes all loads there are, while the puller may add others.
    pub(in super::super) fn take_all(&mut self) -> Vec<L> {
        let full = self.take_full();
        let mut loads: Vec<L> = full.iter().flat_map(|queue| std::iter::from_fn(|| queue.pop())).collect();
        loads.extend(std::iter::from_fn(|| {
            loop {
                match self.last.steal() {
                    Steal::Success(load) => return Some(load),
                    Steal::Empty => return None,
                    Steal::Retry => {}
                }
            }
        }));
        loads
    }
}

impl<L> Queues<L> {
    pub(super) fn len(&self) -> usize {
        self.list[self.done..].iter().map(Worker::len).sum()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<L> {
        loop {
            let load = self.list.get(self.done)?.pop();
            if load.is_some() {
                return load;
            }
            self.done += 1;
        }
    }
}

impl<L> Drop for Queues<L> {
    fn drop(&mut self) {
        panic::discard_all(std::iter::from_fn(|| self.pop()));
        self.emptied.lock().append(&mut self.list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<L>(mut queues: Queues<L>) -> Vec<L> {
        std::iter::from_fn(|| queues.pop()).collect()
    }

    #[test]
    fn loads_come_out_in_the_order_in_which_they_were_pushed() {
        let (mut filling, mut reachable) = Filling::new();
        for loads in [0, 1, LENGTH - 1, LENGTH, 5 * LENGTH + 3] {
            (0..loads).for_each(|load| filling.push(load, |full, next| reachable.add(full, next)));
            let mut queues = reachable.take_full();
            queues.extend(filling.last());
            reachable.set_last(filling.stealer());
            let queues = filling.queues(queues);
            assert_eq!(queues.len(), loads);
            assert_eq!(all(queues), (0..loads).collect::<Vec<_>>());
        }
    }

    #[test]
    fn loads_that_another_member_takes_are_not_in_the_chunk_again() {
        let (mut filling, mut reachable) = Filling::new();
        let push = |filling: &mut Filling<_>, reachable: &mut Reachable<_>, loads: std::ops::Range<usize>| {
            loads.for_each(|load| filling.push(load, |full, next| reachable.add(full, next)));
        };
        push(&mut filling, &mut reachable, 0..100);
        assert_eq!(reachable.take_all(), (0..100).collect::<Vec<_>>());
        push(&mut filling, &mut reachable, 100..103);
        let last = filling.last();
        assert_eq!(all(filling.queues(last.into_iter().collect())), [100, 101, 102]);
    }

    #[test]
    fn emptied_queues_are_filled_again() {
        let (mut filling, _) = Filling::new();
        for load in 0..10 {
            filling.push(load, |_, _| {});
            let last = filling.last();
            drop(filling.queues(last.into_iter().collect()));
            assert!(filling.fresh.len() + filling.emptied.lock().len() <= 1);
        }
    }
}
