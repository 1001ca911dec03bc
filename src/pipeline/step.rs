//! Steps: what a member of a crew does next, and what it comes back with.

use super::work::{Done, Effort};
use crate::event::Ticket;

/// What a member does next.
pub(super) enum Step<B, R, E> {
    Work(Claim<B, R>),
    /// The stock holds less than this, a batch, but somebody is filling it: give it a moment.
    Linger(usize),
    /// Pull so many items into the stock, then look again.
    Pull(usize),
    /// Hand a batch to the sink. For the caller only.
    Output(Done<R, E>),
    Sleep(Ticket),
    /// Nothing will be left to do.
    Leave,
    /// The run ends for a reason that the state does not hold. For the caller only.
    Abandon,
}

pub(super) struct Claim<B, R> {
    /// The index of the first item.
    pub(super) first: u64,
    pub(super) batch: B,
    pub(super) items: usize,
    pub(super) outputs: Vec<R>,
}

/// A batch that somebody has had in hand.
pub(super) struct Worked<B, R, E> {
    pub(super) first: u64,
    /// What there is to commit; nothing, if the batch was void.
    pub(super) done: Option<Done<R, E>>,
    pub(super) effort: Effort,
    /// What was not worked, and how many items it has.
    pub(super) rest: Option<(B, usize)>,
}
