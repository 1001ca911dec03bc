//! [`SubmitError`], [`JobError`] and [`CloseError`].

use std::fmt;

use parking_lot::Mutex;

use crate::error::Cancelled;
use crate::failure::Failure;

/// Why a pool did not accept a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the queue of the pool is full")]
    Full,
    #[error("the queue of the pool was full for too long")]
    Timeout,
    #[error("the pool is closed")]
    Closed,
    #[error("the system refused to start a thread")]
    NoThread,
    #[error(transparent)]
    Cancelled(Cancelled),
}

/// Why a pool did not accept a job, with its closure.
///
/// It is an error whatever the closure captures, so `?` passes it on.
pub struct SubmitError<F> {
    // A closure is `Send` only. The mutex makes the error `Sync`, because `anyhow` and `Box<dyn Error + Send + Sync>`
    // ask for that.
    closure: Mutex<F>,
    refusal: Refusal,
}

impl<F> SubmitError<F> {
    pub(super) fn new(closure: F, refusal: Refusal) -> Self {
        SubmitError { closure: Mutex::new(closure), refusal }
    }

    /// Tells whether the queue was full, for a submission that does not wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.refusal == Refusal::Full
    }

    /// Tells whether the queue was full until the timeout had passed, or the deadline was reached.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.refusal == Refusal::Timeout
    }

    /// Tells whether the pool is closed or cancelled.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.refusal == Refusal::Closed
    }

    /// Tells whether the system refused to start the first worker. A later submission tries again.
    #[must_use]
    pub fn is_refused_thread(&self) -> bool {
        self.refusal == Refusal::NoThread
    }

    /// Returns the cancellation of the submission's token, or `None` for another cause.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        if let Refusal::Cancelled(cancelled) = self.refusal { Some(cancelled) } else { None }
    }

    /// Returns the closure.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.closure.into_inner()
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("refusal", &self.refusal).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl<F> std::error::Error for SubmitError<F> {}

/// Why a wait for a job gave no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError<E> {
    /// The job has ended without a value: it failed, panicked or was skipped.
    #[error(transparent)]
    Failed(Failure<E>),
    /// The token of the wait was cancelled. The job goes on.
    #[error(transparent)]
    Cancelled(Cancelled),
    /// The timeout has passed, or the deadline was reached. The job goes on.
    #[error("the job did not end in time")]
    Timeout,
    /// The job waits for the very job that waits for it, by itself or by way of others, so the wait would have no end.
    #[error("the job that is waited for waits for this one")]
    Circle,
    /// The job is pending, and the thread that waits runs 200 jobs already, each inside of the wait of the one before:
    /// its stack might not hold another one.
    #[error("200 jobs wait on this thread already, each for the next one")]
    TooDeep,
    /// The result has been taken before.
    #[error("the result of the job has been taken")]
    Taken,
}

impl<E> JobError<E> {
    /// Returns the failure of the job, or `None` if the wait itself ended.
    #[must_use]
    pub fn into_failure(self) -> Option<Failure<E>> {
        if let JobError::Failed(failure) = self { Some(failure) } else { None }
    }

    /// Returns the error that the job returned, or `None` for anything else.
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        self.into_failure().and_then(Failure::into_error)
    }

    /// Returns the cancellation of the wait or of the job, or `None` for anything else.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        match self {
            JobError::Cancelled(cancelled) => Some(*cancelled),
            JobError::Failed(failure) => failure.cancelled(),
            JobError::Timeout | JobError::Circle | JobError::TooDeep | JobError::Taken => None,
        }
    }
}

/// The error of a [`close`](crate::Pool::close) that one of the pool's own jobs calls: it would wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job cannot close the pool that runs it: it would wait for itself")]
#[non_exhaustive]
pub struct CloseError;
