//! [`Head`]: what any thread may read or change of a job while it waits, runs and when it has ended. [`Extras`]: what
//! only some jobs have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::status::{JobStatus, StatusCell};
use crate::error::CancelReason;
use crate::event::Event;
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

/// What a job has beside its head: nothing, in most pools.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) name: Option<Arc<str>>,
    pub(super) timeline: Option<Timeline>,
    pub(super) watch: Option<Arc<dyn Watch>>,
    /// Skips the job if its token is cancelled while it is pending.
    pub(super) skips: OnceLock<CancelCallback>,
}

/// The [`Times`] of a job, in nanoseconds since its pool was started.
// Relaxed: a thread that reads a time has read the status before, or bears that it is not there yet.
pub(super) struct Timeline {
    created: u64,
    started: AtomicU64,
    ended: AtomicU64,
}

/// The time of what has not come yet.
const NEVER: u64 = u64::MAX;

impl Timeline {
    pub(super) fn new(created: u64) -> Self {
        Timeline { created, started: AtomicU64::new(NEVER), ended: AtomicU64::new(NEVER) }
    }

    pub(super) fn start(&self, now: u64) {
        self.started.store(now, Ordering::Relaxed);
    }

    pub(super) fn end(&self, now: u64) {
        self.ended.store(now, Ordering::Relaxed);
    }

    /// Returns the times of a job whose pool was started at `start`.
    pub(super) fn times_since(&self, start: Instant) -> Times {
        let at = |nanos| start + Duration::from_nanos(nanos);
        let come = |time: &AtomicU64| Some(time.load(Ordering::Relaxed)).filter(|nanos| *nanos != NEVER).map(at);
        Times { created: at(self.created), started: come(&self.started), ended: come(&self.ended) }
    }
}

/// Where a job keeps its extras, if it has any. A job of a registry has them in itself, which saves an allocation.
/// Others have a box for them, which saves memory where there are none.
pub(super) trait HasExtras: Send + Sync {
    fn get(&self) -> Option<&Extras>;
}

impl HasExtras for Extras {
    fn get(&self) -> Option<&Extras> {
        Some(self)
    }
}

impl HasExtras for Option<Box<Extras>> {
    fn get(&self) -> Option<&Extras> {
        self.as_deref()
    }
}

pub(super) struct Head {
    /// Set under the lock of the pool as the job is accepted, before any other thread sees the job.
    id: AtomicU64,
    pub(super) status: StatusCell,
    /// One box for all that few jobs use, so that the others are small.
    used: OnceLock<Box<Used>>,
}

/// What a job or its handle uses seldom, made on first use.
#[derive(Default)]
struct Used {
    /// The job's own token.
    token: OnceLock<CancellationToken>,
    progress: Mutex<Progress>,
    /// Where a wait that began before the end waits for it.
    awaited: OnceLock<Arc<Event>>,
}

impl Head {
    /// Makes a head. `token` is that of a job which can be cancelled by more than its handle and its pool.
    pub(super) fn new(token: Option<CancellationToken>) -> Self {
        let used = token.map_or_else(OnceLock::new, |token| {
            OnceLock::from(Box::new(Used { token: OnceLock::from(token), ..Used::default() }))
        });
        Head { id: AtomicU64::new(0), status: StatusCell::new(), used }
    }

    fn used(&self) -> &Used {
        self.used.get_or_init(Box::default)
    }

    fn own_token(&self) -> Option<&CancellationToken> {
        self.used.get()?.token.get()
    }

    // Relaxed: the lock of the pool orders it.
    pub(super) fn set_id(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
    }

    pub(super) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Returns the job's token, a child of the pool's.
    pub(super) fn token(&self, pool: &CancellationToken) -> &CancellationToken {
        self.used().token.get_or_init(|| pool.child_token())
    }

    /// Returns why the job or its pool has been cancelled, if it has.
    pub(super) fn cancel_reason(&self, pool: &CancellationToken) -> Option<CancelReason> {
        self.own_token().unwrap_or(pool).reason()
    }

    /// Returns when a thread that waits for the job has to look at its tokens, because a deadline has no clock; looks
    /// at them now.
    pub(super) fn look_at(&self, pool: &CancellationToken) -> Option<Instant> {
        let token = self.own_token().unwrap_or(pool);
        if token.is_cancelled() { None } else { token.look_at() }
    }

    pub(super) fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.used().progress.lock());
    }

    pub(super) fn progress(&self) -> Progress {
        self.used.get().map(|used| used.progress.lock().clone()).unwrap_or_default()
    }

    /// Returns the event that is notified when the job ends, for a thread that waits for that.
    pub(super) fn awaited(&self) -> &Arc<Event> {
        self.used().awaited.get_or_init(Arc::default)
    }

    /// Wakes the threads that wait for the end of the job.
    pub(super) fn tell_awaited(&self) {
        if let Some(event) = self.used.get().and_then(|used| used.awaited.get()) {
            event.notify_all();
        }
    }
}
