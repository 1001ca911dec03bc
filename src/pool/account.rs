//! [`Account`] and [`Counts`]: how many jobs there are in each status.

use std::ops::{AddAssign, Index};
use std::time::Duration;

use super::status::JobStatus;

/// How many jobs have each [`JobStatus`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Jobs that wait.
    pub pending: u64,
    /// Jobs that have started and have not ended.
    pub running: u64,
    /// Jobs that returned a value.
    pub completed: u64,
    /// Jobs that returned an error.
    pub failed: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs that returned an error after their token had been cancelled.
    pub cancelled: u64,
    /// Jobs that never started.
    pub skipped: u64,
}

impl Counts {
    /// Returns the sum of the seven.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.pending + self.running + self.ended()
    }

    /// Returns how many jobs have ended, for any cause.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.completed + self.failed + self.panicked + self.cancelled + self.skipped
    }

    pub(super) fn count(&mut self, status: JobStatus) {
        *match status {
            JobStatus::Pending => &mut self.pending,
            JobStatus::Running => &mut self.running,
            JobStatus::Completed => &mut self.completed,
            JobStatus::Failed => &mut self.failed,
            JobStatus::Panicked => &mut self.panicked,
            JobStatus::Cancelled => &mut self.cancelled,
            JobStatus::Skipped => &mut self.skipped,
        } += 1;
    }
}

/// Returns the count of one status.
impl Index<JobStatus> for Counts {
    type Output = u64;

    fn index(&self, status: JobStatus) -> &u64 {
        match status {
            JobStatus::Pending => &self.pending,
            JobStatus::Running => &self.running,
            JobStatus::Completed => &self.completed,
            JobStatus::Failed => &self.failed,
            JobStatus::Panicked => &self.panicked,
            JobStatus::Cancelled => &self.cancelled,
            JobStatus::Skipped => &self.skipped,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.pending += other.pending;
        self.running += other.running;
        self.completed += other.completed;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.skipped += other.skipped;
    }
}

/// What a pool has done and has to do, at one moment.
///
/// It adds up: `accepted` is the sum of the seven counts of `jobs`, whenever it is taken. Taking it stops no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// How many jobs the pool has accepted.
    pub accepted: u64,
    /// How many submissions the pool has refused. Their jobs are not among the others.
    pub refused: u64,
    /// The accepted jobs, by their status. The pending ones are the queue.
    pub jobs: Counts,
    /// How many threads the pool has started.
    pub workers: usize,
    /// How many of them run a job.
    pub busy: usize,
    /// For how long the oldest pending job has waited, or `None` if no job is pending.
    ///
    /// Where jobs come in less than a microsecond each, and others wait, up to 32 share a look at the clock. So some
    /// may seem older than they are: as old as the burst before them, if it was still waiting when they came.
    pub oldest: Option<Duration>,
}

impl Account {
    /// Returns how many workers run no job.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.workers - self.busy
    }
}
