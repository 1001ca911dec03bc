//! The only module that catches a panic, and the only one that resumes it.
//!
//! `AssertUnwindSafe` holds, because each caller either resumes the payload when all threads are joined, or never again
//! touches the values that the closure worked on. `Retry::supervise` calls its closure again, and its documentation
//! says so.
//!
//! **Place and backtrace.** Only a panic hook sees the stack before it is unwound. The hook that [`record_origins`]
//! installs leaves place and backtrace in a thread-local, and [`catch`] takes them along with the payload. The program
//! asks for this hook, because a library that replaced the hook of the process by itself would surprise.
//!
//! **Two panicking drops.** Two values whose `Drop` panics abort the process if they are dropped together. So each
//! value that a call gives up is dropped alone, under a catch: [`discard`], [`drop_each`], [`Unmet`].

use std::any::{Any, TypeId};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::Once;

/// The payload of a caught panic, with its origin if the hook has recorded it.
pub(crate) struct Payload {
    thrown: Box<dyn Any + Send>,
    origin: Option<Box<Origin>>,
}

/// Where a panic came from, and the marks by which a payload is recognised as that panic's.
pub(crate) struct Origin {
    pub(crate) location: String,
    pub(crate) backtrace: Backtrace,
    kind: TypeId,
    message: Option<String>,
}

impl Payload {
    pub(crate) fn new(thrown: Box<dyn Any + Send>, origin: Option<Box<Origin>>) -> Self {
        Payload { thrown, origin }
    }

    #[cold]
    fn caught(thrown: Box<dyn Any + Send>) -> Self {
        // The hook may have seen another panic last, one that the user has caught.
        let origin = swap_last(None).filter(|last| last.is_of(&*thrown));
        Payload { thrown, origin }
    }

    /// Returns the panic's message, or a placeholder if the payload is not a string.
    pub(crate) fn message(&self) -> &str {
        message(&*self.thrown).unwrap_or("(the payload is not a string)")
    }

    pub(crate) fn into_parts(self) -> (Box<dyn Any + Send>, Option<Box<Origin>>) {
        (self.thrown, self.origin)
    }
}

/// Runs `f`; a panic comes back as its payload.
// Inlined, because a pipeline that keeps going catches each item.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    catch_unwind(AssertUnwindSafe(f)).map_err(Payload::caught)
}

impl Origin {
    fn is_of(&self, thrown: &(dyn Any + Send)) -> bool {
        self.kind == thrown.type_id() && self.message.as_deref() == message(thrown)
    }
}

/// Resumes a panic that was caught, without running the panic hook.
pub(crate) fn resume(payload: Payload) -> ! {
    // For the next catch, perhaps on another thread.
    swap_last(payload.origin);
    resume_unwind(payload.thrown)
}

/// The payload of a panic that left a thread although its closure's panics are caught: it came from the `Drop` of a
/// value that outlived the closure.
impl From<Box<dyn Any + Send>> for Payload {
    fn from(thrown: Box<dyn Any + Send>) -> Self {
        Payload { thrown, origin: None }
    }
}

/// Drops a value or a payload that another panic has beaten; a panic of its `Drop` is lost.
pub(crate) fn discard<T>(lost: T) {
    if let Err(second) = catch(move || drop(lost)) {
        // Dropping this payload could panic again, and so on without end.
        std::mem::forget(second);
    }
}

/// Drops each item alone, then resumes the first panic among their `Drop`s.
///
/// Dropping a vector resumes the first panic too, but a second one aborts the process there.
pub(crate) fn drop_each<T>(items: impl IntoIterator<Item = T>) {
    let mut panics = items.into_iter().filter_map(|item| catch(move || drop(item)).err());
    let first = panics.next();
    panics.for_each(|panic| discard(panic.thrown));
    if let Some(first) = first {
        resume(first);
    }
}

/// [Discards](discard) each item alone, because two whose `Drop` panics would abort the process if dropped together.
pub(crate) fn discard_all<T>(lost: impl IntoIterator<Item = T>) {
    lost.into_iter().for_each(discard);
}

/// The panics that a call meets while it ends: the first is resumed, the others are lost.
// Public, because a stage of a pipeline adds those of its states.
#[doc(hidden)]
#[derive(Default)]
pub struct Panics(Option<Payload>);

impl fmt::Debug for Panics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panics").field(&self.0.as_ref().map(Payload::message)).finish()
    }
}

impl Panics {
    pub(crate) fn add(&mut self, payload: Payload) {
        match self.0 {
            None => self.0 = Some(payload),
            Some(_) => discard(payload),
        }
    }

    /// Drops a value, and adds the panic of its `Drop` if there is one.
    pub(crate) fn drop<T>(&mut self, value: T) {
        if let Err(payload) = catch(move || drop(value)) {
            self.add(payload);
        }
    }

    pub(crate) fn append(&mut self, later: Panics) {
        if let Some(payload) = later.0 {
            self.add(payload);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Loses all of them, because another panic has beaten them.
    pub(crate) fn discard(self) {
        discard(self.0);
    }

    /// Returns `result` if there was no panic; otherwise drops it and resumes the first panic.
    pub(crate) fn resume_or<T>(self, result: T) -> T {
        match self.0 {
            None => result,
            Some(payload) => {
                discard(result);
                resume(payload)
            }
        }
    }
}

/// A value that is [discarded](discard) if it is dropped while another panic unwinds, because a second panic would
/// abort the process.
#[derive(Debug)]
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Guarded(Some(value))
    }

    pub(crate) fn get(&self) -> &T {
        self.0.as_ref().expect("taken when it is dropped only")
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken when it is dropped only")
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("taken by value only")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            discard(self.0.take());
        }
    }
}

/// Items that the plain loop would not have met: each is dropped alone, and panics of their `Drop` are lost.
#[derive(Debug)]
pub(crate) struct Unmet<T>(pub(crate) Vec<T>);

impl<T> Drop for Unmet<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            discard_all(self.0.drain(..));
        }
    }
}

/// Panics because an indexed source of rayon's has fewer items than its `len` promised, in the same words in every
/// part.
#[cold]
#[inline(never)]
pub(crate) fn short_source(promised: usize) -> ! {
    panic!("the source has fewer items than the {promised} that its len promised")
}

/// Panics because such a source has more items than its `len` promised.
#[cold]
#[inline(never)]
pub(crate) fn long_source(promised: usize) -> ! {
    panic!("the source has more items than the {promised} that its len promised")
}

fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&'static str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

thread_local! {
    /// The origin of the panic that the hook saw last on this thread.
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

/// Installs the hook that records the origin of each panic, once; the hook that was there runs after it.
pub(crate) fn record_origins() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            observe(info);
            before(info);
        }));
    });
}

/// Unwinds out of a rayon job without a panic: no hook runs, and only rayon's frames unwind.
#[cfg(panic = "unwind")]
pub(crate) fn leave() -> ! {
    resume_unwind(Box::new(Leave))
}

/// The payload of [`leave`].
#[cfg(panic = "unwind")]
struct Leave;

/// Tells whether a caught payload is [`leave`]'s own, not a panic of the user's.
#[cfg(panic = "unwind")]
pub(crate) fn is_leave(payload: &Payload) -> bool {
    payload.thrown.is::<Leave>()
}
