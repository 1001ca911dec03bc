//! [`Ring`]: where pieces wait for their turn.
//!
//! The place of a piece is the index of its first item, not the number of a batch. So a
//! batch can be committed in parts, and the rest of it be claimed again; `closes` says
//! which index follows. Where no order is kept, the place is the number of arrival.
//!
//! Invariants:
//!
//! 1. Pieces leave in the order of their places, each once, and none before all earlier places have left.
//! 2. `weight` is the sum of the weights that lie here.
//! 3. Beyond the due batch the weight is at most `most`, or there is one piece that is heavier than `most` alone. Last
//!    pieces of batches come in as they are; to keep that in bounds, no batch is claimed while the ring is full.
//! 4. Outputs that are weighed count until the sink has taken them, or the next section has worked them. No batch is
//!    claimed while their bytes reach the bound. The due batch has been claimed before all that lie here, or is a rest,
//!    and goes on.
//! 5. Of the due batch up to [`PARTS`] parts lie here; room that other batches have taken is never refused to it.

use std::collections::{BTreeMap, VecDeque};

use super::super::Order;
use super::credits::{Credits, Release};
use super::piece::Piece;
use super::weight::{PART, PARTS, PARTS_A_THREAD};

/// The pieces that wait, and the index that is due next.
pub(in super::super) struct Ring<R, E> {
    order: Order,
    due: u64,
    arrivals: u64,
    pieces: BTreeMap<Place, Piece<R, E>>,
    weight: usize,
    most: usize,
    /// How many bytes the outputs weigh that lie here or are with the sink, and how many they may.
    output_bytes: u64,
    output_budget: u64,
    /// Where the section that fills the ring has others before it.
    credits: Option<Credits>,
    /// How many failures lie here.
    failures: usize,
    /// Emptied vectors of outputs, for reuse, and how many there may be.
    spare: Vec<Vec<R>>,
    most_spare: usize,
}

#[cfg(test)]
impl<R: std::fmt::Debug, E: std::fmt::Debug> std::fmt::Debug for Ring<R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ring { due, arrivals, pieces, credits, .. } = self;
        write!(f, "{due} {arrivals} {pieces:?} {credits:?}")
    }
}

/// The index of the first item, and for the parts of one item their number.
pub(in super::super) type Place = (u64, usize);

/// The places of the parts of a batch that its member has offered and that still lie in the ring, as far as it knows.
#[derive(Debug, Default)]
pub(in super::super) struct Offers(VecDeque<Place>);

impl<R, E> Ring<R, E> {
    pub(super) fn new(order: Order, threads: usize) -> Self {
        let most = threads.saturating_mul(PARTS_A_THREAD).saturating_add(PARTS).saturating_mul(PART);
        let pieces = BTreeMap::new();
        let (credits, spare, most_spare) = (None, Vec::new(), threads.saturating_mul(2));
        Ring {
            order,
            due: 0,
            arrivals: 0,
            pieces,
            weight: 0,
            most,
            output_bytes: 0,
            output_budget: u64::MAX,
            credits,
            failures: 0,
            spare,
            most_spare,
        }
    }

    /// A ring whose section has others before it.
    pub(super) fn behind(order: Order, threads: usize) -> Self {
        Ring { credits: Some(Credits::default()), ..Ring::new(order, threads) }
    }

    /// Returns the same ring with a bound in bytes on the outputs that wait in it.
    pub(super) fn bounded(self, output_budget: Option<u64>) -> Self {
        Ring { output_budget: output_budget.unwrap_or(u64::MAX), ..self }
    }

    /// Notes that outputs of this weight in bytes have left it for good.
    pub(super) fn release(&mut self, output_bytes: u64) {
        self.output_bytes -= output_bytes;
    }

    /// How many bytes the outputs weigh that count against the bound.
    pub(super) fn held(&self) -> u64 {
        self.output_bytes
    }

    /// Whether the outputs weigh as much as they may.
    pub(super) fn is_heavy(&self) -> bool {
        self.output_bytes >= self.output_budget
    }

    /// How many bytes the outputs of a batch should weigh, where `threads` make some: those of all take a quarter.
    pub(super) fn share_of_batch(&self, threads: usize) -> Option<u64> {
        let share = || self.output_budget / 4 / threads.max(1) as u64;
        (self.output_budget < u64::MAX).then(share)
    }

    /// The section that fills the ring is given `items`; see [`Credits::put`].
    pub(super) fn credit(&mut self, items: usize, closes: Release) -> Release {
        self.credits.as_mut().map_or(closes, |credits| credits.put(items, closes))
    }

    /// The index of the next item that it is given.
    pub(super) fn next(&self) -> u64 {
        self.credits.as_ref().map_or(0, Credits::next)
    }

    /// An empty vector for outputs.
    pub(super) fn spare(&mut self) -> Vec<R> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes an emptied vector back, but not one that an item with many outputs has made large.
    pub(super) fn recycle(&mut self, outputs: Vec<R>) {
        if self.spare.len() < self.most_spare && outputs.capacity() <= PART {
            self.spare.push(outputs);
        }
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn has_failure(&self) -> bool {
        self.failures > 0
    }

    /// The index that is due.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Whether no batch may be claimed, because the parts of others fill the ring, or their outputs are heavy.
    pub(super) fn is_full(&self) -> bool {
        self.weight >= self.most || self.is_heavy()
    }

    /// Whether the piece that is due lies here.
    pub(super) fn is_ready(&self) -> bool {
        self.pieces.first_key_value().is_some_and(|((first, _), _)| *first == self.due)
    }

    /// Puts a piece at its place, which it returns.
    pub(super) fn put(&mut self, piece: Piece<R, E>) -> Place {
        let place = match self.order {
            Order::Source => (piece.first, piece.part),
            Order::Arrival => (self.arrivals, 0),
        };
        self.arrivals += 1;
        self.weight += piece.weight;
        self.output_bytes += piece.output_bytes;
        self.failures += usize::from(piece.end.is_some());
        let before = self.pieces.insert(place, piece);
        debug_assert!(before.is_none(), "a place is taken once");
        place
    }

    /// Takes the piece that is due, if it is here. From then on it closes items of the source.
    pub(super) fn take(&mut self) -> Option<Piece<R, E>> {
        let entry = self.pieces.first_entry().filter(|entry| entry.key().0 == self.due)?;
        let mut piece = entry.remove();
        self.weight -= piece.weight;
        self.failures -= usize::from(piece.end.is_some());
        self.due += match self.order {
            Order::Source => piece.closes as u64,
            Order::Arrival => 1,
        };
        if let Some(credits) = &mut self.credits {
            Release { items: piece.closes, bytes: piece.bytes } = credits.leave(piece.closes);
        }
        Some(piece)
    }

    /// Puts a part into the ring if there is room. Returns whether it is there, or has been put there before.
    pub(super) fn offer(&mut self, part: &mut Option<Piece<R, E>>, offers: &mut Offers) -> bool {
        while offers.0.front().is_some_and(|place| !self.pieces.contains_key(place)) {
            offers.0.pop_front();
        }
        let Some(Piece { first, weight, .. }) = *part else { return true };
        let earliest = offers.0.front().map_or(first, |(item, _)| *item);
        let has_room = if self.order == Order::Source && earliest == self.due {
            offers.0.len() < PARTS
        } else {
            weight == 0 || self.weight == 0 || self.weight + weight <= self.most
        };
        if has_room {
            offers.0.extend(part.take().map(|part| self.put(part)));
        }
        has_room
    }

    /// The pieces that are left, in order.
    pub(super) fn into_rest(self) -> impl Iterator<Item = Piece<R, E>> {
        self.pieces.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: u64, part: usize, closes: usize) -> Piece<(), ()> {
        Piece::empty(first, part, closes)
    }

    fn ring() -> Ring<(), ()> {
        Ring::new(Order::Source, 1)
    }

    fn take(ring: &mut Ring<(), ()>) -> Option<(u64, usize)> {
        ring.take().map(|piece| (piece.first, piece.part))
    }

    #[test]
    fn arrivals_in_reverse_leave_in_order() {
        let mut ring = ring();
        for first in [8, 6, 4, 2, 0] {
            assert!(!ring.is_ready());
            ring.put(piece(first, 0, 2));
        }
        let taken: Vec<_> = std::iter::from_fn(|| ring.take()).map(|piece| piece.first).collect();
        assert_eq!(taken, [0, 2, 4, 6, 8]);
    }

    #[test]
    fn a_gap_holds_back_the_pieces_behind_it() {
        let mut ring = ring();
        ring.put(piece(0, 0, 5));
        ring.put(piece(7, 0, 1));
        assert_eq!((take(&mut ring), take(&mut ring)), (Some((0, 0)), None));
        ring.put(piece(5, 0, 2));
        assert_eq!((take(&mut ring), take(&mut ring), take(&mut ring)), (Some((5, 0)), Some((7, 0)), None));
    }

    #[test]
    fn the_parts_of_an_item_leave_in_order_before_the_next() {
        let mut ring = ring();
        ring.put(piece(1, 0, 1));
        ring.put(piece(0, 1, 0));
        ring.put(piece(0, 0, 0));
        assert_eq!((take(&mut ring), take(&mut ring), take(&mut ring)), (Some((0, 0)), Some((0, 1)), None));
        ring.put(piece(0, 2, 1));
        assert_eq!((take(&mut ring), take(&mut ring)), (Some((0, 2)), Some((1, 0))));
    }

    #[test]
    fn without_order_pieces_leave_as_they_came() {
        let mut ring = Ring::new(Order::Arrival, 1);
        for first in [5, 0, 3] {
            ring.put(piece(first, 0, 1));
        }
        let taken: Vec<_> = std::iter::from_fn(|| ring.take()).map(|piece| piece.first).collect();
        assert_eq!(taken, [5, 0, 3]);
    }

    #[test]
    fn a_part_heavier_than_all_the_room_there_is_waits_for_no_more_than_an_empty_ring() {
        for order in [Order::Source, Order::Arrival] {
            let mut ring = Ring::new(order, 1);
            let weight = ring.most + 1;
            // Of items that are not due.
            let heavy = |first| Some(Piece { weight, ..piece(first, 0, 1) });
            assert!(ring.offer(&mut heavy(7), &mut Offers::default()));
            let mut second = heavy(8);
            assert!(!ring.offer(&mut second, &mut Offers::default()));
            assert!(second.is_some() && ring.is_full());
        }
    }

    #[test]
    fn the_due_batch_has_room_where_others_have_filled_the_ring_and_no_more_than_its_parts() {
        let mut ring = ring();
        ring.put(Piece { weight: ring.most, ..piece(9, 0, 1) });
        let mut offers = Offers::default();
        for part in 0..=PARTS {
            let accepted = ring.offer(&mut Some(Piece { weight: PART, ..piece(0, part, 0) }), &mut offers);
            assert_eq!(accepted, part < PARTS);
        }
        assert_eq!(take(&mut ring), Some((0, 0)));
        assert!(ring.offer(&mut Some(Piece { weight: PART, ..piece(0, PARTS, 0) }), &mut offers));
    }
}
