//! The steps of members in a section behind a boundary, and what crosses it.

use std::time::Instant;

use super::super::source::iter::Items;
use super::credits::Release;
use super::piece::{End, Piece};
use super::supply::Claim;

/// The way into a section.
pub(super) enum Input<E> {
    Open,
    /// All has crossed; with the failure that came last.
    Closed(Option<End<E>>),
    /// The serial stage wants no more.
    Ended,
}

/// A step of a member for a section behind another.
pub(in super::super) enum Task<I, E, T, R, B> {
    Work(Claim<Items<T>>, Vec<R>),
    /// Takes pieces across the boundary; `ends` says that no others will come.
    Cross {
        pieces: Vec<Piece<I, E>>,
        ends: bool,
    },
    Behind(B),
}

/// The result of such a step.
pub(in super::super) enum Done<E, T, W, B> {
    Worked(W),
    Crossed(Crossing<T, E>),
    Behind(B),
}

/// Outputs of a serial stage.
pub(in super::super) struct Crossing<T, E> {
    pub(super) items: Vec<T>,
    /// The items of the source that they close.
    pub(super) closes: Release,
    /// Whether more will cross.
    pub(super) input: Input<E>,
    /// When the serial stage wants to hand its items on.
    pub(super) flush_at: Option<Instant>,
}

/// When the serial stage has to hand its items on, if no items cross before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    Never,
    At(Instant),
    /// Its time has come.
    Now,
}

impl Flush {
    pub(super) fn time(self) -> Option<Instant> {
        match self {
            Flush::At(time) => Some(time),
            Flush::Never | Flush::Now => None,
        }
    }

    pub(super) fn tell_time(&mut self, now: Instant) {
        if self.time().is_some_and(|time| time <= now) {
            *self = Flush::Now;
        }
    }
}

impl From<Option<Instant>> for Flush {
    fn from(time: Option<Instant>) -> Self {
        time.map_or(Flush::Never, Flush::At)
    }
}
