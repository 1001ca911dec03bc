//! [`Monitor`]: a lock that one can wait at for a state.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::error::WaitError;
use crate::error::Cancelled;
use crate::event::Event;
use crate::token::CancellationToken;

/// A value behind a lock, and a place to wait until the value is as a caller wants it: a mutex and a condition variable
/// in one.
///
/// It cannot be told too little: each guard through which the value was borrowed mutably tells the callers that wait.
/// They look at the value again, under the lock. (C++ has such a wait in `condition_variable_any::wait`, with a stop
/// token and a predicate.)
///
/// Use it for a state of your own that threads wait for: a count, a phase, a table that fills. To pass items on, use a
/// channel.
///
/// # Costs
///
/// A guard that has changed the value wakes all callers that wait, and each looks at the value. So it is for few
/// callers who wait, or for few changes.
///
/// # Panics
///
/// A panic while the value is locked unlocks it, and does not poison it: the value may be half changed. A guard is not
/// to be held while the same thread waits or locks again, because that has no end.
///
/// # Examples
///
/// ```
/// use brigade::limit::Monitor;
/// use brigade::{CancellationToken, scope};
///
/// let ready = Monitor::new(0);
/// scope(&CancellationToken::new(), |s| {
///     for _ in 0..3 {
///         s.spawn(|_| {
///             *ready.lock() += 1;
///             Ok(())
///         })?;
///     }
///     let mut count = ready.wait(s.token(), |count| *count == 3)?;
///     *count = 0;
///     Ok::<_, brigade::Cancelled>(())
/// })?;
/// assert_eq!(ready.into_inner(), 0);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub struct Monitor<T> {
    // The event is behind an `Arc`, and the value is not, because a token's callback owns what it wakes: the value may
    // borrow.
    changed: Arc<Event>,
    /// How many callers wait. It is raised before they look at the value under the lock, and read after a change under
    /// the same lock.
    waiting: AtomicUsize,
    value: Mutex<T>,
}

/// The value of a [`Monitor`], locked.
///
/// When it is dropped, the value is unlocked, and if it was borrowed mutably, the callers that wait look at it.
#[must_use = "dropping it unlocks the value"]
pub struct MonitorGuard<'a, T> {
    of: &'a Monitor<T>,
    /// `None` only while it is dropped.
    value: Option<MutexGuard<'a, T>>,
    is_changed: bool,
}

impl<T> Monitor<T> {
    /// Creates a monitor of `value`.
    pub fn new(value: T) -> Self {
        Monitor { changed: Arc::default(), waiting: AtomicUsize::new(0), value: Mutex::new(value) }
    }

    /// Locks the value, to look at it or to change it.
    ///
    /// It waits for other guards only, which are held for a moment, so it takes no token.
    pub fn lock(&self) -> MonitorGuard<'_, T> {
        MonitorGuard { of: self, value: Some(self.value.lock()), is_changed: false }
    }

    /// Waits until `is_wanted` says so of the value, and returns the value locked.
    ///
    /// `is_wanted` runs under the lock: once at first, and then after each change. It must not use the monitor. A
    /// change through a `Cell` or an atomic in the value is none: only a mutable borrow is.
    ///
    /// # Cancellation
    ///
    /// Fails when the token is cancelled, even if the value is as wanted.
    ///
    /// # Errors
    ///
    /// [`Cancelled`].
    pub fn wait(
        &self,
        token: &CancellationToken,
        is_wanted: impl FnMut(&T) -> bool,
    ) -> Result<MonitorGuard<'_, T>, Cancelled> {
        match self.wait_until(token, None, is_wanted) {
            Ok(guard) => Ok(guard),
            Err(WaitError::Cancelled(cancelled)) => Err(cancelled),
            Err(WaitError::Timeout) => unreachable!("it had no deadline"),
        }
    }

    /// Waits like [`wait`](Self::wait), up to `timeout`.
    ///
    /// A timeout too long for the clock to hold is no timeout.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](WaitError::Cancelled), or [`Timeout`](WaitError::Timeout). A cancel at the same time wins.
    pub fn wait_timeout(
        &self,
        token: &CancellationToken,
        timeout: Duration,
        is_wanted: impl FnMut(&T) -> bool,
    ) -> Result<MonitorGuard<'_, T>, WaitError> {
        self.wait_until(token, Instant::now().checked_add(timeout), is_wanted)
    }

    /// Waits like [`wait`](Self::wait), up to `deadline`.
    ///
    /// # Errors
    ///
    /// Those of [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(
        &self,
        token: &CancellationToken,
        deadline: Instant,
        is_wanted: impl FnMut(&T) -> bool,
    ) -> Result<MonitorGuard<'_, T>, WaitError> {
        self.wait_until(token, Some(deadline), is_wanted)
    }

    fn wait_until(
        &self,
        token: &CancellationToken,
        deadline: Option<Instant>,
        mut is_wanted: impl FnMut(&T) -> bool,
    ) -> Result<MonitorGuard<'_, T>, WaitError> {
        token.check()?;
        let guard = self.lock();
        if is_wanted(&guard) {
            return Ok(guard);
        }
        drop(guard);

        let _watch = self.changed.observe(token);
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let ticket = self.changed.ticket();
            token.check()?;
            let guard = self.lock();
            if is_wanted(&guard) {
                return Ok(guard);
            }
            drop(guard);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(WaitError::Timeout);
            }
            self.changed.wait_until(ticket, [deadline, token.look_at()].into_iter().flatten().min());
        }
    }

    /// Returns a mutable reference to the value, without a lock, because no other thread can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// A caller that waits, in the count of them, also if its predicate panics.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Deref for MonitorGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until it is dropped")
    }
}

impl<T> DerefMut for MonitorGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        self.value.as_mut().expect("held until it is dropped")
    }
}

impl<T> Drop for MonitorGuard<'_, T> {
    fn drop(&mut self) {
        // Relaxed: a caller raises the count before it takes the lock and finds the value unchanged.
        let tells = self.is_changed && self.of.waiting.load(Ordering::Relaxed) > 0;
        self.value = None;
        if tells {
            self.of.changed.notify_all();
        }
    }
}

impl<T: Default> Default for Monitor<T> {
    fn default() -> Self {
        Monitor::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Monitor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Monitor");
        match self.value.try_lock() {
            Some(value) => out.field("value", &*value),
            None => out.field("value", &format_args!("(locked)")),
        };
        out.field("waiting", &self.waiting.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for MonitorGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
