//! [`Batches`]: a queue of tasks in batches, so that a thread takes many tasks in one step.
//!
//! A queue that is one long list gives a thread its tasks one by one, under the lock, and each line of the list comes
//! from the core that spawned. With batches the thread takes a list of 64 tasks by its address, and reads it after
//! the unlock.

use std::collections::VecDeque;
use std::mem;

/// The most tasks of a batch.
pub(crate) const BATCH: usize = 64;

/// Tasks that were spawned one after the other.
pub(crate) type Batch<J> = VecDeque<J>;

/// How many empty batches are kept for the tasks to come.
const SPARE: usize = 8;

/// Tasks in the order in which they were spawned.
pub(crate) struct Batches<J> {
    /// No batch is empty.
    list: VecDeque<Batch<J>>,
    spare: Vec<Batch<J>>,
    len: usize,
}

impl<J> Batches<J> {
    pub(crate) fn new() -> Self {
        Batches { list: VecDeque::new(), spare: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the tasks, from the first to the last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &J> {
        self.list.iter().flatten()
    }

    #[inline]
    pub(crate) fn push(&mut self, task: J) {
        self.len += 1;
        match self.list.back_mut() {
            Some(last) if last.len() < BATCH => last.push_back(task),
            _ => {
                let mut batch = self.empty_batch();
                batch.push_back(task);
                self.list.push_back(batch);
            }
        }
    }

    /// Takes the first task, and puts up to `most - 1` tasks behind it into `rest`, which is empty.
    pub(crate) fn take(&mut self, rest: &mut Batch<J>, most: usize) -> Option<J> {
        let batch = self.list.front_mut()?;
        let first = batch.pop_front();
        if batch.len() < most {
            mem::swap(batch, rest);
            self.drop_first();
        } else {
            rest.extend(batch.drain(..most - 1));
        }
        self.len -= 1 + rest.len();
        first
    }

    /// Removes the tasks at either end for which `is_out` holds.
    pub(crate) fn remove(&mut self, is_out: impl Fn(&J) -> bool) -> Vec<J> {
        let mut out = Vec::new();
        while let Some(batch) = self.list.back_mut().filter(|batch| batch.back().is_some_and(&is_out)) {
            out.extend(batch.pop_back());
            if batch.is_empty() {
                self.list.pop_back();
            }
        }
        while let Some(batch) = self.list.front_mut().filter(|batch| batch.front().is_some_and(&is_out)) {
            out.extend(batch.pop_front());
            if batch.is_empty() {
                self.drop_first();
            }
        }
        self.len -= out.len();
        out
    }

    /// Returns an empty batch, used before if there is one.
    pub(crate) fn empty_batch(&mut self) -> Batch<J> {
        self.spare.pop().unwrap_or_else(|| Batch::with_capacity(BATCH))
    }

    /// Keeps an empty batch for later, unless there are enough.
    pub(crate) fn keep_empty(&mut self, batch: Batch<J>) {
        debug_assert!(batch.is_empty());
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.list.pop_front() {
            self.keep_empty(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(tasks: std::ops::Range<usize>) -> Batches<usize> {
        let mut batches = Batches::new();
        tasks.for_each(|task| batches.push(task));
        batches
    }

    #[test]
    fn a_take_gives_the_rest_of_the_first_batch_or_as_many_tasks_as_were_asked_for() {
        let mut batches = batches(0..BATCH + 10);
        let mut rest = Batch::new();
        assert_eq!((batches.take(&mut rest, 1), rest.len()), (Some(0), 0));
        assert_eq!(batches.take(&mut rest, 4), Some(1));
        assert_eq!(rest, [2, 3, 4]);
        rest.clear();
        assert_eq!((batches.take(&mut rest, BATCH), rest.len(), batches.len()), (Some(5), BATCH - 6, 10));
        rest.clear();
        assert_eq!((batches.take(&mut rest, BATCH), rest.len(), batches.len()), (Some(BATCH), 9, 0));
        rest.clear();
        assert_eq!(batches.take(&mut rest, BATCH), None);
    }

    #[test]
    fn tasks_are_removed_at_both_ends_and_across_batches() {
        let mut batches = batches(0..3 * BATCH);
        let removed = batches.remove(|task| !(2..BATCH + 5).contains(task));
        assert_eq!((removed.len(), batches.len()), (2 * BATCH - 3, BATCH + 3));
        assert_eq!(batches.remove(|_| true).len(), BATCH + 3);
        assert_eq!((batches.len(), batches.take(&mut Batch::new(), 1)), (0, None));
    }
}
