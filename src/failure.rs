//! [`Failure`] and [`Panic`]: how a task or an item failed, kept as a value.

use std::any::{Any, TypeId};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Cancelled;

/// How a task or an item failed, kept as a value: with its name, its index, and its label if it has one.
///
/// This is what the forms list that go on past a failure, such as
/// [`ScopeBuilder::collect_all`](crate::ScopeBuilder::collect_all), and what [`located`](crate::Pipeline::located) makes of the
/// error that a run ends with. The other forms that end with the first failure return the bare `E`.
///
/// It is shown on one line, as `name#index failed: error`, or `name#index (label) failed: error`. Of an error that has a
/// chain of causes and shows it in the alternate form, such as `anyhow::Error`, `{:#}` shows the chain here too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<E> {
    /// The task or the item returned an error.
    Error {
        /// The name of the part that failed.
        component: Arc<str>,
        /// Which task or item of its run it was, counted from 0.
        index: usize,
        /// What the program calls the item, such as the name of a file.
        label: Option<Box<str>>,
        /// What was returned.
        error: E,
    },
    /// The task or the item panicked.
    Panic(Panic),
    /// It was not run to its end, because the run was cancelled.
    Cancelled {
        /// The name of the part.
        component: Arc<str>,
        /// Which task of its run it was, counted from 0.
        index: usize,
        /// Why.
        cancelled: Cancelled,
    },
}

impl<E> Failure<E> {
    pub(crate) fn new(component: Arc<str>, index: usize, error: E) -> Self {
        Failure::Error { component, index, label: None, error }
    }

    /// Gives the failure a label.
    pub(crate) fn labelled(self, label: Option<Box<str>>) -> Self {
        match self {
            Failure::Error { component, index, error, .. } => Failure::Error { component, index, label, error },
            Failure::Panic(panic) => Failure::Panic(Panic { label, ..panic }),
            cancelled @ Failure::Cancelled { .. } => cancelled,
        }
    }

    /// Returns the name of the part that failed.
    #[must_use]
    pub fn component(&self) -> &str {
        match self {
            Failure::Error { component, .. } | Failure::Cancelled { component, .. } => component,
            Failure::Panic(panic) => panic.component(),
        }
    }

    /// Returns which task or item of its run failed, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Failure::Error { index, .. } | Failure::Cancelled { index, .. } => *index,
            Failure::Panic(panic) => panic.index(),
        }
    }

    /// Returns what the program calls the item that failed, if it has said so, by
    /// [`Pipeline::located_by`](crate::Pipeline::located_by) or [`ParBuilder::labelled`](crate::ParBuilder::labelled).
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Failure::Error { label, .. } => label.as_deref(),
            Failure::Panic(panic) => panic.label(),
            Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the error, or `None` if it was a panic or a cancellation.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Failure::Error { error, .. } => Some(error),
            Failure::Panic(_) | Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the panic, or `None` if it was an error or a cancellation.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Panic(panic) => Some(panic),
            Failure::Error { .. } | Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the cancellation, or `None` if it was an error or a panic.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        match self {
            Failure::Cancelled { cancelled, .. } => Some(*cancelled),
            Failure::Error { .. } | Failure::Panic(_) => None,
        }
    }

    /// Returns the error by value, or `None` if it was a panic or a cancellation. To keep either, match on the variants.
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
            Failure::Panic(_) | Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the panic by value, to [resume](Panic::resume) it or to look at its payload, or `None` if it was an error or a
    /// cancellation.
    #[must_use]
    pub fn into_panic(self) -> Option<Panic> {
        match self {
            Failure::Panic(panic) => Some(panic),
            Failure::Error { .. } | Failure::Cancelled { .. } => None,
        }
    }
}

/// A run that was cancelled, as `run#0`.
impl<E> From<Cancelled> for Failure<E> {
    fn from(cancelled: Cancelled) -> Self {
        Failure::Cancelled { component: "run".into(), index: 0, cancelled }
    }
}

// By hand, because a format string would not hand the alternate flag on.
impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { component, index, label, error } => {
                show_place(f, component, *index, label.as_deref())?;
                f.write_str(" failed: ")?;
                error.fmt(f)
            }
            Failure::Panic(panic) => panic.fmt(f),
            Failure::Cancelled { component, index, cancelled } => write!(f, "{component}#{index} {cancelled}"),
        }
    }
}

fn show_place(f: &mut fmt::Formatter<'_>, component: &str, index: usize, label: Option<&str>) -> fmt::Result {
    write!(f, "{component}#{index}")?;
    label.map_or(Ok(()), |label| write!(f, " ({label})"))
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failure<E> {}

/// A panic kept as a value: what was thrown, and by which component.
///
/// The panic hook has already run when one of these is made. With [`install_hook`](Self::install_hook) it also says where it
/// happened.
pub struct Panic {
    component: Arc<str>,
    index: usize,
    label: Option<Box<str>>,
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
        Panic { component, index, label: None, message, payload: Mutex::new(payload), origin }
    }

    /// Returns the name of the part that panicked.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns which task or item of its run panicked, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns what the program calls the item that panicked, if it has said so; see [`Failure::label`].
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
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

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_place(f, &self.component, self.index, self.label())?;
        write!(f, " panicked: {}", self.message)
    }
}

impl std::error::Error for Panic {}

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
