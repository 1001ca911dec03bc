//! [`Hands`]: the tasks that threads have taken from the queue and have not started.
//!
//! A thread starts the tasks in its hand one by one, without the lock of the queue. A thread that finds the queue
//! empty steals from another hand, so a task that takes long holds back none of the tasks behind it. A hand is
//! filled under the lock of the queue, and then under its own. So under the lock of the queue no hand gets fuller.
//!
//! The hands that were filled are listed, and the tasks in them are counted as they are filled. A task that its
//! thread starts leaves the count too high, which a [`recount`](Hands::recount) mends. So a look at the count costs
//! the same for any number of threads. A search for a hand with tasks drops the empty hands from the list, so all
//! searches together cost as much as filling the hands did.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::workers::batches::Batch;

/// The tasks that one thread has taken.
pub(super) struct Hand<J>(Mutex<Held<J>>);

struct Held<J> {
    tasks: Batch<J>,
    /// As how many tasks the hand counts.
    counted: usize,
    is_listed: bool,
}

impl<J> Hand<J> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Hand(Mutex::new(Held { tasks: Batch::new(), counted: 0, is_listed: false })))
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<J> {
        self.0.lock().tasks.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().tasks.len()
    }
}

/// The hands of a limit's threads, as the lock of the queue guards them.
pub(super) struct Hands<J> {
    /// Every hand with tasks is listed.
    listed: VecDeque<Arc<Hand<J>>>,
    counted: usize,
}

impl<J> Hands<J> {
    pub(super) fn new() -> Self {
        Hands { listed: VecDeque::new(), counted: 0 }
    }

    /// Returns how many tasks were in the hands when they were filled or counted: as many as there are now, or more.
    pub(super) fn at_most(&self) -> usize {
        self.counted
    }

    /// Counts the tasks in the hands.
    pub(super) fn recount(&mut self) -> usize {
        for hand in &self.listed {
            count(&mut self.counted, &mut hand.0.lock());
        }
        self.counted
    }

    /// Fills a hand, which is empty.
    pub(super) fn fill<R>(&mut self, hand: &Arc<Hand<J>>, fill: impl FnOnce(&mut Batch<J>) -> R) -> R {
        let mut held = hand.0.lock();
        debug_assert!(held.tasks.is_empty());
        let filled = fill(&mut held.tasks);
        count(&mut self.counted, &mut held);
        if !held.tasks.is_empty() && !held.is_listed {
            held.is_listed = true;
            self.listed.push_back(Arc::clone(hand));
        }
        filled
    }

    pub(super) fn are_empty(&mut self) -> bool {
        self.first_with_tasks().is_none()
    }

    /// Takes a task, and with it the first half of the tasks of a hand into the thread's `own`, which is empty.
    pub(super) fn steal(&mut self, own: &Arc<Hand<J>>) -> Option<J> {
        loop {
            let victim = self.first_with_tasks()?;
            // Only a thread that has the lock of the queue holds the locks of two hands.
            let mut held = victim.0.lock();
            if let Some(first) = held.tasks.pop_front() {
                let half = held.tasks.len() / 2;
                self.fill(own, |tasks| tasks.extend(held.tasks.drain(..half)));
                count(&mut self.counted, &mut held);
                return Some(first);
            }
        }
    }

    fn first_with_tasks(&mut self) -> Option<Arc<Hand<J>>> {
        loop {
            let hand = Arc::clone(self.listed.front()?);
            let mut held = hand.0.lock();
            if !held.tasks.is_empty() {
                drop(held);
                return Some(hand);
            }
            count(&mut self.counted, &mut held);
            held.is_listed = false;
            drop(held);
            self.listed.pop_front();
        }
    }
}

fn count<J>(counted: &mut usize, held: &mut Held<J>) {
    *counted = *counted - held.counted + held.tasks.len();
    held.counted = held.tasks.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(hands: &mut Hands<u32>, tasks: std::ops::Range<u32>) -> Arc<Hand<u32>> {
        let hand = Hand::new();
        hands.fill(&hand, |hand| hand.extend(tasks));
        hand
    }

    #[test]
    fn a_thief_takes_the_first_half() {
        let (mut hands, own) = (Hands::new(), Hand::new());
        let victim = filled(&mut hands, 0..9);
        assert_eq!((hands.steal(&own), own.len(), victim.len()), (Some(0), 4, 4));
        assert_eq!((own.pop(), victim.pop()), (Some(1), Some(5)));
        assert_eq!((hands.at_most(), hands.recount()), (8, 6));
    }

    #[test]
    fn the_last_task_of_a_hand_is_stolen_too() {
        let (mut hands, own) = (Hands::new(), Hand::new());
        let victim = filled(&mut hands, 0..1);
        assert_eq!((hands.steal(&own), own.len(), victim.len()), (Some(0), 0, 0));
        assert!(hands.steal(&own).is_none() && hands.are_empty());
    }

    #[test]
    fn a_task_that_its_thread_has_started_counts_until_the_recount() {
        let mut hands = Hands::new();
        let (first, second) = (filled(&mut hands, 0..3), filled(&mut hands, 0..2));
        assert_eq!((first.pop(), second.pop(), hands.at_most()), (Some(0), Some(0), 5));
        assert_eq!((hands.recount(), hands.at_most()), (3, 3));
    }

    #[test]
    fn empty_hands_leave_the_list_and_come_back_when_they_are_filled() {
        let mut hands = Hands::new();
        let hand = filled(&mut hands, 0..1);
        assert_eq!((hand.pop(), hands.are_empty(), hands.listed.len(), hands.at_most()), (Some(0), true, 0, 0));
        hands.fill(&hand, |tasks| tasks.push_back(1));
        assert_eq!((hands.are_empty(), hands.listed.len(), hands.at_most()), (false, 1, 1));
    }
}
