//! [`Hand`]: the jobs that a worker has taken from the queue, the one that it runs, and the count of those it has run.
//!
//! A worker goes from one job to the next under the lock of its own hand alone: it counts the job that has ended, and
//! starts the next, in one step. So no look at the hand finds a job between two statuses. A hand is filled under the
//! lock of the queue and then its own, and a worker that finds the queue empty steals from another hand. So under the
//! lock of the queue no hand gets fuller.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::account::Counts;
use super::status::JobStatus;
use crate::workers::batches::Batch;

/// A job as the queue and the hands see it.
pub(super) trait Queued {
    /// Claims the job to be run. Fails for a spent job.
    fn claim(&self) -> bool;

    /// Tells whether another thread has claimed or skipped the job, so that only its place in the queue is left.
    fn is_spent(&self) -> bool;

    fn label(&self) -> Label;

    /// Returns when the job was accepted, in nanoseconds since the pool was started.
    fn accepted_at(&self) -> u64;
}

/// The name and id of a job that runs. A job without a name of its own has the pool's.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) name: Option<Arc<str>>,
    pub(super) id: u64,
}

pub(super) struct Hand<J>(Mutex<Held<J>>);

struct Held<J> {
    jobs: Batch<J>,
    running: Option<Label>,
    /// The jobs that have ended here.
    ended: Counts,
    /// Spent jobs that were removed from this hand, and that the queue still counts.
    removed: usize,
}

/// What a worker finds in its hand.
pub(super) enum Next<J> {
    /// A job, which it has claimed.
    Job(J),
    /// A spent job, to be dropped.
    Spent(J),
    Empty,
}

/// A hand at one moment.
pub(super) struct Look {
    /// How many jobs are in it, spent ones included.
    pub(super) len: usize,
    /// How many spent ones were removed since the last look.
    pub(super) removed: usize,
    /// The jobs that have ended, and the one that runs.
    pub(super) counts: Counts,
    /// When the first pending job was accepted.
    pub(super) oldest: Option<u64>,
}

impl<J: Queued> Hand<J> {
    pub(super) fn new() -> Arc<Self> {
        let held = Held { jobs: Batch::new(), running: None, ended: Counts::default(), removed: 0 };
        Arc::new(Hand(Mutex::new(held)))
    }

    /// Counts the job that has ended, if it has not been counted yet, and claims the next one.
    #[inline]
    pub(super) fn next(&self, ended: Option<JobStatus>) -> Next<J> {
        let mut held = self.0.lock();
        if let Some(status) = ended {
            held.end(status);
        }
        let Some(job) = held.jobs.pop_front() else { return Next::Empty };
        if job.claim() {
            held.running = Some(job.label());
            Next::Job(job)
        } else {
            held.removed += 1;
            Next::Spent(job)
        }
    }

    /// Counts the job that has ended.
    pub(super) fn end(&self, status: JobStatus) {
        self.0.lock().end(status);
    }

    /// Returns the job that runs.
    pub(super) fn running(&self) -> Option<Label> {
        self.0.lock().running.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().jobs.len()
    }

    pub(super) fn look(&self) -> Look {
        let mut held = self.0.lock();
        let mut counts = held.ended;
        counts.running = u64::from(held.running.is_some());
        let oldest = held.jobs.iter().find(|job| !job.is_spent()).map(J::accepted_at);
        Look { len: held.jobs.len(), removed: mem::take(&mut held.removed), counts, oldest }
    }

    /// Calls `f` with the jobs in the hand.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Batch<J>) -> R) -> R {
        f(&mut self.0.lock().jobs)
    }

    /// Returns how many jobs are in the hand, and how many spent ones were removed since the last look.
    pub(super) fn recount(&self) -> (usize, usize) {
        let mut held = self.0.lock();
        (held.jobs.len(), mem::take(&mut held.removed))
    }
}

impl<J> Held<J> {
    fn end(&mut self, status: JobStatus) {
        self.running = None;
        self.ended.count(status);
    }
}
