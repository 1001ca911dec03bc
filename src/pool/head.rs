//! [`Head`]: what any thread may read or change of a job while it waits, runs and when it has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use super::hand::Label;
use super::status::{JobStatus, StatusCell};
use crate::error::CancelReason;
use crate::token::{CancelCallback, CancellationToken};

/// How far a job is, as it has said itself by [`JobCx::progress`](crate::pool::JobCx::progress) and
/// [`JobCx::message`](crate::pool::JobCx::message).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many units of its work are done.
    pub done: u64,
    /// How many there are in all.
    pub total: u64,
    /// What the job said last.
    pub message: String,
}

/// When a job was accepted, started and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// When it was created, just before the pool accepted it.
    pub created: Instant,
    /// When its closure was called.
    pub started: Option<Instant>,
    /// When it ended, for any cause.
    pub ended: Option<Instant>,
}

/// Is told when a job has ended.
pub(super) trait Watch: Send + Sync {
    fn ended(&self, id: u64, status: JobStatus);
}

/// What few jobs have.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) name: Option<Arc<str>>,
    pub(super) times: Option<Mutex<Times>>,
    pub(super) watch: Option<Arc<dyn Watch>>,
    /// Skips the job if its token is cancelled while it is pending.
    pub(super) skips: OnceLock<CancelCallback>,
}

pub(super) struct Head {
    /// Set under the lock of the pool as the job is accepted, before any other thread sees the job.
    id: AtomicU64,
    pub(super) status: StatusCell,
    /// The job's own token, made on first use.
    token: OnceLock<CancellationToken>,
    progress: OnceLock<Box<Mutex<Progress>>>,
    pub(super) extras: Option<Box<Extras>>,
}

impl Head {
    /// Makes a head. `token` is that of a job which can be cancelled by more than its handle and its pool.
    pub(super) fn new(token: Option<CancellationToken>, extras: Option<Box<Extras>>) -> Self {
        let token = token.map_or_else(OnceLock::new, OnceLock::from);
        Head { id: AtomicU64::new(0), status: StatusCell::new(), token, progress: OnceLock::new(), extras }
    }

    // Relaxed: the lock of the pool orders it.
    pub(super) fn set_id(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
    }

    pub(super) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.name.as_ref()
    }

    pub(super) fn label(&self) -> Label {
        Label { name: self.name().cloned(), id: self.id() }
    }

    /// Returns the job's token, a child of the pool's.
    pub(super) fn token(&self, pool: &CancellationToken) -> &CancellationToken {
        self.token.get_or_init(|| pool.child_token())
    }

    /// Returns why the job or its pool has been cancelled, if it has.
    pub(super) fn cancel_reason(&self, pool: &CancellationToken) -> Option<CancelReason> {
        self.token.get().map_or_else(|| pool.reason(), CancellationToken::reason)
    }

    /// Returns when a thread that waits for the job has to look at its tokens, because a deadline has no clock; looks
    /// at them now.
    pub(super) fn look_at(&self, pool: &CancellationToken) -> Option<Instant> {
        let token = self.token.get().unwrap_or(pool);
        if token.is_cancelled() { None } else { token.look_at() }
    }

    pub(super) fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.get_or_init(Box::default).lock());
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.get().map(|progress| progress.lock().clone()).unwrap_or_default()
    }

    pub(super) fn times(&self) -> Option<Times> {
        Some(*self.extras.as_ref()?.times.as_ref()?.lock())
    }

    pub(super) fn change_times(&self, change: impl FnOnce(&mut Times, Instant)) {
        if let Some(times) = self.extras.as_ref().and_then(|extras| extras.times.as_ref()) {
            change(&mut times.lock(), Instant::now());
        }
    }

    pub(super) fn tell_watch(&self, status: JobStatus) {
        if let Some(watch) = self.extras.as_ref().and_then(|extras| extras.watch.as_ref()) {
            watch.ended(self.id(), status);
        }
    }
}
