//! [`merge`]: several receivers in one iterator.

use std::fmt;
use std::iter::FusedIterator;

use crossbeam::channel::{Receiver, Select, TryRecvError};
use crossbeam::utils::Backoff;

use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Receives from several channels in one iterator: fan-in.
///
/// It takes turns, so that no channel waits for another: one that is busy does not keep the others' messages back, nor
/// does one that is empty. The messages of each channel come in their order; those of different channels come in no order
/// that is promised. It ends when every channel is empty and disconnected.
///
/// Where all senders send the same thing, one channel whose sender is cloned does the same at less cost. This is for
/// channels that exist already, or that are to have a bound each.
///
/// # Cancellation
///
/// When `token` is cancelled, also if there are messages, the next item is [`Cancelled`] and the last. The receivers are
/// dropped with the iterator; keep clones of them to have what is left.
///
/// # Costs
///
/// While messages are there, a look at each channel from the last productive one on; to wait, a registration at every
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

/// The messages of several channels. Made by [`merge`].
#[must_use = "an iterator does nothing until it is asked"]
pub struct Merge<'a, T> {
    token: &'a CancellationToken,
    /// Those that are not known to be disconnected.
    receivers: Vec<Receiver<T>>,
    /// Whose turn it is; may be the length, which means the first.
    next: usize,
    ended: bool,
}

impl<T> Merge<'_, T> {
    /// Looks at each channel once, from the one whose turn it is.
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
                // The one behind it takes its place.
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
            // Disconnected, as `look` will find by the token.
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
                // The senders may have been dropped because of a cancellation, which is then what happened.
                return self.token.check_above().err().map(Err);
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
