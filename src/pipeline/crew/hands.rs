//! [`Hands`]: a member at work, as a batch in its hands sees it.

use super::below::{Down, Void};
use super::roster::Sleep;
use super::step::Look;
use crate::event::Ticket;

/// The way to hand parts of a batch over.
pub(in super::super) trait Hands {
    /// The state of the batch's section, with all below.
    type State: Down;

    /// Taken before a look.
    fn ticket(&self) -> Ticket;

    fn look<R, T>(&mut self, look: impl FnOnce(&mut Self::State, Void<'_>) -> Look<R, T>) -> Look<R, T>;

    fn sleep(&self, ticket: Ticket, sleep: Sleep);
}

/// The same, for a batch of the section behind.
pub(in super::super) struct Deeper<'a, H>(pub(super) &'a mut H);

impl<H: Hands<State: Down<Below: Down>>> Hands for Deeper<'_, H> {
    type State = <H::State as Down>::Below;

    fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    fn look<R, T>(&mut self, look: impl FnOnce(&mut Self::State, Void<'_>) -> Look<R, T>) -> Look<R, T> {
        self.0.look(|state, void| look(state.down(), void.next()))
    }

    fn sleep(&self, ticket: Ticket, sleep: Sleep) {
        self.0.sleep(ticket, sleep);
    }
}
