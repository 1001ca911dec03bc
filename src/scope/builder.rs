//! [`ScopeBuilder`]: the options of a scope.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::failures::Bounds;
use crate::hooks::Hooks;

/// A scope with more options than [`scope`](crate::scope()) has: a limit, other policies, names, stacks, hooks.
///
/// The method that runs the body decides the effect of a failure:
///
/// | method | a failing task | the result |
/// |---|---|---|
/// | [`run`](Self::run), and [`scope`](crate::scope()) | cancels the others | the first error in time |
/// | [`collect_all`](Self::collect_all) | disturbs no other | every failure, in the order of spawning |
/// | [`supervise`](Self::supervise) | disturbs no other | the body's own, and the failures beside it |
/// | [`first_ok`](Self::first_ok) | disturbs no other; success cancels the others | the first value in time, or else every error |
///
/// A panic is resumed by `run` and `first_ok` when all tasks have been joined. The other methods return it as a value
/// that names the task, [`Failure::Panic`](crate::Failure::Panic);
/// [`Failures::resume_panic`](crate::Failures::resume_panic) goes on with it.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, Cancelled, ScopeBuilder};
///
/// // A thousand tasks on two threads.
/// let sum = ScopeBuilder::new().limit(2).named("square").run(&CancellationToken::new(), |s| {
///     let tasks = (0..1_000_u64).map(|number| s.spawn(move |_| Ok(number * number))).collect::<Result<Vec<_>, _>>()?;
///     tasks.into_iter().map(|task| task.join()).sum::<Result<u64, Cancelled>>()
/// })?;
/// assert_eq!(sum, 332_833_500);
/// # Ok::<(), Cancelled>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it runs a body, by `run` for example"]
pub struct ScopeBuilder<'env> {
    pub(super) limit: Option<NonZeroUsize>,
    pub(super) queue: Option<usize>,
    pub(super) bounds: Bounds,
    pub(super) name: Option<Arc<str>>,
    pub(super) stack: Option<usize>,
    pub(super) hooks: Option<&'env dyn Hooks>,
}

impl Default for ScopeBuilder<'_> {
    fn default() -> Self {
        ScopeBuilder::new()
    }
}

impl<'env> ScopeBuilder<'env> {
    /// Returns the builder of a scope without a limit, with tasks named `task`.
    pub fn new() -> Self {
        ScopeBuilder { limit: None, queue: None, bounds: Bounds::DEFAULT, name: None, stack: None, hooks: None }
    }

    /// Lets at most `threads` tasks run at once, on as many threads.
    ///
    /// The threads are started as they are needed, and run one task after the other. The default is no limit: each
    /// task has a thread of its own.
    ///
    /// Tasks then wait in a [queue](Self::queue), and start in the order in which they were spawned. Where `threads` is
    /// more than 1 and tasks are short, a task may start up to 100 µs of work out of order. So tasks must not wait for
    /// each other by other means than [`join`](crate::scope::ScopedTask::join), because the other task may not have
    /// started. A task that joins such a task runs it on its own stack, of which 2 MiB hold 3,000 levels of joins
    /// within joins; a larger [`stack_size`](Self::stack_size) holds more.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    #[track_caller]
    pub fn limit(mut self, threads: usize) -> Self {
        let Some(threads) = NonZeroUsize::new(threads) else {
            panic!("ScopeBuilder::limit(0): no task could ever run; 1 runs them one after the other");
        };
        self.limit = Some(threads);
        self
    }

    /// Lets the queue of a scope with a [`limit`](Self::limit) hold `tasks` tasks beyond those for which a thread
    /// is free.
    ///
    /// The body waits when the queue is full. The default is 512 tasks a thread. With 0 the body waits until a
    /// thread is free. Without a limit there is no queue.
    ///
    /// A task that spawns another never waits, because the queue may be waiting for that very task. So the number of
    /// tasks that tasks spawn is not bounded. A thread that the program has started by other means than brigade's
    /// does not wait either, because a task may wait for that thread.
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = Some(tasks);
        self
    }

    /// Keeps at most `most` failures where they are listed: those of the tasks spawned first.
    ///
    /// The others are [counted](crate::Failures::omitted). The default is 1000.
    pub fn failures(mut self, most: usize) -> Self {
        self.bounds.kept = most;
        self
    }

    /// Cancels the scope when `failures` tasks have failed, where one failure alone does not.
    ///
    /// That is in [`collect_all`](Self::collect_all), [`supervise`](Self::supervise) and [`first_ok`](Self::first_ok).
    /// The default is no such bound. [`run`](Self::run) ends with the first failure in any case.
    ///
    /// A failure that is joined counts too. Tasks that run at the same moment may fail together, so there may be
    /// more failures: at most one for each task that runs beside the last one that counts. The token tells the tasks
    /// that run then, and they end as cancelled; tasks in the queue are skipped. [`Failures`](crate::Failures) tells
    /// the three apart.
    ///
    /// # Panics
    ///
    /// If `failures` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let failures = ScopeBuilder::new()
    ///     .limit(1)
    ///     .fail_after(2)
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         for word in ["1", "two", "three", "4"] {
    ///             s.spawn(move |_| Ok(word.parse::<u32>().map_err(anyhow::Error::from)?)).ok();
    ///         }
    ///         Ok::<_, anyhow::Error>(())
    ///     })
    ///     .unwrap_err();
    /// assert_eq!((failures.count(), failures.skipped()), (2, 1));
    /// ```
    #[track_caller]
    pub fn fail_after(mut self, failures: usize) -> Self {
        let Some(failures) = NonZeroUsize::new(failures) else {
            panic!("ScopeBuilder::fail_after(0): no task could ever run; 1 stops at the first failure");
        };
        self.bounds.fail_after = Some(failures);
        self
    }

    /// Names the tasks that are not [named otherwise](crate::scope::Scope::named).
    ///
    /// The threads of a scope with a limit have the same name: `name#0` and so on (Linux shows 15 bytes). The
    /// default is `task`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.name = Some(name.as_ref().into());
        self
    }

    /// Gives each thread a stack of `bytes` bytes.
    ///
    /// The default is std's: 2 MiB, or `RUST_MIN_STACK`.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// Has `hooks` told of every task that starts, ends or panics.
    pub fn hooks(mut self, hooks: &'env dyn Hooks) -> Self {
        self.hooks = Some(hooks);
        self
    }
}

impl fmt::Debug for ScopeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeBuilder")
            .field("limit", &self.limit)
            .field("queue", &self.queue)
            .field("failures", &self.bounds.kept)
            .field("fail_after", &self.bounds.fail_after)
            .field("name", &self.name)
            .field("stack", &self.stack)
            .field("hooks", &self.hooks.is_some())
            .finish()
    }
}
