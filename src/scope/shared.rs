//! What the body and the tasks of a scope share: the token, what has failed, and the threads.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::crew::Crew;
use super::threads::Threads;
use crate::error::{CancelReason, Cancelled};
use crate::failure::{Failure, Panic};
use crate::failures::Listing;
use crate::hooks::{Hooks, Outcome};
use crate::panic::{self, Payload};
use crate::thread;
use crate::token::CancellationToken;

/// What a [`Shared`] is reached by. Each thread has one of its own, to be cloned for the scope that a task is given: clones
/// of one `Arc` on several threads, or of two on one cache line, would hand the count from core to core with each task.
pub(super) struct Link<'scope, E>(Arc<CachePadded<Arc<Shared<'scope, E>>>>);

impl<'scope, E> Link<'scope, E> {
    pub(super) fn new(shared: Arc<Shared<'scope, E>>) -> Self {
        Link(Arc::new(CachePadded::new(shared)))
    }

    /// A link for another thread.
    pub(super) fn another(&self) -> Self {
        Link::new(Arc::clone(&self.0))
    }
}

impl<E> Clone for Link<'_, E> {
    fn clone(&self) -> Self {
        Link(Arc::clone(&self.0))
    }
}

impl<'scope, E> Deref for Link<'scope, E> {
    type Target = Shared<'scope, E>;

    fn deref(&self) -> &Shared<'scope, E> {
        &self.0
    }
}

/// The name of tasks that were given none.
pub(super) const TASK: &str = "task";

/// Which task it is.
pub(super) struct Label {
    /// A pointer that is thin, to keep tasks small.
    pub(super) name: Option<Arc<Arc<str>>>,
    pub(super) index: usize,
}

impl Label {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or(TASK, |name| name)
    }

    pub(super) fn component(&self) -> Arc<str> {
        self.name.as_deref().map_or_else(|| TASK.into(), Arc::clone)
    }
}

pub(super) struct Shared<'scope, E> {
    pub(super) token: CancellationToken,
    pub(super) hooks: Option<&'scope dyn Hooks>,
    /// How many tasks have been spawned; the index of the next.
    pub(super) spawned: CachePadded<AtomicUsize>,
    policy: Policy,
    /// How many tasks have failed, where failures are listed.
    failed: AtomicUsize,
    /// How many calls of [`finish`](Self::finish) have ended the scope, or are about to.
    finishing: AtomicUsize,
    record: Mutex<Record<E>>,
    pub(super) threads: Threads<'scope>,
    /// Where there is a limit.
    pub(super) crew: Option<Crew<'scope, E>>,
}

/// What a failure does.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    /// It cancels the token, and belongs to the scope.
    pub(super) fail_fast: bool,
    /// Else this number of them cancels the token.
    pub(super) fail_after: Option<NonZeroUsize>,
    /// How many are kept.
    pub(super) most_failures: usize,
}

/// What has failed.
pub(super) struct Record<E> {
    /// The body's own failure, where failures are listed, and why the scope had been cancelled before, if it had.
    pub(super) body: Option<(Failure<E>, Option<CancelReason>)>,
    /// The first error in time, where the first failure ends all.
    pub(super) error: Option<E>,
    /// There, that a task was skipped. It counts only if nothing else has failed: it is an echo of what cancelled the scope.
    pub(super) refused: Option<E>,
    /// The panic that is to be resumed then: the body's, else that of the lowest task.
    pub(super) panic: Option<(Place, Panic)>,
    /// Where failures are listed.
    pub(super) list: Listing<E>,
}

/// Whose panic counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Body,
    Task(usize),
}

/// Why a task has no value.
pub(super) enum Ending<E> {
    /// The scope was cancelled, or the failure belongs to the scope and has cancelled it.
    Cancelled,
    /// It was not started. Where failures are listed, the scope counts it unless it is joined.
    Skipped,
    /// It belongs to the one who joins the task, else to the scope. Boxed: glibc frees what has more than 128 bytes under a
    /// lock of the allocating thread's, and tasks are freed by others.
    Failed(Box<Failed<E>>),
}

/// A failure of a task, where failures are listed.
pub(super) struct Failed<E> {
    pub(super) failure: Failure<E>,
    /// Why the scope had been cancelled before, if it had.
    pub(super) after: Option<CancelReason>,
}

impl<'scope, E: From<Cancelled>> Shared<'scope, E> {
    pub(super) fn new(
        token: CancellationToken,
        policy: Policy,
        hooks: Option<&'scope dyn Hooks>,
        threads: Threads<'scope>,
        crew: Option<Crew<'scope, E>>,
    ) -> Self {
        Shared {
            token,
            hooks,
            spawned: CachePadded::default(),
            policy,
            failed: AtomicUsize::new(0),
            finishing: AtomicUsize::new(0),
            record: Mutex::new(Record::new(policy.most_failures)),
            threads,
            crew,
        }
    }

    /// Says what a task ended with, for the one who joins it and for the hooks. A failure is recorded before it cancels the
    /// siblings, so that their echoes come after it.
    pub(super) fn settle<T>(
        &self,
        label: &Label,
        result: Result<Result<T, E>, Payload>,
    ) -> (Result<T, Ending<E>>, Outcome) {
        let failure = match result {
            Ok(Ok(value)) => return (Ok(value), Outcome::Completed),
            Ok(Err(error)) => Failure::new(label.component(), label.index, error),
            Err(payload) => self.panicked(label.component(), label.index, payload),
        };
        let (after, outcome) = match (failure.panic(), self.token.reason()) {
            (Some(_), _) => (None, Outcome::Panicked),
            (None, Some(reason)) => (Some(reason), Outcome::Cancelled(reason)),
            (None, None) => (None, Outcome::Failed),
        };
        let ending = if after.is_some() && self.has_finished() {
            // The scope has what it wanted: the error is dropped unread.
            self.drop_about(label, failure);
            Ending::Cancelled
        } else if self.policy.fail_fast {
            self.fail(label.index, failure, after);
            Ending::Cancelled
        } else {
            if after.is_none() {
                self.count_failure();
            }
            Ending::Failed(Box::new(Failed { failure, after }))
        };
        (Err(ending), outcome)
    }

    /// Cancels the scope if as many have failed as it was told to bear.
    fn count_failure(&self) {
        let failed = 1 + self.failed.fetch_add(1, Ordering::Relaxed);
        if self.policy.fail_after.is_some_and(|most| most.get() == failed) {
            self.cancel(CancelReason::Failed);
        }
    }

    /// Ends the scope early and well; returns whether this call did.
    pub(super) fn finish(&self) -> bool {
        if self.token.is_cancelled() {
            // As for any `cancel` that loses, all read cancelled when it returns.
            self.cancel(CancelReason::Finished);
            return false;
        }
        // Each call counts for itself: of two at once the one that cancels the token ends the scope, and the other takes
        // nothing back but its own.
        self.finishing.fetch_add(1, Ordering::SeqCst);
        let has_failed = self.policy.fail_fast && self.record.lock().has_failed();
        let won = !has_failed && self.cancel(CancelReason::Finished);
        if !won {
            self.finishing.fetch_sub(1, Ordering::SeqCst);
        }
        won
    }

    /// Whether [`finish`](Self::finish) ended the scope. The reason alone does not say so: it may be that of an outer scope.
    pub(super) fn has_finished(&self) -> bool {
        self.finishing.load(Ordering::SeqCst) > 0 && self.token.reason() == Some(CancelReason::Finished)
    }

    /// Keeps a panic as a value, and tells the hooks.
    fn panicked(&self, component: Arc<str>, index: usize, payload: Payload) -> Failure<E> {
        let panic = Panic::new(component, index, payload);
        if let Some(hooks) = self.hooks {
            if let Err(second) = panic::catch(|| hooks.panicked(&panic)) {
                panic::discard(second);
            }
        }
        Failure::Panic(panic)
    }

    /// Says what a task ended with that was not started, since the scope is cancelled: an echo of that.
    pub(super) fn skip(&self, cancelled: Cancelled) -> Ending<E> {
        if self.has_finished() {
            return Ending::Cancelled;
        }
        if self.policy.fail_fast {
            self.record_refused(cancelled);
            return Ending::Cancelled;
        }
        Ending::Skipped
    }

    /// Records a task that was not started, because the scope is cancelled or no thread could be.
    pub(super) fn refuse(&self, label: &Label, cancelled: Cancelled) {
        if !self.token.is_cancelled() {
            let failure = Failure::new(label.component(), label.index, cancelled.into());
            self.keep(label.index, failure, None);
            if self.policy.fail_fast {
                self.cancel(cancelled.reason());
            } else {
                self.count_failure();
            }
        } else if self.policy.fail_fast {
            self.record_refused(cancelled);
        } else {
            self.count_skipped(cancelled.reason());
        }
    }

    fn record_refused(&self, cancelled: Cancelled) {
        let error = cancelled.into();
        let mut record = self.record.lock();
        let lost = if record.refused.is_none() { record.refused.replace(error) } else { Some(error) };
        drop(record);
        panic::discard(lost);
    }

    fn count_skipped(&self, reason: CancelReason) {
        self.record.lock().list.skip(1, reason);
    }

    /// Looks after what a task ended with that nobody joins. `handled`: its `join` gave up, and has said so.
    pub(super) fn give_up<T>(&self, label: &Label, ended: Result<T, Ending<E>>, handled: bool) {
        match ended {
            Ok(value) => self.drop_about(label, value),
            Err(Ending::Failed(failed)) => match failed.failure {
                Failure::Error { error, .. } if handled => self.drop_about(label, error),
                failure => self.fail(label.index, failure, failed.after),
            },
            Err(Ending::Skipped) if !handled => {
                self.count_skipped(self.token.reason().unwrap_or(CancelReason::Failed));
            }
            Err(Ending::Skipped | Ending::Cancelled) => {}
        }
    }

    /// Records a failure that belongs to no task any more: nobody will join it, or what panicked is a `Drop`.
    fn fail(&self, index: usize, failure: Failure<E>, after: Option<CancelReason>) {
        let reason = if failure.panic().is_some() { CancelReason::Panicked } else { CancelReason::Failed };
        self.keep(index, failure, after);
        if self.policy.fail_fast {
            self.cancel(reason);
        }
    }

    /// Drops what a task returned or held. A panic of that counts as the task's.
    pub(super) fn drop_about<T>(&self, label: &Label, dropped: T) {
        if let Err(payload) = panic::catch(move || drop(dropped)) {
            self.fail(label.index, self.panicked(label.component(), label.index, payload), None);
        }
    }

    /// Records what panicked beside the tasks: the `Drop` of something that a thread kept, or a callback of the token.
    pub(super) fn fail_beside(&self, component: &str, payload: Payload) {
        self.fail(usize::MAX, self.panicked(component.into(), 0, payload), None);
    }

    /// Records how the body failed. `cancels`: even where a failure cancels nothing.
    pub(super) fn fail_body(&self, result: Result<E, Payload>, cancels: bool) {
        let component = "body".into();
        let after = self.token.reason().filter(|_| !self.has_finished());
        let (failure, reason) = match result {
            Ok(error) => (Failure::new(component, 0, error), CancelReason::Failed),
            Err(payload) => (self.panicked(component, 0, payload), CancelReason::Panicked),
        };
        if self.policy.fail_fast {
            let lost = self.record.lock().first(Place::Body, failure);
            panic::discard(lost);
        } else {
            self.record.lock().body = Some((failure, after));
        }
        if self.policy.fail_fast || cancels {
            self.cancel(reason);
        }
    }

    fn keep(&self, index: usize, failure: Failure<E>, after: Option<CancelReason>) {
        let mut record = self.record.lock();
        let lost = if self.policy.fail_fast {
            record.first(Place::Task(index), failure)
        } else {
            record.list.keep(index, failure, after)
        };
        drop(record);
        // What is dropped is the user's, and not under the lock.
        panic::discard(lost);
    }

    /// Returns whether this call cancelled the scope. A panic of the token's callbacks counts as a task's.
    fn cancel(&self, reason: CancelReason) -> bool {
        panic::catch(|| self.token.cancel_with(reason)).unwrap_or_else(|payload| {
            self.keep(usize::MAX, self.panicked("on_cancel".into(), 0, payload), None);
            // Only the call that cancelled the token runs its callbacks.
            true
        })
    }

    /// Waits for every task, when the body has ended; returns what has failed.
    pub(super) fn join_all(&self) -> Record<E> {
        if let Some(crew) = &self.crew {
            crew.close();
        }
        // A task that is joined here may have spawned others: their handles were kept before it ended.
        while let Some(handle) = self.threads.take() {
            self.join(handle);
        }
        std::mem::replace(&mut *self.record.lock(), Record::new(0))
    }

    /// Keeps the handle of a thread, and joins those that have ended.
    pub(super) fn adopt(&self, handle: ScopedJoinHandle<'scope, ()>) {
        self.threads.keep(handle).into_iter().for_each(|handle| self.join(handle));
    }

    fn join(&self, handle: ScopedJoinHandle<'scope, ()>) {
        if let Err(payload) = thread::join(handle) {
            // The task has been settled; what panicked after it is the `Drop` of something it held.
            self.fail_beside("drop", payload);
        }
    }
}

impl<E> Record<E> {
    fn new(most_failures: usize) -> Self {
        Record { body: None, error: None, refused: None, panic: None, list: Listing::new(most_failures) }
    }

    fn has_failed(&self) -> bool {
        self.error.is_some() || self.panic.is_some()
    }

    /// Keeps the failure if it is the one to end with; returns the one that is not.
    fn first(&mut self, place: Place, failure: Failure<E>) -> Option<Failure<E>> {
        match failure {
            // Once anything has failed, what fails after it may be an echo; a panic never is.
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
