//! [`Shared`]: the state that the body and the tasks of a scope share, and [`Link`], by which they reach it.
//!
//! A scope that finishes is cancelled, with a reason of its own and a mark of its own. The reason travels to the
//! tasks and to the scopes within them, as any other reason does. The mark tells whether it was this scope that
//! finished: an inner scope is cancelled by the `finish` of an outer one, and ends with an error that its task
//! passes on. Errors that come after the mark are dropped, and those before it stand. The ledger's lock decides
//! which it is. A value that a task found lies outside of the scope, in a `OnceLock` for example, because a scope
//! with a type for it would need that type in every signature.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use crossbeam::utils::CachePadded;

use super::id::TaskId;
use super::ledger::{Ledger, NoValue};
use super::limit::{Host, Limit};
use super::threads::Threads;
use super::worker::Worker;
use crate::error::{CancelReason, Cancelled, FromError};
use crate::failure::{Failure, Panic};
use crate::hooks::{Hooks, Outcome};
use crate::panic::{self, Payload};
use crate::thread;
use crate::token::CancellationToken;

/// A task as the threads see it that may run it.
pub(super) trait Runnable<'scope, E>: Send + Sync {
    /// Runs a task that no caller will join. Only its memory is left afterwards, and its link. Does not panic.
    fn run_unjoined(&mut self, own: &mut Option<Link<'scope, E>>);

    /// Runs the task on the calling thread, unless another thread has taken it. Does not panic. `own` is a link of the
    /// thread's, for the scope that the task is given.
    fn run(self: Arc<Self>, own: &mut Option<Link<'scope, E>>);

    /// Returns whether no thread has taken the task.
    fn is_queued(&self) -> bool;

    /// Frees a task that has been run, if this is the last reference; returns its link.
    fn into_link(self: Arc<Self>) -> Option<Link<'scope, E>>;
}

pub(super) type Queued<'scope, E> = Arc<dyn Runnable<'scope, E> + 'scope>;

/// A reference to a [`Shared`].
///
/// Each thread has one of its own, and lends it to the scope that a task is given. Clones of one `Arc` on several
/// threads, or of two on one cache line, would move the count from core to core with each task.
pub(super) struct Link<'scope, E>(Arc<CachePadded<Arc<Shared<'scope, E>>>>);

impl<'scope, E> Link<'scope, E> {
    pub(super) fn new(shared: Arc<Shared<'scope, E>>) -> Self {
        Link(Arc::new(CachePadded::new(shared)))
    }

    /// Returns a link for another thread.
    // A function of its own, because tasks that join tasks keep the frames of their callers on their stack.
    #[inline(never)]
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

impl<'scope, E: FromError<Cancelled> + Send + 'scope> Host for Link<'scope, E> {
    fn token(&self) -> &CancellationToken {
        &self.token
    }

    fn start_thread(&self, name: &str, index: usize) -> Result<(), Cancelled> {
        let worker = {
            let link = self.another();
            move || {
                if let Some(limit) = &link.limit {
                    let mut own = Some(link.clone());
                    Worker::new(limit, &link).work(|task| run(task, &mut own));
                }
            }
        };
        self.threads.start(name, index, worker).map(|handle| self.adopt(handle))
    }
}

/// Runs a task from the queue; returns what is left of it if no caller joins it.
#[inline]
fn run<'scope, E>(mut task: Queued<'scope, E>, own: &mut Option<Link<'scope, E>>) -> Option<Queued<'scope, E>> {
    // The only reference stays the only one.
    if Arc::strong_count(&task) == 1 {
        if let Some(unjoined) = Arc::get_mut(&mut task) {
            unjoined.run_unjoined(own);
            return Some(task);
        }
    }
    task.run(own);
    None
}

/// Why no caller joins a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjoined {
    /// The handle was dropped.
    Dropped,
    /// A `join` gave up. It has reported the task as cancelled, so only a panic of the task still counts.
    GivenUp,
}

pub(super) struct Shared<'scope, E> {
    pub(super) token: CancellationToken,
    pub(super) hooks: Option<&'scope dyn Hooks>,
    /// How many tasks have been spawned, which is the index of the next. In a scope with a limit the queue counts.
    spawned: CachePadded<AtomicUsize>,
    ledger: &'scope (dyn Ledger<E> + 'scope),
    /// How many calls of [`finish`](Self::finish) have ended the scope, or are about to.
    finishing: AtomicUsize,
    pub(super) threads: Threads<'scope>,
    pub(super) limit: Option<Limit<Queued<'scope, E>>>,
}

impl<E> Shared<'_, E> {
    /// Returns how many tasks have been spawned.
    pub(super) fn spawned(&self) -> usize {
        self.limit.as_ref().map_or_else(|| self.spawned.load(Ordering::Relaxed), |limit| limit.lock().spawned())
    }
}

impl<'scope, E: FromError<Cancelled>> Shared<'scope, E> {
    pub(super) fn new(
        token: CancellationToken,
        ledger: &'scope (dyn Ledger<E> + 'scope),
        hooks: Option<&'scope dyn Hooks>,
        threads: Threads<'scope>,
        limit: Option<Limit<Queued<'scope, E>>>,
    ) -> Self {
        let (spawned, finishing) = (CachePadded::default(), AtomicUsize::new(0));
        Shared { token, hooks, spawned, ledger, finishing, threads, limit }
    }

    /// Returns the index of the next task, and counts it as spawned.
    pub(super) fn next_index(&self) -> usize {
        match &self.limit {
            Some(limit) => limit.lock().next_index(),
            None => self.spawned.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Takes the failure of a task that ran, and answers for its `join` and for the hooks.
    #[cold]
    pub(super) fn settle(&self, id: &TaskId, failed: Result<E, Payload>) -> (NoValue<E>, Outcome) {
        let failure = match failed {
            Ok(error) => Failure::new(id.owned_name(), id.index, error),
            Err(payload) => self.panicked(id.owned_name(), id.index, payload),
        };
        let (after, outcome) = match (failure.panic(), self.token.reason()) {
            (Some(_), _) => (None, Outcome::Panicked),
            (None, Some(reason)) => (Some(reason), Outcome::Cancelled(reason)),
            (None, None) => (None, Outcome::Failed),
        };
        if after.is_some() && self.has_finished() {
            self.drop_for(id, failure);
            return (NoValue::Cancelled, outcome);
        }
        let (no_value, cancels) = self.ledger.settle(id.index, failure, after);
        self.cancel_if(cancels);
        (no_value, outcome)
    }

    /// Takes the failure of a task that ran, and that no caller joins.
    #[cold]
    pub(super) fn settle_unjoined(&self, id: &TaskId, failed: Result<E, Payload>) {
        let (no_value, _) = self.settle(id, failed);
        self.keep_unjoined::<()>(id, Err(no_value), Unjoined::Dropped);
    }

    /// Takes a task that was not started because the scope is cancelled, and answers for its `join`.
    pub(super) fn skip(&self, cancelled: Cancelled) -> NoValue<E> {
        if self.has_finished() { NoValue::Cancelled } else { self.ledger.skip(cancelled) }
    }

    /// Records a task that was refused, because the scope is cancelled or the system gave no thread.
    pub(super) fn refuse(&self, id: &TaskId, cancelled: Cancelled) {
        if !self.token.is_cancelled() {
            let failure = Failure::new(id.owned_name(), id.index, cancelled.into());
            self.cancel_if(self.ledger.record_refused(id.index, failure, cancelled.reason()));
        } else if let NoValue::Skipped = self.ledger.skip(cancelled) {
            self.ledger.count_skipped(cancelled.reason());
        }
    }

    /// Looks after the result of a task that no caller joins.
    pub(super) fn keep_unjoined<T>(&self, id: &TaskId, result: Result<T, NoValue<E>>, unjoined: Unjoined) {
        match (result, unjoined) {
            (Ok(value), _) => self.drop_for(id, value),
            (Err(NoValue::Failed(failed)), unjoined) => match (failed.failure, unjoined) {
                (Failure::Error { error, .. }, Unjoined::GivenUp) => self.drop_for(id, error),
                (failure, _) => self.fail(id.index, failure, failed.after),
            },
            (Err(NoValue::Skipped), Unjoined::Dropped) => {
                self.ledger.count_skipped(self.token.reason().unwrap_or(CancelReason::Failed));
            }
            (Err(NoValue::Skipped), Unjoined::GivenUp) | (Err(NoValue::Cancelled), _) => {}
        }
    }

    /// Drops a value or a closure of a task. A panic in its `Drop` counts as the task's.
    pub(super) fn drop_for<T>(&self, id: &TaskId, dropped: T) {
        if let Err(payload) = panic::catch(move || drop(dropped)) {
            self.fail_drop(id, payload);
        }
    }

    /// Records a panic in the `Drop` of a value or a closure of a task.
    #[cold]
    pub(super) fn fail_drop(&self, id: &TaskId, payload: Payload) {
        self.fail(id.index, self.panicked(id.owned_name(), id.index, payload), None);
    }

    /// Records a panic beside the tasks, in the `Drop` of a value that a thread kept.
    fn fail_beside(&self, name: &str, payload: Payload) {
        self.fail(usize::MAX, self.panicked(name.into(), 0, payload), None);
    }

    fn fail(&self, index: usize, failure: Failure<E>, after: Option<CancelReason>) {
        self.cancel_if(self.ledger.record(index, failure, after));
    }

    /// Records how the body failed.
    pub(super) fn fail_body(&self, result: Result<E, Payload>) {
        let name = "body".into();
        let after = self.token.reason().filter(|_| !self.has_finished());
        let failure = match result {
            Ok(error) => Failure::new(name, 0, error),
            Err(payload) => self.panicked(name, 0, payload),
        };
        self.cancel_if(self.ledger.record_body(failure, after));
    }

    /// Makes a panic a value, and tells the hooks.
    fn panicked(&self, name: Arc<str>, index: usize, payload: Payload) -> Failure<E> {
        let panic = Panic::new(name, index, payload);
        if let Some(hooks) = self.hooks {
            if let Err(second) = panic::catch(|| hooks.panicked(&panic)) {
                panic::discard(second);
            }
        }
        Failure::Panic(panic)
    }

    /// Ends the scope early and well; returns whether this call did.
    pub(super) fn finish(&self) -> bool {
        if self.token.is_cancelled() {
            // All descendants of the token read cancelled when this returns, as after any `cancel` that loses.
            self.cancel(CancelReason::Finished);
            return false;
        }
        // Each call counts for itself. Of two calls at once, the call that cancels the token ends the scope, and
        // the other takes back only its own count.
        self.finishing.fetch_add(1, Ordering::SeqCst);
        let won = !self.ledger.has_failed() && self.cancel(CancelReason::Finished);
        if !won {
            self.finishing.fetch_sub(1, Ordering::SeqCst);
        }
        won
    }

    /// Returns whether [`finish`](Self::finish) ended the scope. The reason alone does not say so, because it may
    /// be that of an outer scope.
    pub(super) fn has_finished(&self) -> bool {
        self.finishing.load(Ordering::SeqCst) > 0 && self.token.reason() == Some(CancelReason::Finished)
    }

    fn cancel_if(&self, reason: Option<CancelReason>) {
        if let Some(reason) = reason {
            self.cancel(reason);
        }
    }

    /// Cancels the scope, and returns whether this call did. A panic of the token's callbacks counts as a task's.
    fn cancel(&self, reason: CancelReason) -> bool {
        panic::catch(|| self.token.cancel_with(reason)).unwrap_or_else(|payload| {
            self.ledger.record(usize::MAX, self.panicked("on_cancel".into(), 0, payload), None);
            // Only the call that cancelled the token runs its callbacks.
            true
        })
    }

    /// Waits for every task, when the body has returned.
    pub(super) fn join_all(&self) {
        if let Some(limit) = &self.limit {
            limit.close();
        }
        // A task may have spawned others before its thread is joined here: their handles were kept before the task
        // ended.
        while let Some(handle) = self.threads.take() {
            self.join(handle);
        }
        if let Some(limit) = &self.limit {
            limit.free_spent();
        }
    }

    /// Keeps the handle of a thread, and joins threads that have ended.
    pub(super) fn adopt(&self, handle: ScopedJoinHandle<'scope, ()>) {
        self.threads.keep(handle).into_iter().for_each(|handle| self.join(handle));
    }

    fn join(&self, handle: ScopedJoinHandle<'scope, ()>) {
        if let Err(payload) = thread::join(handle) {
            // The task has been settled before; the panic came from the `Drop` of a value that the task held.
            self.fail_beside("drop", payload);
        }
    }
}
