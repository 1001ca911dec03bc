//! [`Worker`]: one of a limit's threads.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::counts::Counted;
use super::hands::Hand;
use super::limit::{Host, Limit};
use super::queue::Queue;
use crate::thread;
use crate::workers::batches::{BATCH, Batch};
use crate::workers::search::Search;
use crate::workers::turn::Turn;

/// A thread that runs the tasks of a limit one after the other.
pub(super) struct Worker<'a, J, H> {
    limit: &'a Limit<J>,
    host: &'a H,
    hand: Arc<Hand<J>>,
    turn: Turn,
    search: Search,
    /// The tasks that the thread has run, and has not given back.
    spent: Batch<J>,
}

impl<'a, J, H: Host> Worker<'a, J, H> {
    pub(super) fn new(limit: &'a Limit<J>, host: &'a H) -> Self {
        Worker { limit, host, hand: Hand::new(), turn: Turn::default(), search: Search::default(), spent: Batch::new() }
    }

    /// Runs tasks on the calling thread, until the queue is drained. `run` runs one, and returns what is left of it
    /// to be freed; it does not panic.
    pub(super) fn work(mut self, mut run: impl FnMut(J) -> Option<J>) {
        thread::begin_lineage();
        // The thread has counted as searching since it was called.
        let mut next = self.search(self.limit.lock());
        while let Some(task) = next {
            self.limit.tell_room();
            if let Some(spent) = run(task) {
                self.spent.push_back(spent);
            }
            next = self.hand.pop().or_else(|| {
                let mut queue = self.limit.lock();
                queue.begin_search();
                self.search(queue)
            });
        }
    }

    /// Finds a task outside of the thread's own hand: looks for some microseconds, then sleeps until the thread is
    /// called. Returns `None` when the queue is drained.
    #[inline(never)]
    fn search(&mut self, mut queue: MutexGuard<'a, Queue<J>>) -> Option<J> {
        let limit = self.limit;
        if self.spent.len() >= BATCH / 2 {
            queue.keep_spent(&mut self.spent);
        }
        loop {
            if let Some(task) = queue.take(&self.hand, self.turn.most()) {
                let call = queue.end_search();
                drop(queue);
                self.free_spent();
                let found = 1 + self.hand.len();
                self.search.found(found);
                self.turn.took(found);
                _ = limit.answer(self.host, call);
                return Some(task);
            }
            if self.search.goes_on() && !queue.is_ending() {
                MutexGuard::unlocked(&mut queue, || {
                    limit.tell_room();
                    self.free_spent();
                    self.search.wait(|| false);
                    limit.counts.add(Counted::Lock);
                });
                continue;
            }
            // The thread has become free, so there may be room for another task.
            limit.tell_room();
            queue.fall_asleep();
            limit.release_if_drained(&mut queue);
            while !queue.is_calling() && !queue.is_drained() {
                limit.counts.add(Counted::Sleep);
                limit.called.wait(&mut queue);
            }
            if queue.is_drained() {
                return None;
            }
            queue.wake();
            self.search.woke();
        }
    }

    /// Frees the spent tasks that the queue does not keep.
    fn free_spent(&mut self) {
        if self.spent.len() >= BATCH {
            self.spent.clear();
        }
    }
}
