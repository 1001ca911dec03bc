//! A channel as a source.

use crossbeam::channel::Receiver;

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::iter::Pulled;
use super::{Feed, Kind, Pull, Source, Visit};
use crate::channel::Until;
use crate::error::Cancelled;
use crate::token::CancellationToken;

impl<T: Send> Pipeline<Fused<FromReceiver<T>, Identity<Cancelled>>> {
    /// Starts from a channel: all that is sent through it until every sender is gone.
    ///
    /// The messages that lie in the channel are taken in one go, up to the [`window`](Self::window), so a message costs
    /// less here than by [`from_iter`](Pipeline::from_iter). Waiting for one observes the token. If a run fails or is
    /// cancelled, the messages that it has taken from the channel are dropped with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    /// use crossbeam::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded();
    /// for word in ["three", "little", "words"] {
    ///     sender.send(word)?;
    /// }
    /// drop(sender);
    /// let lengths: Vec<usize> = Pipeline::from_receiver(receiver).map(str::len).collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [5, 6, 5]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn from_receiver(receiver: Receiver<T>) -> Self {
        Pipeline::from_source(FromReceiver(receiver))
    }
}

/// The source of [`Pipeline::from_receiver`].
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FromReceiver<T>(Receiver<T>);

impl<T: Send> Source for FromReceiver<T> {
    type Item = T;
    type Error = Cancelled;

    fn open<V: Visit<T, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(self.messages(token))
    }
}

impl<T> FromReceiver<T> {
    pub(in super::super) fn messages(self, token: &CancellationToken) -> Messages<T> {
        Messages { receiver: self.0, token: token.child_token() }
    }
}

/// An opened channel.
#[derive(Debug)]
pub struct Messages<T> {
    receiver: Receiver<T>,
    /// A child of the run's token. The run cancels it when it wants no more messages.
    token: CancellationToken,
}

impl<T: Send> Feed for Messages<T> {
    type Item = T;
    type Stock = Pulled<T>;
    type Inlet = Bulk<T>;
    type Plain = Self;

    const KIND: Kind = Kind::Blocking;

    fn waits_for(&self) -> Option<CancellationToken> {
        Some(self.token.clone())
    }

    fn split(self) -> (Pulled<T>, Bulk<T>) {
        (Pulled::new(), Bulk(self))
    }

    fn plain(self) -> Self {
        self
    }
}

/// For the plain loop. A cancellation ends it as if all senders were gone, because the
/// run looks at its token by itself.
impl<T> Iterator for Messages<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.until(&self.token).recv().ok()
    }
}

/// For the crew: several messages at a time.
#[derive(Debug)]
pub struct Bulk<T>(Messages<T>);

impl<T: Send> Pull for Bulk<T> {
    type Load = T;

    fn pull(&mut self, most: usize, mut put: impl FnMut(T)) -> Option<usize> {
        let Messages { receiver, token } = &self.0;
        put(receiver.until(token).recv().ok()?);
        let more = (1..most).map_while(|_| receiver.try_recv().ok().map(&mut put));
        Some(1 + more.count())
    }
}
