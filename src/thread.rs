//! The only module that starts threads: each is named, its start can fail, and it is scoped, or owned by a value that
//! joins it.
//!
//! The one thread without an owner is the clock of the deadlines.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle, yield_now};
use std::time::{Duration, Instant};

use crate::panic::Payload;

/// A thread to be started, which is called `name#index`.
///
/// Linux shows the first 15 bytes of that in `/proc` and in debuggers. A NUL, which no thread name can hold, becomes
/// the replacement character.
#[derive(Clone, Copy)]
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) index: usize,
    /// The size of the stack, in bytes, if it is not to be std's.
    pub(crate) stack: Option<usize>,
}

impl Spec<'_> {
    fn builder(self) -> Builder {
        let builder = Builder::new().name(format!("{}#{}", self.name, self.index).replace('\0', "\u{fffd}"));
        match self.stack {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        }
    }
}

/// Starts a thread that calls `f`.
pub(crate) fn spawn<'scope, F, T>(
    scope: &'scope Scope<'scope, '_>,
    spec: Spec<'_>,
    f: F,
) -> io::Result<ScopedJoinHandle<'scope, T>>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    let inherited = (lineage(), job());
    let begin = move || {
        LINEAGE.set(inherited.0);
        JOB.set(inherited.1);
        f()
    };
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    spec.builder().spawn_scoped(scope, begin)
}

thread_local!(static LINEAGE: Cell<u64> = const { Cell::new(0) });

/// Returns the number of the run that this thread works for, or 0 for a thread that this module has not started.
///
/// A thread inherits the lineage of the thread that starts it, until it [begins one](begin_lineage) of its own.
pub(crate) fn lineage() -> u64 {
    LINEAGE.get()
}

/// Returns this thread's lineage, and begins one if it has none.
pub(crate) fn some_lineage() -> u64 {
    if lineage() == 0 {
        begin_lineage();
    }
    lineage()
}

/// Gives this thread a lineage that no other has.
pub(crate) fn begin_lineage() {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LINEAGE.set(1 + LAST.fetch_add(1, Ordering::Relaxed));
}

/// The job of a pool that a thread works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobMark {
    /// The number of the pool in this process.
    pub(crate) pool: u64,
    pub(crate) id: u64,
}

thread_local!(static JOB: Cell<Option<JobMark>> = const { Cell::new(None) });

/// Returns the job that this thread works for, if any.
///
/// A thread inherits it from the thread that starts it.
pub(crate) fn job() -> Option<JobMark> {
    JOB.get()
}

/// Sets the job that this thread works for; returns the one before.
pub(crate) fn set_job(mark: Option<JobMark>) -> Option<JobMark> {
    JOB.replace(mark)
}

/// A scope of std's in which [`spawn`] starts threads, without the lifetime of the values that they borrow.
pub(crate) trait Starter<'scope>: Sync {
    fn start(
        &'scope self,
        spec: Spec<'_>,
        f: Box<dyn FnOnce() + Send + 'scope>,
    ) -> io::Result<ScopedJoinHandle<'scope, ()>>;
}

impl<'scope> Starter<'scope> for Scope<'scope, '_> {
    fn start(
        &'scope self,
        spec: Spec<'_>,
        f: Box<dyn FnOnce() + Send + 'scope>,
    ) -> io::Result<ScopedJoinHandle<'scope, ()>> {
        spawn(self, spec, f)
    }
}

/// Calls `f` with a scope for [`spawn`].
///
/// The caller joins each handle by hand. `std::thread::scope` by itself replaces a panic's payload by one of its own.
/// It also returns when the closures have ended, a moment before their threads have.
pub(crate) fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    std::thread::scope(f)
}

/// Joins a thread; a panic that left its closure comes back as its payload.
pub(crate) fn join<T>(handle: ScopedJoinHandle<'_, T>) -> Result<T, Payload> {
    handle.join().map_err(Payload::from)
}

/// Joins threads that have nothing left to do, or one last item; returns the payloads of their panics.
///
/// A thread ends some 10 µs after its closure. A caller that falls asleep for so short a time is often woken 20 to 90
/// µs later. So the caller first stays awake, for 70 µs at most, and yields the core to other threads: a run of ten
/// trivial items takes 45 µs this way, and 60 µs without.
pub(crate) fn join_all(handles: Vec<ScopedJoinHandle<'_, ()>>) -> Vec<Payload> {
    if handles.is_empty() {
        return Vec::new();
    }
    let have_ended = || handles.iter().all(ScopedJoinHandle::is_finished);
    yield_until(Duration::from_micros(60), have_ended);
    if have_ended() {
        yield_until(Duration::from_micros(10), || false);
    }
    handles.into_iter().filter_map(|handle| join(handle).err()).collect()
}

/// Yields until `condition` holds, for `longest` at most.
fn yield_until(longest: Duration, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() && started.elapsed() < longest {
        yield_now();
    }
}

/// Starts a thread that belongs to a value, whose drop joins it.
pub(crate) fn spawn_owned<F, T>(spec: Spec<'_>, f: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let inherited = (lineage(), job());
    let begin = move || {
        LINEAGE.set(inherited.0);
        JOB.set(inherited.1);
        f()
    };
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    spec.builder().spawn(begin)
}

/// The same for the thread of a guard, which runs no code of the user's.
#[cfg(all(unix, feature = "signal"))]
pub(crate) fn own(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    Builder::new().name(name.to_owned()).spawn(f)
}

/// Starts a thread that is never joined.
///
/// Only the clock of the deadlines is such a thread: the whole process shares it, and it ends by itself.
pub(crate) fn detach(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    Builder::new().name(name.to_owned()).spawn(f).map(drop)
}
