//! The locks, condvars and atomics of the token, of `Event`, of the pipeline's `Signal` and of the limits:
//! `parking_lot`'s and std's, or loom's models of them.
//!
//! `tests/loom/` explores every order of their steps under `--cfg brigade_loom`. Loom's own `cfg(loom)` is not used,
//! because it switches the dependencies over as well.

#[cfg(not(brigade_loom))]
pub(crate) use real::*;

#[cfg(brigade_loom)]
pub(crate) use model::*;

#[cfg(brigade_loom)]
pub use model::PAST;

#[cfg(not(brigade_loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
    pub(crate) use std::thread::{ThreadId, current};
    pub(crate) use std::thread_local;

    pub(crate) use crossbeam::utils::Backoff;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    pub(crate) fn is_past(time: std::time::Instant) -> bool {
        std::time::Instant::now() >= time
    }
}

#[cfg(brigade_loom)]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
    pub(crate) use loom::thread::{ThreadId, current};

    /// Loom's `thread_local!`, with std's syntax for a constant.
    macro_rules! model_thread_local {
        (static $name:ident: $type:ty = const $value:block;) => {
            loom::thread_local! { static $name: $type = $value; }
        };
    }
    pub(crate) use model_thread_local as thread_local;

    /// A backoff that never spins, because a model would see the same state at each turn.
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Backoff
        }

        pub(crate) fn is_completed(&self) -> bool {
            true
        }

        pub(crate) fn snooze(&self) {}
    }

    /// Loom's mutex with parking_lot's interface, which knows no poisoning.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// Empty only while [`Condvar::wait`] holds the guard.
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("no model panics under a lock")))
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("no model panics under a lock")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Mutex::new(T::default())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held")
        }
    }

    /// Whether the times that the models of the semaphore ask about have passed: a model has no time of its own.
    pub static PAST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    pub(crate) fn is_past(_time: Instant) -> bool {
        PAST.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar::default()
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect("held");
            guard.0 = Some(self.0.wait(held).expect("no model panics under a lock"));
        }

        /// Waits without a deadline, because models have no time.
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _deadline: Instant) {
            self.wait(guard);
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
