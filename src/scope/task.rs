//! [`ScopedTask`]: the handle of a task, by which it is joined.
//!
//! A task in a queue may run on the stack of the task that joins it. So tasks may join tasks on one thread. The body
//! must wait instead, and so must threads that work for the body: a number tells them, which each thread inherits
//! from the thread that starts it (`thread::lineage`). A thread that was started by other means than ours has no
//! such number. It runs the task, because waiting might never end. The stack grows with the depth of joins, as it
//! does for rayon's `join`. It does not grow with the depth of spawning.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::id::TaskId;
use super::job::{Ended, Joinable, Status};
use super::ledger::NoValue;
use super::policy::{FailFast, Policy};
use super::shared::Shared;
use crate::error::{CancelReason, Cancelled, FromError};
use crate::failure::Failure;
use crate::panic;
use crate::token::CancellationToken;

/// A task of a [`scope`](crate::scope()), to be joined for its value.
///
/// Dropping the handle leaves the task to the scope, which waits for it in any case.
pub struct ScopedTask<'scope, T, E, P = FailFast> {
    /// Taken by a join and by the drop.
    task: Option<Arc<dyn Joinable<'scope, T, E> + 'scope>>,
    /// The reference says that errors outlive the scope, so that no `impl` has to.
    marker: PhantomData<fn(P, &'scope E)>,
}

/// How long a join waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Until the task has ended or the scope is cancelled; then the join gives up.
    OrGiveUp,
    /// The same, or up to this time; the handle stays.
    Within(Option<Instant>),
    /// Until the task has ended.
    ToTheEnd,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    Ended,
    Cancelled,
    TimeIsUp,
}

impl<'scope, T, E, P> ScopedTask<'scope, T, E, P> {
    pub(super) fn new(task: Arc<dyn Joinable<'scope, T, E> + 'scope>) -> Self {
        ScopedTask { task: Some(task), marker: PhantomData }
    }
}

impl<T, E: FromError<Cancelled>, P: Policy> ScopedTask<'_, T, E, P> {
    /// Waits for the task to end, and returns its value.
    ///
    /// In a scope with a [limit](crate::scope::ScopeBuilder::limit), a task that joins another task which has not
    /// started runs it itself, on its own stack. So tasks may join tasks, however few threads there are. A thread
    /// that a task or the body has started by other means than brigade's, one of rayon's for example, does the
    /// same, because brigade cannot tell it from a task.
    ///
    /// The stack grows with the depth of such joins, by the tasks' own variables and some 650 bytes a level (3 KiB
    /// without optimisation): 2 MiB hold 3,000 levels of tasks that keep nothing. For deeper joins set a
    /// [`stack_size`](crate::scope::ScopeBuilder::stack_size), or let a task spawn and end, which needs no stack.
    ///
    /// # Cancellation
    ///
    /// Observes the scope's token. When it is cancelled, this returns at once, though the task may still run,
    /// unless it runs on this very stack. The value of a task that has ended is returned even so. A task that joins
    /// itself waits until the cancel.
    ///
    /// # Errors
    ///
    /// In a scope that [fails fast](FailFast), [`Cancelled`]: the scope was cancelled before the task ended, or the
    /// task failed. The failure of a task belongs to the scope, which returns it.
    ///
    /// In a scope that [keeps going](crate::scope::KeepGoing), a [`Failure`]: the task's error or panic, which is
    /// then handled, so that the scope does not list it. [`Failure::Cancelled`] if the scope was cancelled before
    /// the task ended, or the task was skipped. The scope then does not count the task, and drops an error that the
    /// task returns later; a panic still counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let (good, bad) = ScopeBuilder::new()
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         let good = s.spawn(|_| Ok("7".parse::<u32>()?))?;
    ///         let bad = s.named("parse").spawn(|_| Ok("seven".parse::<u32>()?))?;
    ///         Ok::<_, anyhow::Error>((good.join()?, bad.join().map_err(|failure| failure.to_string())))
    ///     })
    ///     .unwrap();
    /// assert_eq!((good, bad.unwrap_err().as_str()), (7, "parse#1 failed: invalid digit found in string"));
    /// ```
    pub fn join(self) -> Result<T, P::JoinError<E>> {
        self.wait_for_value(Wait::OrGiveUp)
    }

    /// Returns the value of the task if it has ended, as [`join`](Self::join) does, and otherwise the handle.
    ///
    /// It never waits, and does not look at the token.
    ///
    /// # Errors
    ///
    /// The handle, if the task has not ended. The inner errors are those of [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, scope};
    ///
    /// let value = scope(&CancellationToken::new(), |s| {
    ///     let mut task = s.spawn(|_| Ok(7))?;
    ///     loop {
    ///         match task.try_join() {
    ///             Ok(value) => return value,
    ///             // Something else to do meanwhile.
    ///             Err(handle) => task = handle,
    ///         }
    ///     }
    /// })?;
    /// assert_eq!(value, 7);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn try_join(self) -> Result<Result<T, P::JoinError<E>>, Self> {
        if self.is_finished() { Ok(self.wait_for_value(Wait::ToTheEnd)) } else { Err(self) }
    }

    /// Waits for the task to end, up to `timeout`, and returns its value as [`join`](Self::join) does, or the handle.
    ///
    /// A timeout too long for the clock to hold is no timeout. A queued task that another task joins runs on the stack
    /// of that one, and then this call takes as long as the task.
    ///
    /// # Cancellation
    ///
    /// As [`join`](Self::join).
    ///
    /// # Errors
    ///
    /// The handle, if the time is up: it can be joined again. The inner errors are those of [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancellationToken, Cancelled, scope};
    ///
    /// let late = scope(&CancellationToken::new(), |s| {
    ///     let task = s.spawn(|s| s.token().sleep(Duration::from_secs(3600)))?;
    ///     let late = task.join_timeout(Duration::from_millis(1)).is_err();
    ///     s.finish();
    ///     Ok::<_, Cancelled>(late)
    /// })?;
    /// assert!(late);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, P::JoinError<E>>, Self> {
        self.join_until(Instant::now().checked_add(timeout))
    }

    /// Waits for the task to end, up to `deadline`, as [`join_timeout`](Self::join_timeout) does.
    ///
    /// # Errors
    ///
    /// As those of [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(self, deadline: Instant) -> Result<Result<T, P::JoinError<E>>, Self> {
        self.join_until(Some(deadline))
    }

    fn join_until(self, deadline: Option<Instant>) -> Result<Result<T, P::JoinError<E>>, Self> {
        match self.wait_for(Wait::Within(deadline)) {
            Waited::Ended => Ok(self.wait_for_value(Wait::ToTheEnd)),
            // It gives up at once.
            Waited::Cancelled => Ok(self.wait_for_value(Wait::OrGiveUp)),
            Waited::TimeIsUp => Err(self),
        }
    }

    /// Waits for the task to end, and leaves its value to a later [`join`](Self::join).
    ///
    /// Several threads may wait for one task, by references to its handle.
    ///
    /// # Cancellation
    ///
    /// As [`join`](Self::join), but the task still counts.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the scope was cancelled before the task ended. How the task ended is no matter here.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, scope};
    ///
    /// scope(&CancellationToken::new(), |s| {
    ///     let load = s.spawn(|_| Ok(7))?;
    ///     std::thread::scope(|threads| {
    ///         for _ in 0..2 {
    ///             threads.spawn(|| load.wait());
    ///         }
    ///     });
    ///     assert_eq!(load.join()?, 7);
    ///     Ok::<_, Cancelled>(())
    /// })?;
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn wait(&self) -> Result<(), Cancelled> {
        match self.wait_for(Wait::Within(None)) {
            Waited::Ended => Ok(()),
            Waited::Cancelled | Waited::TimeIsUp => self.task().link().token.check(),
        }
    }

    /// Waits for the task to end even if the scope is cancelled, as the scope itself does, and returns its value.
    pub(super) fn join_to_the_end(self) -> Result<T, P::JoinError<E>> {
        self.wait_for_value(Wait::ToTheEnd)
    }

    /// Waits for the task, and decides what its `join` gives: the value; the failure, if
    /// the policy leaves it to `join`; otherwise that the scope or the task was cancelled.
    fn wait_for_value(mut self, wait: Wait) -> Result<T, P::JoinError<E>> {
        // A task to which no other reference is left has ended, and needs no lock.
        if let Some(task) = self.task.take_if(|task| Arc::strong_count(task) == 1) {
            if let Some(Ended { id, link, result }) = task.into_ended() {
                return result.map_err(|no_value| join_error::<E, P>(no_value, &id, &link));
            }
            unreachable!("it was the only reference");
        }
        let result = if self.wait_for(wait) == Waited::Ended { self.task().take() } else { Err(NoValue::Cancelled) };
        result.map_err(|no_value| join_error::<E, P>(no_value, self.task().id(), self.task().link()))
    }

    /// Waits for the task to end, or to be given up.
    fn wait_for(&self, wait: Wait) -> Waited {
        let task = self.task();
        while task.status() == Status::Queued {
            let Some(limit) = task.link().limit.as_ref().filter(|limit| limit.is_in_task()) else { break };
            let own = Arc::as_ptr(task).cast::<()>();
            limit.remove(|queued| Arc::as_ptr(queued).cast() == own || !queued.is_queued());
            Arc::clone(task).run(&mut Some(task.link().clone()));
        }
        if task.status() == Status::Ended { Waited::Ended } else { self.wait_asleep(wait) }
    }

    // A function of its own, because tasks that join tasks keep the frames of `wait` on their stack.
    #[inline(never)]
    fn wait_asleep(&self, wait: Wait) -> Waited {
        let task = self.task();
        let token = &task.link().token;
        let observed = (wait != Wait::ToTheEnd).then_some(token);
        let deadline = if let Wait::Within(deadline) = wait { deadline } else { None };
        let event = task.observe();
        let _watch = observed.map(|token| event.observe(token));
        loop {
            let ticket = event.ticket();
            if task.status() == Status::Ended {
                return Waited::Ended;
            }
            if observed.is_some_and(CancellationToken::is_cancelled) {
                let gives_up = wait == Wait::OrGiveUp;
                return if gives_up && !task.give_up() { Waited::Ended } else { Waited::Cancelled };
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Waited::TimeIsUp;
            }
            let times = [deadline, observed.and_then(CancellationToken::look_at)];
            event.wait_until(ticket, times.into_iter().flatten().min());
        }
    }
}

/// Makes the error of a `join` of a task without a value.
fn join_error<E: FromError<Cancelled>, P: Policy>(
    no_value: NoValue<E>,
    id: &TaskId,
    shared: &Shared<'_, E>,
) -> P::JoinError<E> {
    // Without a reason it is the task's own failure that is about to cancel the scope.
    let cancelled = Cancelled::new(shared.token.reason().unwrap_or(CancelReason::Failed));
    P::join_error(cancelled, |cancelled| match no_value {
        NoValue::Failed(failed) => failed.failure,
        NoValue::Cancelled | NoValue::Skipped => {
            Failure::Cancelled { name: id.owned_name(), index: id.index, cancelled }
        }
    })
}

impl<'scope, T, E, P> ScopedTask<'scope, T, E, P> {
    /// Tells whether the task has ended, well or not, and never waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task().status() == Status::Ended
    }

    /// Returns the task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.task().id().name()
    }

    fn task(&self) -> &Arc<dyn Joinable<'scope, T, E> + 'scope> {
        self.task.as_ref().unwrap_or_else(|| unreachable!("only its drop takes it"))
    }
}

impl<T, E, P> Drop for ScopedTask<'_, T, E, P> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.release();
        }
    }
}

impl<T, E, P> fmt::Debug for ScopedTask<'_, T, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask")
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Collects the values, up to the first error. The values in front of an error are dropped one by one, because two
/// panics at once would abort the process.
pub(super) fn values_of<T, X>(results: impl Iterator<Item = Result<T, X>>) -> Result<Vec<T>, X> {
    let mut values = Vec::with_capacity(results.size_hint().0);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                panic::drop_each(values);
                return Err(error);
            }
        }
    }
    Ok(values)
}
