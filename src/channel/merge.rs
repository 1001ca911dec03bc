//! [`merge`]: several receivers in one iterator.

use std::fmt;
use std::iter::FusedIterator;

use crossbeam::channel::{Receiver, Select, TryRecvError};
use crossbeam::utils::Backoff;

use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Receives from several channels in one iterator: fan-in.
///
/// The channels take turns, so that neither a busy channel nor an empty one holds back the messages of the others. The
/// messages of one channel come in their order; the order between channels is not specified. The iterator ends when
/// every channel is empty and disconnected.
///
/// Use this for channels that exist already, or that need a bound each. If all senders send the same type, one channel
/// whose sender is cloned does the same at less cost.
///
/// # Cancellation
///
/// When `token` is cancelled, even if there are messages, the next item is [`Cancelled`], and it is the last. The
/// receivers are dropped with the iterator; keep clones of them to receive the messages that are left.
///
/// # Costs
///
/// A message costs a look at each channel from the last productive one on. A wait costs a registration at every
/// channel.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, merge};
/// use crossbeam::channel::unbounded;
///
/// let (first, from_first) = unbounded();
/// let (second, from_second) = unbounded();
/// first.send(1)?;
/// first.send(2)?;
/// second.send(10)?;
/// drop((first, second));
///
/// let token = CancellationToken::new();
/// let merged: Vec<i32> = merge(&token, [from_first, from_second]).collect::<Result<_, _>>()?;
/// assert_eq!(merged, [1, 10, 2]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn merge<T>(token: &CancellationToken, receivers: impl IntoIterator<Item = Receiver<T>>) -> Merge<'_, T> {
    Merge { token, receivers: receivers.into_iter().collect(), next: 0, ended: false }
}

/// An iterator over the messages of several channels.
///
/// [`merge`] makes it.
#[must_use = "an iterator does nothing until it is asked"]
pub struct Merge<'a, T> {
    token: &'a CancellationToken,
    /// The receivers that are not known to be disconnected.
    receivers: Vec<Receiver<T>>,
    /// The index of the receiver whose turn it is; the length means the first.
    next: usize,
    ended: bool,
}

impl<T> Merge<'_, T> {
    /// Looks at each channel once, starting with the one whose turn it is.
    fn look(&mut self) -> Option<T> {
        let mut unseen = self.receivers.len();
        while unseen > 0 {
            unseen -= 1;
            if self.next >= self.receivers.len() {
                self.next = 0;
            }
            match self.receivers[self.next].try_recv() {
                Ok(message) => {
                    self.next += 1;
                    return Some(message);
                }
                Err(TryRecvError::Empty) => self.next += 1,
                // The next receiver takes its place.
                Err(TryRecvError::Disconnected) => drop(self.receivers.remove(self.next)),
            }
        }
        None
    }

    /// Waits until one of the channels has a message, or is disconnected, or the token is cancelled.
    #[cold]
    fn wait(&mut self) -> Option<T> {
        let done = self.token.done();
        let mut select = Select::new_biased();
        let cancelled = select.recv(&done);
        let first = cancelled + 1;
        for receiver in &self.receivers {
            select.recv(receiver);
        }
        let selected = match self.token.look_at() {
            None => select.select(),
            Some(time) => select.select_deadline(time).ok()?,
        };
        if selected.index() == cancelled {
            // The caller looks at the token next.
            let _ = selected.recv(&done);
            return None;
        }
        let at = selected.index() - first;
        let message = selected.recv(&self.receivers[at]).ok()?;
        self.next = at + 1;
        Some(message)
    }
}

impl<T> Iterator for Merge<'_, T> {
    type Item = Result<T, Cancelled>;

    fn next(&mut self) -> Option<Self::Item> {
        let backoff = Backoff::new();
        while !self.ended {
            if let Err(cancelled) = self.token.check() {
                self.ended = true;
                return Some(Err(cancelled));
            }
            let mut message = self.look();
            self.ended = message.is_none() && self.receivers.is_empty();
            if self.ended {
                // The senders may have been dropped because of a cancel, which is then reported.
                return self.token.check_ancestors().err().map(Err);
            }
            if message.is_none() {
                if backoff.is_completed() {
                    message = self.wait();
                } else {
                    backoff.snooze();
                }
            }
            if let Some(message) = message {
                return Some(Ok(message));
            }
        }
        None
    }
}

impl<T> FusedIterator for Merge<'_, T> {}

impl<T> fmt::Debug for Merge<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("channels", &self.receivers.len()).field("token", self.token).finish()
    }
}
