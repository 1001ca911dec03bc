//! What crosses the boundary before a section, and when.

use super::super::super::serial::Serial;
use super::super::super::source::{Chunk, Stock};
use super::super::below::{Below, Coming, Void};
use super::super::credits::Release;
use super::super::crossing::{Flush, Input};
use super::super::piece::Piece;
use super::Behind;

impl<I, E, Q, D> Behind<I, E, Q, D>
where
    Q: Serial<I, Output: Send>,
    D: Below,
{
    /// Whether a piece can cross.
    pub(super) fn can_cross(&self, void: Void<'_>) -> bool {
        matches!(self.input, Input::Open)
            && !self.is_crossing
            && self.down.ring().next() < void.own
            && self.ring.is_ready()
            && self.has_room()
    }

    /// Whether the serial stage has to hand its items on.
    pub(super) fn must_flush(&self, void: Void<'_>) -> bool {
        self.flush == Flush::Now
            && matches!(self.input, Input::Open)
            && !self.is_crossing
            && self.down.ring().next() < void.own
            && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.supply.stock().len() < self.supply.full().saturating_mul(2).saturating_mul(self.pace.batch())
    }

    /// Whether the serial stage has to be told that no more items come.
    pub(super) fn must_finish(&self) -> bool {
        !Q::PASSES
            && self.coming == Coming::Nothing
            && matches!(self.input, Input::Open)
            && !self.is_crossing
            && self.ring.is_empty()
    }

    pub(super) fn enter(&mut self, items: Vec<Q::Output>, closes: Release) {
        let closed = self.down.ring_mut().credit(items.len(), closes);
        self.down.free(closed);
        self.supply.put(Chunk::List(items));
    }

    pub(super) fn cross(&mut self) -> Option<Piece<I, E>> {
        self.has_changed = true;
        let piece = self.ring.take()?;
        if Q::PASSES {
            self.crossed += Release { items: piece.outputs.0.len(), bytes: piece.output_bytes };
        } else {
            self.ring.release(piece.output_bytes);
        }
        Some(piece)
    }

    /// So many items that have crossed are worked. The outputs of the section before that they were weigh no more.
    pub(super) fn release_crossed(&mut self, items: usize) {
        let Release { items: all, bytes } = self.crossed;
        let items = items.min(all);
        // By their mean, as each was weighed before it crossed.
        let part = if items == all { bytes } else { bytes / all as u64 * items as u64 };
        self.crossed = Release { items: all - items, bytes: bytes - part };
        self.ring.release(part);
    }
}
