//! Committing: the ring in which worked batches wait for their turn.

use std::collections::BTreeMap;
use std::time::Duration;

/// Batches by the index of their first item, and the index that is due next.
///
/// A batch may come in parts, since who works it may hand its rest to others, or an item may have more outputs than are
/// held at once; so the number of items says what follows a batch, not a number of its own. What lies here is bounded by
/// the window.
pub(super) struct Ring<D> {
    due: u64,
    batches: BTreeMap<Place, (usize, D)>,
}

/// The index of the first item, and for the parts of one item which of them it is.
pub(super) type Place = (u64, usize);

impl<D> Ring<D> {
    pub(super) fn new() -> Self {
        Ring { due: 0, batches: BTreeMap::new() }
    }

    /// The index that is due.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Puts a batch of `items` items at its place; none, if there is more to come of the first.
    pub(super) fn put(&mut self, place: Place, items: usize, batch: D) {
        let before = self.batches.insert(place, (items, batch));
        debug_assert!(before.is_none(), "a place is taken once");
    }

    /// Whether the batch that is due is here.
    pub(super) fn is_ready(&self) -> bool {
        self.batches.first_key_value().is_some_and(|((first, _), _)| *first == self.due)
    }

    /// Whether what was put at `place` is still here.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.batches.contains_key(&place)
    }

    /// Takes the batch that is due, if it is here.
    pub(super) fn take(&mut self) -> Option<D> {
        let entry = self.batches.first_entry().filter(|entry| entry.key().0 == self.due)?;
        let (items, batch) = entry.remove();
        self.due += items as u64;
        Some(batch)
    }

    /// What is left, in order.
    pub(super) fn into_rest(self) -> impl Iterator<Item = D> {
        self.batches.into_values().map(|(_, batch)| batch)
    }
}

/// A batch that the sink has taken.
pub(super) struct Taken<R> {
    pub(super) emptied: Vec<R>,
    pub(super) items: usize,
    /// How long the sink took.
    pub(super) elapsed: Duration,
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn arrivals_in_reverse_leave_in_order() {
        let mut ring = Ring::new();
        for first in [8, 6, 4, 2, 0] {
            assert!(!ring.is_ready());
            ring.put((first, 0), 2, first);
        }
        assert_eq!(std::iter::from_fn(|| ring.take()).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    }

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let mut ring = Ring::new();
        ring.put((0, 0), 5, 'a');
        ring.put((7, 0), 1, 'c');
        assert_eq!((ring.take(), ring.take()), (Some('a'), None));
        ring.put((5, 0), 2, 'b');
        assert_eq!((ring.take(), ring.take(), ring.take()), (Some('b'), Some('c'), None));
    }
    #[test]
    fn the_parts_of_an_item_leave_in_order_before_the_next() {
        let mut ring = Ring::new();
        ring.put((1, 0), 1, "next");
        ring.put((0, 1), 0, "second");
        ring.put((0, 0), 0, "first");
        assert_eq!((ring.take(), ring.take(), ring.take()), (Some("first"), Some("second"), None));
        assert!(!ring.holds((0, 1)) && ring.holds((1, 0)));
        ring.put((0, 2), 1, "last");
        assert_eq!((ring.take(), ring.take()), (Some("last"), Some("next")));
    }
}
