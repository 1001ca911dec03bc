//! [`Queue`]: the tasks of a scope with a limit that no thread has begun, and which thread is called for them.
//!
//! It is a value behind the lock of the limit. Invariants, which the code cites by number:
//!
//! 1. A task is added to the queue or to a thread's deque under the lock, and
//!    the thread that adds it then [calls](Queue::call) another. So a thread
//!    that finds the queue and all deques empty under the lock may fall asleep.
//! 2. One sleeper is called at a time, and none while a thread is searching or is about to. A searching thread finds
//!    the tasks there are, and calls the next thread if it leaves any.
//! 3. The queue is drained when the body has returned and all threads sleep. If a task were left, the thread that
//!    holds it would be awake.

use std::collections::VecDeque;

use crossbeam::deque::{Steal, Stealer, Worker};

/// A thread takes all tasks of a queue that holds no more than these.
const FEW: usize = 16;

/// The tasks that no thread has taken for itself, and the number of threads in each state.
pub(super) struct Queue<J> {
    /// The most threads that there may be.
    limit: usize,
    tasks: VecDeque<J>,
    /// Of the threads' own deques.
    stealers: Vec<Stealer<J>>,
    started: usize,
    asleep: usize,
    /// How many threads are looking for a task, or are about to start.
    searching: usize,
    /// One of the sleepers has been called, and has not woken yet.
    calling: bool,
    /// The system refused to start another thread.
    refused: bool,
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

/// Which thread is to take a task that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// No thread needs to be called: one will find the task, or all are busy.
    None,
    /// A thread that sleeps.
    Sleeper,
    /// A thread that is still to be started, with this index.
    Another(usize),
}

impl<J> Queue<J> {
    pub(super) fn new(limit: usize) -> Self {
        Queue {
            limit,
            tasks: VecDeque::new(),
            stealers: Vec::new(),
            started: 0,
            asleep: 0,
            searching: 0,
            calling: false,
            refused: false,
            phase: Phase::Open,
        }
    }

    /// How many tasks wait.
    pub(super) fn len(&self) -> usize {
        self.tasks.len() + self.stealers.iter().map(Stealer::len).sum::<usize>()
    }

    /// How many threads have nothing to do, or could be started.
    pub(super) fn free(&self) -> usize {
        self.asleep + self.searching + if self.refused { 0 } else { self.limit - self.started }
    }

    pub(super) fn push(&mut self, task: J) -> Call {
        self.tasks.push_back(task);
        self.call()
    }

    /// Takes a task, and up to `most - 1` tasks behind it into the thread's `own` deque.
    ///
    /// The thread takes a fair share of many tasks and most of a few, because each turn at the lock makes the body wait
    /// for it. A thread that finds no task here takes half of another thread's deque.
    pub(super) fn take(&mut self, own: &Worker<J>, most: usize) -> Option<J> {
        let Some(first) = self.tasks.pop_front() else {
            return self.stealers.iter().find_map(|other| {
                loop {
                    match other.steal_batch_and_pop(own) {
                        Steal::Success(task) => break Some(task),
                        Steal::Empty => break None,
                        Steal::Retry => {}
                    }
                }
            });
        };
        let share = (self.tasks.len() / self.limit).max(FEW).min(self.tasks.len()).min(most - 1);
        self.tasks.drain(..share).for_each(|task| own.push(task));
        Some(first)
    }

    /// Removes the tasks at either end for which `is_out` holds.
    pub(super) fn remove(&mut self, is_out: impl Fn(&J) -> bool) -> Vec<J> {
        let mut out = Vec::new();
        while self.tasks.back().is_some_and(&is_out) {
            out.extend(self.tasks.pop_back());
        }
        while self.tasks.front().is_some_and(&is_out) {
            out.extend(self.tasks.pop_front());
        }
        out
    }

    /// Chooses the thread that is to look for the tasks that wait, if there are any (2).
    pub(super) fn call(&mut self) -> Call {
        let can_start = self.started < self.limit && !self.refused;
        if self.searching > 0 || self.calling || (self.asleep == 0 && !can_start) || self.len() == 0 {
            Call::None
        } else if self.asleep > 0 {
            self.calling = true;
            Call::Sleeper
        } else {
            self.start()
        }
    }

    /// Has the first thread started, if there is none.
    pub(super) fn call_first(&mut self) -> Call {
        if self.started == 0 { self.start() } else { Call::None }
    }

    fn start(&mut self) -> Call {
        self.searching += 1;
        self.started += 1;
        Call::Another(self.started - 1)
    }

    /// Notes that a thread has started, and is about to search. Its deque is added here and not earlier, so that a
    /// thread that the system refused leaves nothing behind.
    pub(super) fn thread_started(&mut self, own: &Worker<J>) {
        self.stealers.push(own.stealer());
        // It has counted as searching since it was called.
        self.searching -= 1;
    }

    /// Notes that the system refused a thread. Another thread may be needed then: while the refused one counted as
    /// searching, no other was called.
    pub(super) fn thread_refused(&mut self) -> Call {
        self.searching -= 1;
        self.started -= 1;
        // Without any thread, the next task tries again.
        self.refused = self.started > 0;
        if self.refused { self.call() } else { Call::None }
    }

    pub(super) fn begin_search(&mut self) {
        self.searching += 1;
    }

    /// Notes that a search has found a task.
    pub(super) fn end_search(&mut self) -> Call {
        self.searching -= 1;
        self.call()
    }

    /// Notes that a thread falls asleep.
    pub(super) fn fall_asleep(&mut self) {
        self.searching -= 1;
        self.asleep += 1;
    }

    /// Returns whether a thread that sleeps has been called.
    pub(super) fn is_calling(&self) -> bool {
        self.calling
    }

    /// Notes that the thread that was called has woken, and searches again.
    pub(super) fn wake(&mut self) {
        self.calling = false;
        self.asleep -= 1;
        self.searching += 1;
    }

    /// Notes that the body has returned.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Notes that the queue is drained if no task is left and none can come (3); returns whether it has done so.
    pub(super) fn drain(&mut self) -> bool {
        let drained = self.phase == Phase::Closed && self.asleep == self.started && self.tasks.is_empty();
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

    /// A queue with one thread, which searches, and the deque of this thread.
    fn with_one_thread(limit: usize) -> (Queue<u32>, Worker<u32>) {
        let (mut queue, own) = (Queue::new(limit), Worker::new_fifo());
        assert_eq!(queue.call_first(), Call::Another(0));
        queue.thread_started(&own);
        queue.begin_search();
        (queue, own)
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
        assert_eq!((queue.take(&own, 64), own.len(), queue.len()), (Some(0), 8, 8));
        let other = Worker::new_fifo();
        assert_eq!((queue.take(&other, 64), other.len()), (Some(1), 3));
    }

    #[test]
    fn after_a_refusal_no_thread_is_started_but_the_first() {
        let (mut queue, own) = with_one_thread(2);
        assert_eq!(queue.push(1), Call::None);
        assert_eq!(queue.take(&own, 1), Some(1));
        assert_eq!((queue.end_search(), queue.push(2)), (Call::None, Call::Another(1)));
        assert_eq!((queue.thread_refused(), queue.push(3), queue.free()), (Call::None, Call::None, 0));
        let mut empty: Queue<u32> = Queue::new(1);
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
