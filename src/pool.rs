//! Pools: long-lived workers that take jobs over time, jobs with a status, and an account that adds up.
//!
//! For a program that accepts work while it runs: a server's core, a daemon's background jobs, the heavy lifting of a
//! window. Where all the work is known, or comes from one source, a [`Pipeline`](crate::Pipeline), a parallel map or a
//! [`scope`](crate::scope()) is simpler, and may borrow; a pool's jobs own what they use.
//!
//! | you want | use |
//! |---|---|
//! | a value back | [`Pool::submit`], and [`Job::wait`] |
//! | work done, and no value | [`Pool::fire`] |
//! | not to wait for room, or not for long | [`Pool::try_submit`], [`Pool::submit_timeout`], [`Pool::submit_deadline`] |
//! | a name, a deadline, or the token of a request | [`Pool::named`], [`Pool::deadline`], [`Pool::linked`] |
//! | some jobs at once, and all their values or the first failure | [`Pool::group`] |
//! | to be asked for a job by its id, also when it has ended | [`Jobs`] |
//! | to know what the pool does | [`Pool::account`] |
//! | to end it | [`Pool::close`] |
//!
//! ```
//! use std::time::Duration;
//! use brigade::pool::Close;
//! use brigade::{CancellationToken, PoolBuilder};
//!
//! let token = CancellationToken::new();
//! let pool = PoolBuilder::new(2).queue(100).named("thumbnail").start(&token);
//!
//! let jobs = (1..=3_u32).map(|side| pool.submit(&token, move |_job| anyhow::Ok(side * side)));
//! let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
//! let sizes = jobs.iter().map(|job| job.wait(&token)).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(sizes, [1, 4, 9]);
//!
//! let account = pool.close(&token, Close::Drain, Duration::from_secs(10))?;
//! assert_eq!((account.accepted, account.jobs.completed), (3, 3));
//! # anyhow::Ok(())
//! ```
//!
//! # A limit within a pool
//!
//! A limit on some of the jobs, such as those that use one disk, is a semaphore in their closure. A worker that waits
//! for it does no other job, so have more workers than permits.
//!
//! ```
//! use std::sync::Arc;
//! use brigade::{CancellationToken, PoolBuilder, Semaphore};
//!
//! let token = CancellationToken::new();
//! let pool = PoolBuilder::new(4).start(&token);
//! let disk = Arc::new(Semaphore::new(1));
//! let mut group = pool.group(&token);
//! for block in 0..8_u32 {
//!     let disk = Arc::clone(&disk);
//!     group.submit(move |job| {
//!         let _permit = disk.acquire(job.token(), 1)?;
//!         anyhow::Ok(block)
//!     })?;
//! }
//! assert_eq!(group.join()?.len(), 8);
//! # anyhow::Ok(())
//! ```
//!
//! # Cancellation
//!
//! A pool has a token, a child of the one that it was started with; a job has a child of that, made on first use. Each
//! call that may wait takes a token of its own, which ends the wait and leaves the job. When the pool's token is
//! cancelled, the pending jobs are skipped before the `cancel` returns.
//!
//! # Panics
//!
//! A panic of a job ends the job: its handle has the panic as a value, the hooks are told, and the worker goes on. Or
//! the process ends, with [`OnPanic::Abort`]. A panic in the `Drop` of a closure, or of a value that no handle takes,
//! is told to the hooks; it changes no count.
//!
//! # The account
//!
//! A job that was accepted is always in one of seven counts, from [`Pending`](JobStatus::Pending) to
//! [`Skipped`](JobStatus::Skipped), and [`Account::accepted`] is their sum whenever it is asked for. A result that a
//! handle has is counted already.
//!
//! # Order
//!
//! Jobs start in the order in which they were accepted. Where there are several workers and the jobs are short, a job
//! may start up to 100 µs of work out of order.
//!
//! # Costs
//!
//! A trivial job that is fired costs 1.2 to 1.4 times as much as a box through a bounded channel of crossbeam's, one
//! whose result is taken 2.5 to 3.5 times, and one of a registry 4 times. An idle worker uses no CPU time.

mod account;
mod error;
mod status;

mod hand;
mod queue;
mod stamps;

mod head;

mod cx;
mod shared;

mod core;

mod admit;
mod worker;

mod job;
mod submission;

mod close;
mod group;
mod jobs;

mod builder;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::admit::IfFull;
use self::shared::Shared;
use crate::error::CancelReason;
use crate::panic;
use crate::token::{CancelCallback, CancellationToken};

pub use self::account::{Account, Counts};
pub use self::builder::PoolBuilder;
pub use self::close::Close;
pub use self::cx::JobCx;
pub use self::error::{CloseError, JobError, SubmitError};
pub use self::group::Group;
pub use self::head::{Progress, Times};
pub use self::job::Job;
pub use self::jobs::Jobs;
pub use self::shared::OnPanic;
pub use self::status::JobStatus;
pub use self::submission::Submission;

/// Workers that take jobs over time. A [`PoolBuilder`] starts it; the [module](self) tells how it is used.
///
/// It is used by reference, from any number of threads. Dropping it cancels it, with the reason
/// [`Dropped`](CancelReason::Dropped), and waits until all its workers have ended; [`close`](Self::close) drains it.
/// (If one of its own jobs drops it, also as the closure of a skipped job is dropped, the drop cancels it and cannot
/// wait: the workers then end with their jobs.)
#[must_use = "dropping it cancels its jobs"]
pub struct Pool {
    shared: Arc<Shared>,
    /// Skips the pending jobs when the pool's token is cancelled.
    _skips: CancelCallback,
}

impl Pool {
    fn start(shared: Arc<Shared>) -> Self {
        let weak = Arc::downgrade(&shared);
        let skips = shared.token.on_cancel(move |reason| {
            if let Some(shared) = weak.upgrade() {
                shared.skip_pending(reason);
            }
        });
        Pool { shared, _skips: skips }
    }

    #[inline]
    fn job(&self) -> Submission<'_> {
        Submission::new(&self.shared)
    }

    /// Returns a setting for jobs with a name of their own.
    pub fn named(&self, name: impl AsRef<str>) -> Submission<'_> {
        self.job().named(name)
    }

    /// Returns a setting for jobs that are cancelled at `deadline`.
    pub fn deadline(&self, deadline: Instant) -> Submission<'_> {
        self.job().deadline(deadline)
    }

    /// Returns a setting for jobs that are cancelled when `timeout` has passed from now.
    pub fn timeout(&self, timeout: Duration) -> Submission<'_> {
        self.job().timeout(timeout)
    }

    /// Returns a setting for jobs that are cancelled with `token` too.
    pub fn linked(&self, token: &CancellationToken) -> Submission<'_> {
        self.job().linked(token)
    }

    /// Submits a job, and waits for room in the queue.
    ///
    /// # Cancellation
    ///
    /// Fails when `token` is cancelled before the pool has accepted the job. It is not the job's token: see
    /// [`linked`](Self::linked). A job that submits to its own pool never waits.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], which has the closure: if `token` is cancelled, if the pool is closed or cancelled, or if the
    /// system refuses to start the first worker. If it refuses another one, the others do the work.
    pub fn submit<T, E, F>(&self, token: &CancellationToken, f: F) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.job().submit(token, f)
    }

    /// Submits a job if there is room in the queue. Never waits.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], which has the closure: if the queue is full, and where [`submit`](Self::submit) fails.
    pub fn try_submit<T, E, F>(&self, f: F) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.job().try_submit(f)
    }

    /// Submits a job, and waits for room in the queue for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], which has the closure: if the queue was full for so long, and where [`submit`](Self::submit)
    /// fails.
    pub fn submit_timeout<T, E, F>(
        &self,
        token: &CancellationToken,
        timeout: Duration,
        f: F,
    ) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.job().submit_timeout(token, timeout, f)
    }

    /// Submits a job, and waits for room in the queue until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`submit_timeout`](Self::submit_timeout).
    pub fn submit_deadline<T, E, F>(
        &self,
        token: &CancellationToken,
        deadline: Instant,
        f: F,
    ) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.job().submit_deadline(token, deadline, f)
    }

    /// Submits work without a handle, and waits for room in the queue. It is the cheapest way in.
    ///
    /// # Cancellation
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    #[inline]
    pub fn fire<F>(&self, token: &CancellationToken, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        submission::fire(&self.shared, IfFull::Wait(token, None), f)
    }

    /// Submits work without a handle if there is room in the queue. Never waits.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    #[inline]
    pub fn try_fire<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        submission::fire(&self.shared, IfFull::Refuse, f)
    }

    /// Returns a group of jobs, which are awaited together, and are cancelled with `token`.
    pub fn group<T, E>(&self, token: &CancellationToken) -> Group<'_, T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        Group::new(self.job(), token)
    }

    /// Returns what the pool has done and has to do, at this moment. It stops no job.
    #[must_use]
    pub fn account(&self) -> Account {
        self.shared.account()
    }

    /// Closes the pool, waits until all its workers have ended, and returns the final account.
    ///
    /// From now on no job is accepted. Pending jobs are run or skipped, as `how` says. When `grace` has passed, pending
    /// jobs are skipped in any case, and the tokens of the jobs that run are cancelled. A job that ignores its token is
    /// waited for nevertheless, because no thread is ever abandoned: if it goes on for another `grace`, or for a second
    /// if that is zero, the hooks are [told](crate::hooks::Hooks::overdue) which one it is. With [`Duration::MAX`] no
    /// job is cancelled.
    ///
    /// It can be called again, and from several threads at once: each call waits, and gets the account.
    ///
    /// # Cancellation
    ///
    /// When `token` is cancelled, [`Drain`](Close::Drain) becomes [`Cancel`](Close::Cancel): the pending jobs are
    /// skipped. The grace of the jobs that run ends when it would have ended anyway.
    ///
    /// # Errors
    ///
    /// [`CloseError`], and the pool stays open, if one of its own jobs calls this.
    ///
    /// # Panics
    ///
    /// If a callback of a job's token panics. All workers have ended before.
    pub fn close(&self, token: &CancellationToken, how: Close, grace: Duration) -> Result<Account, CloseError> {
        if self.shared.is_in_job() {
            return Err(CloseError);
        }
        let (account, panics) = self.shared.close(token, how, (grace, CancelReason::Requested));
        Ok(panics.resume_or(account))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let (never, reason) = (CancellationToken::never(), CancelReason::Dropped);
        let dropped = panic::catch(|| {
            if self.shared.is_in_job() {
                self.shared.skip_pending(reason);
                self.shared.token.cancel_with(reason);
            } else {
                self.shared.close(&never, Close::Cancel, (Duration::ZERO, reason)).1.resume_or(());
            }
        });
        match dropped {
            Err(payload) if !std::thread::panicking() => panic::resume(payload),
            dropped => panic::discard(dropped),
        }
    }
}

/// A job without settings.
impl<'p> From<&'p Pool> for Submission<'p> {
    fn from(pool: &'p Pool) -> Self {
        pool.job()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account();
        f.debug_struct("Pool").field("name", &self.shared.name).field("account", &account).finish_non_exhaustive()
    }
}
