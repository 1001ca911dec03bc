//! [`Group`]: jobs that are awaited together, with the policies of a scope.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::admit::IfFull;
use super::cx::JobCx;
use super::error::{JobError, SubmitError};
use super::head::Watch;
use super::job::Job;
use super::status::JobStatus;
use super::submission::Submission;
use crate::error::{CancelReason, Cancelled};
use crate::failure::Failure;
use crate::panic;
use crate::token::CancellationToken;

/// Jobs of a pool that are awaited together.
///
/// The first job that fails or panics cancels the others, as in a [`scope`](crate::scope()); after
/// [`keep_going`](Self::keep_going) it does not. The jobs are cancelled with the group's token too, and when the group
/// is dropped. Unlike a scope's tasks they cannot borrow, because a group may be dropped, or leaked, without a wait.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, PoolBuilder};
///
/// let token = CancellationToken::new();
/// let pool = PoolBuilder::new(2).start(&token);
/// let parse = |words: &'static [&'static str]| {
///     let mut group = pool.group(&token);
///     for word in words {
///         group.submit(|_job| word.parse::<u32>())?;
///     }
///     anyhow::Ok(group.join()?)
/// };
/// assert_eq!(parse(&["1", "2", "3"])?, [1, 2, 3]);
/// assert_eq!(parse(&["1", "two"]).unwrap_err().to_string(), "pool#4 failed: invalid digit found in string");
/// # anyhow::Ok(())
/// ```
#[must_use = "dropping it cancels its jobs"]
pub struct Group<'p, T, E> {
    submission: Submission<'p>,
    first: Arc<First>,
    keeps_going: bool,
    jobs: Vec<Job<T, E>>,
}

/// The first job in time that failed or panicked.
struct First {
    id: OnceLock<u64>,
    token: CancellationToken,
}

impl Watch for First {
    fn ended(&self, id: u64, status: JobStatus) {
        let reason = match status {
            JobStatus::Failed => CancelReason::Failed,
            JobStatus::Panicked => CancelReason::Panicked,
            _ => return,
        };
        if self.id.set(id).is_ok() {
            if let Err(payload) = panic::catch(|| self.token.cancel_with(reason)) {
                panic::discard(payload);
            }
        }
    }
}

impl<'p, T, E> Group<'p, T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    pub(super) fn new(submission: Submission<'p>, token: &CancellationToken) -> Self {
        let first = Arc::new(First { id: OnceLock::new(), token: token.child_token() });
        let submission = submission.linked(&first.token);
        Group { submission, first, keeps_going: false, jobs: Vec::new() }
    }

    /// Names the jobs that are submitted from now on.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.submission = self.submission.clone().named(name);
        self
    }

    /// Lets a failure of a job that is submitted from now on disturb no other.
    pub fn keep_going(mut self) -> Self {
        self.keeps_going = true;
        self
    }

    /// Returns the group's token, a child of the one that it was made with. It is not the token of its jobs, which are
    /// cancelled with it.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.first.token
    }

    /// Submits a job, and waits for room in the queue of the pool.
    ///
    /// # Cancellation
    ///
    /// Observes the group's token. When another job of the group has failed or panicked, the call does not fail: the
    /// job is accepted, and skipped at once, so that [`join`](Self::join) comes to return the failure.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`](crate::Pool::submit).
    pub fn submit<F>(&mut self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let first = Arc::clone(&self.first);
        self.add(IfFull::Wait(&first.token, None), f)
    }

    /// Submits a job if there is room in the queue of the pool. Never waits.
    ///
    /// When another job of the group has failed or panicked, the job is skipped at once, as with
    /// [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// As [`Pool::try_submit`](crate::Pool::try_submit).
    pub fn try_submit<F>(&mut self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.add(IfFull::Refuse, f)
    }

    /// Like [`submit`](Self::submit), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_timeout`](crate::Pool::submit_timeout).
    pub fn submit_timeout<F>(&mut self, timeout: Duration, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let first = Arc::clone(&self.first);
        self.add(IfFull::Wait(&first.token, Instant::now().checked_add(timeout)), f)
    }

    /// Like [`submit`](Self::submit), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_deadline`](crate::Pool::submit_deadline).
    pub fn submit_deadline<F>(&mut self, deadline: Instant, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let first = Arc::clone(&self.first);
        self.add(IfFull::Wait(&first.token, Some(deadline)), f)
    }

    fn add<F>(&mut self, if_full: IfFull<'_>, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let submitted = match self.send(if_full, f) {
            Err(error) if error.cancelled().is_some() && self.first.id.get().is_some() => {
                // The job is accepted after all, so its submission is not among the refused.
                self.submission.shared().queue.lock().refused -= 1;
                self.send(IfFull::Pass, error.into_inner())
            }
            submitted => submitted,
        };
        self.jobs.push(submitted?);
        Ok(())
    }

    fn send<F>(&self, if_full: IfFull<'_>, f: F) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let watch = (!self.keeps_going).then(|| Arc::clone(&self.first) as _);
        self.submission.send(if_full, self.submission.boxed_extras(watch), f)
    }

    /// Waits until every job has ended; returns their values in the order of their submission.
    ///
    /// # Cancellation
    ///
    /// When the group's token is cancelled, its jobs are, and the call waits until they have ended.
    ///
    /// # Errors
    ///
    /// The first failure in time; or else the first job in the order of submission that was cancelled or skipped.
    /// [`Cancelled`] if the group's token was cancelled and every job ended well.
    ///
    /// # Panics
    ///
    /// If a job panicked, the panic is resumed when all have ended: the first one in the order of submission. It counts
    /// more than an error.
    pub fn join(mut self) -> Result<Vec<T>, Failure<E>> {
        let results = self.results();
        let first = self.first.id.get().copied();
        let cancelled = self.first.token.check();
        let mut values = Vec::with_capacity(results.len());
        let (mut panicked, mut failed) = (None, None);
        for (id, result) in results {
            match result {
                Ok(value) => values.push(value),
                Err(Failure::Panic(panic)) if panicked.is_none() => panicked = Some(panic),
                // The first in time beats its echoes.
                Err(failure) if failed.is_none() || first == Some(id) => panic::discard(failed.replace(failure)),
                Err(failure) => panic::discard(failure),
            }
        }
        match (panicked, failed, cancelled) {
            (None, None, Ok(())) => Ok(values),
            (Some(panic), failed, _) => {
                panic::discard_all(values);
                panic::discard(failed);
                panic.resume()
            }
            (None, Some(failure), _) => {
                panic::discard_all(values);
                Err(failure)
            }
            (None, None, Err(cancelled)) => {
                panic::discard_all(values);
                Err(cancelled.into())
            }
        }
    }

    /// Waits until every job has ended; returns their values and failures in the order of their submission.
    ///
    /// A panic comes as a value, [`Failure::Panic`].
    ///
    /// # Cancellation
    ///
    /// As [`join`](Self::join).
    #[must_use = "it has the failures"]
    pub fn join_all(mut self) -> Vec<Result<T, Failure<E>>> {
        self.results().into_iter().map(|(_, result)| result).collect()
    }

    fn results(&mut self) -> Vec<(u64, Result<T, Failure<E>>)> {
        let jobs = std::mem::take(&mut self.jobs).into_iter();
        jobs.map(|job| {
            let result = job.wait(&CancellationToken::never());
            (job.id(), result.map_err(|error| failure_of(&job, error)))
        })
        .collect()
    }
}

/// Makes the error of a wait that no token ends a failure.
fn failure_of<T, E>(job: &Job<T, E>, error: JobError<E>) -> Failure<E> {
    match error {
        JobError::Failed(failure) => failure,
        error => {
            let reason = match error {
                JobError::TooDeep => "too many jobs wait on the thread that joins the group",
                // The job of the group waits for the job that joins the group.
                _ => "the job waits for the one that joins its group",
            };
            let cancelled = Cancelled::new(CancelReason::Other(reason));
            Failure::Cancelled {
                name: job.name().into(),
                index: usize::try_from(job.id()).unwrap_or(usize::MAX),
                cancelled,
            }
        }
    }
}

impl<T, E> Drop for Group<'_, T, E> {
    fn drop(&mut self) {
        let cancelled = panic::catch(|| self.first.token.cancel_with(CancelReason::Dropped));
        match cancelled {
            Err(payload) if !std::thread::panicking() => panic::resume(payload),
            cancelled => panic::discard(cancelled),
        }
    }
}

impl<T, E> fmt::Debug for Group<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}
