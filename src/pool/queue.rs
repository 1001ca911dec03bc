//! [`Queue`]: the jobs of a pool that have not started, its account, and which worker is called.
//!
//! It is a value behind the lock of the pool. Under this lock the account adds up, because:
//!
//! 1. A job enters the queue, and moves from the queue to a hand or from hand to hand, under this lock.
//! 2. A job that is cancelled while it is pending, or that a waiting job runs itself, is claimed under this lock. Its
//!    entry stays behind, *spent*, until a worker meets it or too many are spent; it is no pending job any more.
//! 3. A worker claims and ends the jobs of its hand under the hand's lock, and this lock is not needed.
//! 4. The pool is drained when it is closed, all workers sleep and no thread skips a job. If a job were left, the
//!    worker that has it would be awake.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::account::{Account, Counts};
use super::hand::{Hand, Label, Queued};
use super::stamps::Stamps;
use super::status::JobStatus;
use crate::workers::batches::{BATCH, Batch, Batches};
use crate::workers::calls::{Call, Calls};

pub(super) struct Queue<J> {
    /// How many jobs may wait, beyond those for which a worker is free.
    capacity: usize,
    accepted: u64,
    stamps: Stamps,
    pub(super) refused: u64,
    jobs: Batches<J>,
    hands: Vec<Arc<Hand<J>>>,
    /// How many jobs were in the hands when they were filled or counted: as many as there are now, or more.
    in_hands: usize,
    /// How many entries of the queue and the hands are spent, and those that workers have removed since the last count.
    spent: usize,
    /// The jobs that have ended outside of the hands.
    ended: Counts,
    /// The jobs that waiting jobs run themselves.
    inline: Vec<Label>,
    /// How many skipped jobs have been counted, while their ends are still to be published and their closures dropped.
    skipping: usize,
    /// Which job waits for which.
    waits: Vec<(u64, u64)>,
    /// How many submitters wait for room.
    pub(super) waiting: usize,
    pub(super) calls: Calls,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// No job is accepted, and jobs may be left.
    Closed,
    /// No job is left, and the workers leave.
    Drained,
}

impl<J: Queued> Queue<J> {
    pub(super) fn new(workers: usize, capacity: usize) -> Self {
        Queue {
            capacity,
            accepted: 0,
            stamps: Stamps::default(),
            refused: 0,
            jobs: Batches::new(),
            hands: Vec::new(),
            in_hands: 0,
            spent: 0,
            ended: Counts::default(),
            inline: Vec::new(),
            skipping: 0,
            waits: Vec::new(),
            waiting: 0,
            calls: Calls::new(workers),
            phase: Phase::Open,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn add_hand(&mut self, hand: Arc<Hand<J>>) {
        self.hands.push(hand);
    }

    /// Returns whether there is room for a job. If the jobs seem too many, they are counted anew.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        // A free worker is about to take a job each, so these jobs take no room.
        let most = self.capacity.saturating_add(self.calls.free());
        self.jobs.len() + self.in_hands < most || self.pending() < most
    }

    /// Returns whether more than half of the room is taken, by a count that may be too high.
    pub(super) fn is_half_full(&self) -> bool {
        self.jobs.len() + self.in_hands > self.capacity / 2
    }

    /// Counts the pending jobs.
    fn pending(&mut self) -> usize {
        self.recount();
        self.jobs.len() + self.in_hands - self.spent
    }

    fn recount(&mut self) {
        self.in_hands = 0;
        for hand in &self.hands {
            let (len, removed) = hand.recount();
            self.in_hands += len;
            self.spent -= removed;
        }
    }

    /// Accepts a job, which is made of its id and the time.
    #[inline]
    pub(super) fn accept(&mut self, clock: impl FnOnce() -> u64, job: impl FnOnce(u64, u64) -> J) -> Call {
        let id = self.accepted;
        self.accepted += 1;
        let now = self.stamps.next(self.jobs.len() == 0, clock);
        self.jobs.push(job(id, now));
        self.call()
    }

    /// Chooses the worker that is to look for the jobs that wait, if there are any.
    pub(super) fn call(&mut self) -> Call {
        let Queue { calls, jobs, hands, .. } = self;
        calls.call(|| jobs.len() > 0 || hands.iter().any(|hand| hand.len() > 0))
    }

    pub(super) fn thread_refused(&mut self) -> Call {
        let Queue { calls, jobs, hands, .. } = self;
        calls.thread_refused(|| jobs.len() > 0 || hands.iter().any(|hand| hand.len() > 0))
    }

    /// Moves up to `most` jobs into the worker's `own` hand, which is empty; returns whether there were any.
    ///
    /// A worker that finds the queue empty takes half of another hand.
    pub(super) fn take(&mut self, own: &Hand<J>, most: usize) -> bool {
        if self.jobs.len() == 0 {
            return self.steal(own);
        }
        self.in_hands += own.with(|held| {
            debug_assert!(held.is_empty());
            let first = self.jobs.take(held, most);
            first.into_iter().for_each(|first| held.push_front(first));
            held.len()
        });
        true
    }

    fn steal(&mut self, own: &Hand<J>) -> bool {
        if self.in_hands == 0 {
            return false;
        }
        self.recount();
        let stolen = self.hands.iter().find_map(|victim| {
            let stolen: Batch<J> = victim.with(|held| held.drain(..held.len().div_ceil(2)).collect());
            (!stolen.is_empty()).then_some(stolen)
        });
        let found = stolen.is_some();
        stolen.into_iter().for_each(|mut stolen| own.with(|held| held.append(&mut stolen)));
        found
    }

    /// Notes that a pending job was skipped alone; [`end_skips`](Self::end_skips) follows.
    pub(super) fn skipped_one(&mut self) -> Vec<J> {
        self.ended.skipped += 1;
        self.skipping += 1;
        self.spend_one()
    }

    /// Notes that the closures of `jobs` skipped jobs have been dropped, and their ends published.
    pub(super) fn end_skips(&mut self, jobs: usize) {
        self.skipping -= jobs;
    }

    /// Notes that a waiting job runs a pending one itself.
    pub(super) fn begin_inline(&mut self, label: Label) -> Vec<J> {
        self.inline.push(label);
        self.spend_one()
    }

    pub(super) fn end_inline(&mut self, id: u64, status: JobStatus) {
        self.inline.retain(|label| label.id != id);
        self.ended.count(status);
    }

    /// Returns spent entries, to be dropped without the lock.
    fn spend_one(&mut self) -> Vec<J> {
        self.spent += 1;
        let mut out = self.jobs.remove(J::is_spent);
        self.spent -= out.len();
        if self.spent > BATCH + self.jobs.len() / 2 {
            self.recount();
        }
        if self.spent > BATCH + self.jobs.len() / 2 {
            let before = out.len();
            let mut jobs = mem::replace(&mut self.jobs, Batches::new());
            let mut rest = Batch::new();
            while let Some(first) = jobs.take(&mut rest, BATCH) {
                for job in std::iter::once(first).chain(rest.drain(..)) {
                    if job.is_spent() {
                        out.push(job);
                    } else {
                        self.jobs.push(job);
                    }
                }
            }
            self.spent -= out.len() - before;
        }
        out
    }

    /// Takes all entries out. `skip` makes a pending job a skipped one.
    ///
    /// Returns the skipped jobs, for which [`end_skips`](Self::end_skips) follows, and the spent ones, to be dropped
    /// without the lock.
    pub(super) fn skip_all(&mut self, skip: impl Fn(&J) -> bool) -> (Vec<J>, Vec<J>) {
        self.recount();
        let mut all = Vec::new();
        let mut rest = Batch::new();
        while let Some(first) = self.jobs.take(&mut rest, BATCH) {
            all.push(first);
            all.extend(rest.drain(..));
        }
        for hand in &self.hands {
            hand.with(|held| all.extend(held.drain(..)));
        }
        self.recount();
        let (skipped, spent): (Vec<J>, Vec<J>) = all.into_iter().partition(skip);
        self.ended.skipped += skipped.len() as u64;
        self.skipping += skipped.len();
        self.spent -= spent.len();
        (skipped, spent)
    }

    /// Notes that job `from` waits for job `to`, unless `to` waits for `from`, by itself or by way of others.
    pub(super) fn begin_wait(&mut self, from: u64, to: u64) -> bool {
        let mut reached = vec![to];
        let mut at = 0;
        while let Some(&job) = reached.get(at) {
            if job == from {
                return false;
            }
            for (waiting, awaited) in &self.waits {
                if *waiting == job && !reached.contains(awaited) {
                    reached.push(*awaited);
                }
            }
            at += 1;
        }
        self.waits.push((from, to));
        true
    }

    pub(super) fn end_wait(&mut self, from: u64, to: u64) {
        if let Some(at) = self.waits.iter().position(|wait| *wait == (from, to)) {
            self.waits.swap_remove(at);
        }
    }

    /// Returns the jobs that run.
    pub(super) fn running(&self) -> Vec<Label> {
        self.hands.iter().filter_map(|hand| hand.running()).chain(self.inline.iter().cloned()).collect()
    }

    /// Refuses jobs from now on.
    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// Notes that the pool is drained if no job is left and none can come (4); returns whether this call did so.
    pub(super) fn drain(&mut self) -> bool {
        let is_idle = self.calls.all_sleep() && self.inline.is_empty() && self.skipping == 0;
        let drains = self.phase == Phase::Closed && is_idle && self.jobs.len() == 0;
        if drains {
            self.phase = Phase::Drained;
        }
        drains
    }

    /// Returns whether the workers leave.
    pub(super) fn is_drained(&self) -> bool {
        self.phase == Phase::Drained
    }

    /// Takes the account, `now` in nanoseconds since the pool was started.
    pub(super) fn account(&mut self, now: u64) -> Account {
        let mut jobs = self.ended;
        jobs.running = self.inline.len() as u64;
        let (mut busy, mut in_hands) = (0, 0);
        let mut oldest = self.jobs.iter().find(|job| !job.is_spent()).map(J::accepted_at);
        for hand in &self.hands {
            let look = hand.look();
            in_hands += look.len;
            self.spent -= look.removed;
            busy += usize::from(look.counts.running > 0);
            jobs += look.counts;
            oldest = [oldest, look.oldest].into_iter().flatten().min();
        }
        self.in_hands = in_hands;
        jobs.pending = (self.jobs.len() + in_hands - self.spent) as u64;
        let oldest = oldest.map(|at| Duration::from_nanos(now.saturating_sub(at)));
        Account { accepted: self.accepted, refused: self.refused, jobs, workers: self.calls.started(), busy, oldest }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BATCH, Batch, Hand, Label, Queue, Queued};

    /// A job that only has a time.
    struct Plain(u64);

    impl Queued for Plain {
        fn claim(&self) -> bool {
            true
        }

        fn is_spent(&self) -> bool {
            false
        }

        fn label(&self) -> Label {
            Label { name: None, id: 0 }
        }

        fn accepted_at(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_burst_that_was_taken_makes_no_later_job_seem_older() {
        let (mut queue, hand) = (Queue::new(1, 100), Hand::new());
        queue.add_hand(hand.clone());
        for now in 0..10 {
            queue.accept(|| now, |_, at| Plain(at));
        }
        assert!(queue.take(&hand, BATCH));
        hand.with(Batch::clear);
        queue.accept(|| 1_000_000, |_, at| Plain(at));
        assert_eq!(queue.account(1_000_005).oldest, Some(Duration::from_nanos(5)));
    }
}
