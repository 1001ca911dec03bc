//! [`scope`]: tasks on scoped threads, fan-out and fan-in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled, Failure, Panic};
use crate::panic::{self, Payload};
use crate::thread;
use crate::token::{CancellationToken, Event};

/// Runs `body`, which spawns tasks that may borrow from outside, and returns its value once every task has ended.
///
/// Each task has a thread of its own from the moment it is spawned, so tasks may wait for each other. The first failure
/// in time, be it a task's error, a task's panic, or the body's own error or panic, cancels the scope's token, which
/// every sibling is given; then all are joined.
///
/// # Cancellation
///
/// The scope's token is a child of `token`. The scope itself waits for its tasks, and they end when they notice the
/// cancellation or are done: hand [`Scope::token`] to whatever they wait in.
///
/// # Errors
///
/// The first error in time, of a task or of the body. What other tasks return after that, such as [`Cancelled`], is an
/// echo and dropped. [`Cancelled`], converted, also if the body went on after a [`spawn`](Scope::spawn) was refused.
/// A cancelled token alone is no error: if every task and the body end well, so does the scope.
///
/// # Panics
///
/// A panic of the body or of a task is resumed, payload intact, when all are joined; it counts more than an error. Of
/// several, that of the body is resumed, else that of the task spawned first.
///
/// # Costs
///
/// A task costs its thread, some 20 to 80 µs. For many small tasks use [`par_map`](crate::par_map) or a
/// [`Pipeline`](crate::Pipeline).
///
/// # Examples
///
/// ```
/// use std::io;
/// use brigade::{CancellationToken, scope};
///
/// let words = ["three", "words", "here"];
/// let total = scope(&CancellationToken::new(), |s| {
///     let first = s.spawn(|_| Ok(words[0].len()))?;
///     let rest = s.named("rest").spawn(|_| Ok(words[1..].iter().map(|word| word.len()).sum::<usize>()))?;
///     Ok::<_, io::Error>(first.join()? + rest.join()?)
/// })?;
/// assert_eq!(total, 14);
/// # Ok::<(), io::Error>(())
/// ```
///
/// The first failure wins, and the others are told:
///
/// ```
/// use brigade::{CancelReason, CancellationToken, scope};
///
/// let result = scope(&CancellationToken::new(), |s| {
///     s.spawn(|s| {
///         assert_eq!(s.token().wait(), CancelReason::Failed);
///         s.token().check()?;
///         Ok(())
///     })?;
///     s.spawn(|_| Err::<(), _>(anyhow::anyhow!("disk full")))?;
///     Ok(())
/// });
/// assert_eq!(result.unwrap_err().to_string(), "disk full");
/// ```
pub fn scope<'env, T, E, F>(token: &CancellationToken, body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    let (value, failures) = run(token, true, body);
    let mut error = None;
    let mut first_panic: Option<(Order, Panic)> = None;
    for (order, failure) in failures {
        match failure {
            Failure::Error { error: one, .. } => error = Some(one),
            Failure::Panic(panic) => {
                let lost = match &mut first_panic {
                    Some((first, _)) if *first < order => Some(panic),
                    first => first.replace((order, panic)).map(|(_, panic)| panic),
                };
                if let Some(lost) = lost {
                    panic::discard(lost.into_payload());
                }
            }
        }
    }
    if let Some((_, panic)) = first_panic {
        drop((error, value));
        panic.resume();
    }
    match (error, value) {
        (Some(error), _) => Err(error),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("a body without a value has failed"),
    }
}

/// Runs `body` as [`scope`] does, but lets every task end by itself and lists all that failed.
///
/// A failure cancels nothing. Returns the body's value if nothing failed.
///
/// # Cancellation
///
/// The scope's token is a child of `token`, and only `token` cancels it.
///
/// # Errors
///
/// Every failure, in the order in which the tasks were spawned: errors and panics, with the task's name and index. The
/// body's own error or panic comes first, as `scope#0`.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, scope_all};
///
/// let failures = scope_all(&CancellationToken::new(), |s| {
///     for word in ["1", "two", "3", "four"] {
///         s.named("parse").spawn(move |_| Ok(word.parse::<u32>().map_err(anyhow::Error::from)?))?;
///     }
///     Ok::<_, anyhow::Error>(())
/// })
/// .unwrap_err();
/// let failed: Vec<usize> = failures.iter().map(|failure| failure.index()).collect();
/// assert_eq!(failed, [1, 3]);
/// assert_eq!(failures[0].to_string(), "parse#1 failed: invalid digit found in string");
/// ```
pub fn scope_all<'env, T, E, F>(token: &CancellationToken, body: F) -> Result<T, Vec<Failure<E>>>
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    let (value, mut failures) = run(token, false, body);
    match value {
        Some(value) if failures.is_empty() => Ok(value),
        _ => {
            failures.sort_by_key(|(order, _)| *order);
            Err(failures.into_iter().map(|(_, failure)| failure).collect())
        }
    }
}

/// Runs the body and joins every task; returns the body's value, and the failures in the order of time.
fn run<'env, T, E, F>(token: &CancellationToken, fail_fast: bool, body: F) -> (Option<T>, Vec<(Order, Failure<E>)>)
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    thread::scope(|threads| {
        let scope = Scope {
            threads,
            name: "task".into(),
            shared: Arc::new(Shared {
                token: token.child_token(),
                fail_fast,
                spawned: AtomicUsize::new(0),
                failures: Mutex::new(Vec::new()),
                handles: Mutex::new(Handles { running: Vec::new(), reap_at: REAP_FROM }),
            }),
        };
        let shared = &scope.shared;
        let value = shared.settle(Order::Body, &"body".into(), 0, panic::catch(|| body(&scope))).ok();
        // A task that is joined here may have spawned others: their handles came before it ended.
        loop {
            let Some(handle) = shared.handles.lock().running.pop() else { break };
            shared.join(handle);
        }
        let failures = std::mem::take(&mut *shared.failures.lock());
        (value, failures)
    })
}

/// Where tasks are spawned. Made by [`scope`] and [`scope_all`], and handed to every task.
pub struct Scope<'scope, 'env: 'scope, E> {
    threads: &'scope std::thread::Scope<'scope, 'env>,
    name: Arc<str>,
    shared: Arc<Shared<'scope, E>>,
}

impl<'scope, 'env, E> Scope<'scope, 'env, E>
where
    E: From<Cancelled> + Send + 'scope,
{
    /// Starts a task on a thread of its own. The task is given the scope, to spawn further tasks and for its token.
    ///
    /// What the task returns is had by [`ScopedTask::join`]; dropping the handle leaves the task to the scope.
    ///
    /// # Errors
    ///
    /// In a cancelled scope no task is started, and `f` is dropped. Likewise if the system refuses to start a thread:
    /// the reason is then an [`Other`](CancelReason::Other) that says so, and in a [`scope`] the siblings are cancelled
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
    /// is `task`. A NUL becomes the replacement character.
    #[must_use = "the name is that of the returned scope"]
    pub fn named(&self, name: impl Into<Arc<str>>) -> Self {
        Scope { threads: self.threads, name: name.into(), shared: Arc::clone(&self.shared) }
    }

    /// Returns the scope's token, a child of the caller's; a failure cancels it, unless in [`scope_all`].
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

/// The place of a failure among others: the body's first, then by the order of spawning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Body,
    Task(usize),
}

struct Shared<'scope, E> {
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
    /// Records how the body or a task ended; a failure is recorded before it cancels the siblings, so that their echoes
    /// come after it.
    fn settle<T>(
        &self,
        order: Order,
        name: &Arc<str>,
        index: usize,
        result: Result<Result<T, E>, Payload>,
    ) -> Result<T, CancelReason> {
        let (failure, reason) = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (Failure::Error { component: Arc::clone(name), index, error }, CancelReason::Failed),
            Err(payload) => (Failure::Panic(Panic::new(Arc::clone(name), index, payload)), CancelReason::Panicked),
        };
        self.record(order, failure);
        if self.fail_fast {
            self.token.cancel_with(reason);
        }
        Err(reason)
    }

    /// Records a task that could not be started.
    fn refuse(&self, index: usize, name: &Arc<str>, cancelled: Cancelled) -> Cancelled {
        self.record(Order::Task(index), Failure::Error { component: Arc::clone(name), index, error: cancelled.into() });
        if self.fail_fast {
            self.token.cancel_with(cancelled.reason());
        }
        cancelled
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
            let panic = Panic::new("drop".into(), 0, payload);
            self.record(Order::Task(usize::MAX), Failure::Panic(panic));
        }
    }
}

/// A task of a [`scope`], to be joined for its value.
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
            self.slot.ended.wait(ticket);
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
