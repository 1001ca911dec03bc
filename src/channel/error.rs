//! [`RecvError`] and [`SendError`]: why a call received or sent nothing.
//!
//! There is one error for each direction, where crossbeam has three. With one error for each call, a call without a
//! time limit would have to name a variant for a timeout, or have another type. These errors have predicates instead,
//! such as [`RecvError::is_timeout`].

use std::fmt;
use std::io::{self, ErrorKind};

use crate::error::Cancelled;

/// Why a call of a [`ReceiverUntil`](crate::channel::ReceiverUntil) received nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecvError(Why);

/// Why a call of a [`SenderUntil`](crate::channel::SenderUntil) did not send, and the value that was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T> {
    why: Why,
    value: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Cancelled(Cancelled),
    Disconnected,
    Timeout,
    /// The channel had no message, or no room.
    WouldBlock,
}

impl RecvError {
    pub(super) fn new(why: Why) -> Self {
        RecvError(why)
    }

    /// Tells whether the token was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled().is_some()
    }

    /// Returns the cancellation, with its reason, or `None` for another error.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.0.cancelled()
    }

    /// Tells whether the channel is empty and every sender has been dropped.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.0 == Why::Disconnected
    }

    /// Tells whether the call ended by its timeout or deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0 == Why::Timeout
    }

    /// Tells whether the channel was empty, in a call that does not wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == Why::WouldBlock
    }
}

impl<T> SendError<T> {
    pub(super) fn new(why: Why, value: T) -> Self {
        SendError { why, value }
    }

    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Tells whether the token was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled().is_some()
    }

    /// Returns the cancellation, with its reason, or `None` for another error.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.why.cancelled()
    }

    /// Tells whether every receiver has been dropped.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.why == Why::Disconnected
    }

    /// Tells whether the call ended by its timeout or deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.why == Why::Timeout
    }

    /// Tells whether the channel was full, in a call that does not wait.
    ///
    /// A channel of capacity 0 is full unless a receiver is waiting.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.why == Why::WouldBlock
    }
}

impl<T> SendError<T> {
    /// Drops the value, and returns the error alone, which borrows nothing.
    ///
    /// An `anyhow::Error` and a `Box<dyn Error>` hold what is `'static`. So `?` on the error of a borrowed value does
    /// not compile; with this it does.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::channel::SendError;
    /// use brigade::{CancellationToken, Until};
    /// use crossbeam::channel::unbounded;
    ///
    /// fn send_words(text: &str) -> anyhow::Result<usize> {
    ///     let (sender, receiver) = unbounded();
    ///     let token = CancellationToken::new();
    ///     for word in text.split(' ') {
    ///         sender.until(&token).send(word).map_err(SendError::without_value)?;
    ///     }
    ///     Ok(receiver.len())
    /// }
    /// assert_eq!(send_words("three little words")?, 3);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn without_value(self) -> SendError<()> {
        SendError { why: self.why, value: () }
    }
}

/// So that `?` converts it where the value is borrowed, too.
impl<T> From<SendError<T>> for io::Error {
    fn from(error: SendError<T>) -> Self {
        match error.why {
            Why::Cancelled(cancelled) => cancelled.into(),
            Why::Disconnected => io::Error::new(ErrorKind::BrokenPipe, error.without_value()),
            Why::Timeout => io::Error::new(ErrorKind::TimedOut, error.without_value()),
            Why::WouldBlock => io::Error::new(ErrorKind::WouldBlock, error.without_value()),
        }
    }
}

impl Why {
    fn cancelled(self) -> Option<Cancelled> {
        if let Why::Cancelled(cancelled) = self { Some(cancelled) } else { None }
    }
}

/// Makes the error of a cancelled call, for closures that are generic over their error, `E: From<Cancelled>`.
impl From<Cancelled> for RecvError {
    fn from(cancelled: Cancelled) -> Self {
        RecvError(Why::Cancelled(cancelled))
    }
}

impl fmt::Debug for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecvError").field(&self.0).finish()
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Why::Cancelled(cancelled) => cancelled.fmt(f),
            Why::Disconnected => f.write_str("the channel is empty, and every sender is gone"),
            Why::Timeout => f.write_str("nothing came through the channel in time"),
            Why::WouldBlock => f.write_str("the channel is empty"),
        }
    }
}

impl std::error::Error for RecvError {}

// By hand, because the value need not be `Debug`, as with crossbeam's errors.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Cancelled(cancelled) => cancelled.fmt(f),
            Why::Disconnected => f.write_str("every receiver of the channel is gone"),
            Why::Timeout => f.write_str("the channel had no room in time"),
            Why::WouldBlock => f.write_str("the channel is full"),
        }
    }
}

impl<T> std::error::Error for SendError<T> {}
