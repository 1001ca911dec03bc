//! [`Record`]: what the server knows of a job, from its acceptance until it is forgotten.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

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
    end: OnceLock<End>,
    /// Cancelled once `end` is set.
    ended: CancellationToken,
}

/// What the pool and a cancel need to know of each other.
#[derive(Debug, Default)]
struct InPool {
    /// The handle. A restored job has it once the pool has room for the job, another one from its acceptance.
    job: Option<Arc<Job<(), anyhow::Error>>>,
    /// A client has asked to cancel the job: then it is not run again after a restart.
    is_cancel_asked: bool,
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
            end: OnceLock::new(),
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

    /// Returns a token that is cancelled when the job has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Sets the end, once, and wakes those that wait for it; returns whether this call did.
    pub(crate) fn set_end(&self, end: End) -> bool {
        self.updated.store(end.at, Ordering::Relaxed);
        let is_first = self.end.set(end).is_ok();
        self.ended.cancel_with(CancelReason::Finished);
        is_first
    }

    /// Cancels the job; returns whether this call did.
    pub(crate) fn cancel(&self) -> bool {
        // For a moment the pool takes a job for running whose end is recorded.
        if self.end().is_some() {
            return false;
        }
        let mut in_pool = self.in_pool.lock();
        let was_asked = std::mem::replace(&mut in_pool.is_cancel_asked, true);
        let job = in_pool.job.clone();
        drop(in_pool);
        // Without the lock, because the job may end here, and its end is recorded.
        job.map_or(!was_asked && self.end().is_none(), |job| job.cancel())
    }

    pub(crate) fn is_cancel_asked(&self) -> bool {
        self.in_pool.lock().is_cancel_asked
    }

    /// Tells whether the pool has the job.
    pub(crate) fn is_in_pool(&self) -> bool {
        self.in_pool.lock().job.is_some()
    }

    fn job(&self) -> Option<Arc<Job<(), anyhow::Error>>> {
        self.in_pool.lock().job.clone()
    }

    pub(crate) fn status(&self) -> JobStatus {
        if let Some(end) = self.end() {
            return end.status;
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
            message: end.and_then(|end| end.message.as_deref()),
        }
    }
}
