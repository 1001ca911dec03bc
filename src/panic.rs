//! The only module that catches a panic and the only one that resumes it.
//!
//! `AssertUnwindSafe` holds because every caller either resumes the payload once all threads are joined, or never touches
//! again what the closure was working on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::error::Panic;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// Runs `f`; a panic comes back as its payload.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Goes on with a panic that was caught, without running the panic hook.
pub(crate) fn resume(payload: Payload) -> ! {
    resume_unwind(payload)
}

/// Drops what lost against a panic, be it a later payload or a value, even if its `Drop` panics.
pub(crate) fn discard<T>(lost: T) {
    if let Err(second) = catch(move || drop(lost)) {
        // Dropping this one could panic again, and so on without end.
        std::mem::forget(second);
    }
}

/// The same for each of several: dropped together, two whose `Drop` panics would abort the process.
pub(crate) fn discard_all<T>(lost: impl IntoIterator<Item = T>) {
    lost.into_iter().for_each(discard);
}

/// Keeps a panic as a value.
pub(crate) fn value(component: Arc<str>, index: usize, payload: Payload) -> Panic {
    let message = if let Some(message) = payload.downcast_ref::<&'static str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "(the payload is not a string)".to_owned()
    };
    Panic::new(component, index, message, payload)
}

impl Panic {
    /// Goes on panicking with the payload as it was thrown; the panic hook does not run again.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        resume(self.into_payload())
    }
}

/// Unwinds out of a rayon job without a panic: no hook runs, and only rayon's frames see it.
#[cfg(panic = "unwind")]
pub(crate) fn leave() -> ! {
    resume_unwind(Box::new(Leave))
}

/// What [`leave`] throws.
#[cfg(panic = "unwind")]
struct Leave;

/// Tells whether a caught payload is [`leave`]'s own, not a panic of the user's.
#[cfg(panic = "unwind")]
pub(crate) fn is_leave(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Leave>()
}
