//! [`PoolBuilder`]: the options of a pool.

use std::fmt;
use std::sync::Arc;

use super::Pool;
use super::shared::{OnPanic, Settings, Shared};
use crate::hooks::Hooks;
use crate::token::CancellationToken;

/// How many jobs the queue holds for each worker, unless the user sets its length: as in a scope's limit.
const QUEUED_A_WORKER: usize = 512;

/// The options of a [`Pool`].
///
/// # Examples
///
/// ```
/// use brigade::pool::Close;
/// use brigade::{CancellationToken, PoolBuilder};
/// use std::time::Duration;
///
/// let token = CancellationToken::new();
/// let pool = PoolBuilder::new(4).queue(64).named("resize").start(&token);
/// for _ in 0..1_000 {
///     pool.fire(&token, |_job| {})?;
/// }
/// let account = pool.close(&token, Close::Drain, Duration::MAX)?;
/// assert_eq!((account.accepted, account.jobs.completed), (1_000, 1_000));
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it starts a pool"]
pub struct PoolBuilder {
    workers: usize,
    queue: Option<usize>,
    name: Option<Arc<str>>,
    stack: Option<usize>,
    on_panic: OnPanic,
    hooks: Option<Arc<dyn Hooks + Send + Sync>>,
}

impl PoolBuilder {
    /// Returns the builder of a pool of at most `workers` workers, named `pool`.
    ///
    /// The workers are started as they are needed.
    ///
    /// # Panics
    ///
    /// If `workers` is 0.
    #[track_caller]
    pub fn new(workers: usize) -> Self {
        assert!(workers > 0, "PoolBuilder::new(0): no job could ever run; 1 runs them one after the other");
        PoolBuilder { workers, queue: None, name: None, stack: None, on_panic: OnPanic::default(), hooks: None }
    }

    /// Lets the queue hold `jobs` jobs beyond those for which a worker is free.
    ///
    /// The default is 512 jobs a worker. With 0 a job is only handed over: it is accepted when a worker is free for it.
    ///
    /// A job that submits another to its own pool by [`submit`](Pool::submit) or [`fire`](Pool::fire) never waits,
    /// because the queue may be waiting for that very job. So the number of jobs that jobs submit is not bounded,
    /// unless they [try](Pool::try_submit).
    pub fn queue(mut self, jobs: usize) -> Self {
        self.queue = Some(jobs);
        self
    }

    /// Names the pool, its workers and its jobs.
    ///
    /// The threads are called `name#0` and so on; Linux shows 15 bytes. The default is `pool`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.name = Some(name.as_ref().into());
        self
    }

    /// Gives each worker a stack of `bytes` bytes.
    ///
    /// The default is std's: 2 MiB, or `RUST_MIN_STACK`.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// Sets what a panic of a job does. The default is [`OnPanic::Keep`].
    pub fn on_panic(mut self, on_panic: OnPanic) -> Self {
        self.on_panic = on_panic;
        self
    }

    /// Has `hooks` told of every job that starts, ends, panics or is skipped.
    ///
    /// They run on the worker, or for a skipped job on the thread that skips it. A panic in one counts as the job's.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks + Send + Sync>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Starts the pool, which is cancelled with `token`.
    ///
    /// No thread is started yet. When the token is cancelled, the pool is closed, the pending jobs are skipped before
    /// the `cancel` returns, and the jobs that run see their tokens cancelled. Call [`Pool::close`], or drop the pool,
    /// to wait for those.
    pub fn start(self, token: &CancellationToken) -> Pool {
        let settings = Settings {
            workers: self.workers,
            capacity: self.queue.unwrap_or_else(|| self.workers.saturating_mul(QUEUED_A_WORKER)),
            name: self.name.unwrap_or_else(|| "pool".into()),
            stack: self.stack,
            on_panic: self.on_panic,
            hooks: self.hooks,
        };
        Pool::start(Shared::new(settings, token.child_token()))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("queue", &self.queue)
            .field("name", &self.name)
            .field("stack", &self.stack)
            .field("on_panic", &self.on_panic)
            .field("hooks", &self.hooks.is_some())
            .finish()
    }
}
