//! [`Permits`]: the mechanism of a semaphore, which decides who gets the next permits.
//!
//! One atomic word has the free permits and two flags. A call that finds its permits free and no flag set takes them in
//! one atomic operation, and gives them back in another. All else happens under the lock of the queue.
//!
//! **A waiter is called, or it is granted its permits.** If the permits of the first waiter are free, and it has waited
//! for less than [`PATIENCE`], it is *called*: it is woken, and has to take its permits itself. Meanwhile newcomers may
//! take them first. So a thread that acquires and releases in a loop goes on with its loop while the other one wakes
//! up, which takes as long as a thousand such loops. Once the first waiter has waited for `PATIENCE`, newcomers queue
//! behind it, and a release *grants* it its permits: they are taken in its name before it is woken. A semaphore that
//! always granted them would make each release wait for a wake-up; one that never did would starve a waiter that wants
//! many.
//!
//! Invariants:
//!
//! 1. The flags change, and waiters come and go, under the lock of the queue only.
//! 2. If there is a waiter, and the first one is not called, `CALL` is set. Each release then looks at the queue, under
//!    the lock, and so does each newcomer. A called waiter looks at the queue itself, and therefore needs no flag.
//! 3. The permits and the flags are one word, so a release either is seen by the `settle` that sets `CALL`, or sees
//!    `CALL`. No wake-up is lost.
//! 4. A waiter leaves the queue by its own hand, or with an outcome that says why. The thread that removes the first
//!    waiter, or ends its call, settles the queue.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::error::{AcquireError, TryAcquireError};
use crate::error::{CancelReason, Cancelled};
use crate::event::Event;
use crate::sync::{AtomicU64, Mutex, is_past};
use crate::token::CancellationToken;

/// A release has to look at the queue.
const CALL: u64 = 1;
const CLOSED: u64 = 2;
const FLAGS: u64 = CALL | CLOSED;
/// One permit in the word. The permits are a signed number, because a semaphore that is made smaller may owe some.
const ONE: u64 = 4;

/// How long newcomers may pass a waiter over: long enough for it to wake up, and too short for a person to notice.
const PATIENCE: Duration = Duration::from_millis(1);

/// The most permits that the word can hold.
pub(super) const MOST: usize = usize::MAX >> 3;

pub(super) struct Permits {
    /// The free permits and the flags.
    word: AtomicU64,
    queue: Mutex<Queue>,
}

/// The part of a semaphore that its lock guards.
struct Queue {
    /// The permits that are free and those that are held.
    size: usize,
    waiting: VecDeque<Entry>,
}

struct Entry {
    asked: usize,
    /// When newcomers may no longer pass the waiter over.
    overdue: Instant,
    /// The waiter has been woken, and will look at the queue.
    called: bool,
    waiter: Arc<Waiter>,
}

/// A thread that waits, as the queue and the token know it.
struct Waiter {
    /// Set under the lock by another thread that takes the waiter out of the queue.
    outcome: OnceLock<Result<(), AcquireError>>,
    event: Event,
}

/// The waiters that a thread has to wake when it has released the lock of the queue.
#[must_use = "they sleep until they are woken"]
struct Wakes(Vec<Arc<Waiter>>);

impl Wakes {
    fn wake(self) {
        for waiter in self.0 {
            waiter.event.notify_one();
        }
    }
}

impl Permits {
    pub(super) fn new(size: usize) -> Self {
        assert!(size <= MOST, "a semaphore of {size} permits: it can have {MOST}");
        Permits { word: AtomicU64::new(size as u64 * ONE), queue: Mutex::new(Queue { size, waiting: VecDeque::new() }) }
    }

    /// The permits that are free at this moment.
    pub(super) fn free(&self) -> usize {
        // Not more than `MOST`, which is a `usize`.
        usize::try_from(free_in(self.word.load(Ordering::Relaxed))).unwrap_or(usize::MAX)
    }

    pub(super) fn size(&self) -> usize {
        self.queue.lock().size
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    #[inline]
    pub(super) fn acquire(
        &self,
        token: &CancellationToken,
        asked: usize,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<(), AcquireError> {
        if !token.is_cancelled() && self.take(asked, FLAGS) {
            return Ok(());
        }
        self.wait(token, asked, deadline())
    }

    #[inline]
    pub(super) fn try_acquire(&self, asked: usize) -> Result<(), TryAcquireError> {
        if self.take(asked, FLAGS) { Ok(()) } else { self.come(&self.queue.lock(), asked) }
    }

    /// Takes permits if they are free, and none of the flags in `unless` is set.
    // Acquire pairs with the release in `release`: the new holder sees what the last one did.
    #[inline]
    fn take(&self, asked: usize, unless: u64) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & unless == 0 && free_in(word) >= asked as u64 {
            match self.word.compare_exchange_weak(word, word - asked as u64 * ONE, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    pub(super) fn release(&self, permits: usize) {
        // Release pairs with the acquire in `take`. What it gives back was taken before, so the sum is in range.
        if self.word.fetch_add(permits as u64 * ONE, Ordering::Release) & CALL != 0 {
            self.call();
        }
    }

    #[cold]
    fn call(&self) {
        let wakes = self.settle(&mut self.queue.lock());
        wakes.wake();
    }

    /// Takes permits for a newcomer, which may pass over waiters that have not waited for long.
    fn come(&self, queue: &Queue, asked: usize) -> Result<(), TryAcquireError> {
        if self.is_closed() {
            return Err(TryAcquireError::Closed);
        }
        if asked > queue.size {
            return Err(TryAcquireError::TooMany { asked, size: queue.size });
        }
        if asked == 0 {
            // It takes nothing from those who wait.
            return Ok(());
        }
        // Without permits to take there is no need to ask for the time.
        let may_pass = free_in(self.word.load(Ordering::Relaxed)) >= asked as u64
            && queue.waiting.front().is_none_or(|first| !is_past(first.overdue));
        if may_pass && self.take(asked, CLOSED) { Ok(()) } else { Err(TryAcquireError::NoPermits) }
    }

    #[cold]
    fn wait(&self, token: &CancellationToken, asked: usize, deadline: Option<Instant>) -> Result<(), AcquireError> {
        token.check()?;
        let now = Instant::now();
        let mut queue = self.queue.lock();
        match self.come(&queue, asked) {
            Ok(()) => return Ok(()),
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::TooMany { asked, size }) => return Err(AcquireError::TooMany { asked, size }),
            Err(TryAcquireError::NoPermits) if deadline.is_some_and(|deadline| now >= deadline) => {
                return Err(AcquireError::Timeout);
            }
            Err(TryAcquireError::NoPermits) => {}
        }
        let waiter = Arc::new(Waiter { outcome: OnceLock::new(), event: Event::default() });
        let entry = Entry { asked, overdue: now + PATIENCE, called: false, waiter: Arc::clone(&waiter) };
        queue.waiting.push_back(entry);
        drop(queue);

        let mut place = Place { of: self, waiter: &waiter, asked, has_left: false };
        let _watch = token.wake_on_cancel({
            let waiter = Arc::clone(&waiter);
            move || waiter.event.notify_one()
        });
        loop {
            let ticket = waiter.event.ticket();
            // Looked at outside of the lock, because a token whose deadline has no clock may run callbacks here, which
            // may panic.
            let cancelled = token.check();
            if let Some(result) = self.look(&waiter, asked, cancelled, deadline) {
                place.has_left = true;
                return result;
            }
            waiter.event.wait_until(ticket, [deadline, token.look_at()].into_iter().flatten().min());
        }
    }

    /// Looks at the queue for a waiter that is in it, or was; returns the end of its wait, or `None` if it has to wait
    /// on.
    fn look(
        &self,
        waiter: &Arc<Waiter>,
        asked: usize,
        cancelled: Result<(), Cancelled>,
        deadline: Option<Instant>,
    ) -> Option<Result<(), AcquireError>> {
        let mut queue = self.queue.lock();
        if let Some(outcome) = waiter.outcome.get() {
            drop(queue);
            if let (Ok(()), Err(cancelled)) = (outcome, cancelled) {
                // The cancel came after the grant, and wins all the same.
                self.release(asked);
                return Some(Err(cancelled.into()));
            }
            return Some(*outcome);
        }
        let at = queue.waiting.iter().position(|entry| Arc::ptr_eq(&entry.waiter, waiter));
        let at = at.expect("a waiter without an outcome is in the queue");
        let was_called = mem::take(&mut queue.waiting[at].called);
        let result = if let Err(cancelled) = cancelled {
            Some(Err(cancelled.into()))
        } else if was_called && self.take(asked, CLOSED) {
            Some(Ok(()))
        } else {
            deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Err(AcquireError::Timeout))
        };
        if result.is_some() {
            queue.waiting.remove(at);
        }
        let wakes = self.settle(&mut queue);
        drop(queue);
        wakes.wake();
        result
    }

    /// Restores invariant 2: grants permits to the first waiters, calls the first one, or sets `CALL`.
    fn settle(&self, queue: &mut Queue) -> Wakes {
        let mut wakes = Vec::new();
        while let Some(first) = queue.waiting.front_mut().filter(|first| !first.called) {
            let word = self.word.load(Ordering::Relaxed);
            if free_in(word) < first.asked as u64 {
                // It fails if permits have been released since.
                if self.word.compare_exchange(word, word | CALL, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    return Wakes(wakes);
                }
            } else if !is_past(first.overdue) {
                self.word.fetch_and(!CALL, Ordering::Relaxed);
                first.called = true;
                wakes.push(Arc::clone(&first.waiter));
                return Wakes(wakes);
            } else if self.take(first.asked, CLOSED) {
                wakes.extend(queue.remove_first(Ok(())));
            }
        }
        if queue.waiting.is_empty() {
            self.word.fetch_and(!CALL, Ordering::Relaxed);
        }
        Wakes(wakes)
    }

    /// Fails all waiters and all later calls.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        self.word.fetch_or(CLOSED, Ordering::Relaxed);
        let mut wakes = Vec::new();
        while let Some(waiter) = queue.remove_first(Err(AcquireError::Closed)) {
            wakes.push(waiter);
        }
        self.word.fetch_and(!CALL, Ordering::Relaxed);
        drop(queue);
        Wakes(wakes).wake();
    }

    pub(super) fn resize(&self, size: usize) {
        assert!(size <= MOST, "a semaphore of {size} permits: it can have {MOST}");
        let mut queue = self.queue.lock();
        let wakes = if size >= queue.size {
            self.word.fetch_add((size - queue.size) as u64 * ONE, Ordering::Relaxed);
            self.set_size(&mut queue, size)
        } else {
            self.word.fetch_sub((queue.size - size) as u64 * ONE, Ordering::Relaxed);
            self.set_size(&mut queue, size)
        };
        drop(queue);
        wakes.wake();
    }

    /// Takes held permits out of the semaphore for good.
    pub(super) fn forget(&self, permits: usize) {
        let mut queue = self.queue.lock();
        let left = queue.size.saturating_sub(permits);
        // A semaphore that was made smaller than the permits held owes some. They are paid first.
        let paid = permits - (queue.size - left);
        self.word.fetch_add(paid as u64 * ONE, Ordering::Relaxed);
        let wakes = self.set_size(&mut queue, left);
        drop(queue);
        wakes.wake();
    }

    /// Sets the size, and refuses the waiters that ask for more than that.
    fn set_size(&self, queue: &mut Queue, size: usize) -> Wakes {
        queue.size = size;
        let mut refused = Vec::new();
        queue.waiting.retain(|entry| {
            let fits = entry.asked <= size;
            if !fits {
                _ = entry.waiter.outcome.set(Err(AcquireError::TooMany { asked: entry.asked, size }));
                refused.push(Arc::clone(&entry.waiter));
            }
            fits
        });
        refused.extend(self.settle(queue).0);
        Wakes(refused)
    }
}

/// The place of a waiter: a panic in its thread gives it up.
struct Place<'a> {
    of: &'a Permits,
    waiter: &'a Arc<Waiter>,
    asked: usize,
    has_left: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let cancelled = Err(Cancelled::new(CancelReason::Deadline));
            self.of.look(self.waiter, self.asked, cancelled, None);
        }
    }
}

impl Queue {
    /// Takes the first waiter out, with the outcome of its wait.
    fn remove_first(&mut self, outcome: Result<(), AcquireError>) -> Option<Arc<Waiter>> {
        let first = self.waiting.pop_front()?;
        _ = first.waiter.outcome.set(outcome);
        Some(first.waiter)
    }
}

/// The free permits in a word: none if the semaphore owes some.
#[inline]
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the permits are the upper bits, as a signed number"
)]
fn free_in(word: u64) -> u64 {
    (word as i64 >> ONE.trailing_zeros()).max(0) as u64
}
