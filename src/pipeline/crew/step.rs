//! The steps of the members: the state's answers, and the values that members bring to it.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::Order;
use super::super::source::Kind;
use super::below::{Below, Void};
use super::piece::Piece;
use super::ring::Offers;
use super::roster::Sleep;
use super::supply::{Claim, Rest};

/// How many pieces a member takes at a time, out of the last ring or across a boundary.
pub(super) const PIECES: usize = 8;

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Plan {
    pub(super) kind: Kind,
    pub(super) order: Order,
    pub(super) threads: usize,
    /// How many workers may be started.
    pub(super) workers: usize,
    pub(super) window: Option<NonZeroUsize>,
    /// How many items of the source are wanted at most.
    pub(super) limit: Option<u64>,
    /// How long a batch is meant to take.
    pub(super) aim: Duration,
    pub(super) is_caller_reserved: bool,
    /// How many workers serve a section of their own.
    pub(super) blocking: usize,
}

impl Plan {
    /// How many workers there may be where the caller only outputs.
    ///
    /// The worker that pulls from a blocking source may wait in `next()`. So there is one more where it is the only
    /// one: it waits beside the one that works.
    pub(super) fn workers_beside_caller(kind: Kind, threads: usize) -> usize {
        if kind == Kind::Blocking { threads.max(2) } else { threads }
    }

    /// How many items a run takes of a source, given how many the source has.
    pub(super) fn expected(&self, items: Option<usize>) -> Option<usize> {
        let limit = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        items.map(|items| items.min(limit))
    }
}

/// The next step of a member. `T` is a step in a section behind the first.
pub(in super::super) enum Step<B, R, T> {
    /// Works the batch, into the vector.
    Work(Claim<B>, Vec<R>),
    Behind(T),
    /// The member pulls into the stock, then looks again.
    Pull(Quota),
    Sleep(Sleep),
    /// Nothing will be left to do.
    Leave,
}

/// How much to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Quota {
    /// How many items in all.
    pub(super) items: usize,
    /// How many items at most go into one chunk.
    pub(super) chunk: usize,
    /// The number of the chunk, for the [alarm](super::signal::Signal::rung) of a sleeping member.
    pub(super) number: u64,
}

/// The next step of the caller.
pub(in super::super) enum CallerStep<B, R, T> {
    /// Hands the due pieces to the sink.
    Output,
    As(Step<B, R, T>),
    /// Ends the run, because a worker is gone.
    Abandon,
    /// Ends the run, because a section before the last has failed.
    Fail,
}

/// A batch that a member has worked.
#[cfg_attr(test, derive(Debug))]
pub(in super::super) struct Worked<B, R, E> {
    /// The outputs; `None` if the batch became void.
    pub(super) piece: Option<Piece<R, E>>,
    pub(super) effort: Effort,
    /// The items that were not worked.
    pub(super) rest: Option<Rest<B>>,
}

/// How many items were worked and how long that took, for the pace to learn from.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Effort {
    pub(super) items: usize,
    pub(super) elapsed: Duration,
}

/// A part of the batch in a member's hands, which it offers.
pub(in super::super) struct Offer<'a, R, E> {
    /// The index of the first item.
    pub(super) first: u64,
    /// `None` once the part has been accepted.
    pub(super) part: Option<Piece<R, E>>,
    pub(super) offers: &'a mut Offers,
}

/// The answer to an offer of a part. `T` is a step behind.
pub(in super::super) enum Look<R, T> {
    /// The part is in the ring; here is a vector for the next.
    Accepted(Vec<R>),
    /// There is no room for it yet. The member does this meanwhile.
    Behind(T),
    /// There is neither room nor anything to do behind.
    Wait(Sleep),
    /// The caller has handed outputs to the sink meanwhile.
    Again,
    /// Nothing more is wanted of the batch.
    Void,
}

/// The look of a member at the ring that its section fills, with a part of its batch to hand over.
///
/// A member that finds no room works for the sections behind: they make room, and never wait for this one.
pub(super) fn offer<D: Below>(
    down: &mut D,
    offer: &mut Offer<'_, D::In, D::InError>,
    void: Void<'_>,
) -> Look<D::In, D::Task> {
    if offer.first >= void.own {
        return Look::Void;
    }
    let ring = down.ring_mut();
    if ring.offer(&mut offer.part, offer.offers) {
        return Look::Accepted(ring.spare());
    }
    match down.step(void.next()) {
        Some(task) => Look::Behind(task),
        None => Look::Wait(Sleep::Long),
    }
}
