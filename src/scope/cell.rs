//! A task: its closure until it runs, and what it returned until somebody joins it.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Scope;
use super::hold::Hold;
use super::shared::{Ending, Label, Link, Shared};
use crate::error::Cancelled;
use crate::event::Event;
use crate::hooks::{Outcome, Task};
use crate::panic;

/// A task as those who run it see it.
pub(super) trait Job<'scope, E>: Send + Sync {
    /// Runs the task on this thread, unless somebody has. Does not panic, but where dropping what is left of it does.
    fn run(self: Arc<Self>, link: &Link<'scope, E>);

    /// Whether nobody has started it.
    fn is_queued(&self) -> bool;
}

/// A task as its handle sees it.
pub(super) trait Joined<'scope, T, E>: Job<'scope, E> {
    /// Takes what the task has ended with.
    fn take(&self) -> Result<T, Ending<E>>;

    /// Says how far the task is.
    fn look(&self) -> Look;

    /// Has `event` notified when the task ends, if it has not ended yet.
    fn observe(&self, event: Arc<Event>);

    /// Its `join` gives up: an error that it ends with is handled by that, and the scope does not list it.
    fn handle(&self);

    /// Nobody will join it any more: what it ends with goes to the scope, but for what has been taken.
    fn abandon(self: Arc<Self>, shared: &Shared<'scope, E>);

    fn label(&self) -> &Label;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Queued,
    Running,
    Ended,
}

/// Who has the only reference to a cell left needs no lock, such as a thread whose task's handle has been dropped; and who
/// drops the last one looks after what the task ended with.
///
/// A cell is small, 56 bytes where the closure and the value have eight: most of what a trivial task costs are the cache
/// lines that it takes along from one core to another. With 80 bytes it cost a fifth more.
///
/// It keeps the closure `F` as a `G` and the value `T` as a `U`.
pub(super) struct Cell<'scope, 'env, F, T, E, P, G, U> {
    label: Label,
    /// Relaxed: the one who sets it then gives up a reference, and the one who reads it has the last.
    handled: AtomicBool,
    state: Mutex<State<G, U, E>>,
    /// The closure, and the scope that it is given.
    #[expect(clippy::type_complexity, reason = "it has no value")]
    closure: PhantomData<fn(F, &Scope<'scope, 'env, E, P>) -> T>,
}

/// Where it is awaited, the event is that of who joins it.
enum State<G, U, E> {
    Queued(G),
    QueuedAwaited(Box<(G, Arc<Event>)>),
    Running,
    RunningAwaited(Arc<Event>),
    Ended(Result<U, Ending<E>>),
    Taken,
}

impl<F, T, E, P, G: Hold<F>, U> Cell<'_, '_, F, T, E, P, G, U> {
    pub(super) fn new(label: Label, f: G) -> Self {
        Cell::of(label, State::Queued(f))
    }

    /// A task that was skipped when it was spawned.
    pub(super) fn skipped(label: Label, ended: Result<U, Ending<E>>) -> Self {
        Cell::of(label, State::Ended(ended))
    }

    fn of(label: Label, state: State<G, U, E>) -> Self {
        Cell { label, handled: AtomicBool::new(false), state: Mutex::new(state), closure: PhantomData }
    }

    /// Takes the closure, if nobody has.
    pub(super) fn start(&self) -> Option<G> {
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
    fn release(self: Arc<Self>) -> Option<(Label, State<G, U, E>, bool)> {
        Arc::into_inner(self).map(|cell| (cell.label, cell.state.into_inner(), cell.handled.into_inner()))
    }
}

impl<'scope, 'env, F, T, E, P, G, U> Job<'scope, E> for Cell<'scope, 'env, F, T, E, P, G, U>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    G: Hold<F> + Send,
    U: Hold<T> + Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn run(self: Arc<Self>, link: &Link<'scope, E>) {
        // The only reference stays the only one.
        if Arc::strong_count(&self) == 1 {
            if let Some((label, state, handled)) = self.release() {
                let f = match state {
                    State::Queued(f) => f,
                    // Who awaited it gave up, when the scope was cancelled.
                    State::QueuedAwaited(awaited) => awaited.0,
                    _ => return,
                };
                let ended: Result<U, _> = work(&label, f, link);
                link.give_up(&label, ended, handled);
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

impl<'scope, 'env, F, T, E, P, G, U> Joined<'scope, T, E> for Cell<'scope, 'env, F, T, E, P, G, U>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    G: Hold<F> + Send,
    U: Hold<T> + Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn take(&self) -> Result<T, Ending<E>> {
        match mem::replace(&mut *self.state.lock(), State::Taken) {
            State::Ended(Ok(held)) => Ok(held.out()),
            State::Ended(Err(ending)) => Err(ending),
            _ => unreachable!("a task is joined once, by value, and when it has ended"),
        }
    }

    fn look(&self) -> Look {
        match &*self.state.lock() {
            State::Queued(_) | State::QueuedAwaited(_) => Look::Queued,
            State::Running | State::RunningAwaited(_) => Look::Running,
            State::Ended(_) | State::Taken => Look::Ended,
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

    fn handle(&self) {
        self.handled.store(true, Ordering::Relaxed);
    }

    fn abandon(self: Arc<Self>, shared: &Shared<'scope, E>) {
        if let Some((label, State::Ended(ended), handled)) = self.release() {
            shared.give_up(&label, ended, handled);
        }
    }

    fn label(&self) -> &Label {
        &self.label
    }
}

/// Runs the closure and settles what it ended with.
fn work<'scope, 'env, F, T, E, P, G, U>(label: &Label, f: G, link: &Link<'scope, E>) -> Result<U, Ending<E>>
where
    'env: 'scope,
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'scope,
    G: Hold<F>,
    U: Hold<T>,
{
    // A task with a thread of its own has been started when it was spawned.
    if let (Err(cancelled), Some(_)) = (link.token.check(), &link.crew) {
        link.drop_about(label, f);
        return skip(label, cancelled, link);
    }
    let scope = Scope::new(link.clone(), label.name.clone(), true);
    let run = |f: G| match (f.out())(&scope) {
        Ok(value) => Ok(U::hold(value)),
        Err(error) => Err(error),
    };
    let Some(hooks) = link.hooks else { return link.settle(label, panic::catch(|| run(f))).0 };
    let started = Instant::now();
    let result = match panic::catch(|| hooks.started(task(label))) {
        Ok(()) => panic::catch(|| run(f)),
        Err(payload) => {
            panic::discard(f);
            Err(payload)
        }
    };
    let (settled, outcome) = link.settle(label, result);
    ended(label, settled, outcome, started.elapsed(), link)
}

/// What a task ends with that is not started, whose closure is gone.
pub(super) fn skip<T, E: From<Cancelled>>(
    label: &Label,
    cancelled: Cancelled,
    shared: &Shared<'_, E>,
) -> Result<T, Ending<E>> {
    ended(label, Err(shared.skip(cancelled)), Outcome::Skipped(cancelled.reason()), Duration::ZERO, shared)
}

/// Tells the hooks how the task has ended. A panic in that counts as the task's.
fn ended<T, E: From<Cancelled>>(
    label: &Label,
    settled: Result<T, Ending<E>>,
    outcome: Outcome,
    took: Duration,
    shared: &Shared<'_, E>,
) -> Result<T, Ending<E>> {
    let Some(hooks) = shared.hooks else { return settled };
    match panic::catch(|| hooks.ended(task(label), outcome, took)) {
        Ok(()) => settled,
        Err(payload) => {
            shared.give_up(label, settled, false);
            shared.settle(label, Err(payload)).0
        }
    }
}

fn task(label: &Label) -> Task<'_> {
    Task { name: label.name(), index: label.index }
}
