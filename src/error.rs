//! [`Cancelled`] and [`CancelReason`]: the error of a call whose token was cancelled.

use std::fmt;
use std::io;

/// Why a token was cancelled.
///
/// The first reason given to a token stays, and its descendants inherit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// The program called [`cancel`](crate::CancellationToken::cancel).
    Requested,
    /// A deadline passed.
    Deadline,
    /// A sibling task or item failed.
    Failed,
    /// A sibling task panicked.
    Panicked,
    /// The scope ended early and well, because [`finish`](crate::scope::Scope::finish) was called; or for the token of
    /// an item, the run wants no more items.
    Finished,
    /// The process received the signal of this number.
    Signal(i32),
    /// A [`DropGuard`](crate::token::DropGuard) was dropped.
    Dropped,
    /// Another reason, the program's own or one of brigade's that no other variant names.
    Other(&'static str),
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelReason::Requested => f.write_str("requested"),
            CancelReason::Deadline => f.write_str("the deadline passed"),
            CancelReason::Failed => f.write_str("a sibling failed"),
            CancelReason::Panicked => f.write_str("a sibling panicked"),
            CancelReason::Finished => f.write_str("the scope has finished"),
            CancelReason::Signal(number) => write!(f, "signal {number}"),
            CancelReason::Dropped => f.write_str("its guard was dropped"),
            CancelReason::Other(reason) => f.write_str(reason),
        }
    }
}

/// The error of a call that stopped because its token was cancelled.
///
/// A call that runs fallible closures returns the closure's own error type `E` and asks for `E: From<Cancelled>`, which
/// signatures call [`FromError<Cancelled>`](FromError). So `?` works both inside the closure and outside the call.
/// `anyhow::Error`, `Box<dyn Error + Send + Sync>` and [`std::io::Error`] implement that already; an enum of your own
/// needs a variant:
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

/// An error type that can hold errors `S`: each type that is `From<S>` is one.
///
/// It stands for that bound, so that the compiler can say what an error type lacks. There is nothing to implement here.
#[diagnostic::on_unimplemented(
    message = "the error type `{Self}` cannot hold `{S}`",
    label = "needs an error type that is `From<{S}>`",
    note = "a call ends with one error type, which holds the errors of its closures and stages, and a cancellation: for \
            `brigade::Cancelled` give it a variant, with thiserror `#[error(transparent)] Cancelled(#[from] Cancelled)`",
    note = "`anyhow::Error` and `Box<dyn Error + Send + Sync>` hold any error, `std::io::Error` holds a cancellation"
)]
pub trait FromError<S>: From<S> {}

#[diagnostic::do_not_recommend]
impl<S, E: From<S>> FromError<S> for E {}

/// Makes an error of the kind [`TimedOut`](io::ErrorKind::TimedOut) for a deadline, otherwise
/// [`Other`](io::ErrorKind::Other).
///
/// The kind is not `Interrupted`, because the loops of [`std::io`] retry an interrupted call: they would call a reader
/// that reports its cancellation so again for ever.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use brigade::CancellationToken;
///
/// fn wait(token: &CancellationToken) -> io::Result<()> {
///     token.sleep(Duration::from_secs(3600))?;
///     Ok(())
/// }
///
/// let error = wait(&CancellationToken::new().child_with_timeout(Duration::from_millis(1))).unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// ```
impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        let kind = match cancelled.reason() {
            CancelReason::Deadline => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, cancelled)
    }
}
