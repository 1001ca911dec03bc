//! [`Job`]: a task, from its closure to its result.
//!
//! A task with a thread of its own counts as started when it is spawned, though its thread may not have run yet
//! when the scope is cancelled. Only tasks in a queue are skipped. Otherwise chance would decide whether a scope
//! ends well that is cancelled from outside while all its tasks end well.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::hold::Hold;
use super::id::TaskId;
use super::ledger::NoValue;
use super::shared::{Link, Runnable, Shared, Unjoined};
use crate::error::{Cancelled, FromError};
use crate::event::Event;
use crate::hooks::{Outcome, Task};
use crate::panic;

/// The closure of a task.
pub(super) trait Closure<'scope, T, E> {
    /// Calls the user's closure with the scope that `link` leads to. Lends the thread's `own` link to that scope, or
    /// makes one.
    fn call(self, link: &Link<'scope, E>, own: &mut Option<Link<'scope, E>>, id: &TaskId) -> Result<T, E>;
}

/// A task as its handle sees it.
pub(super) trait Joinable<'scope, T, E>: Runnable<'scope, E> {
    fn id(&self) -> &TaskId;

    fn link(&self) -> &Link<'scope, E>;

    fn status(&self) -> Status;

    /// Takes the result. Called once, when the task has ended.
    fn take(&self) -> Result<T, NoValue<E>>;

    /// Returns an event that is notified when the task ends, if it has not ended yet: the same for all that ask.
    fn observe(&self) -> Arc<Event>;

    /// Notes that `join` gives up, so that an error that the task returns later is not listed; returns `false` if the
    /// task has ended.
    fn give_up(&self) -> bool;

    /// Gives up a reference; if it is the last, frees the task and returns its result.
    fn into_ended(self: Arc<Self>) -> Option<Ended<'scope, T, E>>;

    /// Gives up a reference. The last one looks after a result that was not taken.
    fn release(self: Arc<Self>);
}

/// A task that has ended and been freed.
pub(super) struct Ended<'scope, T, E> {
    pub(super) id: TaskId,
    pub(super) link: Link<'scope, E>,
    pub(super) result: Result<T, NoValue<E>>,
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
/// A job is small, because cache lines of it move from core to core. With the counts of its `Arc` it has the size of
/// one line of 64 bytes, where the closure and the value have eight bytes each.
pub(super) struct Job<'scope, E, G, U> {
    id: TaskId,
    link: Link<'scope, E>,
    state: Mutex<State<G, U, E>>,
}

enum State<G, U, E> {
    Queued(G),
    QueuedAwaited(Box<(G, Join)>),
    Running,
    RunningAwaited(Join),
    Ended(Result<U, NoValue<E>>),
    Taken,
}

/// What waits for the task, or did before it ended.
enum Join {
    /// They wait for this event.
    Waits(Arc<Event>),
    GaveUp,
}

impl Join {
    fn event(&self) -> Option<Arc<Event>> {
        match self {
            Join::Waits(event) => Some(Arc::clone(event)),
            Join::GaveUp => None,
        }
    }

    /// Why no caller joins a task whose handle is gone.
    fn unjoined(&self) -> Unjoined {
        match self {
            Join::Waits(_) => Unjoined::Dropped,
            Join::GaveUp => Unjoined::GivenUp,
        }
    }
}

impl<'scope, E, G, U> Job<'scope, E, G, U> {
    pub(super) fn new(id: TaskId, link: Link<'scope, E>, closure: G) -> Self {
        Job { id, link, state: Mutex::new(State::Queued(closure)) }
    }

    /// Makes a task that was skipped when it was spawned.
    pub(super) fn skipped(id: TaskId, link: Link<'scope, E>, result: Result<U, NoValue<E>>) -> Self {
        Job { id, link, state: Mutex::new(State::Ended(result)) }
    }

    /// Takes the closure, unless another thread has taken it.
    pub(super) fn start(&self) -> Option<G> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Running) {
            State::Queued(closure) => Some(closure),
            State::QueuedAwaited(awaited) => {
                let (closure, join) = *awaited;
                *state = State::RunningAwaited(join);
                Some(closure)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Notes the result of a task that was started.
    fn end(&self, result: Result<U, NoValue<E>>) -> AfterEnd<U, E> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Taken) {
            State::RunningAwaited(Join::GaveUp) => AfterEnd::Keep(result),
            State::RunningAwaited(Join::Waits(event)) => {
                *state = State::Ended(result);
                AfterEnd::Notify(event)
            }
            _ => {
                *state = State::Ended(result);
                AfterEnd::Nothing
            }
        }
    }
}

/// What is left to do when a task has ended.
enum AfterEnd<U, E> {
    Nothing,
    Notify(Arc<Event>),
    /// To look after the result of a task that no caller joins.
    Keep(Result<U, NoValue<E>>),
}

impl<'scope, E, G, U> Runnable<'scope, E> for Job<'scope, E, G, U>
where
    G: Hold + Send,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold + Send,
    E: FromError<Cancelled> + Send + 'scope,
{
    fn run_unjoined(&mut self, own: &mut Option<Link<'scope, E>>) {
        let (closure, unjoined) = match mem::replace(self.state.get_mut(), State::Taken) {
            State::Queued(closure) => (closure, Unjoined::Dropped),
            State::QueuedAwaited(awaited) => (awaited.0, awaited.1.unjoined()),
            State::Ended(result) => return self.link.keep_unjoined(&self.id, result, Unjoined::Dropped),
            State::Running | State::RunningAwaited(_) | State::Taken => return,
        };
        if unjoined == Unjoined::GivenUp || self.link.hooks.is_some() || self.link.token.is_cancelled() {
            let result: Result<U, _> = work(&self.id, closure, &self.link, own);
            return self.link.keep_unjoined(&self.id, result, unjoined);
        }
        // The same, without a result that is passed on in memory: to read it before it has left the store buffer
        // stalls, and such stalls were a quarter of the time of a trivial task.
        let Job { id, link, .. } = self;
        let (mut has_value, mut error) = (false, None);
        let caught = panic::catch(|| match closure.out().call(link, own, id) {
            Ok(value) => {
                has_value = true;
                drop(value);
            }
            Err(returned) => error = Some(returned),
        });
        match (caught, error) {
            (Ok(()), None) => {}
            (Err(payload), _) if has_value => link.fail_drop(id, payload),
            (Err(payload), _) => link.settle_unjoined(id, Err(payload)),
            (Ok(()), Some(error)) => link.settle_unjoined(id, Ok(error)),
        }
    }

    fn run(self: Arc<Self>, own: &mut Option<Link<'scope, E>>) {
        let Some(closure) = self.start() else { return self.release() };
        match self.end(work(&self.id, closure, &self.link, own)) {
            AfterEnd::Nothing => {}
            AfterEnd::Notify(event) => event.notify_all(),
            AfterEnd::Keep(result) => self.link.keep_unjoined(&self.id, result, Unjoined::GivenUp),
        }
        self.release();
    }

    fn is_queued(&self) -> bool {
        matches!(*self.state.lock(), State::Queued(_) | State::QueuedAwaited(_))
    }

    fn into_link(self: Arc<Self>) -> Option<Link<'scope, E>> {
        Arc::into_inner(self).map(|job| job.link)
    }
}

impl<'scope, E, G, U> Joinable<'scope, U::Value, E> for Job<'scope, E, G, U>
where
    G: Hold + Send,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold + Send,
    E: FromError<Cancelled> + Send + 'scope,
{
    fn id(&self) -> &TaskId {
        &self.id
    }

    fn link(&self) -> &Link<'scope, E> {
        &self.link
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
            State::Ended(result) => result.map(U::out),
            _ => unreachable!("a task is joined once, by value, and when it has ended"),
        }
    }

    fn observe(&self) -> Arc<Event> {
        let mut state = self.state.lock();
        let known = match &*state {
            State::QueuedAwaited(awaited) => awaited.1.event(),
            State::RunningAwaited(join) => join.event(),
            _ => None,
        };
        if let Some(event) = known {
            return event;
        }
        let event = Arc::new(Event::default());
        let join = Join::Waits(Arc::clone(&event));
        *state = match mem::replace(&mut *state, State::Taken) {
            State::Queued(closure) => State::QueuedAwaited(Box::new((closure, join))),
            State::Running => State::RunningAwaited(join),
            other => other,
        };
        event
    }

    fn give_up(&self) -> bool {
        match &mut *self.state.lock() {
            State::QueuedAwaited(awaited) => awaited.1 = Join::GaveUp,
            State::RunningAwaited(join) => *join = Join::GaveUp,
            _ => return false,
        }
        true
    }

    fn into_ended(self: Arc<Self>) -> Option<Ended<'scope, U::Value, E>> {
        let Job { id, link, state } = Arc::into_inner(self)?;
        match state.into_inner() {
            State::Ended(result) => Some(Ended { id, link, result: result.map(U::out) }),
            _ => unreachable!("a task that no thread holds has ended, and is joined once"),
        }
    }

    fn release(self: Arc<Self>) {
        if let Some(Job { id, link, state }) = Arc::into_inner(self) {
            if let State::Ended(result) = state.into_inner() {
                link.keep_unjoined(&id, result, Unjoined::Dropped);
            }
        }
    }
}

/// Runs the closure, and settles its result.
fn work<'scope, E, G, U>(
    id: &TaskId,
    closure: G,
    link: &Link<'scope, E>,
    own: &mut Option<Link<'scope, E>>,
) -> Result<U, NoValue<E>>
where
    G: Hold,
    G::Value: Closure<'scope, U::Value, E>,
    U: Hold,
    E: FromError<Cancelled> + Send + 'scope,
{
    // Only where there is a queue: a task with a thread of its own has been started when it was spawned.
    if let (Err(cancelled), Some(_)) = (link.token.check(), &link.limit) {
        link.drop_for(id, closure);
        return skip(id, cancelled, link);
    }
    let mut run = |closure: G| match closure.out().call(link, own, id) {
        Ok(value) => Ok(U::hold(value)),
        Err(error) => Err(error),
    };
    let Some(hooks) = link.hooks else {
        return match panic::catch(|| run(closure)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(link.settle(id, Ok(error)).0),
            Err(payload) => Err(link.settle(id, Err(payload)).0),
        };
    };
    let started = Instant::now();
    let result = match panic::catch(|| hooks.started(task(id))) {
        Ok(()) => panic::catch(|| run(closure)),
        Err(payload) => {
            panic::discard(closure);
            Err(payload)
        }
    };
    let without_value = |(no_value, outcome)| (Err(no_value), outcome);
    let (settled, outcome) = match result {
        Ok(Ok(value)) => (Ok(value), Outcome::Completed),
        Ok(Err(error)) => without_value(link.settle(id, Ok(error))),
        Err(payload) => without_value(link.settle(id, Err(payload))),
    };
    tell_ended(link, id, settled, End { outcome, took: started.elapsed() })
}

/// Makes the result of a task that is not started. Its closure has been dropped.
pub(super) fn skip<T, E: FromError<Cancelled>>(
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
fn tell_ended<T, E: FromError<Cancelled>>(
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
            Err(shared.settle(id, Err(payload)).0)
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
    fn a_job_whose_closure_and_value_have_eight_bytes_has_the_size_of_a_cache_line() {
        assert_eq!(size_of::<Job<'_, std::io::Error, Inline<u64>, Inline<u64>>>() + 2 * size_of::<usize>(), 64);
    }
}
