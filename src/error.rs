//! What a run can end with: cancelled, failed, panicked.

use std::any::{Any, TypeId};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a token was cancelled.
///
/// The first reason given to a token stays, and its descendants inherit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody called [`cancel`](crate::CancellationToken::cancel).
    Requested,
    /// A deadline passed.
    Deadline,
    /// A sibling task failed.
    Failed,
    /// A sibling task panicked.
    Panicked,
    /// The process received the signal of this number.
    Signal(i32),
    /// A [`DropGuard`](crate::DropGuard) was dropped.
    Dropped,
    /// A reason of the program's own, or one of brigade's that no other variant names.
    Other(&'static str),
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelReason::Requested => f.write_str("requested"),
            CancelReason::Deadline => f.write_str("the deadline passed"),
            CancelReason::Failed => f.write_str("a sibling failed"),
            CancelReason::Panicked => f.write_str("a sibling panicked"),
            CancelReason::Signal(number) => write!(f, "signal {number}"),
            CancelReason::Dropped => f.write_str("its guard was dropped"),
            CancelReason::Other(reason) => f.write_str(reason),
        }
    }
}

/// The error of a call that stopped because its token was cancelled.
///
/// Calls that run fallible closures return the closure's own error type `E` and ask for `E: From<Cancelled>`, so that
/// `?` works inside the closure and outside the call alike. `anyhow::Error`, `Box<dyn Error + Send + Sync>` and
/// [`std::io::Error`] qualify as they are; an enum of one's own needs a variant:
///
/// ```
/// use brigade::Cancelled;
///
/// #[derive(Debug, thiserror::Error)]
/// enum ConvertError {
///     #[error("not a number: {0}")]
///     Parse(#[from] std::num::ParseIntError),
///     #[error(transparent)]
///     Cancelled(#[from] Cancelled),
/// }
///
/// fn convert(lines: &[&str]) -> Result<Vec<u32>, ConvertError> {
///     let token = brigade::CancellationToken::new();
///     brigade::try_par_map(&token, lines, |line| Ok(line.parse()?))
/// }
/// assert_eq!(convert(&["1", "2"]).unwrap(), [1, 2]);
/// assert!(matches!(convert(&["1", "two"]), Err(ConvertError::Parse(_))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("cancelled: {reason}")]
pub struct Cancelled {
    reason: CancelReason,
}

impl Cancelled {
    /// Creates the error for `reason`, for code that reports a cancellation of its own.
    #[must_use]
    pub const fn new(reason: CancelReason) -> Self {
        Cancelled { reason }
    }

    /// Returns why the token was cancelled.
    #[must_use]
    pub const fn reason(&self) -> CancelReason {
        self.reason
    }
}

/// The kind is [`Other`](io::ErrorKind::Other), not `Interrupted`: the loops of [`std::io`] retry an interrupted call,
/// so a reader that reported its cancellation as `Interrupted` would be called again for ever.
impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        io::Error::other(cancelled)
    }
}

/// A task's failure kept as a value: its error or its panic, with the component and index it belongs to.
///
/// This is what the forms list that go on past a failure, such as
/// [`ScopeBuilder::collect_all`](crate::ScopeBuilder::collect_all). Those that end with the first return the bare `E`.
///
/// It is shown on one line, as `name#index failed: error`. Of an error that has a chain of causes and shows it in the
/// alternate form, such as `anyhow::Error`, `{:#}` shows the chain here too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<E> {
    /// The task returned an error.
    Error {
        /// The name of the part that failed.
        component: Arc<str>,
        /// Which task of its run it was, counted from 0.
        index: usize,
        /// What the task returned.
        error: E,
    },
    /// The task panicked.
    Panic(Panic),
}

impl<E> Failure<E> {
    /// Returns the name of the part that failed.
    #[must_use]
    pub fn component(&self) -> &str {
        match self {
            Failure::Error { component, .. } => component,
            Failure::Panic(panic) => panic.component(),
        }
    }

    /// Returns which task of its run failed, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Failure::Error { index, .. } => *index,
            Failure::Panic(panic) => panic.index(),
        }
    }

    /// Returns the error, or `None` if the task panicked.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Failure::Error { error, .. } => Some(error),
            Failure::Panic(_) => None,
        }
    }

    /// Returns the panic, or `None` if the task returned an error.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Error { .. } => None,
            Failure::Panic(panic) => Some(panic),
        }
    }

    /// Returns the error by value, or `None` if the task panicked. To keep either, match on the variants.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Failure, ScopeBuilder};
    ///
    /// let failures = ScopeBuilder::new().collect_all(&CancellationToken::new(), |s| {
    ///     s.spawn(|_| Err::<(), _>(anyhow::anyhow!("disk full")))?;
    ///     s.spawn(|_| -> anyhow::Result<()> { panic!("a bug") })?;
    ///     Ok(())
    /// })
    /// .unwrap_err();
    /// let errors: Vec<anyhow::Error> = failures.into_iter().filter_map(Failure::into_error).collect();
    /// assert_eq!(errors.len(), 1);
    /// assert_eq!(errors[0].to_string(), "disk full");
    /// ```
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        match self {
            Failure::Error { error, .. } => Some(error),
            Failure::Panic(_) => None,
        }
    }

    /// Returns the panic by value, to [resume](Panic::resume) it or to look at its payload, or `None` if the task
    /// returned an error.
    #[must_use]
    pub fn into_panic(self) -> Option<Panic> {
        match self {
            Failure::Error { .. } => None,
            Failure::Panic(panic) => Some(panic),
        }
    }
}

// By hand, because a format string would not hand the alternate flag on.
impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { component, index, error } => {
                write!(f, "{component}#{index} failed: ")?;
                error.fmt(f)
            }
            Failure::Panic(panic) => panic.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failure<E> {}

/// A panic kept as a value: what was thrown, and by which component.
///
/// The panic hook has already run when one of these is made. With [`install_hook`](Self::install_hook) it also says where it
/// happened.
#[derive(thiserror::Error)]
#[error("{component}#{index} panicked: {}", self.message())]
pub struct Panic {
    component: Arc<str>,
    index: usize,
    message: String,
    // A payload is `Send` and no more; the mutex makes the error `Sync`, which `anyhow` and `Box<dyn Error + Send +
    // Sync>` ask for.
    payload: Mutex<Box<dyn Any + Send>>,
    origin: Option<Box<Origin>>,
}

impl Panic {
    pub(crate) fn new(
        component: Arc<str>,
        index: usize,
        message: String,
        payload: Box<dyn Any + Send>,
        origin: Option<Box<Origin>>,
    ) -> Self {
        Panic { component, index, message, payload: Mutex::new(payload), origin }
    }

    /// Returns the name of the part that panicked.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns which task of its run panicked, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the panic's message, or a placeholder if the payload is not a string.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns file, line and column of the panic, as in `src/main.rs:8:51`.
    ///
    /// `None` unless [`install_hook`](Self::install_hook) had been called before, and for what was resumed without a panic, as
    /// by [`std::panic::resume_unwind`] with a payload of the program's own.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.location.as_str())
    }

    /// Returns the backtrace of the panic, where there is a [`location`](Self::location) and `RUST_BACKTRACE` or
    /// `RUST_LIB_BACKTRACE` ask for backtraces, as [`Backtrace::capture`] has it.
    #[must_use]
    pub fn backtrace(&self) -> Option<&Backtrace> {
        let backtrace = self.origin.as_ref().map(|origin| &origin.backtrace);
        backtrace.filter(|backtrace| backtrace.status() == BacktraceStatus::Captured)
    }

    /// Returns the payload as it was thrown.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.payload.into_inner()
    }

    pub(crate) fn into_parts(self) -> (Box<dyn Any + Send>, Option<Box<Origin>>) {
        (self.payload.into_inner(), self.origin)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("component", &self.component)
            .field("index", &self.index)
            .field("message", &self.message)
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}

/// Where a panic came from, which only the panic hook is told, and which panic that was.
pub(crate) struct Origin {
    pub(crate) kind: TypeId,
    pub(crate) message: Option<String>,
    pub(crate) location: String,
    pub(crate) backtrace: Backtrace,
}
