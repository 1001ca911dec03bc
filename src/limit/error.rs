//! [`AcquireError`], [`TryAcquireError`] and [`WaitError`]: why a call did not get what it wanted.

use crate::error::Cancelled;

/// Why a call did not acquire its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The token was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The timeout has passed, or the deadline was reached.
    #[error("the permits were not free in time")]
    Timeout,
    /// The semaphore is closed.
    #[error("the semaphore is closed")]
    Closed,
    /// The call asked for more than there will ever be, however long it waits: ask for less, or enlarge the limit.
    #[error("{asked} permits were asked for, and there are {size} in all: ask for less, or make more")]
    TooMany {
        /// How many permits the call asked for.
        asked: usize,
        /// How many there are in all: the size of the semaphore, or the burst of the rate.
        size: usize,
    },
}

impl AcquireError {
    /// Returns the cancellation, with its reason, or `None` for another error.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        if let AcquireError::Cancelled(cancelled) = self { Some(*cancelled) } else { None }
    }
}

/// Why a call that does not wait did not acquire its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryAcquireError {
    /// The permits are not free, or are kept for a caller that has waited for long.
    #[error("the permits are not free")]
    NoPermits,
    /// The semaphore is closed.
    #[error("the semaphore is closed")]
    Closed,
    /// The call asked for more than the semaphore has: ask for less, or enlarge it.
    #[error("{asked} permits were asked for, and there are {size} in all: ask for less, or make more")]
    TooMany {
        /// How many permits the call asked for.
        asked: usize,
        /// How many the semaphore has in all.
        size: usize,
    },
}

/// Why a wait for a state ended without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The token was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The timeout has passed, or the deadline was reached.
    #[error("the state did not come in time")]
    Timeout,
}

impl WaitError {
    /// Returns the cancellation, with its reason, or `None` for another error.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        if let WaitError::Cancelled(cancelled) = self { Some(*cancelled) } else { None }
    }
}
