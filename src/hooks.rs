//! [`Hooks`]: calls at the start and the end of each task.

use std::fmt;
use std::time::Duration;

use crate::error::CancelReason;
use crate::failure::Panic;

/// Is told when tasks of a [scope](crate::scope::ScopeBuilder), or jobs of a [pool](crate::PoolBuilder), start, end and
/// panic: for metrics, traces and logs.
///
/// Every method does nothing unless it is written. The methods run on the task's thread, before and after it, so
/// their time is added to the task's. A panic in one counts as the task's. Where no hooks are set, not even the
/// clock is read.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
/// use brigade::hooks::{Hooks, Outcome, Task};
/// use brigade::{CancellationToken, Cancelled, ScopeBuilder};
///
/// #[derive(Default)]
/// struct Count(AtomicUsize);
///
/// impl Hooks for Count {
///     fn ended(&self, task: Task<'_>, outcome: Outcome, _took: Duration) {
///         assert_eq!((task.name, outcome), ("parse", Outcome::Completed));
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let count = Count::default();
/// ScopeBuilder::new().named("parse").hooks(&count).run(&CancellationToken::new(), |s| {
///     s.spawn(|_| Ok(()))?;
///     s.spawn(|_| Ok::<_, Cancelled>(()))?;
///     Ok(())
/// })?;
/// assert_eq!(count.0.into_inner(), 2);
/// # Ok::<(), Cancelled>(())
/// ```
///
/// Where nothing should be saved after a panic, a hook can end the process at once, before any sibling is told. The
/// panic's message has been printed by then:
///
/// ```no_run
/// use brigade::hooks::Hooks;
/// use brigade::Panic;
///
/// struct Crash;
///
/// impl Hooks for Crash {
///     fn panicked(&self, _panic: &Panic) {
///         std::process::abort();
///     }
/// }
/// ```
pub trait Hooks: Sync {
    /// Is called before a task starts.
    fn started(&self, task: Task<'_>) {
        _ = task;
    }

    /// Is called when a task has ended, `took` after it started.
    ///
    /// A task that was skipped has neither started nor taken any time.
    fn ended(&self, task: Task<'_>, outcome: Outcome, took: Duration) {
        _ = (task, outcome, took);
    }

    /// Is called when a task has panicked, before the siblings are told and before [`ended`](Self::ended).
    ///
    /// A panic of the scope's body is told too, under the name `body`; so is a panic in the `Drop` of a task's
    /// value or closure.
    fn panicked(&self, panic: &Panic) {
        _ = panic;
    }

    /// Is called when a [pool](crate::Pool::close) waits for a job that goes on although its token was cancelled.
    ///
    /// It runs on the thread that closes the pool.
    fn overdue(&self, job: Task<'_>) {
        _ = job;
    }
}

/// The task that [`Hooks`] are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Task<'a> {
    /// The name of the task.
    pub name: &'a str,
    /// The number of the task in its run, counted from 0.
    pub index: usize,
}

/// How a task ended, for [`Hooks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It returned a value.
    Completed,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It returned an error after the run had been cancelled for this reason, and most often because of that.
    ///
    /// After [`finish`](crate::scope::Scope::finish) the reason is [`Finished`](CancelReason::Finished).
    Cancelled(CancelReason),
    /// It was not started, because the run had been cancelled for this reason.
    Skipped(CancelReason),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Completed => f.write_str("completed"),
            Outcome::Failed => f.write_str("failed"),
            Outcome::Panicked => f.write_str("panicked"),
            Outcome::Cancelled(reason) => write!(f, "cancelled: {reason}"),
            Outcome::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}
