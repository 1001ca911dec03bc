//! The steps of the members: the state's answers, and the values that members bring to it.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::Order;
use super::super::source::Kind;
use super::piece::Piece;
use super::ring::Offers;
use super::roster::Sleep;
use super::supply::{Claim, Rest};

/// What a run is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) order: Order,
    pub(super) threads: usize,
    /// How many workers may be started.
    pub(super) workers: usize,
    pub(super) window: Option<NonZeroUsize>,
    /// How long a batch is meant to take.
    pub(super) aim: Duration,
    pub(super) is_caller_reserved: bool,
}

/// The next step of a member.
pub(super) enum Step<B, R> {
    /// Works the batch, into the vector.
    Work(Claim<B>, Vec<R>),
    /// The member pulls into the stock, then looks again.
    Pull(Quota),
    Sleep(Sleep),
    /// Nothing will be left to do.
    Leave,
}

/// How much to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// How many items in all.
    pub(super) items: usize,
    /// How many items at most go into one chunk.
    pub(super) chunk: usize,
    /// The number of the chunk, for the [alarm](super::signal::Signal::rung) of a sleeping member.
    pub(super) number: u64,
}

/// The next step of the caller.
pub(super) enum CallerStep<B, R> {
    /// Hands the due pieces to the sink.
    Output,
    As(Step<B, R>),
    /// Ends the run, because a worker is gone.
    Abandon,
}

/// A batch that a member has worked.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Worked<B, R, E> {
    /// The outputs; `None` if the batch became void.
    pub(super) piece: Option<Piece<R, E>>,
    pub(super) effort: Effort,
    /// The items that were not worked.
    pub(super) rest: Option<Rest<B>>,
}

/// How many items were worked and how long that took, for the pace to learn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) items: usize,
    pub(super) elapsed: Duration,
}

/// A part of the batch in a member's hands, which it offers.
pub(super) struct Offer<'a, R, E> {
    /// The index of the first item.
    pub(super) first: u64,
    /// `None` once the part has been accepted.
    pub(super) part: Option<Piece<R, E>>,
    pub(super) offers: &'a mut Offers,
}

/// The answer to an offer of a part.
pub(super) enum Answer<R> {
    /// The part is in the ring; here is a vector for the next.
    Accepted(Vec<R>),
    /// There is no room for it yet.
    Wait(Sleep),
    /// Nothing more is wanted of the batch.
    Void,
}

/// The answer to the caller's offer of a part.
pub(super) enum CallerAnswer<R> {
    /// Hands the due pieces to the sink first.
    Output,
    As(Answer<R>),
}
