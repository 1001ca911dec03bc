//! [`Ledger`]: where a scope records failures. [`FirstFailure`] keeps the one to end with, [`FailureList`] keeps all.
//!
//! A task that failed, a task that was cancelled and a task that was skipped are told apart when the task ends, by
//! one look at the token. An error that a task returns after the cancel may be an echo, and no generic `E` can say
//! so. So the hooks and the list agree. A task is not listed if its `join` gave up, because that `join` has
//! reported it; its panic always is.
//!
//! A ledger answers with the reason for which the scope is to be cancelled, because a failure must be recorded
//! before it cancels the siblings: so their echoes come later. Failures that are not kept belong to the user, and
//! are dropped outside of the lock.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled, FromError};
use crate::failure::{Failure, Panic};
use crate::failures::{Bounds, Listing};
use crate::panic;

/// Where a scope records failures.
///
/// `after` is the reason for which the scope had been cancelled before the failure, if it had. An answer of `Some`
/// is the reason to cancel the scope now.
pub(super) trait Ledger<E>: Sync {
    /// Takes the failure of a task, and answers for the task's `join` too.
    fn settle(
        &self,
        index: usize,
        failure: Failure<E>,
        after: Option<CancelReason>,
    ) -> (NoValue<E>, Option<CancelReason>);

    /// Records a failure that no `join` will find: no caller joins the task, or a `Drop` has panicked.
    fn record(&self, index: usize, failure: Failure<E>, after: Option<CancelReason>) -> Option<CancelReason>;

    /// Records a task that got no thread, in a scope that was not cancelled. `reason` is why.
    fn record_refused(&self, index: usize, failure: Failure<E>, reason: CancelReason) -> Option<CancelReason>;

    /// Takes a task that was not started because the scope is cancelled, and answers for the task's `join`.
    fn skip(&self, cancelled: Cancelled) -> NoValue<E>;

    /// Counts a [skipped](NoValue::Skipped) task that no `join` will find.
    fn count_skipped(&self, reason: CancelReason);

    /// Records how the body failed.
    fn record_body(&self, failure: Failure<E>, after: Option<CancelReason>) -> Option<CancelReason>;

    /// Returns whether the scope will end with a failure, so that it cannot finish.
    fn has_failed(&self) -> bool;
}

/// Why a task has no value.
pub(super) enum NoValue<E> {
    /// The scope was cancelled, or the failure belongs to the scope and has cancelled it.
    Cancelled,
    /// The task was not started. A scope with a list counts it, unless it is joined.
    Skipped,
    /// The failure belongs to the caller that joins the task, or else to the scope. Boxed, because glibc frees an
    /// allocation of more than 128 bytes under a lock of the thread that made it, and other threads free tasks.
    Failed(Box<Failed<E>>),
}

/// A failure of a task, in a scope with a list.
pub(super) struct Failed<E> {
    pub(super) failure: Failure<E>,
    pub(super) after: Option<CancelReason>,
}

fn reason_of<E>(failure: &Failure<E>) -> CancelReason {
    if failure.panic().is_some() { CancelReason::Panicked } else { CancelReason::Failed }
}

/// The ledger of a scope that fails fast.
pub(super) struct FirstFailure<E>(Mutex<First<E>>);

/// The failures of which a scope that fails fast ends with one.
pub(super) struct First<E> {
    /// The first error in time.
    pub(super) error: Option<E>,
    /// The error of a task that was skipped. It counts only if nothing else has failed, because it is an echo of
    /// the cancel.
    pub(super) skipped: Option<E>,
    /// The panic to be resumed: the body's, or else that of the task spawned first.
    pub(super) panic: Option<(Place, Panic)>,
}

/// Where a panic came from; an earlier place counts more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Body,
    Task(usize),
}

impl<E> FirstFailure<E> {
    pub(super) fn new() -> Self {
        FirstFailure(Mutex::new(First { error: None, skipped: None, panic: None }))
    }

    pub(super) fn into_inner(self) -> First<E> {
        self.0.into_inner()
    }

    fn keep(&self, place: Place, failure: Failure<E>) {
        let lost = self.0.lock().keep(place, failure);
        panic::discard(lost);
    }
}

impl<E> First<E> {
    fn has_failed(&self) -> bool {
        self.error.is_some() || self.panic.is_some()
    }

    /// Keeps the failure if the scope is to end with it; returns the failure that it will not end with.
    fn keep(&mut self, place: Place, failure: Failure<E>) -> Option<Failure<E>> {
        match failure {
            // An error that comes after a failure may be an echo; a panic never is.
            Failure::Error { error, .. } if !self.has_failed() => {
                self.error = Some(error);
                None
            }
            Failure::Error { .. } | Failure::Cancelled { .. } => Some(failure),
            Failure::Panic(panic) => match &self.panic {
                Some((first, _)) if *first <= place => Some(Failure::Panic(panic)),
                _ => self.panic.replace((place, panic)).map(|(_, panic)| Failure::Panic(panic)),
            },
        }
    }
}

impl<E: FromError<Cancelled> + Send> Ledger<E> for FirstFailure<E> {
    fn settle(
        &self,
        index: usize,
        failure: Failure<E>,
        after: Option<CancelReason>,
    ) -> (NoValue<E>, Option<CancelReason>) {
        (NoValue::Cancelled, self.record(index, failure, after))
    }

    fn record(&self, index: usize, failure: Failure<E>, _: Option<CancelReason>) -> Option<CancelReason> {
        let reason = reason_of(&failure);
        self.keep(Place::Task(index), failure);
        Some(reason)
    }

    fn record_refused(&self, index: usize, failure: Failure<E>, reason: CancelReason) -> Option<CancelReason> {
        self.keep(Place::Task(index), failure);
        Some(reason)
    }

    fn skip(&self, cancelled: Cancelled) -> NoValue<E> {
        let error = cancelled.into();
        let mut first = self.0.lock();
        let lost = if first.skipped.is_none() { first.skipped.replace(error) } else { Some(error) };
        drop(first);
        panic::discard(lost);
        NoValue::Cancelled
    }

    fn count_skipped(&self, _: CancelReason) {
        debug_assert!(false, "`skip` has recorded the task");
    }

    fn record_body(&self, failure: Failure<E>, _: Option<CancelReason>) -> Option<CancelReason> {
        let reason = reason_of(&failure);
        self.keep(Place::Body, failure);
        Some(reason)
    }

    fn has_failed(&self) -> bool {
        self.0.lock().has_failed()
    }
}

/// The ledger of a scope that keeps going.
pub(super) struct FailureList<E> {
    on_body_failure: OnBodyFailure,
    /// How many failures cancel the scope, if any number does.
    fail_after: Option<NonZeroUsize>,
    /// How many tasks have failed.
    failed: AtomicUsize,
    listed: Mutex<Listed<E>>,
}

/// The effect of a failure of the body, in a scope that keeps going.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnBodyFailure {
    CancelTasks,
    LetTasksEnd,
}

pub(super) struct Listed<E> {
    pub(super) body: Option<Failed<E>>,
    pub(super) tasks: Listing<E>,
}

impl<E> FailureList<E> {
    pub(super) fn new(on_body_failure: OnBodyFailure, Bounds { kept, fail_after }: Bounds) -> Self {
        let listed = Mutex::new(Listed { body: None, tasks: Listing::new(kept) });
        FailureList { on_body_failure, fail_after, failed: AtomicUsize::new(0), listed }
    }

    pub(super) fn into_inner(self) -> Listed<E> {
        self.listed.into_inner()
    }

    /// Counts a failure of a task, which cancels the scope if as many have failed as it was told to bear.
    ///
    /// Each failure beyond that number cancels the scope too. The thread that counted the last one may be held up
    /// before its cancel, and without theirs the other threads would fail task after task meanwhile.
    fn count(&self) -> Option<CancelReason> {
        let failed = 1 + self.failed.fetch_add(1, Ordering::Relaxed);
        self.fail_after.filter(|most| most.get() <= failed).map(|_| CancelReason::Failed)
    }
}

impl<E: Send> Ledger<E> for FailureList<E> {
    fn settle(&self, _: usize, failure: Failure<E>, after: Option<CancelReason>) -> (NoValue<E>, Option<CancelReason>) {
        let cancels = if after.is_none() { self.count() } else { None };
        (NoValue::Failed(Box::new(Failed { failure, after })), cancels)
    }

    fn record(&self, index: usize, failure: Failure<E>, after: Option<CancelReason>) -> Option<CancelReason> {
        let lost = self.listed.lock().tasks.keep(index, failure, after);
        panic::discard(lost);
        None
    }

    fn record_refused(&self, index: usize, failure: Failure<E>, _: CancelReason) -> Option<CancelReason> {
        self.record(index, failure, None);
        self.count()
    }

    fn skip(&self, _: Cancelled) -> NoValue<E> {
        NoValue::Skipped
    }

    fn count_skipped(&self, reason: CancelReason) {
        self.listed.lock().tasks.skip(1, reason);
    }

    fn record_body(&self, failure: Failure<E>, after: Option<CancelReason>) -> Option<CancelReason> {
        let reason = reason_of(&failure);
        self.listed.lock().body = Some(Failed { failure, after });
        (self.on_body_failure == OnBodyFailure::CancelTasks).then_some(reason)
    }

    fn has_failed(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_from_the_last_that_a_scope_bears_cancels_it() {
        let fail_after = NonZeroUsize::new(3);
        let ledger =
            FailureList::<Cancelled>::new(OnBodyFailure::LetTasksEnd, Bounds { fail_after, ..Bounds::DEFAULT });
        let cancels = [(); 6].map(|()| ledger.count().is_some());
        assert_eq!(cancels, [false, false, true, true, true, true]);
    }
}
