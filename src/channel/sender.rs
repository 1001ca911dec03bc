//! [`SenderUntil`]: sending until a token is cancelled.

use std::fmt;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, TrySendError, select_biased};
use crossbeam::utils::Backoff;

use super::error::{SendError, Why};
use super::pause::pause;
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// A sender whose blocking calls observe a token.
///
/// [`Until::until`](crate::Until::until) makes it.
pub struct SenderUntil<'a, T> {
    sender: &'a Sender<T>,
    token: &'a CancellationToken,
}

impl<'a, T> SenderUntil<'a, T> {
    pub(super) fn new(sender: &'a Sender<T>, token: &'a CancellationToken) -> Self {
        SenderUntil { sender, token }
    }

    /// Sends a message, and waits for room if there is none.
    ///
    /// In a channel of capacity 0 it waits for a receiver that takes the message.
    ///
    /// # Cancellation
    ///
    /// Returns when the token is cancelled, even if there is room.
    ///
    /// # Errors
    ///
    /// [Cancelled](SendError::is_cancelled), or [disconnected](SendError::is_disconnected) if there is no receiver. The
    /// error [gives the value back](SendError::into_inner).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Until};
    /// use crossbeam::channel::bounded;
    ///
    /// let token = CancellationToken::new();
    /// let (sender, receiver) = bounded(1);
    /// sender.until(&token).send("kept")?;
    /// token.cancel();
    /// let error = sender.until(&token).send("given back").unwrap_err();
    /// assert!(error.is_cancelled());
    /// assert_eq!(error.into_inner(), "given back");
    /// # drop(receiver);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.transmit(value, || None)
    }

    /// Sends a message, and waits for room up to `timeout`.
    ///
    /// A timeout too long for the clock to hold is no timeout. With a timeout of zero this call does not wait, but
    /// looks at the token.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), or a [timeout](SendError::is_timeout). A cancel at the same time wins.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.transmit(value, || Instant::now().checked_add(timeout))
    }

    /// Sends a message, and waits for room up to `deadline`.
    ///
    /// # Errors
    ///
    /// Those of [`send_timeout`](Self::send_timeout).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendError<T>> {
        self.transmit(value, || Some(deadline))
    }

    /// Sends a message if there is room, and does not look at the token.
    ///
    /// # Errors
    ///
    /// [Full](SendError::is_full), or [disconnected](SendError::is_disconnected).
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.sender.try_send(value).map_err(|error| match error {
            TrySendError::Full(value) => SendError::new(Why::WouldBlock, value),
            TrySendError::Disconnected(value) => SendError::new(Why::Disconnected, value),
        })
    }

    /// Sends all `values`, one after the other, and waits for room; returns their number.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send). The error gives back the first value that was not sent. The later values stay in
    /// the iterator; lend it (`send_all(&mut values)`) to keep them.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Until};
    /// use crossbeam::channel::bounded;
    /// use std::time::Duration;
    ///
    /// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(1));
    /// let (sender, receiver) = bounded(2);
    /// let mut values = 0..5;
    /// let error = sender.until(&token).send_all(&mut values).unwrap_err();
    /// assert_eq!(error.into_inner(), 2);
    /// assert_eq!(values, 3..5);
    /// # drop(receiver);
    /// ```
    pub fn send_all(&self, values: impl IntoIterator<Item = T>) -> Result<usize, SendError<T>> {
        let mut sent = 0;
        for value in values {
            self.send(value)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends all `values` as long as there is a receiver, and waits for room; returns how many were sent.
    ///
    /// A receiver that is gone wants no more, which is no error here. The value that found none is dropped. Because
    /// only a cancel is an error, `?` converts it also where the values borrow.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Until, scope};
    /// use crossbeam::channel::bounded;
    ///
    /// let text = String::from("three little words");
    /// let first = scope(&CancellationToken::new(), |s| {
    ///     let (sender, receiver) = bounded(0);
    ///     s.spawn(|s| {
    ///         let sender = sender;
    ///         sender.until(s.token()).feed(text.split(' ')).map(drop)
    ///     })?;
    ///     let mut words = receiver.until(s.token()).into_iter();
    ///     words.next().transpose()
    /// })?;
    /// assert_eq!(first, Some("three"));
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn feed(&self, values: impl IntoIterator<Item = T>) -> Result<usize, Cancelled> {
        let mut sent = 0;
        for value in values {
            match self.send(value) {
                Ok(()) => sent += 1,
                Err(error) => return error.cancelled().map_or(Ok(sent), Err),
            }
        }
        Ok(sent)
    }

    /// Looks at the token and at the channel, then waits if there is no room.
    #[inline]
    fn transmit(&self, mut value: T, deadline: impl FnOnce() -> Option<Instant>) -> Result<(), SendError<T>> {
        if !self.token.is_cancelled() {
            value = match self.sender.try_send(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(value)) => value,
                Err(TrySendError::Disconnected(value)) => return Err(self.disconnected(value)),
            };
        }
        self.wait(value, deadline())
    }

    /// Returns the error for a channel without receivers.
    ///
    /// They may have been dropped because of a cancel, which is then reported.
    #[cold]
    fn disconnected(&self, value: T) -> SendError<T> {
        SendError::new(self.token.check_ancestors().map_or_else(Why::Cancelled, |()| Why::Disconnected), value)
    }

    /// Looks for some microseconds, because a wake-up is expensive, and then sleeps.
    #[cold]
    fn wait(&self, mut value: T, deadline: Option<Instant>) -> Result<(), SendError<T>> {
        let backoff = Backoff::new();
        pause();
        let is_past = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        while !backoff.is_completed() && !is_past() {
            backoff.snooze();
            if self.token.is_cancelled() {
                break;
            }
            value = match self.sender.try_send(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(value)) => value,
                Err(TrySendError::Disconnected(value)) => return Err(self.disconnected(value)),
            };
        }
        if let Err(cancelled) = self.token.check() {
            return Err(SendError::new(Why::Cancelled(cancelled), value));
        }
        let done = self.token.done();
        while !is_past() {
            match [deadline, self.token.look_at()].into_iter().flatten().min() {
                None => select_biased! {
                    recv(done) -> _ => {}
                    send(self.sender, value) -> sent => {
                        return sent.map_err(|error| self.disconnected(error.into_inner()));
                    }
                },
                Some(time) => select_biased! {
                    recv(done) -> _ => {}
                    send(self.sender, value) -> sent => {
                        return sent.map_err(|error| self.disconnected(error.into_inner()));
                    }
                    default(time.saturating_duration_since(Instant::now())) => {}
                },
            }
            if let Err(cancelled) = self.token.check() {
                return Err(SendError::new(Why::Cancelled(cancelled), value));
            }
        }
        Err(SendError::new(Why::Timeout, value))
    }
}

impl<T> Clone for SenderUntil<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SenderUntil<'_, T> {}

impl<T> fmt::Debug for SenderUntil<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderUntil").field("messages", &self.sender.len()).field("token", self.token).finish()
    }
}
