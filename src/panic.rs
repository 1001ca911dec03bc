//! The only module that catches a panic and the only one that resumes it.
//!
//! `AssertUnwindSafe` holds because every caller either resumes the payload once all threads are joined, or never touches
//! again what the closure was working on.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};

use crate::failure::{Origin, Panic};

/// What a panic carries, and where it came from.
pub(crate) struct Payload {
    thrown: Box<dyn Any + Send>,
    origin: Option<Box<Origin>>,
}

/// Runs `f`; a panic comes back as its payload.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|thrown| {
        // The panic seen last may be another one, which the user has caught.
        let origin = swap_last(None).filter(|last| last.is_of(&*thrown));
        Payload { thrown, origin }
    })
}

impl Origin {
    fn is_of(&self, thrown: &(dyn Any + Send)) -> bool {
        self.kind == thrown.type_id() && self.message.as_deref() == message(thrown)
    }
}

/// Goes on with a panic that was caught, without running the panic hook.
pub(crate) fn resume(payload: Payload) -> ! {
    // For whoever catches it next, perhaps on another thread.
    swap_last(payload.origin);
    resume_unwind(payload.thrown)
}

/// What left a thread, all of whose panics are caught: the `Drop` of something that outlived its closure.
impl From<Box<dyn Any + Send>> for Payload {
    fn from(thrown: Box<dyn Any + Send>) -> Self {
        Payload { thrown, origin: None }
    }
}

/// Drops what lost against a panic, be it a later payload or a value, even if its `Drop` panics.
pub(crate) fn discard<T>(lost: T) {
    if let Err(second) = catch(move || drop(lost)) {
        // Dropping this one could panic again, and so on without end.
        std::mem::forget(second);
    }
}

/// Drops each of several, and then goes on with the first panic among their `Drop`s, as dropping a vector does; but two such
/// would abort the process there.
pub(crate) fn drop_each<T>(items: impl IntoIterator<Item = T>) {
    let mut panics = items.into_iter().filter_map(|item| catch(move || drop(item)).err());
    let first = panics.next();
    panics.for_each(|panic| discard(panic.thrown));
    if let Some(first) = first {
        resume(first);
    }
}

/// [`discard`] for each of several: dropped together, two whose `Drop` panics would abort the process.
pub(crate) fn discard_all<T>(lost: impl IntoIterator<Item = T>) {
    lost.into_iter().for_each(discard);
}

/// Panics because a source has ended before it gave the `promised` number of items: an indexed source of rayon's that is not
/// as long as its `len`. Every part says so in the same words.
#[cold]
#[inline(never)]
pub(crate) fn short_source(promised: usize) -> ! {
    panic!("the source has fewer items than the {promised} that its len promised")
}

/// The same, where it has more.
#[cold]
#[inline(never)]
pub(crate) fn long_source(promised: usize) -> ! {
    panic!("the source has more items than the {promised} that its len promised")
}

/// Keeps a panic as a value.
pub(crate) fn value(component: Arc<str>, index: usize, payload: Payload) -> Panic {
    let message = message(&*payload.thrown).unwrap_or("(the payload is not a string)").to_owned();
    Panic::new(component, index, message, payload.thrown, payload.origin)
}

fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&'static str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

thread_local! {
    /// The panic that the hook saw last on this thread.
    static LAST: Cell<Option<Box<Origin>>> = const { Cell::new(None) };
}

fn observe(info: &PanicHookInfo<'_>) {
    let message = message(info.payload()).map(str::to_owned);
    let origin = Origin {
        kind: info.payload().type_id(),
        message,
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: Backtrace::capture(),
    };
    swap_last(Some(Box::new(origin)));
}

fn swap_last(origin: Option<Box<Origin>>) -> Option<Box<Origin>> {
    // A thread may panic after its thread-locals are gone.
    LAST.try_with(|last| last.replace(origin)).unwrap_or(None)
}

impl Panic {
    /// Has the place and the backtrace of panics recorded, for [`location`](Self::location) and
    /// [`backtrace`](Self::backtrace).
    ///
    /// Only a panic hook is told of them, and there is one for the whole process: so a program says by this call, at its
    /// start, that it wants them. The hook that is there is kept, and runs after ours. Calls after the first do nothing. A
    /// hook that the program sets later takes the place of ours, unless it calls the one before it.
    ///
    /// # Panics
    ///
    /// If the calling thread is panicking, as [`std::panic::set_hook`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Panic, ScopeBuilder};
    ///
    /// Panic::install_hook();
    /// let failures = ScopeBuilder::new()
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         s.spawn(|_| -> Result<(), Cancelled> { panic!("a bug") })?;
    ///         Ok(())
    ///     })
    ///     .unwrap_err();
    /// let panic = failures.as_slice()[0].panic().unwrap();
    /// // Such as `src/main.rs:8:51`.
    /// assert!(panic.location().is_some_and(|place| place.contains(".rs:")));
    /// ```
    pub fn install_hook() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                observe(info);
                before(info);
            }));
        });
    }

    /// Goes on panicking with the payload as it was thrown; the panic hook does not run again.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        let (thrown, origin) = self.into_parts();
        resume(Payload { thrown, origin })
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
pub(crate) fn is_leave(payload: &Payload) -> bool {
    payload.thrown.is::<Leave>()
}
