//! How a job gets into the queue: with room at once, after a wait for room, or not at all.
//!
//! A submitter that waits sets `full` before it counts the jobs; a worker that removes a job looks at `full` after it.
//! So either the submitter counts one job less, or the worker wakes one submitter. The submitter that was woken looks
//! at the queue, and wakes the next one if there is room for two, or if it leaves without a job.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::error::Refusal;
use super::queue::Queue;
use super::shared::{Entry, Shared};
use crate::sync::Backoff;
use crate::thread;
use crate::token::CancellationToken;

/// The behaviour of a submission when the queue is full.
#[derive(Clone, Copy)]
pub(super) enum IfFull<'a> {
    Refuse,
    /// The job is accepted nevertheless, because its token is cancelled: it is skipped at once, and takes no room.
    Pass,
    Wait(&'a CancellationToken, Option<Instant>),
}

impl IfFull<'_> {
    #[inline]
    fn is_cancelled(self) -> bool {
        matches!(self, IfFull::Wait(token, _) if token.is_cancelled())
    }
}

type Admitted<'a> = Result<MutexGuard<'a, Queue<Entry>>, Refusal>;

impl Shared {
    /// Returns whether the calling thread works for one of the pool's jobs.
    pub(super) fn is_in_job(&self) -> bool {
        thread::job().is_some_and(|job| job.pool == self.number)
    }

    /// Returns the queue, which has room for a job, or refuses the job, and counts that.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>, if_full: IfFull<'_>) -> Admitted<'_> {
        self.try_admit(if_full).map_or_else(|| self.admit_slowly(if_full), Ok)
    }

    /// Returns the queue if there is a worker, and room for a job, and nothing is cancelled.
    // A result that is passed on in memory, as that of `admit`, would cost as much as an atomic operation.
    #[inline]
    pub(super) fn try_admit(&self, if_full: IfFull<'_>) -> Option<MutexGuard<'_, Queue<Entry>>> {
        // Relaxed: the queue is there before any worker.
        if if_full.is_cancelled() || self.token.is_cancelled() || !self.begun.load(Ordering::Relaxed) {
            return None;
        }
        let mut queue = self.queue.lock();
        (queue.is_open() && queue.has_room()).then_some(queue)
    }

    #[cold]
    pub(super) fn admit_slowly(self: &Arc<Self>, if_full: IfFull<'_>) -> Admitted<'_> {
        self.admit_or_refuse(if_full).inspect_err(|_| self.queue.lock().refused += 1)
    }

    fn admit_or_refuse(self: &Arc<Self>, if_full: IfFull<'_>) -> Admitted<'_> {
        if let IfFull::Wait(token, _) = if_full {
            token.check().map_err(Refusal::Cancelled)?;
        }
        if self.token.is_cancelled() {
            return Err(Refusal::Closed);
        }
        self.begin()?;
        let mut queue = self.queue.lock();
        if !queue.is_open() {
            return Err(Refusal::Closed);
        }
        if queue.has_room() {
            return Ok(queue);
        }
        match if_full {
            IfFull::Refuse => Err(Refusal::Full),
            IfFull::Pass => Ok(queue),
            // The queue may be waiting for this very job.
            IfFull::Wait(..) if self.is_in_job() => Ok(queue),
            IfFull::Wait(token, deadline) => {
                drop(queue);
                self.wait_for_room(token, deadline)
            }
        }
    }

    fn wait_for_room(&self, token: &CancellationToken, deadline: Option<Instant>) -> Admitted<'_> {
        // Where there is room for one job, there is soon room for many: waiting awake for that is cheaper than asleep.
        let backoff = Backoff::new();
        while !backoff.is_completed() && self.queue.lock().is_half_full() {
            backoff.snooze();
        }
        let mut queue = self.queue.lock();
        if queue.is_open() && queue.has_room() {
            return Ok(queue);
        }
        queue.waiting += 1;
        drop(queue);
        let mut place = Place { shared: self, has_left: false };
        let _watch = self.room.observe(token);
        loop {
            let ticket = self.room.ticket();
            // Looked at outside of the lock, because a token whose deadline has no clock may run callbacks here.
            let cancelled = token.check();
            let is_closed = self.token.is_cancelled();
            let mut queue = self.queue.lock();
            self.full.store(true, Ordering::Relaxed);
            let refusal = if let Err(cancelled) = cancelled {
                Refusal::Cancelled(cancelled)
            } else if is_closed || !queue.is_open() {
                Refusal::Closed
            } else if queue.has_room() {
                place.leave(&mut queue);
                return Ok(queue);
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Refusal::Timeout
            } else {
                drop(queue);
                let until = [deadline, token.look_at(), self.token.look_at()].into_iter().flatten().min();
                self.room.wait_until(ticket, until);
                continue;
            };
            place.leave(&mut queue);
            return Err(refusal);
        }
    }
}

/// The place of a submitter among those that wait; a panic of its token's callbacks gives it up.
struct Place<'a> {
    shared: &'a Shared,
    has_left: bool,
}

impl Place<'_> {
    /// Leaves, and has the next one look at the queue.
    fn leave(&mut self, queue: &mut Queue<Entry>) {
        self.has_left = true;
        queue.waiting -= 1;
        if queue.waiting > 0 {
            self.shared.room.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let shared = self.shared;
            self.leave(&mut shared.queue.lock());
        }
    }
}
