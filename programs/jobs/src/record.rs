//! [`Record`]: what the server knows of a job, from its acceptance until it is forgotten.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use brigade::pool::{Job, JobStatus};
use brigade::{CancelReason, CancellationToken};
use parking_lot::Mutex;
use serde::Serialize;

use crate::work::Output;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: JobStatus,
    /// In milliseconds since 1970.
    pub(crate) at: u64,
    /// Why there is no result.
    pub(crate) message: Option<String>,
    pub(crate) output: Option<Output>,
}

/// What the server knows of a job.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) kind: String,
    created: u64,
    updated: AtomicU64,
    in_pool: Mutex<InPool>,
    /// When the job is cancelled because of its own timeout.
    deadline: OnceLock<Instant>,
    end: OnceLock<End>,
    /// Why this process will not end the job, though a later one may.
    left: OnceLock<&'static str>,
    /// Cancelled once `end` or `left` is set.
    ended: CancellationToken,
}

/// What the pool and a cancel need to know of each other.
#[derive(Debug, Default)]
struct InPool {
    /// The handle. A restored job has it once the pool has room for the job, another one from its acceptance.
    job: Option<Arc<Job<(), anyhow::Error>>>,
    /// A client has asked to cancel the job: then it is not run again after a restart.
    is_cancel_asked: bool,
    /// A worker has begun with the job. That may be before the handle is here.
    has_started: bool,
    /// A caller has taken it on to write the end.
    is_end_claimed: bool,
}

/// What has become of a client's wish to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The job has ended, or is cancelled already.
    TooLate,
    /// The pool ends the job.
    Told,
    /// No worker has the job, and none will begin with it: the caller writes its end.
    OutOfPool,
}

/// A record for clients, in JSON. Times are milliseconds since 1970.
#[derive(Debug, Serialize)]
pub(crate) struct RecordView<'a> {
    id: u64,
    kind: &'a str,
    status: String,
    done: u64,
    total: u64,
    created: u64,
    updated: u64,
    ended: Option<u64>,
    message: Option<&'a str>,
}

/// The time in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Record {
    /// Creates the record of a job that is not in the pool yet.
    pub(crate) fn new(id: u64, kind: &str, created: u64) -> Self {
        Record {
            id,
            kind: kind.to_owned(),
            created,
            updated: AtomicU64::new(created),
            in_pool: Mutex::default(),
            deadline: OnceLock::new(),
            end: OnceLock::new(),
            left: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    pub(crate) fn created(&self) -> u64 {
        self.created
    }

    /// Adds the handle, and cancels the job if a client has asked for that already.
    pub(crate) fn set_job(&self, job: Job<(), anyhow::Error>) {
        let job = Arc::new(job);
        let mut in_pool = self.in_pool.lock();
        in_pool.job = Some(Arc::clone(&job));
        let is_cancel_asked = in_pool.is_cancel_asked;
        drop(in_pool);
        if is_cancel_asked {
            job.cancel();
        }
    }

    // Relaxed: it is read on its own.
    pub(crate) fn touch(&self) {
        self.updated.store(now(), Ordering::Relaxed);
    }

    /// Returns how the job ended, or `None` if it has not.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.get()
    }

    /// Sets when the job's own timeout has passed, before the pool has the job.
    pub(crate) fn set_deadline(&self, deadline: Instant) {
        let set = self.deadline.set(deadline);
        debug_assert!(set.is_ok(), "a job is submitted once");
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// Returns a token that is cancelled when the job has ended, or is [left](Self::leave).
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Sets the end, and wakes those that wait for it. The caller has [claimed](Self::claim_end) it.
    pub(crate) fn set_end(&self, end: End) {
        self.updated.store(end.at, Ordering::Relaxed);
        let set = self.end.set(end);
        debug_assert!(set.is_ok(), "an end is claimed once");
        self.ended.cancel_with(CancelReason::Finished);
    }

    /// Leaves the job to a later process, and wakes those that wait for its end. For clients it is pending.
    pub(crate) fn leave(&self, why: &'static str) {
        // The first reason is as good as a later one.
        _ = self.left.set(why);
        self.ended.cancel_with(CancelReason::Finished);
    }

    /// Returns why the job is left to a later process, if it is.
    pub(crate) fn left(&self) -> Option<&'static str> {
        self.left.get().copied()
    }

    /// Cancels the job.
    ///
    /// The handle may not be here yet: a restored job waits for room in the pool, and a new one is in the pool a moment
    /// before its caller has the handle. Then a job that has started is cancelled by [`set_job`](Self::set_job).
    pub(crate) fn cancel(&self) -> Cancel {
        let mut in_pool = self.in_pool.lock();
        if in_pool.is_end_claimed {
            return Cancel::TooLate;
        }
        let was_asked = mem::replace(&mut in_pool.is_cancel_asked, true);
        let (job, has_started) = (in_pool.job.clone(), in_pool.has_started);
        drop(in_pool);
        // Without the lock, because the job may end here, and its end is recorded.
        match job {
            Some(job) if job.cancel() => Cancel::Told,
            None if !was_asked && has_started => Cancel::Told,
            None if !was_asked => Cancel::OutOfPool,
            _ => Cancel::TooLate,
        }
    }

    /// Notes that a worker begins with the job; returns whether it is to be done: no client has cancelled it.
    pub(crate) fn start(&self) -> bool {
        let mut in_pool = self.in_pool.lock();
        in_pool.has_started = true;
        !in_pool.is_cancel_asked
    }

    /// Takes it on to write the end and to set it; returns whether this call does, which one call does.
    ///
    /// The claim comes before the end is written. Otherwise a cancel and a worker write two ends that differ, and the
    /// one that clients see may not be the one that a restart finds.
    pub(crate) fn claim_end(&self) -> bool {
        !mem::replace(&mut self.in_pool.lock().is_end_claimed, true)
    }

    pub(crate) fn is_cancel_asked(&self) -> bool {
        self.in_pool.lock().is_cancel_asked
    }

    fn job(&self) -> Option<Arc<Job<(), anyhow::Error>>> {
        self.in_pool.lock().job.clone()
    }

    pub(crate) fn status(&self) -> JobStatus {
        if let Some(end) = self.end() {
            return end.status;
        }
        if self.left().is_some() {
            return JobStatus::Pending;
        }
        // The pool may have counted a job as ended a moment before the record has.
        match self.job().map(|job| job.status()) {
            None | Some(JobStatus::Pending) => JobStatus::Pending,
            Some(_) => JobStatus::Running,
        }
    }

    pub(crate) fn view(&self) -> RecordView<'_> {
        let progress = self.job().map(|job| job.progress()).unwrap_or_default();
        let end = self.end();
        RecordView {
            id: self.id,
            kind: &self.kind,
            status: self.status().to_string(),
            done: progress.done,
            total: progress.total,
            created: self.created,
            updated: self.updated.load(Ordering::Relaxed),
            ended: end.map(|end| end.at),
            message: end.map_or(self.left(), |end| end.message.as_deref()),
        }
    }
}
