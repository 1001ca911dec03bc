//! Tasks: spawning them, recording how they end, joining them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled, Failure};
use crate::panic::{self, Payload};
use crate::thread;
use crate::token::{CancellationToken, Event};

/// Where tasks are spawned. Made by [`scope`](crate::scope) and [`scope_all`](crate::scope_all), and handed to every task.
pub struct Scope<'scope, 'env: 'scope, E> {
    threads: &'scope std::thread::Scope<'scope, 'env>,
    name: Arc<str>,
    shared: Arc<Shared<'scope, E>>,
}

impl<'scope, 'env, E> Scope<'scope, 'env, E>
where
    E: From<Cancelled> + Send + 'scope,
{
    pub(super) fn new(threads: &'scope std::thread::Scope<'scope, 'env>, shared: Arc<Shared<'scope, E>>) -> Self {
        Scope { threads, name: "task".into(), shared }
    }

    /// Starts a task on a thread of its own. The task is given the scope, to spawn further tasks and for its token.
    ///
    /// What the task returns is had by [`ScopedTask::join`]; dropping the handle leaves the task to the scope.
    ///
    /// # Errors
    ///
    /// In a cancelled scope no task is started, and `f` is dropped. Likewise if the system refuses to start a thread:
    /// the reason is then an [`Other`](CancelReason::Other) that says so, and in a [`scope`](crate::scope) the siblings are cancelled
    /// with it. In both cases the scope does not end well, even if this error is ignored.
    pub fn spawn<T, F>(&self, f: F) -> Result<ScopedTask<T>, Cancelled>
    where
        F: FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let shared = &self.shared;
        let index = shared.spawned.fetch_add(1, Ordering::Relaxed);
        if let Err(cancelled) = shared.token.check() {
            return Err(shared.refuse(index, &self.name, cancelled));
        }
        let slot = Arc::new(Slot { state: Mutex::new(SlotState::Running), ended: Arc::default() });
        let scope = Scope { threads: self.threads, name: Arc::clone(&self.name), shared: Arc::clone(shared) };
        let task = ScopedTask { slot: Arc::clone(&slot), name: Arc::clone(&self.name), token: shared.token.clone() };
        let started = thread::spawn(self.threads, &self.name, index, move || {
            let result = panic::catch(|| f(&scope));
            let settled = scope.shared.settle(Order::Task(index), &scope.name, index, result);
            slot.end(settled);
        });
        match started {
            Ok(handle) => {
                shared.keep(handle);
                Ok(task)
            }
            Err(_) => {
                let cancelled = Cancelled::new(CancelReason::Other("the system refused to start a thread"));
                Err(shared.refuse(index, &self.name, cancelled))
            }
        }
    }

    /// Returns this scope with another name for the tasks that are spawned through it, and for those that they spawn.
    ///
    /// The name stands in thread names (`name#index`; Linux shows 15 bytes), panic messages and [`Failure`]s. The default
    /// is `task`. A NUL becomes the replacement character in the thread's name.
    #[must_use = "the name is that of the returned scope"]
    pub fn named(&self, name: impl AsRef<str>) -> Self {
        Scope { threads: self.threads, name: name.as_ref().into(), shared: Arc::clone(&self.shared) }
    }

    /// Returns the scope's token, a child of the caller's; a failure cancels it, unless in [`scope_all`](crate::scope_all).
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.shared.token
    }
}

impl<E> fmt::Debug for Scope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.name)
            .field("spawned", &self.shared.spawned.load(Ordering::Relaxed))
            .field("token", &self.shared.token)
            .finish_non_exhaustive()
    }
}

/// The place of a failure in a list: by the order of spawning, then the body's, which may be an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Task(usize),
    Body,
}

/// What the tasks of a scope share.
pub(super) struct Shared<'scope, E> {
    token: CancellationToken,
    fail_fast: bool,
    /// How many tasks have been spawned; the index of the next.
    spawned: AtomicUsize,
    failures: Mutex<Vec<(Order, Failure<E>)>>,
    handles: Mutex<Handles<'scope>>,
}

/// Threads not joined yet. A thread that has ended keeps its stack until then, so they are looked through whenever their
/// number has doubled.
struct Handles<'scope> {
    running: Vec<ScopedJoinHandle<'scope, ()>>,
    reap_at: usize,
}

const REAP_FROM: usize = 32;

impl<'scope, E: From<Cancelled>> Shared<'scope, E> {
    /// `fail_fast`: a failure cancels `token`, and of several errors the first in time is kept.
    pub(super) fn new(token: CancellationToken, fail_fast: bool) -> Arc<Self> {
        Arc::new(Shared {
            token,
            fail_fast,
            spawned: AtomicUsize::new(0),
            failures: Mutex::new(Vec::new()),
            handles: Mutex::new(Handles { running: Vec::new(), reap_at: REAP_FROM }),
        })
    }

    /// Joins every task; returns the failures in the order of time.
    pub(super) fn join_all(&self) -> Vec<(Order, Failure<E>)> {
        // A task that is joined here may have spawned others: their handles were kept before it ended.
        loop {
            let Some(handle) = self.handles.lock().running.pop() else { break };
            self.join(handle);
        }
        std::mem::take(&mut *self.failures.lock())
    }

    /// Records how the body or a task ended; a failure is recorded before it cancels the siblings, so that their echoes
    /// come after it.
    pub(super) fn settle<T>(
        &self,
        order: Order,
        name: &Arc<str>,
        index: usize,
        result: Result<Result<T, E>, Payload>,
    ) -> Result<T, CancelReason> {
        let (failure, reason) = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (Failure::Error { component: Arc::clone(name), index, error }, CancelReason::Failed),
            Err(payload) => (Failure::Panic(panic::value(Arc::clone(name), index, payload)), CancelReason::Panicked),
        };
        self.record(order, failure);
        self.cancel(reason);
        Err(reason)
    }

    /// Records a task that could not be started.
    fn refuse(&self, index: usize, name: &Arc<str>, cancelled: Cancelled) -> Cancelled {
        self.record(Order::Task(index), Failure::Error { component: Arc::clone(name), index, error: cancelled.into() });
        self.cancel(cancelled.reason());
        cancelled
    }

    /// Tells the siblings, unless failures are to be collected. What a callback of the token panics with counts as a
    /// task's panic.
    fn cancel(&self, reason: CancelReason) {
        if self.fail_fast {
            if let Err(payload) = panic::catch(|| self.token.cancel_with(reason)) {
                let panic = panic::value("on_cancel".into(), 0, payload);
                self.record(Order::Task(usize::MAX), Failure::Panic(panic));
            }
        }
    }

    fn record(&self, order: Order, failure: Failure<E>) {
        let mut failures = self.failures.lock();
        // Once anything has failed, what fails after it may be an echo; a panic never is.
        if self.fail_fast && failure.panic().is_none() && !failures.is_empty() {
            drop(failures);
            drop(failure);
        } else {
            failures.push((order, failure));
        }
    }

    fn keep(&self, handle: ScopedJoinHandle<'scope, ()>) {
        let mut ended = Vec::new();
        {
            let mut handles = self.handles.lock();
            handles.running.push(handle);
            if handles.running.len() >= handles.reap_at {
                let mut at = 0;
                while let Some(handle) = handles.running.get(at) {
                    if handle.is_finished() {
                        ended.push(handles.running.swap_remove(at));
                    } else {
                        at += 1;
                    }
                }
                handles.reap_at = REAP_FROM.max(2 * handles.running.len());
            }
        }
        ended.into_iter().for_each(|handle| self.join(handle));
    }

    fn join(&self, handle: ScopedJoinHandle<'scope, ()>) {
        if let Err(payload) = thread::join(handle) {
            // The task has been settled; what panicked after it is the `Drop` of something it held.
            let panic = panic::value("drop".into(), 0, payload);
            self.record(Order::Task(usize::MAX), Failure::Panic(panic));
        }
    }
}

/// A task of a [`scope`](crate::scope), to be joined for its value.
///
/// Dropping it leaves the task to the scope, which joins it in any case.
pub struct ScopedTask<T> {
    slot: Arc<Slot<T>>,
    name: Arc<str>,
    token: CancellationToken,
}

struct Slot<T> {
    state: Mutex<SlotState<T>>,
    ended: Arc<Event>,
}

enum SlotState<T> {
    Running,
    Ended(Result<T, CancelReason>),
    Joined,
}

impl<T> Slot<T> {
    fn end(&self, settled: Result<T, CancelReason>) {
        *self.state.lock() = SlotState::Ended(settled);
        self.ended.notify_all();
    }
}

impl<T> ScopedTask<T> {
    /// Waits for the task to end, and returns its value.
    ///
    /// # Cancellation
    ///
    /// Observes the scope's token: when it is cancelled, this returns at once, though the task may still run. A value
    /// that is there is returned even so.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the scope was cancelled before the task ended, and if the task failed: its error belongs to the
    /// scope, which returns it.
    pub fn join(self) -> Result<T, Cancelled> {
        let _watch = self.slot.ended.observe(&self.token);
        loop {
            let ticket = self.slot.ended.ticket();
            {
                let mut state = self.slot.state.lock();
                if let SlotState::Ended(_) = &*state {
                    let SlotState::Ended(settled) = std::mem::replace(&mut *state, SlotState::Joined) else {
                        unreachable!("looked at under the same lock")
                    };
                    return settled.map_err(Cancelled::new);
                }
            }
            self.token.check()?;
            self.slot.ended.wait_until(ticket, self.token.look_at());
        }
    }

    /// Tells whether the task has ended, well or not. Never waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !matches!(*self.slot.state.lock(), SlotState::Running)
    }

    /// Returns the task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> fmt::Debug for ScopedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask")
            .field("name", &self.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
