//! [`Job`]: the handle of a job.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::{Joinable, Taken};
use super::error::JobError;
use super::head::{Progress, Times};
use super::shared::{Desk, Shared};
use super::status::JobStatus;
use crate::error::CancelReason;
use crate::failure::Failure;
use crate::sync::Backoff;
use crate::thread::{self, JobMark};
use crate::token::CancellationToken;

/// How many jobs may run on one thread inside of waits, each inside of the one before: 2 MiB hold 10 KiB for each.
const MOST_INSIDE: usize = 200;

thread_local!(static INSIDE: Cell<usize> = const { Cell::new(0) });

/// The handle of a job that a [`Pool`](crate::Pool) has accepted.
///
/// Dropping the handle leaves the job to the pool, which drops its result.
///
/// # A job that waits for another one of its pool
///
/// If the other job is pending, [`wait`](Self::wait) runs it itself on the waiting thread, at once, as a call: so no
/// wait needs a free worker, and there is no deadlock at any number of workers. The call ends with the other job, and
/// looks at the token of the wait before and after it. If the other job runs already, the thread waits. If it waits for
/// the job that wants to wait, by itself or by way of others, the wait is refused, with [`JobError::Circle`].
///
/// The other job runs on the stack of the waiting one. So that the stack holds them, at most 200 jobs run in each other
/// on one thread: beyond that, a wait for a pending job is refused, with [`JobError::TooDeep`].
///
/// A wait with a timeout or a deadline runs no other job, because it could not end in time: it leaves the other job to
/// the workers, and if none is free in time, it fails with [`JobError::Timeout`].
///
/// This holds for a job's own thread, and for threads that the job starts by brigade's [`scope`](crate::scope()) and
/// pipelines. Nothing is known of threads that it starts by other means: there, and where jobs of two pools wait for
/// each other, have a worker more than jobs that wait.
#[must_use = "dropping it leaves the job to the pool, and its result is lost"]
pub struct Job<T, E> {
    shared: Arc<Shared>,
    core: Arc<dyn Joinable<T, E>>,
}

impl<T, E> Job<T, E> {
    pub(super) fn new(shared: Arc<Shared>, core: Arc<dyn Joinable<T, E>>) -> Self {
        Job { shared, core }
    }

    /// Returns the number of the job in its pool, counted from 0 in the order in which jobs were accepted.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.head().id()
    }

    /// Returns the name of the job, or that of its pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name_arc()
    }

    fn name_arc(&self) -> &Arc<str> {
        self.core.name().unwrap_or(&self.shared.name)
    }

    /// Returns where the job is. Never waits.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.core.head().status.get()
    }

    /// Drops the handle. The hooks are told of a panic in the `Drop` of a result that no handle has taken.
    pub(super) fn release(self) {
        self.core.release(&self.shared);
    }

    /// Tells whether the job has ended, and its watch has been told.
    pub(super) fn is_published(&self) -> bool {
        self.core.head().status.is_published()
    }

    /// Returns how far the job is, as it has said itself.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.core.head().progress()
    }

    /// Returns when the job was created, started and ended.
    ///
    /// `None` for a job of a pool without hooks that is not in a [registry](crate::pool::Jobs): the clock is not read
    /// then.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        Some(self.core.extras()?.timeline.as_ref()?.times_since(self.shared.started))
    }

    /// Waits until the job has ended, and returns its value.
    ///
    /// # Cancellation
    ///
    /// Fails when `token` is cancelled, also if the job has ended by then. The job goes on, and can be waited for
    /// again.
    ///
    /// # Errors
    ///
    /// [`JobError`]: the failure of the job, or the end of the wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, PoolBuilder};
    ///
    /// let token = CancellationToken::new();
    /// let pool = PoolBuilder::new(2).start(&token);
    /// let sum = pool.submit(&token, |_job| anyhow::Ok((1..=100).sum::<u32>()))?;
    /// let broken = pool.submit(&token, |_job| "ten".parse::<u32>())?;
    /// assert_eq!(sum.wait(&token)?, 5_050);
    /// assert_eq!(broken.wait(&token).unwrap_err().to_string(), "pool#1 failed: invalid digit found in string");
    /// # anyhow::Ok(())
    /// ```
    pub fn wait(&self, token: &CancellationToken) -> Result<T, JobError<E>> {
        self.wait_until(token, None)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`JobError::Timeout`].
    pub fn wait_timeout(&self, token: &CancellationToken, timeout: Duration) -> Result<T, JobError<E>> {
        self.wait_until(token, Instant::now().checked_add(timeout))
    }

    /// Like [`wait`](Self::wait), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`JobError::Timeout`].
    pub fn wait_deadline(&self, token: &CancellationToken, deadline: Instant) -> Result<T, JobError<E>> {
        self.wait_until(token, Some(deadline))
    }

    /// Returns the result if the job has ended and the result has not been taken. Never waits.
    #[must_use = "the result is taken"]
    pub fn try_take(&self) -> Option<Result<T, Failure<E>>> {
        match self.core.take() {
            Taken::End(end) => Some(end.into_result(self.name_arc(), self.id())),
            Taken::NotYet | Taken::Before => None,
        }
    }

    /// Cancels the job; returns whether this call did.
    ///
    /// A pending job never starts: it is [skipped](JobStatus::Skipped), and its closure has been dropped when this
    /// returns. (A worker that has only just taken the job drops the closure itself, at once.) A job that runs sees its
    /// token cancelled, and is [cancelled](JobStatus::Cancelled) if it then returns an error.
    ///
    /// # Panics
    ///
    /// If a callback of the job's token panics, as in [`CancellationToken::cancel`].
    pub fn cancel(&self) -> bool {
        self.cancel_with(CancelReason::Requested)
    }

    /// Cancels the job, with a reason.
    ///
    /// # Panics
    ///
    /// As [`cancel`](Self::cancel).
    pub fn cancel_with(&self, reason: CancelReason) -> bool {
        let head = self.core.head();
        if self.status().has_ended() {
            return false;
        }
        if self.shared.mark_skipped(head) {
            self.shared.finish_skip(head.id(), || Arc::clone(&self.core).skip(&self.shared, reason));
            return true;
        }
        let cancels = !self.status().has_ended() && head.token(&self.shared.token).cancel_with(reason);
        if cancels {
            // A worker that has only just taken the job does not start it.
            head.status.skip_claimed();
        }
        cancels
    }

    fn wait_until(&self, token: &CancellationToken, deadline: Option<Instant>) -> Result<T, JobError<E>> {
        token.check().map_err(JobError::Cancelled)?;
        if let Some(result) = self.take() {
            return result;
        }
        match thread::job().filter(|own| own.pool == self.shared.number) {
            Some(own) => self.wait_in_job(own, token, deadline),
            None => self.wait_outside(token, deadline),
        }
    }

    /// Takes the result for a wait, or returns `None` if there is none yet.
    fn take(&self) -> Option<Result<T, JobError<E>>> {
        match self.core.take() {
            Taken::NotYet => None,
            Taken::End(end) => Some(end.into_result(self.name_arc(), self.id()).map_err(JobError::Failed)),
            Taken::Before => Some(Err(JobError::Taken)),
        }
    }

    /// Waits on a thread that works for a job of the same pool.
    fn wait_in_job(
        &self,
        own: JobMark,
        token: &CancellationToken,
        deadline: Option<Instant>,
    ) -> Result<T, JobError<E>> {
        let id = self.id();
        let mut queue = self.shared.queue.lock();
        if !queue.begin_wait(own.id, id) {
            return Err(JobError::Circle);
        }
        // A job that is run here has no limit.
        let status = &self.core.head().status;
        let is_deep = INSIDE.get() >= MOST_INSIDE;
        if deadline.is_none() && is_deep && status.is_claimable() {
            queue.end_wait(own.id, id);
            return Err(JobError::TooDeep);
        }
        let _waits = Waits { shared: &self.shared, from: own.id, to: id };
        let runs_here = deadline.is_none() && !is_deep && status.claim();
        let spent = runs_here.then(|| queue.begin_inline(self.core.label()));
        drop(queue);
        if let Some(spent) = spent {
            self.shared.tell_room();
            spent.into_iter().for_each(|entry| entry.release(&self.shared));
            let before = thread::set_job(Some(JobMark { id, ..own }));
            INSIDE.set(INSIDE.get() + 1);
            // It does not panic.
            Arc::clone(&self.core).run(&Desk { shared: &self.shared, hand: None });
            INSIDE.set(INSIDE.get() - 1);
            thread::set_job(before);
            token.check().map_err(JobError::Cancelled)?;
        }
        self.wait_outside(token, deadline)
    }

    fn wait_outside(&self, token: &CancellationToken, deadline: Option<Instant>) -> Result<T, JobError<E>> {
        if self.status() == JobStatus::Pending {
            self.shared.awaited.store(true, Ordering::Relaxed);
        }
        let backoff = Backoff::new();
        while !backoff.is_completed() && !self.status().has_ended() {
            backoff.snooze();
        }
        let Some(event) = self.core.observe() else {
            return self.take().unwrap_or_else(|| unreachable!("it has ended"));
        };
        let _watch = event.observe(token);
        loop {
            let ticket = event.ticket();
            token.check().map_err(JobError::Cancelled)?;
            if let Some(result) = self.take() {
                return result;
            }
            // Without a clock, the look skips a pending job whose deadline has passed, or that of its pool.
            let look_at = self.core.head().look_at(&self.shared.token);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(JobError::Timeout);
            }
            event.wait_until(ticket, [deadline, token.look_at(), look_at].into_iter().flatten().min());
        }
    }
}

/// Notes while it lives that a job waits for another.
struct Waits<'a> {
    shared: &'a Shared,
    from: u64,
    to: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.shared.queue.lock().end_wait(self.from, self.to);
    }
}

impl<T, E> fmt::Debug for Job<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
