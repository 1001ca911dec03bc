//! [`FailFast`] and [`KeepGoing`]: the effect of a failure in a scope.
//!
//! The method that runs the body decides the effect, and not a switch, because each method has a result of its own and
//! a `join` that fits it. Where the first failure ends the scope, the scope owns that failure, and `join` can only say
//! that the scope was cancelled. Otherwise a failure belongs to the caller that joins the task, or to the scope's list
//! if no caller does. The policy is a type parameter, so the compiler knows the type of a `join`.
//!
//! There is no policy for panics. A scope that keeps going returns panics as values, and `Failures::resume_panic`
//! throws the first one. A scope that ends with an error `E` has no place for a panic, so it resumes the panic.

use crate::error::Cancelled;
use crate::failure::Failure;

/// The effect of a failure in a [`Scope`](crate::scope::Scope): [`FailFast`] or [`KeepGoing`].
///
/// No other type can implement this trait. The table at [`ScopeBuilder`](crate::scope::ScopeBuilder) says which
/// method has which policy.
pub trait Policy: sealed::Policy {
    /// The error of [`ScopedTask::join`](crate::scope::ScopedTask::join).
    type JoinError<E>;
}

/// The policy of [`scope`](crate::scope()) and [`ScopeBuilder::run`](crate::scope::ScopeBuilder::run): the first
/// failure cancels the other tasks, and the scope returns it.
#[derive(Debug)]
pub enum FailFast {}

/// The policy of [`ScopeBuilder::collect_all`](crate::scope::ScopeBuilder::collect_all) and
/// [`ScopeBuilder::supervise`](crate::scope::ScopeBuilder::supervise): the other tasks go on, and the scope lists
/// each failure that was not joined.
#[derive(Debug)]
pub enum KeepGoing {}

impl Policy for FailFast {
    type JoinError<E> = Cancelled;
}

impl Policy for KeepGoing {
    type JoinError<E> = Failure<E>;
}

mod sealed {
    use crate::error::Cancelled;
    use crate::failure::Failure;

    pub trait Policy: Sized {
        /// Makes the error of a `join`. `failure` makes the task's failure, given the cancellation of the scope.
        fn join_error<E>(cancelled: Cancelled, failure: impl FnOnce(Cancelled) -> Failure<E>) -> Self::JoinError<E>
        where
            Self: super::Policy;
    }

    impl Policy for super::FailFast {
        fn join_error<E>(cancelled: Cancelled, _: impl FnOnce(Cancelled) -> Failure<E>) -> Cancelled {
            cancelled
        }
    }

    impl Policy for super::KeepGoing {
        fn join_error<E>(cancelled: Cancelled, failure: impl FnOnce(Cancelled) -> Failure<E>) -> Failure<E> {
            failure(cancelled)
        }
    }
}
