//! Committing: the ring in which worked batches wait for their turn.

use std::collections::VecDeque;

/// Batches by their place in the output, from the one that is due next.
///
/// Its length is bounded by the window: a batch is claimed only while the one that is due is at most a window away.
pub(super) struct Ring<D> {
    /// The place of the first slot.
    due: u64,
    slots: VecDeque<Option<D>>,
}

impl<D> Ring<D> {
    pub(super) fn new() -> Self {
        Ring { due: 0, slots: VecDeque::new() }
    }

    /// Puts a batch at its place. Arrivals come in any order; those of an unordered run come in order.
    pub(super) fn put(&mut self, place: u64, done: D) {
        let slot = usize::try_from(place - self.due).expect("a ring is shorter than the address space");
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(self.slots[slot].is_none(), "a place is taken once");
        self.slots[slot] = Some(done);
    }

    /// Whether the batch that is due is here.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.slots.front(), Some(Some(_)))
    }

    /// Takes the batch that is due, if it is here.
    pub(super) fn take(&mut self) -> Option<D> {
        let done = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.due += 1;
        Some(done)
    }

    /// What is left, in order.
    pub(super) fn into_rest(self) -> impl Iterator<Item = D> {
        self.slots.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn arrivals_in_reverse_leave_in_order() {
        let mut ring = Ring::new();
        for place in (0..5).rev() {
            assert!(!ring.is_ready());
            ring.put(place, place);
        }
        assert_eq!(std::iter::from_fn(|| ring.take()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let mut ring = Ring::new();
        ring.put(0, 'a');
        ring.put(2, 'c');
        assert_eq!((ring.take(), ring.take()), (Some('a'), None));
        ring.put(1, 'b');
        assert_eq!((ring.take(), ring.take(), ring.take()), (Some('b'), Some('c'), None));
    }
}
