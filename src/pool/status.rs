//! [`JobStatus`]: where a job is between its submission and its end.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::hooks::Outcome;

/// Where a job is, in the words of the hooks' [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// It waits in the queue.
    Pending,
    /// A worker has started it.
    Running,
    /// It returned a value.
    Completed,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It returned an error after its token had been cancelled.
    Cancelled,
    /// It never started, because it or its pool was cancelled first.
    Skipped,
}

impl JobStatus {
    /// All of them, in the order of a job's life.
    pub const ALL: [JobStatus; 7] = [
        JobStatus::Pending,
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Panicked,
        JobStatus::Cancelled,
        JobStatus::Skipped,
    ];

    /// Tells whether the job does nothing any more, for any cause.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !matches!(self, JobStatus::Pending | JobStatus::Running)
    }
}

impl From<Outcome> for JobStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => JobStatus::Completed,
            Outcome::Failed => JobStatus::Failed,
            Outcome::Panicked => JobStatus::Panicked,
            Outcome::Cancelled(_) => JobStatus::Cancelled,
            Outcome::Skipped(_) => JobStatus::Skipped,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            JobStatus::Pending => "pending",
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Panicked => "panicked",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Skipped => "skipped",
        })
    }
}

const PENDING: u8 = JobStatus::Pending as u8;
/// A thread has claimed the job, and has not looked at its token yet.
const CLAIMED: u8 = JobStatus::Skipped as u8 + 1;
/// A thread has skipped the job, and has not published its end yet.
const SKIPPING: u8 = CLAIMED + 1;

/// The status of a job, which any thread reads.
pub(super) struct StatusCell(AtomicU8);

impl StatusCell {
    pub(super) fn new() -> Self {
        StatusCell(AtomicU8::new(PENDING))
    }

    // Acquire pairs with the release in `set`: a thread that reads `Completed` sees all that the job did.
    pub(super) fn get(&self) -> JobStatus {
        match self.0.load(Ordering::Acquire) {
            CLAIMED => JobStatus::Pending,
            SKIPPING => JobStatus::Skipped,
            status => JobStatus::ALL[usize::from(status)],
        }
    }

    pub(super) fn set(&self, status: JobStatus) {
        self.0.store(status as u8, Ordering::Release);
    }

    /// Claims a pending job to be run; returns whether this call did.
    // Relaxed, here and in the two that follow: the locks under which they are called order them.
    pub(super) fn claim(&self) -> bool {
        self.0.compare_exchange(PENDING, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Makes a claimed job one that runs; returns whether this call did, and not a [`cancel`](Self::skip_claimed).
    // Acquire pairs with the release in `skip_claimed`: a thread that fails here sees the cancelled token.
    pub(super) fn begin(&self) -> bool {
        let running = JobStatus::Running as u8;
        self.0.compare_exchange(CLAIMED, running, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Has the thread that has claimed the job skip it, if the job has not begun.
    pub(super) fn skip_claimed(&self) {
        _ = self.0.compare_exchange(CLAIMED, SKIPPING, Ordering::Release, Ordering::Relaxed);
    }

    /// Makes a pending job a skipped one; returns whether this call did.
    pub(super) fn skip(&self) -> bool {
        self.0.compare_exchange(PENDING, SKIPPING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Tells whether the job has ended, and its handle, its group and its registry have been told.
    pub(super) fn is_published(&self) -> bool {
        let status = self.0.load(Ordering::Acquire);
        status < CLAIMED && JobStatus::ALL[usize::from(status)].has_ended()
    }

    /// Tells whether a thread may still claim the job.
    pub(super) fn is_claimable(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PENDING
    }
}

#[cfg(test)]
mod tests {
    use super::{JobStatus, StatusCell};

    #[test]
    fn a_claimed_job_that_is_cancelled_is_skipped_at_once_and_does_not_begin() {
        let status = StatusCell::new();
        assert!(status.claim() && !status.skip());
        status.skip_claimed();
        assert_eq!(status.get(), JobStatus::Skipped);
        assert!(!status.begin() && !status.is_published());
        status.set(JobStatus::Skipped);
        assert!(status.is_published());
    }

    #[test]
    fn a_job_that_has_begun_is_not_skipped() {
        let status = StatusCell::new();
        assert!(status.claim() && status.begin());
        status.skip_claimed();
        assert_eq!(status.get(), JobStatus::Running);
    }
}
