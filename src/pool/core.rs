//! [`Core`]: a job with a handle, from its closure to its result.
//!
//! The cost of a trivial job is that of its cache lines, which go to the worker's core and come back with the result.
//! So a job is small: 96 bytes of memory, with one pointer for all that is seldom used. These designs gained nothing:
//! results that are taken as they come, by a program that keeps 4,096 handles, so that no new memory is touched; and a
//! path without settings for plain jobs.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cx::JobCx;
use super::hand::Label;
use super::head::{Extras, HasExtras, Head, Timeline};
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

pub(super) struct Core<F, T, E, K> {
    head: Head,
    extras: K,
    stage: Mutex<Stage<F, T, E>>,
}

enum Stage<F, T, E> {
    Ready(F),
    Running,
    Ended(End<T, E>),
    Taken,
}

impl<F, T, E, K> Core<F, T, E, K>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
    K: HasExtras,
{
    pub(super) fn new(head: Head, extras: K, closure: F) -> Self {
        Core { head, extras, stage: Mutex::new(Stage::Ready(closure)) }
    }

    /// Returns the closure of a job that was not accepted.
    pub(super) fn into_closure(self: Arc<Self>) -> F {
        match Arc::into_inner(self).map(|core| core.stage.into_inner()) {
            Some(Stage::Ready(closure)) => closure,
            _ => unreachable!("no thread has seen the job"),
        }
    }

    /// Takes the closure of a job that this thread has claimed or skipped.
    fn closure(&self) -> F {
        match mem::replace(&mut *self.stage.lock(), Stage::Running) {
            Stage::Ready(closure) => closure,
            _ => unreachable!("one thread claims or skips a job"),
        }
    }

    fn timeline(&self) -> Option<&Timeline> {
        self.extras.get()?.timeline.as_ref()
    }

    /// Notes the end of a job that never started.
    fn end_timeline(&self, shared: &Shared) {
        if let Some(timeline) = self.timeline() {
            timeline.end(shared.now());
        }
    }

    /// Calls the closure of a job that runs between the hooks; returns how it ended.
    fn work(&self, shared: &Shared, label: &Label) -> (End<T, E>, JobStatus) {
        let closure = self.closure();
        let timed = self.timeline().map(|timeline| (timeline, shared.now()));
        if let Some((timeline, started)) = timed {
            timeline.start(started);
        }
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
        if let Some((timeline, started)) = timed {
            let ended = shared.now();
            let took = Duration::from_nanos(ended.saturating_sub(started));
            if let Err(payload) = shared.tell_ended(label, outcome, took) {
                drop_end(shared, label, end);
                (end, status) = (panicked(shared, label, payload), JobStatus::Panicked);
            }
            timeline.end(ended);
        }
        (end, status)
    }

    /// Lets the handle see the end, when the group or the registry of the job has been told.
    fn publish(&self, end: End<T, E>, status: JobStatus) {
        if let Some(watch) = self.extras.get().and_then(|extras| extras.watch.as_ref()) {
            watch.ended(self.head.id(), status);
        }
        let mut stage = self.stage.lock();
        *stage = Stage::Ended(end);
        // Under the lock, so that a handle that finds the end finds the status too.
        self.head.status.set(status);
        drop(stage);
        // A handle has made the event under the lock, or has found the end there.
        self.head.tell_awaited();
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

impl<F, T, E, K> Tracked for Core<F, T, E, K>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    T: Send,
    E: Send,
    K: HasExtras,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn extras(&self) -> Option<&Extras> {
        self.extras.get()
    }

    fn run(self: Arc<Self>, desk: &Desk<'_>) {
        let (shared, label) = (desk.shared, self.label());
        let (end, status) = match self.head.cancel_reason(&shared.token) {
            None if self.head.status.begin() => self.work(shared, &label),
            reason => {
                self.head.status.skip_claimed();
                // A handle may have cancelled the job after the look.
                let reason = reason.or_else(|| self.head.cancel_reason(&shared.token));
                let reason = reason.unwrap_or(CancelReason::Requested);
                shared.drop_for(&label, self.closure());
                self.end_timeline(shared);
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
        let label = self.label();
        shared.drop_for(&label, self.closure());
        self.end_timeline(shared);
        shared.tell_skipped(&label, reason);
        self.publish(End::Skipped(reason), JobStatus::Skipped);
        self.release(shared);
    }

    fn publish_skipped(&self, shared: &Shared, reason: CancelReason) -> Box<dyn Send> {
        let closure = Box::new(self.closure());
        self.end_timeline(shared);
        self.publish(End::Skipped(reason), JobStatus::Skipped);
        closure
    }

    fn release(self: Arc<Self>, shared: &Shared) {
        if let Some(core) = Arc::into_inner(self) {
            let label = core.label();
            let Core { head, extras, stage } = core;
            match stage.into_inner() {
                Stage::Ended(end) => drop_end(shared, &label, end),
                Stage::Ready(closure) => shared.drop_for(&label, closure),
                Stage::Running | Stage::Taken => {}
            }
            // Callbacks of the job's token may own values of the user's.
            shared.drop_for(&label, head);
            shared.drop_for(&label, extras);
        }
    }
}

impl<F, T, E, K> Joinable<T, E> for Core<F, T, E, K>
where
    F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    T: Send,
    E: Send,
    K: HasExtras,
{
    fn take(&self) -> Taken<T, E> {
        let mut stage = self.stage.lock();
        match mem::replace(&mut *stage, Stage::Taken) {
            Stage::Ended(end) => Taken::End(end),
            Stage::Taken => Taken::Before,
            other => {
                *stage = other;
                Taken::NotYet
            }
        }
    }

    fn observe(&self) -> Option<Arc<Event>> {
        let stage = self.stage.lock();
        match *stage {
            Stage::Ready(_) | Stage::Running => Some(Arc::clone(self.head.awaited())),
            Stage::Ended(_) | Stage::Taken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Core, Extras};
    use crate::pool::JobCx;

    #[test]
    fn a_job_of_eight_bytes_has_at_most_96_bytes_and_176_in_a_registry() {
        fn size<K, F: FnOnce(&JobCx<'_>) -> Result<u64, std::io::Error> + Send>(_: &F) -> usize {
            size_of::<Core<F, u64, std::io::Error, K>>() + 2 * size_of::<usize>()
        }
        let number = 1_u64;
        let closure = move |_: &JobCx<'_>| Ok(number);
        assert!(size::<Option<Box<Extras>>, _>(&closure) <= 96);
        assert!(size::<Extras, _>(&closure) <= 176);
    }
}
