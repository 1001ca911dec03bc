//! [`Core`]: a job with a handle, from its closure to its result.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::cx::JobCx;
use super::hand::Label;
use super::head::Head;
use super::shared::{Desk, Shared, Tracked};
use super::status::JobStatus;
use crate::error::{CancelReason, Cancelled};
use crate::event::Event;
use crate::failure::{Failure, Panic};
use crate::hooks::Outcome;
use crate::panic::{self, Payload};

/// A job as its handle sees it.
pub(super) trait Joinable<T, E>: Tracked {
    /// Takes the result, if the job has ended.
    fn take(&self) -> Taken<T, E>;

    /// Returns an event that is notified when the job ends, or `None` if it has ended.
    fn observe(&self) -> Option<Arc<Event>>;
}

/// The answer to a look at a result.
pub(super) enum Taken<T, E> {
    NotYet,
    End(End<T, E>),
    Before,
}

/// How a job ended.
pub(super) enum End<T, E> {
    Value(T),
    Error(E),
    Panic(Box<Panic>),
    Skipped(CancelReason),
}

impl<T, E> End<T, E> {
    pub(super) fn into_result(self, name: &Arc<str>, id: u64) -> Result<T, Failure<E>> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        match self {
            End::Value(value) => Ok(value),
            End::Error(error) => Err(Failure::new(Arc::clone(name), index, error)),
            End::Panic(panic) => Err(Failure::Panic(*panic)),
            End::Skipped(reason) => {
                let cancelled = Cancelled::new(reason);
                Err(Failure::Cancelled { name: Arc::clone(name), index, cancelled })
            }
        }
    }
}

pub(super) struct Core<F, T, E> {
    pub(super) head: Head,
    state: Mutex<State<F, T, E>>,
}

struct State<F, T, E> {
    stage: Stage<F, T, E>,
    /// What a wait that began before the end waits for.
    awaited: Option<Arc<Event>>,
}

enum Stage<F, T, E> {
    Ready(F),
    Running,
    Ended(End<T, E>),
    Taken,
}

impl<F, T, E> Core<F, T, E>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    pub(super) fn new(head: Head, closure: F) -> Self {
        Core { head, state: Mutex::new(State { stage: Stage::Ready(closure), awaited: None }) }
    }

    /// Returns the closure of a job that was not accepted.
    pub(super) fn into_closure(self: Arc<Self>) -> F {
        match Arc::into_inner(self).map(|core| core.state.into_inner().stage) {
            Some(Stage::Ready(closure)) => closure,
            _ => unreachable!("no thread has seen the job"),
        }
    }

    /// Takes the closure of a job that this thread has claimed or skipped.
    fn closure(&self) -> F {
        match mem::replace(&mut self.state.lock().stage, Stage::Running) {
            Stage::Ready(closure) => closure,
            _ => unreachable!("one thread claims or skips a job"),
        }
    }

    /// Calls the closure of a job that runs between the hooks; returns how it ended.
    fn work(&self, shared: &Shared, label: &Label) -> (End<T, E>, JobStatus) {
        let closure = self.closure();
        let started = shared.hooks.is_some().then(Instant::now);
        self.head.change_times(|times, now| times.started = Some(now));
        let name = shared.name_of(label);
        let result = shared.perform(label, || closure(&JobCx::tracked(&self.head, name, &shared.token)));
        let (mut end, outcome) = match result {
            Ok(Ok(value)) => (End::Value(value), Outcome::Completed),
            Ok(Err(error)) => {
                let reason = self.head.cancel_reason(&shared.token);
                (End::Error(error), reason.map_or(Outcome::Failed, Outcome::Cancelled))
            }
            Err(payload) => (panicked(shared, label, payload), Outcome::Panicked),
        };
        let mut status = JobStatus::from(outcome);
        if let Some(started) = started {
            if let Err(payload) = shared.tell_ended(label, outcome, started.elapsed()) {
                drop_end(shared, label, end);
                (end, status) = (panicked(shared, label, payload), JobStatus::Panicked);
            }
        }
        self.head.change_times(|times, now| times.ended = Some(now));
        (end, status)
    }

    /// Lets the handle see the end, when the group or the registry of the job has been told.
    fn publish(&self, end: End<T, E>, status: JobStatus) {
        self.head.tell_watch(status);
        let mut state = self.state.lock();
        state.stage = Stage::Ended(end);
        let awaited = state.awaited.take();
        // Under the lock, so that a handle that finds the end finds the status too.
        self.head.status.set(status);
        drop(state);
        if let Some(event) = awaited {
            event.notify_all();
        }
    }
}

#[cold]
fn panicked<T, E>(shared: &Shared, label: &Label, payload: Payload) -> End<T, E> {
    End::Panic(Box::new(shared.panicked(label, payload)))
}

/// Drops an end that no handle takes.
fn drop_end<T, E>(shared: &Shared, label: &Label, end: End<T, E>) {
    match end {
        // It has been told.
        End::Panic(panic) => panic::discard(panic),
        end => shared.drop_for(label, end),
    }
}

impl<F, T, E> Tracked for Core<F, T, E>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    T: Send,
    E: Send,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn run(self: Arc<Self>, desk: &Desk<'_>) {
        let (shared, label) = (desk.shared, self.head.label());
        let (end, status) = match self.head.cancel_reason(&shared.token) {
            None if self.head.status.begin() => self.work(shared, &label),
            reason => {
                self.head.status.skip_claimed();
                // A handle may have cancelled the job after the look.
                let reason = reason.or_else(|| self.head.cancel_reason(&shared.token));
                let reason = reason.unwrap_or(CancelReason::Requested);
                shared.drop_for(&label, self.closure());
                self.head.change_times(|times, now| times.ended = Some(now));
                shared.tell_skipped(&label, reason);
                (End::Skipped(reason), JobStatus::Skipped)
            }
        };
        // Booked first, so that a handle that has the result finds it in the account.
        desk.book(label.id, status);
        self.publish(end, status);
        self.release(shared);
    }

    fn skip(self: Arc<Self>, shared: &Shared, reason: CancelReason) {
        let label = self.head.label();
        shared.drop_for(&label, self.closure());
        self.head.change_times(|times, now| times.ended = Some(now));
        shared.tell_skipped(&label, reason);
        self.publish(End::Skipped(reason), JobStatus::Skipped);
        self.release(shared);
    }

    fn publish_skipped(&self, reason: CancelReason) -> Box<dyn Send> {
        let closure = Box::new(self.closure());
        self.head.change_times(|times, now| times.ended = Some(now));
        self.publish(End::Skipped(reason), JobStatus::Skipped);
        closure
    }

    fn release(self: Arc<Self>, shared: &Shared) {
        if let Some(Core { head, state }) = Arc::into_inner(self) {
            let label = head.label();
            match state.into_inner().stage {
                Stage::Ended(end) => drop_end(shared, &label, end),
                Stage::Ready(closure) => shared.drop_for(&label, closure),
                Stage::Running | Stage::Taken => {}
            }
            // Callbacks of the job's token may own values of the user's.
            shared.drop_for(&label, head);
        }
    }
}

impl<F, T, E> Joinable<T, E> for Core<F, T, E>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    T: Send,
    E: Send,
{
    fn take(&self) -> Taken<T, E> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.stage, Stage::Taken) {
            Stage::Ended(end) => Taken::End(end),
            Stage::Taken => Taken::Before,
            stage => {
                state.stage = stage;
                Taken::NotYet
            }
        }
    }

    fn observe(&self) -> Option<Arc<Event>> {
        let mut state = self.state.lock();
        match state.stage {
            Stage::Ready(_) | Stage::Running => Some(Arc::clone(state.awaited.get_or_insert_default())),
            Stage::Ended(_) | Stage::Taken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Core;
    use crate::pool::JobCx;

    #[test]
    fn a_job_of_eight_bytes_has_at_most_two_cache_lines() {
        fn size<F: FnOnce(&JobCx<'_>) -> Result<u64, std::io::Error> + Send>(_: &F) -> usize {
            size_of::<Core<F, u64, std::io::Error>>() + 2 * size_of::<usize>()
        }
        let number = 1_u64;
        assert!(size(&move |_: &JobCx<'_>| Ok(number)) <= 128);
    }
}
