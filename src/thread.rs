//! The only module that starts threads: named, fallible, and scoped, so that each has an owner, but for the one clock.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle, yield_now};
use std::time::{Duration, Instant};

use crate::panic::Payload;

/// Starts the thread `component#index`, with a stack of so many bytes, or of std's size.
///
/// Linux shows the first 15 bytes of the name in `/proc` and in debuggers. A NUL, which no thread name can hold, becomes
/// the replacement character.
pub(crate) fn spawn<'scope, F, T>(
    scope: &'scope Scope<'scope, '_>,
    component: &str,
    index: usize,
    stack: Option<usize>,
    f: F,
) -> io::Result<ScopedJoinHandle<'scope, T>>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    let name = format!("{component}#{index}").replace('\0', "\u{fffd}");
    let builder = Builder::new().name(name);
    let builder = match stack {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    };
    let lineage = lineage();
    let begin = move || {
        LINEAGE.set(lineage);
        f()
    };
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    builder.spawn_scoped(scope, begin)
}

thread_local!(static LINEAGE: Cell<u64> = const { Cell::new(0) });

/// On whose behalf this thread runs: threads that are started here inherit it from who starts them, until they
/// [begin one](begin_lineage) of their own. 0 for a thread that somebody else has started.
pub(crate) fn lineage() -> u64 {
    LINEAGE.get()
}

/// The same, but gives one to a thread that has none.
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

/// Where [`spawn`] starts threads: std's scope, without the lifetime of what they may borrow.
pub(crate) trait Starter<'scope>: Sync {
    fn start(
        &'scope self,
        component: &str,
        index: usize,
        stack: Option<usize>,
        f: Box<dyn FnOnce() + Send + 'scope>,
    ) -> io::Result<ScopedJoinHandle<'scope, ()>>;
}

impl<'scope> Starter<'scope> for Scope<'scope, '_> {
    fn start(
        &'scope self,
        component: &str,
        index: usize,
        stack: Option<usize>,
        f: Box<dyn FnOnce() + Send + 'scope>,
    ) -> io::Result<ScopedJoinHandle<'scope, ()>> {
        spawn(self, component, index, stack, f)
    }
}

/// Calls `f` with a scope for [`spawn`].
///
/// Whoever spawns joins each handle by hand: what `std::thread::scope` does by itself replaces a panic's payload by its
/// own, and returns when the closures have ended, which is a moment before their threads have.
pub(crate) fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    std::thread::scope(f)
}

/// Waits for a thread to end; a panic that left its closure comes back as its payload.
pub(crate) fn join<T>(handle: ScopedJoinHandle<'_, T>) -> Result<T, Payload> {
    handle.join().map_err(Payload::from)
}

/// Joins threads that have nothing left to do, or one last item; returns what they panicked with.
///
/// A thread takes some 10 µs to end after its closure has. Whoever falls asleep for so short a time is often woken 20 to
/// 90 µs later, so this waits awake first, for 70 µs at most, and gives way to whoever wants the core: ten trivial items
/// take 45 µs so, and 60 without.
pub(crate) fn join_all(handles: Vec<ScopedJoinHandle<'_, ()>>) -> Vec<Payload> {
    if handles.is_empty() {
        return Vec::new();
    }
    let is_over = || handles.iter().all(ScopedJoinHandle::is_finished);
    yield_until(Duration::from_micros(60), is_over);
    if is_over() {
        yield_until(Duration::from_micros(10), || false);
    }
    handles.into_iter().filter_map(|handle| join(handle).err()).collect()
}

fn yield_until(longest: Duration, is_over: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_over() && started.elapsed() < longest {
        yield_now();
    }
}

/// Starts a thread that nobody joins. Only the clock of the deadlines is one: it is shared by the whole process, and ends
/// by itself.
pub(crate) fn detach(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    Builder::new().name(name.to_owned()).spawn(f).map(drop)
}
