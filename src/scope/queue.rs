//! [`Queue`]: the tasks of a scope with a limit that no thread has begun, and which thread is called for them.
//!
//! It is a value behind the lock of the limit. A task is added to the queue or to a hand under the lock, and
//! [`Calls`] says which thread is called for it.
//!
//! The queue is drained when the body has returned and all threads sleep. If a task were left, the thread that holds
//! it would be awake.

use std::mem;
use std::sync::Arc;

use super::hands::{Hand, Hands};
use crate::workers::batches::{BATCH, Batch, Batches};
use crate::workers::calls::{Call, Calls};

/// The tasks that no thread has started, the number of threads in each state, and the tasks that are spent.
pub(super) struct Queue<J> {
    /// How many tasks may wait, beyond those for which a thread is free.
    capacity: usize,
    /// How many tasks have been spawned, which is the index of the next.
    spawned: usize,
    tasks: Batches<J>,
    hands: Hands<J>,
    /// Tasks that have ended, of which only the memory is left. No batch is empty.
    spent: Vec<Batch<J>>,
    calls: Calls,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The body runs.
    Open,
    /// The body has returned, and tasks may be left.
    Closed,
    /// No task is left, and the threads leave.
    Drained,
}

impl<J> Queue<J> {
    pub(super) fn new(limit: usize, capacity: usize) -> Self {
        Queue {
            capacity,
            spawned: 0,
            tasks: Batches::new(),
            hands: Hands::new(),
            spent: Vec::new(),
            calls: Calls::new(limit),
            phase: Phase::Open,
        }
    }

    /// Returns the index of the next task, and counts it as spawned.
    pub(super) fn next_index(&mut self) -> usize {
        self.spawned += 1;
        self.spawned - 1
    }

    pub(super) fn spawned(&self) -> usize {
        self.spawned
    }

    /// Returns whether there is room for a task. If the tasks seem too many, they are counted anew.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        // A free thread is about to take a task each, so these tasks take no room.
        let most = self.capacity.saturating_add(self.calls.free());
        self.tasks.len() + self.hands.at_most() < most || self.tasks.len() + self.hands.recount() < most
    }

    /// Returns whether more than half of the room is taken, by a count that may be too high.
    pub(super) fn is_half_full(&self) -> bool {
        self.tasks.len() + self.hands.at_most() > self.capacity / 2
    }

    #[inline]
    pub(super) fn push(&mut self, task: J) -> Call {
        self.tasks.push(task);
        self.call()
    }

    /// Takes a task, and up to `most - 1` tasks behind it into the thread's `own` hand, which is empty.
    ///
    /// A thread that finds no task in the queue takes half of another hand.
    pub(super) fn take(&mut self, own: &Arc<Hand<J>>, most: usize) -> Option<J> {
        if self.tasks.len() == 0 {
            return self.hands.steal(own);
        }
        self.hands.fill(own, |rest| self.tasks.take(rest, most))
    }

    /// Removes the tasks at either end for which `is_out` holds.
    pub(super) fn remove(&mut self, is_out: impl Fn(&J) -> bool) -> Vec<J> {
        self.tasks.remove(is_out)
    }

    /// Keeps a thread's spent tasks, whose memory the threads that spawn are to free, and leaves an empty batch. Keeps
    /// as many as the queue may hold, and leaves the others to the thread.
    pub(super) fn keep_spent(&mut self, spent: &mut Batch<J>) {
        if self.spent.len() * BATCH < self.capacity {
            self.spent.push(mem::replace(spent, self.tasks.empty_batch()));
        }
    }

    /// Returns a spent task, to be freed, if there is one.
    #[inline]
    pub(super) fn take_spent(&mut self) -> Option<J> {
        let batch = self.spent.last_mut()?;
        let task = batch.pop_back();
        if batch.is_empty() {
            let batch = self.spent.pop();
            batch.into_iter().for_each(|batch| self.tasks.keep_empty(batch));
        }
        task
    }

    /// Returns all spent tasks.
    pub(super) fn take_all_spent(&mut self) -> Vec<Batch<J>> {
        mem::take(&mut self.spent)
    }

    /// Chooses the thread that is to look for the tasks that wait, if there are any.
    #[inline]
    fn call(&mut self) -> Call {
        self.calls.call(|| self.tasks.len() > 0 || !self.hands.are_empty())
    }

    /// Has the first thread started, if there is none.
    pub(super) fn call_first(&mut self) -> Call {
        self.calls.call_first()
    }

    /// Notes that the system refused a thread; another thread may be needed then.
    pub(super) fn thread_refused(&mut self) -> Call {
        self.calls.thread_refused(|| self.tasks.len() > 0 || !self.hands.are_empty())
    }

    /// Notes that a thread searches. A thread that was started has counted as searching since it was called.
    pub(super) fn begin_search(&mut self) {
        self.calls.begin_search();
    }

    /// Notes that a search has found a task.
    pub(super) fn end_search(&mut self) -> Call {
        self.calls.end_search();
        self.call()
    }

    /// Notes that a thread falls asleep.
    pub(super) fn fall_asleep(&mut self) {
        self.calls.fall_asleep();
    }

    /// Returns whether a thread that sleeps has been called.
    pub(super) fn is_calling(&self) -> bool {
        self.calls.is_calling()
    }

    /// Notes that the thread that was called has woken, and searches again.
    pub(super) fn wake(&mut self) {
        self.calls.wake();
    }

    /// Notes that the body has returned.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Returns whether no task can come any more, so that a thread need not search.
    pub(super) fn is_ending(&self) -> bool {
        self.phase == Phase::Closed && self.calls.none_works()
    }

    /// Notes that the queue is drained if no task is left and none can come; returns whether it has done so.
    pub(super) fn drain(&mut self) -> bool {
        let drained = self.phase == Phase::Closed && self.calls.all_sleep() && self.tasks.len() == 0;
        if drained {
            self.phase = Phase::Drained;
        }
        drained
    }

    /// Returns whether the threads leave.
    pub(super) fn is_drained(&self) -> bool {
        self.phase == Phase::Drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue with one thread, which searches, and the hand of this thread.
    fn with_one_thread(limit: usize) -> (Queue<u32>, Arc<Hand<u32>>) {
        let mut queue = Queue::new(limit, 512);
        assert_eq!(queue.call_first(), Call::Another(0));
        (queue, Hand::new())
    }

    #[test]
    fn no_thread_is_called_while_another_searches() {
        let (mut queue, own) = with_one_thread(2);
        assert_eq!((queue.push(1), queue.push(2)), (Call::None, Call::None));
        assert_eq!(queue.take(&own, 1), Some(1));
        assert_eq!(queue.end_search(), Call::Another(1), "one task is left, and one thread may be started");
        assert_eq!(queue.push(3), Call::None, "the new thread is about to search");
    }

    #[test]
    fn one_sleeper_is_called_at_a_time() {
        let (mut queue, _own) = with_one_thread(1);
        queue.fall_asleep();
        assert_eq!((queue.push(1), queue.push(2)), (Call::Sleeper, Call::None));
        queue.wake();
        assert!(!queue.is_calling());
    }

    #[test]
    fn a_thread_with_an_empty_queue_takes_half_of_the_tasks_of_another() {
        let (mut queue, own) = with_one_thread(2);
        (0..9).for_each(|task| _ = queue.push(task));
        assert_eq!((queue.take(&own, 64), own.len()), (Some(0), 8));
        let other = Hand::new();
        assert_eq!((queue.take(&other, 64), other.len()), (Some(1), 3));
    }

    #[test]
    fn no_thread_is_called_for_tasks_that_have_been_started() {
        let (mut queue, own) = with_one_thread(2);
        assert_eq!((queue.push(1), queue.push(2)), (Call::None, Call::None));
        assert_eq!((queue.take(&own, 64), own.pop()), (Some(1), Some(2)));
        assert_eq!(queue.end_search(), Call::None);
    }

    #[test]
    fn there_is_room_for_the_tasks_that_free_threads_will_take_and_as_many_as_the_queue_holds() {
        let mut queue = Queue::new(3, 2);
        assert_eq!(queue.call_first(), Call::Another(0));
        let room = (0..100).take_while(|&task| queue.has_room() && queue.push(task) == Call::None).count();
        assert_eq!(room, 5, "one thread searches, and two may be started");
        let own = Hand::new();
        assert_eq!((queue.take(&own, 64), queue.end_search(), queue.has_room()), (Some(0), Call::Another(1), false));
        assert_eq!((own.pop(), queue.has_room()), (Some(1), true), "it has started a second task");
    }

    #[test]
    fn spent_tasks_are_kept_for_the_spawns_to_come_up_to_the_length_of_the_queue() {
        let (mut queue, _own) = with_one_thread(1);
        let mut spent = Batch::new();
        for _ in 0..10 {
            spent.extend([0; BATCH]);
            queue.keep_spent(&mut spent);
        }
        assert_eq!(spent.len(), 2 * BATCH, "the queue holds 512 tasks, which are 8 batches");
        assert_eq!(std::iter::from_fn(|| queue.take_spent()).count(), 512);
        assert!(queue.take_all_spent().is_empty());
    }

    #[test]
    fn after_a_refusal_no_thread_is_started_but_the_first() {
        let (mut queue, own) = with_one_thread(2);
        assert_eq!(queue.push(1), Call::None);
        assert_eq!(queue.take(&own, 1), Some(1));
        assert_eq!((queue.end_search(), queue.push(2)), (Call::None, Call::Another(1)));
        assert_eq!((queue.thread_refused(), queue.push(3), queue.calls.free()), (Call::None, Call::None, 0));
        let mut empty: Queue<u32> = Queue::new(1, 512);
        for _ in 0..2 {
            assert_eq!(empty.call_first(), Call::Another(0));
            assert_eq!(empty.thread_refused(), Call::None);
        }
    }

    #[test]
    fn the_queue_is_drained_when_it_is_closed_and_empty_and_all_sleep() {
        let (mut queue, own) = with_one_thread(1);
        assert_eq!(queue.push(1), Call::None);
        queue.close();
        assert!(!queue.drain(), "a task is left, and the thread is awake");
        assert_eq!((queue.take(&own, 1), queue.end_search()), (Some(1), Call::None));
        assert!(!queue.drain(), "the thread may spawn");
        queue.begin_search();
        queue.fall_asleep();
        assert!(queue.drain() && queue.is_drained());
    }
}
