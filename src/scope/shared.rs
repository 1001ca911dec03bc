//! What the body and the tasks of a scope share: the token, what has failed, and the threads.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::ScopedJoinHandle;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::crew::Crew;
use super::failures::Listing;
use crate::error::{CancelReason, Cancelled, Failure, Panic};
use crate::hooks::Hooks;
use crate::panic::{self, Payload};
use crate::thread::{self, Starter};
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
    /// A failure cancels the token, and belongs to the scope.
    fail_fast: bool,
    record: Mutex<Record<E>>,
    pub(super) threads: Threads<'scope>,
    /// Where there is a limit.
    pub(super) crew: Option<Crew<'scope, E>>,
}

/// What has failed.
pub(super) struct Record<E> {
    /// The body's own failure, where failures are listed.
    pub(super) body: Option<Failure<E>>,
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
    /// It belongs to whoever joins the task, else to the scope. Boxed: glibc frees what has more than 128 bytes under a lock
    /// of the allocating thread's, and tasks are freed by others.
    Failed(Box<Failure<E>>),
}

impl<'scope, E: From<Cancelled>> Shared<'scope, E> {
    pub(super) fn new(
        token: CancellationToken,
        fail_fast: bool,
        most_failures: usize,
        hooks: Option<&'scope dyn Hooks>,
        threads: Threads<'scope>,
        crew: Option<Crew<'scope, E>>,
    ) -> Self {
        let record = Mutex::new(Record::new(most_failures));
        Shared { token, hooks, spawned: CachePadded::default(), fail_fast, record, threads, crew }
    }

    /// Says what a task ended with. A failure is recorded before it cancels the siblings, so that their echoes come after
    /// it.
    pub(super) fn settle<T>(&self, label: &Label, result: Result<Result<T, E>, Payload>) -> Result<T, Ending<E>> {
        let failure = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::Error { component: label.component(), index: label.index, error },
            Err(payload) => self.panicked(label.component(), label.index, payload),
        };
        Err(if self.fail_fast {
            self.fail(label.index, failure);
            Ending::Cancelled
        } else {
            Ending::Failed(Box::new(failure))
        })
    }

    /// Keeps a panic as a value, and tells the hooks.
    fn panicked(&self, component: Arc<str>, index: usize, payload: Payload) -> Failure<E> {
        let panic = panic::value(component, index, payload);
        if let Some(hooks) = self.hooks {
            if let Err(second) = panic::catch(|| hooks.panicked(&panic)) {
                panic::discard(second);
            }
        }
        Failure::Panic(panic)
    }

    /// Records a task that was not started, since the scope is cancelled: an echo of that.
    pub(super) fn skip(&self, label: &Label, cancelled: Cancelled) {
        let error = cancelled.into();
        if self.fail_fast {
            let mut record = self.record.lock();
            let lost = if record.refused.is_none() { record.refused.replace(error) } else { Some(error) };
            drop(record);
            panic::discard(lost);
        } else {
            self.keep(label.index, Failure::Error { component: label.component(), index: label.index, error });
        }
    }

    /// Records a task that was not started, because the scope is cancelled or no thread could be.
    pub(super) fn refuse(&self, label: &Label, cancelled: Cancelled) {
        if self.token.is_cancelled() {
            return self.skip(label, cancelled);
        }
        let failure = Failure::Error { component: label.component(), index: label.index, error: cancelled.into() };
        self.keep(label.index, failure);
        if self.fail_fast {
            self.cancel(cancelled.reason());
        }
    }

    /// Records a failure that belongs to no task any more: nobody will join it, or what panicked is a `Drop`.
    pub(super) fn fail(&self, index: usize, failure: Failure<E>) {
        let reason = if failure.panic().is_some() { CancelReason::Panicked } else { CancelReason::Failed };
        self.keep(index, failure);
        if self.fail_fast {
            self.cancel(reason);
        }
    }

    /// Records what panicked about a task, but not in it: the `Drop` of its value, or of its closure.
    pub(super) fn fail_about(&self, label: &Label, payload: Payload) {
        self.fail(label.index, self.panicked(label.component(), label.index, payload));
    }

    /// Records what panicked beside the tasks: the `Drop` of something that a thread kept, or a callback of the token.
    pub(super) fn fail_beside(&self, component: &str, payload: Payload) {
        self.fail(usize::MAX, self.panicked(component.into(), 0, payload));
    }

    /// Records how the body failed. `cancels`: even where a failure cancels nothing.
    pub(super) fn fail_body(&self, result: Result<E, Payload>, cancels: bool) {
        let component = "body".into();
        let (failure, reason) = match result {
            Ok(error) => (Failure::Error { component, index: 0, error }, CancelReason::Failed),
            Err(payload) => (self.panicked(component, 0, payload), CancelReason::Panicked),
        };
        if self.fail_fast {
            let lost = self.record.lock().first(Place::Body, failure);
            panic::discard(lost);
        } else {
            self.record.lock().body = Some(failure);
        }
        if self.fail_fast || cancels {
            self.cancel(reason);
        }
    }

    fn keep(&self, index: usize, failure: Failure<E>) {
        let mut record = self.record.lock();
        let lost =
            if self.fail_fast { record.first(Place::Task(index), failure) } else { record.list.keep(index, failure) };
        drop(record);
        // What is dropped is the user's, and not under the lock.
        panic::discard(lost);
    }

    /// What a callback of the token panics with counts as a task's panic.
    fn cancel(&self, reason: CancelReason) {
        if let Err(payload) = panic::catch(|| self.token.cancel_with(reason)) {
            self.keep(usize::MAX, self.panicked("on_cancel".into(), 0, payload));
        }
    }

    /// Waits for every task, when the body has ended; returns what has failed.
    pub(super) fn finish(&self) -> Record<E> {
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

    /// Keeps the failure if it is the one to end with; returns the one that is not.
    fn first(&mut self, place: Place, failure: Failure<E>) -> Option<Failure<E>> {
        match failure {
            // Once anything has failed, what fails after it may be an echo; a panic never is.
            Failure::Error { error, .. } if self.error.is_none() && self.panic.is_none() => {
                self.error = Some(error);
                None
            }
            Failure::Error { .. } => Some(failure),
            Failure::Panic(panic) => match &self.panic {
                Some((first, _)) if *first <= place => Some(Failure::Panic(panic)),
                _ => self.panic.replace((place, panic)).map(|(_, panic)| Failure::Panic(panic)),
            },
        }
    }
}

/// The threads of a scope that have not been joined yet. A thread that has ended keeps its stack until then, so they are
/// looked through whenever their number has doubled.
pub(super) struct Threads<'scope> {
    starter: &'scope (dyn Starter<'scope> + 'scope),
    /// The size of their stacks, in bytes.
    stack: Option<usize>,
    handles: Mutex<Handles<'scope>>,
}

struct Handles<'scope> {
    running: Vec<ScopedJoinHandle<'scope, ()>>,
    reap_at: usize,
}

const REAP_FROM: usize = 32;

impl<'scope> Threads<'scope> {
    pub(super) fn new(starter: &'scope (dyn Starter<'scope> + 'scope), stack: Option<usize>) -> Self {
        let handles = Mutex::new(Handles { running: Vec::new(), reap_at: REAP_FROM });
        Threads { starter, stack, handles }
    }

    pub(super) fn start(
        &self,
        name: &str,
        index: usize,
        f: impl FnOnce() + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, ()>, Cancelled> {
        let refused = Cancelled::new(CancelReason::Other("the system refused to start a thread"));
        self.starter.start(name, index, self.stack, Box::new(f)).map_err(|_| refused)
    }

    fn take(&self) -> Option<ScopedJoinHandle<'scope, ()>> {
        self.handles.lock().running.pop()
    }

    /// Keeps a handle; returns those of threads that have ended.
    fn keep(&self, handle: ScopedJoinHandle<'scope, ()>) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let mut handles = self.handles.lock();
        handles.running.push(handle);
        if handles.running.len() < handles.reap_at {
            return Vec::new();
        }
        let (ended, running) =
            std::mem::take(&mut handles.running).into_iter().partition(ScopedJoinHandle::is_finished);
        handles.running = running;
        handles.reap_at = REAP_FROM.max(2 * handles.running.len());
        ended
    }
}
