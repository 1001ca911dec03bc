//! [`ScopeBuilder`]: what a scope can be told, and the policies.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{FailFast, KeepGoing, Scope};
use crate::error::Cancelled;
use crate::failure::Failure;
use crate::failures::Failures;
use crate::hooks::Hooks;
use crate::panic;
use crate::token::CancellationToken;

/// A scope with more to say than [`scope`](crate::scope()) has: how many tasks at once, what a failure does, names, stacks, hooks.
///
/// What a failure does is said by the method that runs it:
///
/// | method | a failing task | the result |
/// |---|---|---|
/// | [`run`](Self::run), and [`scope`](crate::scope()) | cancels the others | the first error in time |
/// | [`collect_all`](Self::collect_all) | disturbs nobody | every failure, in the order of spawning |
/// | [`supervise`](Self::supervise) | disturbs nobody | the body's own, and the failures beside it |
/// | [`first_ok`](Self::first_ok) | disturbs nobody; success cancels the others | the first value in time, else every error |
///
/// A panic is resumed by `run` and `first_ok` when all tasks have been joined. The others return it as a value that names
/// the task, [`Failure::Panic`]; [`Failures::resume_panic`] goes on with it.
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
    pub(super) failures: usize,
    pub(super) fail_after: Option<NonZeroUsize>,
    pub(super) name: Option<Arc<str>>,
    pub(super) stack: Option<usize>,
    pub(super) hooks: Option<&'env dyn Hooks>,
}

/// How many failures are kept by default.
const FAILURES: usize = 1_000;

impl Default for ScopeBuilder<'_> {
    fn default() -> Self {
        ScopeBuilder::new()
    }
}

impl<'env> ScopeBuilder<'env> {
    /// Returns the builder of a scope without a limit, whose tasks are named `task`.
    pub fn new() -> Self {
        ScopeBuilder {
            limit: None,
            queue: None,
            failures: FAILURES,
            fail_after: None,
            name: None,
            stack: None,
            hooks: None,
        }
    }

    /// Lets at most `threads` tasks run at once, on as many threads, which are started as they are needed and take one task
    /// after the other. The default is no limit: each task has a thread of its own.
    ///
    /// Tasks wait in a queue then, and are started in the order in which they were spawned, give or take 100 µs of work where
    /// they are short and `threads` is more than 1. So they must not wait for each other by other means than
    /// [`join`](crate::scope::ScopedTask::join): the task that is waited for may not have been started. A task that joins runs such a
    /// task on its own stack, of which 2 MiB hold 3,000 levels of joins within joins; a larger
    /// [`stack_size`](Self::stack_size) holds more.
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

    /// Lets the queue of a scope with a [`limit`](Self::limit) hold so many tasks beyond those that a thread is free for; the
    /// body waits when it is full. The default is 512 a thread. With 0 the body waits until a thread is free. Without a limit
    /// there is no queue.
    ///
    /// A task that spawns another never waits, since it may be what the queue waits for; so what tasks spawn is not bounded. Nor
    /// does a thread that the program has started by other means than brigade's, since a task may wait for that.
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = Some(tasks);
        self
    }

    /// Keeps so many failures where they are listed, those of the tasks spawned first; the others are
    /// [counted](Failures::omitted). The default is 1000.
    pub fn failures(mut self, most: usize) -> Self {
        self.failures = most;
        self
    }

    /// Cancels the scope when `failures` tasks have failed, where a failure alone does not: in
    /// [`collect_all`](Self::collect_all), [`supervise`](Self::supervise) and [`first_ok`](Self::first_ok). The default is no
    /// such bound. [`run`](Self::run) ends with the first failure in any case.
    ///
    /// A failure that is joined counts too. Tasks that run at the same moment may fail together, so there may be a few
    /// failures more. What runs then is told by the token, and ends as cancelled; what is in the queue is skipped.
    /// [`Failures`] tells the three apart.
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
        self.fail_after = Some(failures);
        self
    }

    /// Names the tasks that are not [named otherwise](Scope::named), and the threads of a scope with a limit: `name#0` and
    /// so on (Linux shows 15 bytes). The default is `task`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.name = Some(name.as_ref().into());
        self
    }

    /// Gives each thread a stack of so many bytes. The default is std's: 2 MiB, or `RUST_MIN_STACK`.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// Has `hooks` told of every task that starts, ends or panics.
    pub fn hooks(mut self, hooks: &'env dyn Hooks) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Runs `body` as [`scope`](crate::scope()) does: the first failure in time cancels the others, and is what the scope ends with.
    ///
    /// # Cancellation
    ///
    /// As for [`scope`](crate::scope()). Tasks that are still in the queue are skipped.
    ///
    /// # Errors
    ///
    /// As for [`scope`](crate::scope()).
    ///
    /// # Panics
    ///
    /// As for [`scope`](crate::scope()).
    pub fn run<T, E, F>(&self, token: &CancellationToken, body: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, FailFast>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        self.run_and_drop(token, drop, body)
    }

    /// Runs `body`, lets every task end by itself, and lists all that failed.
    ///
    /// A failure cancels nothing, nor does one of the body. Returns the body's value if nothing failed, or all that failed
    /// has been [joined](crate::scope::ScopedTask::join).
    ///
    /// # Cancellation
    ///
    /// The scope's token is a child of `token`. Only `token` cancels it, and [`fail_after`](Self::fail_after), and
    /// [`finish`](Scope::finish). Tasks that are still in the queue are skipped then.
    ///
    /// # Errors
    ///
    /// Every failure that was not joined, in the order in which the tasks were spawned: errors and panics, with the task's
    /// name and index, up to [a bound](Self::failures). The body's own error or panic comes last, as `body#0`: often it is
    /// that of a task that was joined with `?`. What ended as cancelled or was skipped is told apart, see [`Failures`]; it is
    /// an error too, though nothing may have failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let failures = ScopeBuilder::new()
    ///     .named("parse")
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         for word in ["1", "two", "3", "four"] {
    ///             s.spawn(move |_| Ok(word.parse::<u32>().map_err(anyhow::Error::from)?))?;
    ///         }
    ///         Ok::<_, anyhow::Error>(())
    ///     })
    ///     .unwrap_err();
    /// let failed: Vec<usize> = failures.iter().map(|failure| failure.index()).collect();
    /// assert_eq!(failed, [1, 3]);
    /// assert_eq!(failures.to_string(), "parse#1 failed: invalid digit found in string, and 1 other failure");
    /// ```
    ///
    /// # Panics
    ///
    /// If dropping the body's value panics, where something failed. All other panics are listed.
    pub fn collect_all<T, E, F>(&self, token: &CancellationToken, body: F) -> Result<T, Failures<E>>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        let (value, failures) = self.list_all(token, false, body);
        match value {
            Some(value) if failures.is_empty() => Ok(value),
            lost => match panic::catch(|| drop(lost)) {
                Ok(()) => Err(failures),
                Err(payload) => {
                    failures.discard();
                    panic::resume(payload)
                }
            },
        }
    }

    /// Runs `body`, which looks after its tasks: one that fails disturbs neither the others nor the body.
    ///
    /// Returns what the body returned, and what failed and was not [joined](crate::scope::ScopedTask::join). When the body itself fails,
    /// nobody looks after the tasks any more, and they are cancelled.
    ///
    /// # Cancellation
    ///
    /// The scope's token is a child of `token`. Tasks that are still in the queue when it is cancelled are skipped.
    ///
    /// # Errors
    ///
    /// The body's own, in the first half; the second lists those of the tasks, up to [a bound](Self::failures).
    ///
    /// # Panics
    ///
    /// Resumes a panic of the body, when all tasks have been joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Failure, ScopeBuilder};
    ///
    /// // Tried again until it succeeds.
    /// let (attempts, failures) = ScopeBuilder::new().supervise(&CancellationToken::new(), |s| {
    ///     for attempt in 1.. {
    ///         let task = s.spawn(move |_| if attempt < 3 { panic!("attempt {attempt}") } else { Ok(attempt) })?;
    ///         match task.join() {
    ///             Err(Failure::Panic(_)) => {}
    ///             joined => return Ok(joined?),
    ///         }
    ///     }
    ///     unreachable!("some attempt succeeds")
    /// });
    /// let attempts: anyhow::Result<u32> = attempts;
    /// assert_eq!(attempts?, 3);
    /// assert!(failures.is_empty());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn supervise<T, E, F>(&self, token: &CancellationToken, body: F) -> (Result<T, E>, Failures<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        let (value, mut record) = self.launch(token, false, true, body);
        let body = record.body.take();
        let failures = record.list.into_failures();
        let result = match (body, value) {
            (Some((Failure::Error { error, .. }, _)), _) => Err(error),
            (Some((Failure::Panic(panic), _)), _) => {
                failures.discard();
                panic.resume()
            }
            (None, Some(value)) => Ok(value),
            (Some((Failure::Cancelled { .. }, _)) | None, None | Some(_)) => {
                unreachable!("a body without a value has returned an error or panicked")
            }
        };
        (result, failures)
    }
}

impl fmt::Debug for ScopeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeBuilder")
            .field("limit", &self.limit)
            .field("queue", &self.queue)
            .field("failures", &self.failures)
            .field("fail_after", &self.fail_after)
            .field("name", &self.name)
            .field("stack", &self.stack)
            .field("hooks", &self.hooks.is_some())
            .finish()
    }
}
