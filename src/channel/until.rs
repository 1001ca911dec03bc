//! [`Until`]: the views of a channel's ends that observe a token.

use crossbeam::channel::{Receiver, Sender};

use super::receiver::ReceiverUntil;
use super::sender::SenderUntil;
use crate::token::CancellationToken;

/// The ends of crossbeam's channels, which have views whose calls observe a [`CancellationToken`].
///
/// The [module](super) lists the calls and tells how to use them.
pub trait Until: sealed::Sealed {
    /// The view: [`ReceiverUntil`] or [`SenderUntil`].
    type View<'a>
    where
        Self: 'a;

    /// Returns a view of this end of the channel whose calls observe `token`.
    fn until<'a>(&'a self, token: &'a CancellationToken) -> Self::View<'a>;
}

impl<T> Until for Receiver<T> {
    type View<'a>
        = ReceiverUntil<'a, T>
    where
        T: 'a;

    fn until<'a>(&'a self, token: &'a CancellationToken) -> ReceiverUntil<'a, T> {
        ReceiverUntil::new(self, token)
    }
}

impl<T> Until for Sender<T> {
    type View<'a>
        = SenderUntil<'a, T>
    where
        T: 'a;

    fn until<'a>(&'a self, token: &'a CancellationToken) -> SenderUntil<'a, T> {
        SenderUntil::new(self, token)
    }
}

mod sealed {
    use crossbeam::channel::{Receiver, Sender};

    pub trait Sealed {}
    impl<T> Sealed for Receiver<T> {}
    impl<T> Sealed for Sender<T> {}
}
