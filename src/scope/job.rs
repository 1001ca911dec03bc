//! [`Job`]: a task, from its closure to its result.
//!
//! A task with a thread of its own counts as started when it is spawned, though its thread may not have run yet
//! when the scope is cancelled. Only tasks in a queue are skipped. Otherwise chance would decide whether a scope
//! ends well that is cancelled from outside while all its tasks end well.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::hold::Hold;
use super::id::TaskId;
use super::ledger::NoValue;
use super::shared::{Link, Runnable, Shared, Unjoined};
use crate::error::Cancelled;
use crate::event::Event;
use crate::hooks::{Outcome, Task};
use crate::panic;

/// The closure of a task.
pub(super) trait Closure<'scope, T, E> {
    /// Calls the user's closure with the scope that `link` leads to.
    fn call(self, link: &Link<'scope, E>, id: &TaskId) -> Result<T, E>;
}

/// A task as its handle sees it.
pub(super) trait Joinable<'scope, T, E>: Runnable<'scope, E> {
    fn id(&self) -> &TaskId;

    fn status(&self) -> Status;

    /// Takes the result. Called once, when the task has ended.
    fn take(&self) -> Result<T, NoValue<E>>;

    /// Has `event` notified when the task ends, if it has not ended yet.
    fn observe(&self, event: Arc<Event>);

    /// Notes that `join` gave up: an error that the task returns later is not listed.
    fn give_up(&self);

    /// Gives up a reference. The last one looks after a result that was not taken.
    fn release(self: Arc<Self>, shared: &Shared<'scope, E>);
}

/// How far a task is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Running,
    Ended,
}

/// A task: its closure in a `G`, and later its value in a `U`.
///
/// The holder of the only reference needs no lock: a thread, for example, after the task's handle has been dropped.
/// The holder that drops the last reference looks after the result.
///
/// A job is small, because most of the cost of a trivial task is in the cache lines that move with it from core to
/// core. With the counts of its `Arc` it fills one line of 64 bytes, where the closure and the value have eight
/// bytes each. With 80 bytes a task cost a fifth more.
pub(super) struct Job<E, G, U> {
    id: TaskId,
    /// `join` gave up. Relaxed: the handle sets it before it gives up its reference, and the holder of the last one
    /// reads it.
    given_up: AtomicBool,
    state: Mutex<State<G, U, E>>,
}

/// In the awaited states, the event is that of the thread that joins the task.
enum State<G, U, E> {
    Queued(G),
    QueuedAwaited(Box<(G, Arc<Event>)>),
    Running,
    RunningAwaited(Arc<Event>),
    Ended(Result<U, NoValue<E>>),
    Taken,
}

impl<E, G, U> Job<E, G, U> {
    pub(super) fn new(id: TaskId, closure: G) -> Self {
        Job::in_state(id, State::Queued(closure))
    }

    /// Makes a task that was skipped when it was spawned.
    pub(super) fn skipped(id: TaskId, result: Result<U, NoValue<E>>) -> Self {
        Job::in_state(id, State::Ended(result))
    }

    fn in_state(id: TaskId, state: State<G, U, E>) -> Self {
        Job { id, given_up: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Takes the closure, unless another thread has taken it.
    pub(super) fn start(&self) -> Option<G> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Running) {
            State::Queued(closure) => Some(closure),
            State::QueuedAwaited(awaited) => {
                let (closure, event) = *awaited;
                *state = State::RunningAwaited(event);
                Some(closure)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives up a reference; if it was the last, returns the remains of the task.
    #[inline]
    fn into_remains(self: Arc<Self>) -> Option<Remains<G, U, E>> {
        Arc::into_inner(self).map(|job| Remains {
            id: job.id,
            state: job.state.into_inner(),
            unjoined: if job.given_up.into_inner() { Unjoined::GivenUp } else { Unjoined::Dropped },
        })
    }
}

/// The parts of a task to which no other reference is left.
struct Remains<G, U, E> {
    id: TaskId,
    state: State<G, U, E>,
    unjoined: Unjoined,
}

impl<'scope, E, G, U> Runnable<'scope, E> for Job<E, G, U>
where
    G: Hold + Send,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold + Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn run(self: Arc<Self>, link: &Link<'scope, E>) {
        // The only reference stays the only one.
        if Arc::strong_count(&self) == 1 {
            if let Some(Remains { id, state, unjoined }) = self.into_remains() {
                let closure = match state {
                    State::Queued(closure) => closure,
                    // The `join` that awaited it gave up, because the scope was cancelled.
                    State::QueuedAwaited(awaited) => awaited.0,
                    _ => return,
                };
                let result: Result<U, _> = work(&id, closure, link);
                link.keep_unjoined(&id, result, unjoined);
            }
            return;
        }
        let Some(closure) = self.start() else { return };
        let result = work(&self.id, closure, link);
        let before = mem::replace(&mut *self.state.lock(), State::Ended(result));
        if let State::RunningAwaited(event) = before {
            event.notify_all();
        }
        self.release(link);
    }

    fn is_queued(&self) -> bool {
        matches!(*self.state.lock(), State::Queued(_) | State::QueuedAwaited(_))
    }
}

impl<'scope, E, G, U> Joinable<'scope, U::Value, E> for Job<E, G, U>
where
    G: Hold + Send,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold + Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn id(&self) -> &TaskId {
        &self.id
    }

    fn status(&self) -> Status {
        match &*self.state.lock() {
            State::Queued(_) | State::QueuedAwaited(_) => Status::Queued,
            State::Running | State::RunningAwaited(_) => Status::Running,
            State::Ended(_) | State::Taken => Status::Ended,
        }
    }

    fn take(&self) -> Result<U::Value, NoValue<E>> {
        match mem::replace(&mut *self.state.lock(), State::Taken) {
            State::Ended(Ok(held)) => Ok(held.out()),
            State::Ended(Err(no_value)) => Err(no_value),
            _ => unreachable!("a task is joined once, by value, and when it has ended"),
        }
    }

    fn observe(&self, event: Arc<Event>) {
        let mut state = self.state.lock();
        *state = match mem::replace(&mut *state, State::Taken) {
            State::Queued(closure) => State::QueuedAwaited(Box::new((closure, event))),
            State::Running => State::RunningAwaited(event),
            other => other,
        };
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn release(self: Arc<Self>, shared: &Shared<'scope, E>) {
        if let Some(Remains { id, state: State::Ended(result), unjoined }) = self.into_remains() {
            shared.keep_unjoined(&id, result, unjoined);
        }
    }
}

/// Runs the closure, and settles its result.
fn work<'scope, E, G, U>(id: &TaskId, closure: G, link: &Link<'scope, E>) -> Result<U, NoValue<E>>
where
    G: Hold,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold,
    E: From<Cancelled> + Send + 'scope,
{
    // Only where there is a queue: a task with a thread of its own has been started when it was spawned.
    if let (Err(cancelled), Some(_)) = (link.token.check(), &link.limit) {
        link.drop_for(id, closure);
        return skip(id, cancelled, link);
    }
    let run = |closure: G| match closure.out().call(link, id) {
        Ok(value) => Ok(U::hold(value)),
        Err(error) => Err(error),
    };
    let Some(hooks) = link.hooks else { return link.settle(id, panic::catch(|| run(closure))).0 };
    let started = Instant::now();
    let result = match panic::catch(|| hooks.started(task(id))) {
        Ok(()) => panic::catch(|| run(closure)),
        Err(payload) => {
            panic::discard(closure);
            Err(payload)
        }
    };
    let (settled, outcome) = link.settle(id, result);
    tell_ended(link, id, settled, End { outcome, took: started.elapsed() })
}

/// Makes the result of a task that is not started. Its closure has been dropped.
pub(super) fn skip<T, E: From<Cancelled>>(
    id: &TaskId,
    cancelled: Cancelled,
    shared: &Shared<'_, E>,
) -> Result<T, NoValue<E>> {
    let end = End { outcome: Outcome::Skipped(cancelled.reason()), took: Duration::ZERO };
    tell_ended(shared, id, Err(shared.skip(cancelled)), end)
}

/// How a task ended, as the hooks are told.
struct End {
    outcome: Outcome,
    took: Duration,
}

/// Tells the hooks how the task ended. A panic in the hook counts as the task's.
fn tell_ended<T, E: From<Cancelled>>(
    shared: &Shared<'_, E>,
    id: &TaskId,
    settled: Result<T, NoValue<E>>,
    End { outcome, took }: End,
) -> Result<T, NoValue<E>> {
    let Some(hooks) = shared.hooks else { return settled };
    match panic::catch(|| hooks.ended(task(id), outcome, took)) {
        Ok(()) => settled,
        Err(payload) => {
            shared.keep_unjoined(id, settled, Unjoined::Dropped);
            shared.settle(id, Err(payload)).0
        }
    }
}

fn task(id: &TaskId) -> Task<'_> {
    Task { name: id.name(), index: id.index }
}

#[cfg(test)]
mod tests {
    use super::super::hold::Inline;
    use super::Job;

    #[test]
    fn a_job_whose_closure_and_value_have_eight_bytes_fills_one_cache_line() {
        assert_eq!(size_of::<Job<std::io::Error, Inline<u64>, Inline<u64>>>() + 2 * size_of::<usize>(), 64);
    }
}
