//! The settings of a walk, and what its members have in hand.

use std::collections::VecDeque;

use super::super::super::Order;
use super::super::super::source::Kind;
use super::super::super::source::iter::Items;
use super::super::piece::Piece;
use super::super::ring::Offers;
use super::super::roster::{Arrival, Sleep, Wakes};
use super::super::step::{Quota, Worked};
use super::super::supply::Rest;

/// How many items a scene has at most.
pub(super) const ITEMS: usize = 4;

/// The settings of a walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) kind: Kind,
    pub(super) order: Order,
    pub(super) items: u64,
    pub(super) window: Option<usize>,
    /// How many workers the system lets the run start.
    pub(super) workers: usize,
    pub(super) failing: Option<u64>,
    /// The source waits in `next()` until the sink has taken the outputs of the item before.
    pub(super) has_feedback: bool,
    /// The caller does nothing but output.
    pub(super) is_caller_reserved: bool,
    /// Items whose first output is handed over as a part, heavier than all the room there is.
    pub(super) fan: [bool; ITEMS],
}

impl Scene {
    /// Whether the item has two outputs.
    pub(super) fn has_two(&self, item: u64) -> bool {
        usize::try_from(item).is_ok_and(|item| self.fan[item])
    }

    pub(super) fn outputs(&self, items: std::ops::Range<u64>) -> Vec<u64> {
        items.flat_map(|item| 10 * item..=10 * item + u64::from(self.has_two(item))).collect()
    }
}

/// Where a member is.
#[derive(Debug)]
pub(super) enum Place {
    /// It takes a ticket next.
    Ticket,
    /// It enters the state next.
    Enter,
    Works,
    /// It has voided items and notifies the events next.
    Voids(u64),
    Pulls(Quota),
    /// Outputs the due pieces, one at a time.
    Outputs(VecDeque<Piece<u64, ()>>),
    Sleeps(Event, Sleep),
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Workers,
    Caller,
    Parts,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    /// Whether the event was notified since the ticket was taken.
    pub(super) is_stale: bool,
    pub(super) ticket: Event,
    /// To be woken first.
    pub(super) wakes: Wakes,
    pub(super) hand: Option<Hand>,
    pub(super) worked: Option<Worked<Items<u64>, u64, ()>>,
    pub(super) taken: Vec<Piece<u64, ()>>,
    /// Where a worker comes from, until it looks.
    pub(super) arrival: Option<Arrival>,
}

/// A batch in a member's hands.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) items: Vec<u64>,
    /// How many of the items were worked.
    pub(super) done: usize,
    pub(super) rest: Option<Rest<Items<u64>>>,
    pub(super) piece: Piece<u64, ()>,
    pub(super) part: Option<Piece<u64, ()>>,
    pub(super) is_offering: bool,
    pub(super) offers: Offers,
}
