//! [`ReceiverUntil`]: receiving until a token is cancelled.

use std::fmt;
use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError, select_biased};
use crossbeam::utils::Backoff;

use super::error::{RecvError, Why};
use super::pause::pause;
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// A receiver whose blocking calls observe a token.
///
/// [`Until::until`](crate::Until::until) makes it.
pub struct ReceiverUntil<'a, T> {
    receiver: &'a Receiver<T>,
    token: &'a CancellationToken,
}

impl<'a, T> ReceiverUntil<'a, T> {
    pub(super) fn new(receiver: &'a Receiver<T>, token: &'a CancellationToken) -> Self {
        ReceiverUntil { receiver, token }
    }

    /// Waits for a message.
    ///
    /// # Cancellation
    ///
    /// Returns when the token is cancelled, even if there are messages.
    ///
    /// # Errors
    ///
    /// [Cancelled](RecvError::is_cancelled), or [disconnected](RecvError::is_disconnected) if there is neither a
    /// message nor a sender.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Until};
    /// use crossbeam::channel::unbounded;
    ///
    /// let token = CancellationToken::new();
    /// let (sender, receiver) = unbounded();
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// assert_eq!(receiver.until(&token).recv(), Ok(1));
    /// token.cancel();
    /// assert!(receiver.until(&token).recv().unwrap_err().is_cancelled());
    /// // The rest can be received without waiting.
    /// assert_eq!(receiver.until(&token).try_recv(), Ok(2));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.receive(|| None)
    }

    /// Waits for a message, up to `timeout`.
    ///
    /// A timeout too long for the clock to hold is no timeout. With a timeout of zero this call does not wait, but
    /// looks at the token.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), or a [timeout](RecvError::is_timeout). A cancel at the same time wins.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.receive(|| Instant::now().checked_add(timeout))
    }

    /// Waits for a message, up to `deadline`.
    ///
    /// # Errors
    ///
    /// Those of [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        self.receive(|| Some(deadline))
    }

    /// Receives a message if there is one, and does not look at the token.
    ///
    /// # Errors
    ///
    /// [Empty](RecvError::is_empty), or [disconnected](RecvError::is_disconnected).
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.receiver.try_recv().map_err(|error| {
            RecvError::new(match error {
                TryRecvError::Empty => Why::WouldBlock,
                TryRecvError::Disconnected => Why::Disconnected,
            })
        })
    }

    /// Waits for a message, and adds it to `buffer` with the messages that are in the channel then, up to `max` in all.
    ///
    /// Returns how many it added, which is at least 1, and is 1 if the channel has a capacity of 0.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv). After an error `buffer` is as it was.
    ///
    /// # Panics
    ///
    /// If `max` is 0, because a loop around such a call would never end.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Until};
    /// use crossbeam::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded();
    /// sender.until(&CancellationToken::never()).send_all(0..5)?;
    /// let mut buffer = Vec::new();
    /// assert_eq!(receiver.until(&CancellationToken::never()).recv_many(&mut buffer, 3)?, 3);
    /// assert_eq!(buffer, [0, 1, 2]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn recv_many(&self, buffer: &mut Vec<T>, max: usize) -> Result<usize, RecvError> {
        assert!(max > 0, "recv_many was asked for at most 0 messages: ask for 1 at least");
        let before = buffer.len();
        buffer.push(self.recv()?);
        // Messages that come meanwhile are left, because a quick sender could keep this call going for ever.
        let more = self.receiver.len().min(max - 1);
        buffer.extend(self.receiver.try_iter().take(more));
        Ok(buffer.len() - before)
    }

    /// Returns an iterator that waits for each message.
    ///
    /// It ends when the channel is empty and every sender is gone. A cancel is an item of its own, `Err`, after which
    /// it ends too. So `for message in receiver.until(&token).iter()` with `let message = message?` cannot mistake a
    /// cancel for the end.
    #[must_use = "an iterator does nothing until it is asked"]
    pub fn iter(&self) -> RecvIter<'a, T> {
        RecvIter { receiver: *self, ended: false }
    }

    /// Returns an iterator over the messages in the channel, which ends when the channel is empty.
    ///
    /// It does not look at the token.
    #[must_use = "an iterator does nothing until it is asked"]
    pub fn try_iter(&self) -> TryRecvIter<'a, T> {
        TryRecvIter { receiver: self.receiver }
    }

    /// Looks at the token and at the channel, then waits if there is no message.
    #[inline]
    fn receive(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<T, RecvError> {
        if !self.token.is_cancelled() {
            match self.receiver.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(self.disconnected()),
            }
        }
        self.wait(deadline())
    }

    /// Returns the error for a channel without senders.
    ///
    /// They may have been dropped because of a cancel, which is then reported.
    #[cold]
    fn disconnected(&self) -> RecvError {
        self.token.check_ancestors().map_or_else(RecvError::from, |()| RecvError::new(Why::Disconnected))
    }

    /// Looks for some microseconds, because a wake-up is expensive, and then sleeps.
    #[cold]
    fn wait(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        let backoff = Backoff::new();
        pause();
        let is_past = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.token.check()?;
        while !backoff.is_completed() && !is_past() {
            backoff.snooze();
            self.token.check()?;
            match self.receiver.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(self.disconnected()),
            }
        }
        let done = self.token.done();
        while !is_past() {
            // The macro and not a `Select`, because a thread that the macro wakes has less to tidy up.
            let received = match [deadline, self.token.look_at()].into_iter().flatten().min() {
                None => select_biased! {
                    recv(done) -> _ => None,
                    recv(self.receiver) -> message => Some(message),
                },
                Some(time) => select_biased! {
                    recv(done) -> _ => None,
                    recv(self.receiver) -> message => Some(message),
                    default(time.saturating_duration_since(Instant::now())) => None,
                },
            };
            if let Some(received) = received {
                return received.map_err(|_| self.disconnected());
            }
            self.token.check()?;
        }
        Err(RecvError::new(Why::Timeout))
    }
}

impl<T> Clone for ReceiverUntil<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ReceiverUntil<'_, T> {}

impl<T> fmt::Debug for ReceiverUntil<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverUntil").field("messages", &self.receiver.len()).field("token", self.token).finish()
    }
}

impl<'a, T> IntoIterator for ReceiverUntil<'a, T> {
    type Item = Result<T, Cancelled>;
    type IntoIter = RecvIter<'a, T>;

    fn into_iter(self) -> RecvIter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &ReceiverUntil<'a, T> {
    type Item = Result<T, Cancelled>;
    type IntoIter = RecvIter<'a, T>;

    fn into_iter(self) -> RecvIter<'a, T> {
        self.iter()
    }
}

/// An iterator that waits for each message of a channel, until the channel or a cancel ends it.
///
/// [`ReceiverUntil::iter`] makes it.
#[must_use = "an iterator does nothing until it is asked"]
#[derive(Debug)]
pub struct RecvIter<'a, T> {
    receiver: ReceiverUntil<'a, T>,
    ended: bool,
}

impl<T> Iterator for RecvIter<'_, T> {
    type Item = Result<T, Cancelled>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.receiver.recv() {
            Ok(message) => Some(Ok(message)),
            Err(error) => {
                self.ended = true;
                error.cancelled().map(Err)
            }
        }
    }
}

impl<T> FusedIterator for RecvIter<'_, T> {}

/// An iterator over the messages in a channel, which never waits.
///
/// [`ReceiverUntil::try_iter`] makes it.
#[must_use = "an iterator does nothing until it is asked"]
pub struct TryRecvIter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for TryRecvIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> fmt::Debug for TryRecvIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryRecvIter").field("messages", &self.receiver.len()).finish()
    }
}
