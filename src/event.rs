//! [`Event`]: a place to wait for a change of a state that another lock guards.
//!
//! A condvar beside the state would do, were it not for the token: its callbacks must be `'static`, and the state of a
//! scoped run borrows from the stack. So the state and the place to wait are apart, and a ticket ties them together:
//!
//! - the waiter takes a ticket, then looks at the state, then waits with the ticket;
//! - the notifier changes the state, then notifies, which makes every earlier ticket stale.
//!
//! A waiter that looked too early holds a stale ticket, and does not fall asleep.
//!
//! [`Event::notify_one`] promises that at least one of the waiters that took their tickets before it goes on to look at
//! the state. Either one of them has not fallen asleep yet, and finds its ticket stale; or all of them sleep, and one
//! is woken. The others sleep on, although their tickets are stale too. So a user of `notify_one` must be content with
//! one waiter: it is the only one, or the waiters are alike and the woken one wakes the next if there is more to do.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::sync::{AtomicU8, AtomicU64, Backoff, Condvar, Mutex, MutexGuard};

/// A place to wait for a change of a state that another lock guards.
#[derive(Default)]
pub struct Event {
    /// The number of notifications so far. It is written under the lock; only a spinning waiter reads it without.
    epoch: AtomicU64,
    /// 1 while a waiter spins.
    spinners: AtomicU8,
    lock: Mutex<()>,
    changed: Condvar,
}

/// The epoch of an [`Event`] before the waiter looked at the state.
#[derive(Clone, Copy)]
pub struct Ticket(u64);

impl Event {
    /// Takes a ticket, before a look at the state.
    // Acquire pairs with the release in `bump`: a waiter with a new ticket sees the change that was notified.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.epoch.load(Ordering::Acquire))
    }

    /// Waits for a notification since the ticket was taken.
    ///
    /// The waiter spins some microseconds before it sleeps, because a wake-up across two cores of a virtual machine
    /// costs 80 µs.
    pub fn wait(&self, ticket: Ticket) {
        self.wait_until(ticket, None);
    }

    /// Waits for a notification since the ticket was taken, or until `time`.
    ///
    /// A time is given where the waiter has to look at the clock itself, because the clock's thread could not be
    /// started.
    pub fn wait_until(&self, ticket: Ticket, time: Option<Instant>) {
        if !self.spin(ticket) {
            self.sleep_until(ticket, time);
        }
    }

    /// Waits like [`wait_until`](Self::wait_until), but asleep from the start, for a wait that is long as a rule.
    pub fn sleep_until(&self, ticket: Ticket, time: Option<Instant>) {
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

    /// Waits some microseconds awake; returns whether there was a notification.
    ///
    /// One waiter does so at a time. A notification for one sends every waiter that is awake back to look at the state,
    /// and all but one look in vain.
    fn spin(&self, ticket: Ticket) -> bool {
        let backoff = Backoff::new();
        // Relaxed: the flag guards nothing.
        if backoff.is_completed() || self.spinners.swap(1, Ordering::Relaxed) == 1 {
            return false;
        }
        let mut is_stale = false;
        while !is_stale && !backoff.is_completed() {
            backoff.snooze();
            is_stale = self.ticket().0 != ticket.0;
        }
        self.spinners.store(0, Ordering::Relaxed);
        is_stale
    }

    /// Wakes one waiter; waiters that have not fallen asleep yet do not.
    pub fn notify_one(&self) {
        // The condvar is notified under the lock, because then all sleepers took their tickets before this
        // notification. After the unlock, a waiter with a newer ticket could join them, be the one that is woken, and
        // sleep again.
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
}
