//! [`Shared`]: what a pool, its workers and the handles of its jobs share; telling the hooks, skipping jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use super::cx::JobCx;
use super::hand::{Hand, Label, Queued};
use super::head::{Extras, Head};
use super::queue::Queue;
use super::status::JobStatus;
use crate::error::CancelReason;
use crate::event::Event;
use crate::failure::Panic;
use crate::hooks::{Hooks, Outcome, Task};
use crate::panic::{self, Payload};
use crate::thread::{self, JobMark};
use crate::token::CancellationToken;

/// What a pool does when a job panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// The job has [panicked](super::JobStatus::Panicked), and its worker goes on with the next one.
    #[default]
    Keep,
    /// The process ends, by [`std::process::abort`], once the panic has been printed and the hooks have been told.
    Abort,
}

/// A job with a handle, whatever its closure and its result are.
pub(super) trait Tracked: Send + Sync {
    fn head(&self) -> &Head;

    fn extras(&self) -> Option<&Extras>;

    fn name(&self) -> Option<&Arc<str>> {
        self.extras()?.name.as_ref()
    }

    fn label(&self) -> Label {
        Label { name: self.name().cloned(), id: self.head().id() }
    }

    /// Runs a claimed job, and books and publishes its end. Does not panic.
    fn run(self: Arc<Self>, desk: &Desk<'_>);

    /// Publishes the end of a job that was skipped and booked. Does not panic.
    fn skip(self: Arc<Self>, shared: &Shared, reason: CancelReason);

    /// Publishes the end of a job that was skipped and booked; returns the closure, which is still to be dropped. The
    /// hooks are still to be told. Does not panic.
    fn publish_skipped(&self, shared: &Shared, reason: CancelReason) -> Box<dyn Send>;

    /// Gives up a reference. The last one drops a result that was not taken. Does not panic.
    fn release(self: Arc<Self>, shared: &Shared);
}

pub(super) type Fired = Box<dyn FnOnce(&JobCx<'_>) + Send>;

pub(super) enum Work {
    Fired(Fired),
    Tracked(Arc<dyn Tracked>),
}

/// A job in the queue.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) accepted_at: u64,
    pub(super) work: Work,
}

impl Queued for Entry {
    #[inline]
    fn claim(&self) -> bool {
        match &self.work {
            Work::Fired(_) => true,
            Work::Tracked(job) => job.head().status.claim(),
        }
    }

    fn is_spent(&self) -> bool {
        match &self.work {
            Work::Fired(_) => false,
            Work::Tracked(job) => !job.head().status.is_claimable(),
        }
    }

    #[inline]
    fn label(&self) -> Label {
        match &self.work {
            Work::Fired(_) => Label { name: None, id: self.id },
            Work::Tracked(job) => job.label(),
        }
    }

    fn accepted_at(&self) -> u64 {
        self.accepted_at
    }
}

impl Entry {
    /// Makes a pending job a skipped one; returns whether this call did.
    fn mark_skipped(&self) -> bool {
        match &self.work {
            Work::Fired(_) => true,
            Work::Tracked(job) => job.head().status.skip(),
        }
    }

    /// Drops a spent entry.
    pub(super) fn release(self, shared: &Shared) {
        match self.work {
            Work::Fired(f) => shared.drop_for(&Label { name: None, id: self.id }, f),
            Work::Tracked(job) => job.release(shared),
        }
    }
}

/// Where the end of a job is booked: in the hand of the worker that runs it, or in the queue.
pub(super) struct Desk<'a> {
    pub(super) shared: &'a Shared,
    pub(super) hand: Option<&'a Hand<Entry>>,
}

impl Desk<'_> {
    pub(super) fn book(&self, id: u64, status: JobStatus) {
        match self.hand {
            Some(hand) => hand.end(status),
            None => {
                let mut queue = self.shared.queue.lock();
                queue.end_inline(id, status);
                self.shared.release_if_drained(&mut queue);
            }
        }
    }
}

pub(super) struct Shared {
    /// The number of the pool in this process.
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    /// The size of each worker's stack, in bytes.
    pub(super) stack: Option<usize>,
    pub(super) on_panic: OnPanic,
    pub(super) hooks: Option<Arc<dyn Hooks + Send + Sync>>,
    /// A child of the token that the pool was started with.
    pub(super) token: CancellationToken,
    pub(super) started: Instant,
    /// A worker has been started.
    pub(super) begun: AtomicBool,
    /// A thread waits for the end of a job that may lie in the queue: a worker that searches looks there at once.
    pub(super) awaited: CachePadded<AtomicBool>,
    /// A submitter waits for room.
    pub(super) full: CachePadded<AtomicBool>,
    pub(super) queue: CachePadded<Mutex<Queue<Entry>>>,
    /// Where workers sleep, under the lock of the queue.
    pub(super) called: Condvar,
    /// Where submitters wait for room.
    pub(super) room: Arc<Event>,
    /// Where closers wait for the workers to leave.
    pub(super) drained: Arc<Event>,
    /// The workers. The lock is held while one is started or joined; the lock of the queue may be taken under it.
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The settings of a pool.
pub(super) struct Settings {
    pub(super) workers: usize,
    pub(super) capacity: usize,
    pub(super) name: Arc<str>,
    pub(super) stack: Option<usize>,
    pub(super) on_panic: OnPanic,
    pub(super) hooks: Option<Arc<dyn Hooks + Send + Sync>>,
}

impl Shared {
    pub(super) fn new(settings: Settings, token: CancellationToken) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Shared {
            number: LAST.fetch_add(1, Ordering::Relaxed),
            name: settings.name,
            stack: settings.stack,
            on_panic: settings.on_panic,
            hooks: settings.hooks,
            token,
            started: Instant::now(),
            begun: AtomicBool::new(false),
            awaited: CachePadded::default(),
            full: CachePadded::default(),
            queue: CachePadded::new(Mutex::new(Queue::new(settings.workers, settings.capacity))),
            called: Condvar::new(),
            room: Arc::default(),
            drained: Arc::default(),
            threads: Mutex::default(),
        })
    }

    /// Returns the time, in nanoseconds since the pool was started.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns, once, whether a thread has begun to wait for the end of a job.
    pub(super) fn is_job_awaited(&self) -> bool {
        // Relaxed: a hint. The lock of the queue orders what a worker finds there.
        self.awaited.load(Ordering::Relaxed) && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// Wakes a submitter, if one waits for room.
    #[inline]
    pub(super) fn tell_room(&self) {
        // Relaxed: the locks order it. The submitter sets `full` before it counts the jobs under the locks under which
        // the caller has just removed one.
        if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::Relaxed) {
            self.room.notify_one();
        }
    }

    /// Has the workers leave if no job is left and none can come.
    pub(super) fn release_if_drained(&self, queue: &mut Queue<Entry>) {
        if queue.drain() {
            self.called.notify_all();
            self.drained.notify_all();
        }
    }

    pub(super) fn name_of<'a>(&'a self, label: &'a Label) -> &'a Arc<str> {
        label.name.as_ref().unwrap_or(&self.name)
    }

    fn task<'a>(&'a self, label: &'a Label) -> Task<'a> {
        Task { name: self.name_of(label), index: index_of(label.id) }
    }

    /// Calls a job's closure, when the hooks have been told. A panic of theirs counts as the job's.
    pub(super) fn perform<R>(&self, label: &Label, closure: impl FnOnce() -> R) -> Result<R, Payload> {
        if let Some(hooks) = &self.hooks {
            if let Err(payload) = panic::catch(|| hooks.started(self.task(label))) {
                panic::discard(closure);
                return Err(payload);
            }
        }
        panic::catch(closure)
    }

    /// Tells the hooks how a job ended. A panic of theirs comes back.
    pub(super) fn tell_ended(&self, label: &Label, outcome: Outcome, took: Duration) -> Result<(), Payload> {
        match &self.hooks {
            Some(hooks) => panic::catch(|| hooks.ended(self.task(label), outcome, took)),
            None => Ok(()),
        }
    }

    /// Tells the hooks of a job that goes on although its token was cancelled.
    pub(super) fn tell_overdue(&self, label: &Label) {
        if let Some(hooks) = &self.hooks {
            if let Err(payload) = panic::catch(|| hooks.overdue(self.task(label))) {
                self.lose_panic(label, payload);
            }
        }
    }

    /// Makes a panic a value, and tells the hooks.
    #[cold]
    pub(super) fn panicked(&self, label: &Label, payload: Payload) -> Panic {
        let panic = Panic::new(Arc::clone(self.name_of(label)), index_of(label.id), payload);
        if let Some(hooks) = &self.hooks {
            if let Err(second) = panic::catch(|| hooks.panicked(&panic)) {
                panic::discard(second);
            }
        }
        if self.on_panic == OnPanic::Abort {
            std::process::abort();
        }
        panic
    }

    /// Tells the hooks of a panic beside the job itself, which has no other place.
    #[cold]
    pub(super) fn lose_panic(&self, label: &Label, payload: Payload) {
        panic::discard(self.panicked(label, payload));
    }

    /// Drops a value or a closure of a job. The hooks are told of a panic in its `Drop`.
    #[inline]
    pub(super) fn drop_for<T>(&self, label: &Label, dropped: T) {
        if let Err(payload) = panic::catch(move || drop(dropped)) {
            self.lose_panic(label, payload);
        }
    }

    /// Tells the hooks of a skipped job.
    pub(super) fn tell_skipped(&self, label: &Label, reason: CancelReason) {
        if let Err(payload) = self.tell_ended(label, Outcome::Skipped(reason), Duration::ZERO) {
            self.lose_panic(label, payload);
        }
    }

    /// Refuses jobs from now on.
    pub(super) fn refuse_jobs(&self) {
        let mut queue = self.queue.lock();
        queue.close();
        self.release_if_drained(&mut queue);
        drop(queue);
        self.room.notify_all();
    }

    /// Refuses jobs from now on, and skips all that are pending.
    pub(super) fn skip_pending(&self, reason: CancelReason) {
        let mut queue = self.queue.lock();
        queue.close();
        let (skipped, spent) = queue.skip_all(Entry::mark_skipped);
        self.release_if_drained(&mut queue);
        drop(queue);
        self.room.notify_all();
        spent.into_iter().for_each(|entry| entry.release(self));
        if !skipped.is_empty() {
            self.skip_marked(skipped, reason);
        }
    }

    fn skip_marked(&self, skipped: Vec<Entry>, reason: CancelReason) {
        let jobs = skipped.len();
        // All ends are published before any closure is dropped, because its `Drop` may wait for another of the jobs.
        let publish = |entry: &Entry| match &entry.work {
            Work::Fired(_) => None,
            Work::Tracked(job) => Some(job.publish_skipped(self, reason)),
        };
        let closures: Vec<_> = skipped.iter().map(publish).collect();
        for (entry, closure) in skipped.into_iter().zip(closures) {
            self.as_job(entry.id, || match entry.work {
                Work::Fired(f) => self.skip_fired(entry.id, f, reason),
                Work::Tracked(job) => {
                    let label = job.label();
                    self.drop_for(&label, closure);
                    self.tell_skipped(&label, reason);
                    job.release(self);
                }
            });
        }
        self.end_skips(jobs);
    }

    /// Drops the closure and publishes the end of one job that was [marked](Self::mark_skipped): `skip` does so.
    pub(super) fn finish_skip(&self, id: u64, skip: impl FnOnce()) {
        self.as_job(id, skip);
        self.end_skips(1);
    }

    /// Calls `f`, which does not panic, on behalf of a skipped job. The `Drop` of its closure may close or drop the
    /// pool, and must not wait for itself then.
    fn as_job(&self, id: u64, f: impl FnOnce()) {
        let before = thread::set_job(Some(JobMark { pool: self.number, id }));
        f();
        thread::set_job(before);
    }

    fn end_skips(&self, jobs: usize) {
        let mut queue = self.queue.lock();
        queue.end_skips(jobs);
        self.release_if_drained(&mut queue);
    }

    pub(super) fn skip_fired(&self, id: u64, f: Fired, reason: CancelReason) {
        let label = Label { name: None, id };
        self.drop_for(&label, f);
        self.tell_skipped(&label, reason);
    }

    /// Makes a pending job a skipped one; returns whether this call did. Then [`finish_skip`](Self::finish_skip) is to
    /// be called.
    pub(super) fn mark_skipped(&self, head: &Head) -> bool {
        if !head.status.is_claimable() {
            return false;
        }
        let mut queue = self.queue.lock();
        if !head.status.skip() {
            return false;
        }
        let spent = queue.skipped_one();
        drop(queue);
        self.tell_room();
        spent.into_iter().for_each(|entry| entry.release(self));
        true
    }
}

/// The id of a job as hooks and failures have it.
fn index_of(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
