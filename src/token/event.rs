//! [`Event`]: a place to wait for a change of state that somebody else's lock guards.
//!
//! A condvar would do, were it not for the token: its callbacks must be `'static`, and the state of a scoped run borrows
//! from the stack. So what is waited for and where is waited are apart, and a ticket ties them together:
//!
//! - the waiter takes a ticket, then looks at the state, then waits with the ticket;
//! - the notifier changes the state, then notifies, which makes every earlier ticket stale.
//!
//! A waiter that looked too early holds a stale ticket and does not sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::Backoff;
use parking_lot::{Condvar, Mutex};

use super::{CancellationToken, Watch};

#[derive(Default)]
pub(crate) struct Event {
    /// How often anybody was notified. Written under the lock; the spinning waiter alone reads it without.
    epoch: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

/// The state of an [`Event`] before the waiter looked.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl Event {
    // Acquire pairs with the release in `bump`: who gets a new ticket sees the change it was made for.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.epoch.load(Ordering::Acquire))
    }

    /// Waits until somebody has notified since the ticket was taken. Spins some microseconds before it sleeps: a wake-up
    /// across two cores of a virtual machine costs 80 µs.
    pub(crate) fn wait(&self, ticket: Ticket) {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if self.ticket().0 != ticket.0 {
                return;
            }
            backoff.snooze();
        }
        let mut guard = self.lock.lock();
        while self.ticket().0 == ticket.0 {
            self.changed.wait(&mut guard);
        }
    }

    /// Wakes one waiter, and any other that has not fallen asleep yet.
    pub(crate) fn notify_one(&self) {
        self.bump();
        self.changed.notify_one();
    }

    /// Wakes every waiter.
    pub(crate) fn notify_all(&self) {
        self.bump();
        self.changed.notify_all();
    }

    fn bump(&self) {
        let _guard = self.lock.lock();
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Has every waiter woken when `token` is cancelled, until the watch is dropped.
    pub(crate) fn observe(self: &Arc<Self>, token: &CancellationToken) -> Watch {
        let event = Arc::clone(self);
        token.watch(move || event.notify_all())
    }
}
