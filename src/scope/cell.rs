//! A task: its closure until it runs, and what it returned until somebody joins it.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Scope;
use super::shared::{Ending, Label, Link, Shared};
use crate::error::Cancelled;
use crate::hooks::{Hooks, Outcome, Task};
use crate::panic;
use crate::token::Event;

/// A task as those who run it see it.
pub(super) trait Job<'scope, E>: Send + Sync {
    /// Runs the task on this thread, unless somebody has. Does not panic, but where dropping what is left of it does.
    fn run(self: Arc<Self>, link: &Link<'scope, E>);

    /// Whether nobody has started it.
    fn is_queued(&self) -> bool;
}

/// A task as its handle sees it.
pub(super) trait Joined<'scope, T, E>: Job<'scope, E> {
    /// Takes what the task ended with, or says how far it is.
    fn look(&self) -> Look<T, E>;

    /// Has `event` notified when the task ends, if it has not ended yet.
    fn observe(&self, event: Arc<Event>);

    /// Nobody will join it any more: what it ends with goes to the scope, but for what has been taken.
    fn abandon(self: Arc<Self>, shared: &Shared<'scope, E>);

    fn label(&self) -> &Label;

    fn is_finished(&self) -> bool;
}

pub(super) enum Look<T, E> {
    Queued,
    Running,
    Ended(Result<T, Ending<E>>),
}

/// Who has the only reference to a cell left needs no lock, such as a thread whose task's handle has been dropped; and who
/// drops the last one looks after what the task ended with.
///
/// A cell is small, 56 bytes where the closure and the value have eight: most of what a trivial task costs are the cache
/// lines that it takes along from one core to another. With 80 bytes it cost a fifth more.
pub(super) struct Cell<'scope, 'env, F, T, E, P> {
    label: Label,
    state: Mutex<State<F, T, E>>,
    /// The scope that `F` is given.
    scope: PhantomData<fn(&Scope<'scope, 'env, E, P>)>,
}

/// Where it is awaited, the event is that of who joins it.
enum State<F, T, E> {
    Queued(F),
    QueuedAwaited(Box<(F, Arc<Event>)>),
    Running,
    RunningAwaited(Arc<Event>),
    Ended(Result<T, Ending<E>>),
    Taken,
}

impl<F, T, E, P> Cell<'_, '_, F, T, E, P> {
    pub(super) fn new(label: Label, f: F) -> Self {
        Cell { label, state: Mutex::new(State::Queued(f)), scope: PhantomData }
    }

    /// Takes the closure, if nobody has.
    pub(super) fn start(&self) -> Option<F> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Running) {
            State::Queued(f) => Some(f),
            State::QueuedAwaited(awaited) => {
                let (f, event) = *awaited;
                *state = State::RunningAwaited(event);
                Some(f)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives up one reference; if it was the last, returns what is left of the task.
    #[inline]
    fn release(self: Arc<Self>) -> Option<(Label, State<F, T, E>)> {
        Arc::into_inner(self).map(|cell| (cell.label, cell.state.into_inner()))
    }
}

impl<'scope, 'env, F, T, E, P> Job<'scope, E> for Cell<'scope, 'env, F, T, E, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn run(self: Arc<Self>, link: &Link<'scope, E>) {
        // The only reference stays the only one.
        if Arc::strong_count(&self) == 1 {
            if let Some((label, state)) = self.release() {
                let f = match state {
                    State::Queued(f) => f,
                    // Who awaited it gave up, when the scope was cancelled.
                    State::QueuedAwaited(awaited) => awaited.0,
                    _ => return,
                };
                let ended = work(&label, f, link);
                give_up(&label, ended, link);
            }
            return;
        }
        let Some(f) = self.start() else { return };
        let ended = work(&self.label, f, link);
        let before = mem::replace(&mut *self.state.lock(), State::Ended(ended));
        if let State::RunningAwaited(event) = before {
            event.notify_all();
        }
        self.abandon(link);
    }

    fn is_queued(&self) -> bool {
        matches!(*self.state.lock(), State::Queued(_) | State::QueuedAwaited(_))
    }
}

impl<'scope, 'env, F, T, E, P> Joined<'scope, T, E> for Cell<'scope, 'env, F, T, E, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn look(&self) -> Look<T, E> {
        let mut state = self.state.lock();
        match &*state {
            State::Queued(_) | State::QueuedAwaited(_) => Look::Queued,
            State::Running | State::RunningAwaited(_) => Look::Running,
            State::Ended(_) | State::Taken => match mem::replace(&mut *state, State::Taken) {
                State::Ended(ended) => Look::Ended(ended),
                _ => unreachable!("a task is joined once, by value"),
            },
        }
    }

    fn observe(&self, event: Arc<Event>) {
        let mut state = self.state.lock();
        *state = match mem::replace(&mut *state, State::Taken) {
            State::Queued(f) => State::QueuedAwaited(Box::new((f, event))),
            State::Running => State::RunningAwaited(event),
            other => other,
        };
    }

    fn abandon(self: Arc<Self>, shared: &Shared<'scope, E>) {
        if let Some((label, State::Ended(ended))) = self.release() {
            give_up(&label, ended, shared);
        }
    }

    fn label(&self) -> &Label {
        &self.label
    }

    fn is_finished(&self) -> bool {
        matches!(*self.state.lock(), State::Ended(_) | State::Taken)
    }
}

/// Runs the closure and settles what it ended with.
fn work<'scope, 'env, F, T, E, P>(label: &Label, f: F, link: &Link<'scope, E>) -> Result<T, Ending<E>>
where
    'env: 'scope,
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'scope,
{
    // A task with a thread of its own has been started when it was spawned.
    if let (Err(cancelled), Some(_)) = (link.token.check(), &link.crew) {
        if let Err(payload) = panic::catch(move || drop(f)) {
            link.fail_about(label, payload);
        }
        link.skip(label, cancelled);
        let settled = Err(Ending::Cancelled);
        return match link.hooks {
            Some(hooks) => ended(label, hooks, settled, Outcome::Skipped(cancelled.reason()), Duration::ZERO, link),
            None => settled,
        };
    }
    let scope = Scope::new(link.clone(), label.name.clone(), true);
    let Some(hooks) = link.hooks else { return link.settle(label, panic::catch(|| f(&scope))) };
    let started = Instant::now();
    let result = match panic::catch(|| hooks.started(task(label))) {
        Ok(()) => panic::catch(|| f(&scope)),
        Err(payload) => {
            panic::discard(f);
            Err(payload)
        }
    };
    let outcome = match &result {
        Ok(Ok(_)) => Outcome::Completed,
        Ok(Err(_)) => Outcome::Failed,
        Err(_) => Outcome::Panicked,
    };
    let settled = link.settle(label, result);
    ended(label, hooks, settled, outcome, started.elapsed(), link)
}

/// Tells the hooks how the task has ended. A panic in that counts as the task's.
fn ended<T, E: From<Cancelled>>(
    label: &Label,
    hooks: &dyn Hooks,
    settled: Result<T, Ending<E>>,
    outcome: Outcome,
    took: Duration,
    shared: &Shared<'_, E>,
) -> Result<T, Ending<E>> {
    match panic::catch(|| hooks.ended(task(label), outcome, took)) {
        Ok(()) => settled,
        Err(payload) => {
            give_up(label, settled, shared);
            shared.settle(label, Err(payload))
        }
    }
}

fn task(label: &Label) -> Task<'_> {
    Task { name: label.name(), index: label.index }
}

/// What a task ended with that nobody joins.
fn give_up<T, E: From<Cancelled>>(label: &Label, ended: Result<T, Ending<E>>, shared: &Shared<'_, E>) {
    match ended {
        Ok(value) => {
            if let Err(payload) = panic::catch(move || drop(value)) {
                shared.fail_about(label, payload);
            }
        }
        Err(Ending::Failed(failure)) => shared.fail(label.index, *failure),
        Err(Ending::Cancelled) => {}
    }
}
