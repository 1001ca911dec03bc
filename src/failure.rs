//! [`Failure`] and [`Panic`]: how a task or an item failed, as a value.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Cancelled;
use crate::panic::{self, Origin, Payload};

/// How a task or an item failed, as a value: with its name, its index, and its label if it has one.
///
/// The forms that go on past a failure, such as [`ScopeBuilder::collect_all`](crate::ScopeBuilder::collect_all), list
/// failures. [`Pipeline::located`](crate::Pipeline::located) turns the error of a run into one. The other forms that
/// end with the first failure return the bare `E`.
///
/// It is shown on one line, as `name#index failed: error` or `name#index (label) failed: error`. An error such as
/// `anyhow::Error` shows its chain of causes in the alternate form `{:#}`, and then shows it here too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<E> {
    /// The task or the item returned an error.
    Error {
        /// The name of the part that failed.
        name: Arc<str>,
        /// The number of the task or item in its run, counted from 0.
        index: usize,
        /// The program's name for the item, such as that of a file.
        label: Option<Box<str>>,
        /// The error that was returned.
        error: E,
    },
    /// The task or the item panicked.
    Panic(Panic),
    /// The task or the item did not run to its end, because the run was cancelled.
    Cancelled {
        /// The name of the part.
        name: Arc<str>,
        /// The number of the task in its run, counted from 0.
        index: usize,
        /// The cancellation, with its reason.
        cancelled: Cancelled,
    },
}

impl<E> Failure<E> {
    pub(crate) fn new(name: Arc<str>, index: usize, error: E) -> Self {
        Failure::Error { name, index, label: None, error }
    }

    /// Gives the failure a label.
    pub(crate) fn labelled(self, label: Option<Box<str>>) -> Self {
        match self {
            Failure::Error { name, index, error, .. } => Failure::Error { name, index, label, error },
            Failure::Panic(mut panic) => {
                panic.thrown.label = label;
                Failure::Panic(panic)
            }
            cancelled @ Failure::Cancelled { .. } => cancelled,
        }
    }

    /// Returns the name of the part that failed.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Failure::Error { name, .. } | Failure::Cancelled { name, .. } => name,
            Failure::Panic(panic) => panic.name(),
        }
    }

    /// Returns the number of the task or item in its run, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Failure::Error { index, .. } | Failure::Cancelled { index, .. } => *index,
            Failure::Panic(panic) => panic.index(),
        }
    }

    /// Returns the program's name for the item that failed, or `None` if the program has given none.
    ///
    /// [`Pipeline::located_by`](crate::Pipeline::located_by) and [`ParBuilder::labelled`](crate::ParBuilder::labelled)
    /// give labels.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Failure::Error { label, .. } => label.as_deref(),
            Failure::Panic(panic) => panic.label(),
            Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the error, or `None` for a panic or a cancellation.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Failure::Error { error, .. } => Some(error),
            Failure::Panic(_) | Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the panic, or `None` for an error or a cancellation.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Panic(panic) => Some(panic),
            Failure::Error { .. } | Failure::Cancelled { .. } => None,
        }
    }

    /// Returns the cancellation, or `None` for an error or a panic.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        match self {
            Failure::Cancelled { cancelled, .. } => Some(*cancelled),
            Failure::Error { .. } | Failure::Panic(_) => None,
        }
    }

    /// Returns the error by value, or `None` for a panic or a cancellation.
    ///
    /// To keep a panic or a cancellation, match on the variants.
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

    /// Returns the panic by value, to [resume](Panic::resume) it or to look at its payload, or `None` for an error or a
    /// cancellation.
    #[must_use]
    pub fn into_panic(self) -> Option<Panic> {
        match self {
            Failure::Panic(panic) => Some(panic),
            Failure::Error { .. } | Failure::Cancelled { .. } => None,
        }
    }
}

/// Makes a failure with the name `run` and the index 0.
impl<E> From<Cancelled> for Failure<E> {
    fn from(cancelled: Cancelled) -> Self {
        Failure::Cancelled { name: "run".into(), index: 0, cancelled }
    }
}

// By hand, because a format string does not pass the alternate flag on to the error.
impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { name, index, label, error } => {
                show_place(f, name, *index, label.as_deref())?;
                f.write_str(" failed: ")?;
                error.fmt(f)
            }
            Failure::Panic(panic) => panic.fmt(f),
            Failure::Cancelled { name, index, cancelled } => write!(f, "{name}#{index} {cancelled}"),
        }
    }
}

fn show_place(f: &mut fmt::Formatter<'_>, name: &str, index: usize, label: Option<&str>) -> fmt::Result {
    write!(f, "{name}#{index}")?;
    label.map_or(Ok(()), |label| write!(f, " ({label})"))
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failure<E> {}

/// A panic as a value: its payload, and the name and index of the task or item that panicked.
///
/// The panic hook has run before a value of this type is made. After [`install_hook`](Self::install_hook) the value
/// also has the place and the backtrace of the panic.
pub struct Panic {
    // Boxed, because a result with a failure in it is as large as the largest failure, and a panic is the rarest.
    thrown: Box<Thrown>,
}

struct Thrown {
    name: Arc<str>,
    index: usize,
    label: Option<Box<str>>,
    message: String,
    // A payload is `Send` only. The mutex makes the error `Sync`, because `anyhow` and `Box<dyn Error + Send + Sync>`
    // ask for that.
    payload: Mutex<Box<dyn Any + Send>>,
    origin: Option<Box<Origin>>,
}

impl Panic {
    pub(crate) fn new(name: Arc<str>, index: usize, payload: Payload) -> Self {
        let message = payload.message().to_owned();
        let (payload, origin) = payload.into_parts();
        let payload = Mutex::new(payload);
        Panic { thrown: Box::new(Thrown { name, index, label: None, message, payload, origin }) }
    }

    /// Records the place and the backtrace of every panic from now on, for [`location`](Self::location) and
    /// [`backtrace`](Self::backtrace).
    ///
    /// Only a panic hook is told of them, and a process has one hook. So a program asks for them by this call, at its
    /// start. The hook that is installed then is kept, and runs after this one. Calls after the first do nothing. A
    /// hook that the program sets later replaces this one, unless it calls the hook before it.
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
        panic::record_origins();
    }

    /// Returns the name of the part that panicked.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.thrown.name
    }

    /// Returns the number of the task or item in its run, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.thrown.index
    }

    /// Returns the program's name for the item that panicked, or `None`; see [`Failure::label`].
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.thrown.label.as_deref()
    }

    /// Returns the panic's message, or a placeholder if the payload is not a string.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.thrown.message
    }

    /// Returns file, line and column of the panic, as in `src/main.rs:8:51`.
    ///
    /// `None` if [`install_hook`](Self::install_hook) was not called before the panic. `None` also if the program
    /// unwound without a panic, by [`std::panic::resume_unwind`] with a payload of its own.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.thrown.origin.as_ref().map(|origin| origin.location.as_str())
    }

    /// Returns the backtrace of the panic, or `None` if it has no [`location`](Self::location) or no backtrace was
    /// asked for.
    ///
    /// The variables `RUST_BACKTRACE` and `RUST_LIB_BACKTRACE` ask for backtraces; see [`Backtrace::capture`].
    #[must_use]
    pub fn backtrace(&self) -> Option<&Backtrace> {
        let backtrace = self.thrown.origin.as_ref().map(|origin| &origin.backtrace);
        backtrace.filter(|backtrace| backtrace.status() == BacktraceStatus::Captured)
    }

    /// Returns the payload as it was thrown.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.thrown.payload.into_inner()
    }

    /// Resumes the panic with its payload as it was thrown; the panic hook does not run again.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        panic::resume(Payload::new(self.thrown.payload.into_inner(), self.thrown.origin))
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_place(f, &self.thrown.name, self.thrown.index, self.label())?;
        write!(f, " panicked: {}", self.thrown.message)
    }
}

impl std::error::Error for Panic {}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("name", &self.thrown.name)
            .field("index", &self.thrown.index)
            .field("message", &self.thrown.message)
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}
