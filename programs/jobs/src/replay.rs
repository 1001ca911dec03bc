//! [`Replay`]: from the entries of a journal to the jobs that they leave.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::entry::{Accepted, Ended, Entry};
use crate::registry::Keep;

/// What a journal has kept.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The first id that is free.
    pub(crate) next: u64,
    /// The last jobs that have ended, with the bytes of their results.
    pub(crate) ended: Vec<(Ended, Vec<u8>)>,
    /// The jobs that are to be run, in the order of their ids.
    pub(crate) pending: Vec<Accepted>,
    /// The ids of jobs that have ended, and whose acceptance has not come.
    pub(crate) early: Vec<u64>,
}

/// Takes the entries of a journal one by one, and keeps what counts.
#[derive(Debug)]
pub(crate) struct Replay {
    keep: Keep,
    next: u64,
    pending: BTreeMap<u64, Accepted>,
    /// Ends whose acceptance has not come: a worker may be faster than the caller that accepted the job.
    early: HashSet<u64>,
    ended: VecDeque<(Ended, Vec<u8>)>,
    bytes: usize,
}

impl Replay {
    pub(crate) fn new(keep: Keep) -> Self {
        Replay { keep, next: 0, pending: BTreeMap::new(), early: HashSet::new(), ended: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn add(&mut self, entry: Entry, output: Vec<u8>) {
        match entry {
            Entry::Next(next) => self.next = self.next.max(next),
            Entry::Early(id) => _ = self.early.insert(id),
            Entry::Accepted(accepted) => {
                self.next = self.next.max(accepted.id + 1);
                if !self.early.remove(&accepted.id) {
                    self.pending.insert(accepted.id, accepted);
                }
            }
            Entry::Ended(ended) => {
                self.next = self.next.max(ended.id + 1);
                if self.pending.remove(&ended.id).is_none() {
                    self.early.insert(ended.id);
                }
                self.keep(ended, output);
            }
            Entry::Kept(ended) => self.keep(ended, output),
        }
    }

    /// Leaves an entry out, but gives its id to no other job.
    pub(crate) fn pass(&mut self, entry: &Entry) {
        let next = match entry {
            Entry::Next(next) => *next,
            Entry::Early(id) => id + 1,
            Entry::Accepted(accepted) => accepted.id + 1,
            Entry::Ended(ended) | Entry::Kept(ended) => ended.id + 1,
        };
        self.next = self.next.max(next);
    }

    fn keep(&mut self, ended: Ended, output: Vec<u8>) {
        self.bytes += output.len();
        self.ended.push_back((ended, output));
        while self.ended.len() > 1 && (self.ended.len() > self.keep.jobs || self.bytes > self.keep.bytes) {
            self.bytes -= self.ended.pop_front().map_or(0, |(_, output)| output.len());
        }
    }

    pub(crate) fn finish(self) -> Restored {
        let pending = self.pending.into_values().collect();
        Restored { next: self.next, ended: self.ended.into(), pending, early: self.early.into_iter().collect() }
    }
}
