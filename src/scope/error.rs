//! [`TrySpawnError`]: why a task was not spawned, with its closure.

use std::fmt;

use crate::error::Cancelled;

/// The error of [`Scope::try_spawn`](crate::scope::Scope::try_spawn), which gives the closure back.
#[derive(thiserror::Error)]
#[error("{}", match .cancelled { Some(cancelled) => cancelled.to_string(), None => "the queue of the scope is full".to_owned() })]
pub struct TrySpawnError<F> {
    pub(super) f: F,
    /// The index that the task would have had.
    pub(super) index: usize,
    /// `None` if the queue was full.
    pub(super) cancelled: Option<Cancelled>,
}

impl<F> TrySpawnError<F> {
    /// Tells whether the queue was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.cancelled.is_none()
    }

    /// Returns the cancellation, or `None` if the queue was full.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.cancelled
    }

    /// Returns the closure.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.f
    }
}

impl<F> fmt::Debug for TrySpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySpawnError").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}
