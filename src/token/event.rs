//! [`Event`]: a place to wait for a change of state that somebody else's lock guards.
//!
//! A condvar would do, were it not for the token: its callbacks must be `'static`, and the state of a scoped run borrows
//! from the stack. So what is waited for and where is waited are apart, and a ticket ties them together:
//!
//! - the waiter takes a ticket, then looks at the state, then waits with the ticket;
//! - the notifier changes the state, then notifies, which makes every earlier ticket stale.
//!
//! A waiter that looked too early holds a stale ticket and does not fall asleep.
//!
//! What [`Event::notify_one`] promises: at least one of those who took their ticket before it goes on to look. Either
//! one of them has not fallen asleep, and its ticket is stale; or all that are left sleep, and one is woken. The others
//! sleep on, though their tickets are stale too, so whoever uses it must do with one. The caller of a pipeline is the
//! only waiter of its event. Its workers are alike, any of them will do, and `State::wakes` passes the wake-up on: it
//! counts those asleep, wakes one, marks that one as waking, and the first to look takes the mark away and wakes the
//! next if there is more to do. So nobody needs to be woken for the sake of a ticket, but a notification that reached
//! nobody would leave the mark for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{CancelCallback, CancellationToken};
use crate::sync::{AtomicU64, Backoff, Condvar, Mutex, MutexGuard};

#[derive(Default)]
pub struct Event {
    /// How often anybody was notified. Written under the lock; the spinning waiter alone reads it without.
    epoch: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

/// The state of an [`Event`] before the waiter looked.
#[derive(Clone, Copy)]
pub struct Ticket(u64);

impl Event {
    // Acquire pairs with the release in `bump`: who gets a new ticket sees the change it was made for.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.epoch.load(Ordering::Acquire))
    }

    /// Waits until somebody has notified since the ticket was taken. Spins some microseconds before it sleeps: a wake-up
    /// across two cores of a virtual machine costs 80 µs.
    pub fn wait(&self, ticket: Ticket) {
        self.wait_until(ticket, None);
    }

    /// The same, but may return after `time`, for whoever has to [look](CancellationToken::look_at) at the clock.
    pub fn wait_until(&self, ticket: Ticket, time: Option<Instant>) {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if self.ticket().0 != ticket.0 {
                return;
            }
            backoff.snooze();
        }
        let mut guard = self.lock.lock();
        while self.ticket().0 == ticket.0 {
            match time {
                None => self.changed.wait(&mut guard),
                Some(time) => {
                    self.changed.wait_until(&mut guard, time);
                    return;
                }
            }
        }
    }

    /// Wakes one waiter, and any other that has not fallen asleep yet.
    pub fn notify_one(&self) {
        // Under the lock: all who sleep took their tickets before this notification. After it, somebody with a newer
        // ticket might have joined them, be picked, and go back to sleep.
        let _guard = self.bump();
        self.changed.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        drop(self.bump());
        self.changed.notify_all();
    }

    fn bump(&self) -> MutexGuard<'_, ()> {
        let guard = self.lock.lock();
        self.epoch.fetch_add(1, Ordering::Release);
        guard
    }

    /// Has every waiter woken when `token` is cancelled, until the handle is dropped.
    pub fn observe(self: &Arc<Self>, token: &CancellationToken) -> CancelCallback {
        let event = Arc::clone(self);
        token.wake_on_cancel(move || event.notify_all())
    }
}
