//! [`Window`]: how far pulls run ahead of the sink.
//!
//! It counts, and says how much room is left. `State` keeps the bound: it asks before each pull (`State::may_pull`)
//! and before each claim of data (`State::fresh`).
//!
//! Invariant: `closed <= pulled`, and no pull begins that would make `pulled - closed` larger than the window was at
//! that time. A window in items is strict: input `k + items` is not pulled before the sink has taken output `k`. A
//! window in batches follows the batch size, so it may become narrower than the items ahead; then nothing is pulled.

use std::num::NonZeroUsize;

/// How many batches a thread may be pulled and not yet output, unless the user sets the items.
pub(super) const BATCHES_A_THREAD: usize = 4;

/// Counts the items that are pulled and not yet taken by the sink.
#[derive(Debug)]
pub(super) struct Window {
    width: Width,
    /// Items pulled from the source, or claimed from data, or about to be.
    pulled: u64,
    /// Items whose outputs the sink has taken.
    closed: u64,
}

#[derive(Debug)]
enum Width {
    Items(usize),
    Batches(usize),
}

impl Window {
    /// `items` is the user's bound.
    pub(super) fn new(threads: usize, items: Option<NonZeroUsize>) -> Self {
        let batches = || Width::Batches(threads.saturating_mul(BATCHES_A_THREAD));
        let width = items.map_or_else(batches, |items| Width::Items(items.get()));
        Window { width, pulled: 0, closed: 0 }
    }

    /// How many items are pulled and not yet output.
    pub(super) fn ahead(&self) -> usize {
        usize::try_from(self.pulled - self.closed).unwrap_or(usize::MAX)
    }

    /// How many more items may be pulled, where a batch has `batch`.
    pub(super) fn room(&self, batch: usize) -> usize {
        let most = match self.width {
            Width::Items(items) => items,
            Width::Batches(batches) => batches.saturating_mul(batch),
        };
        most.saturating_sub(self.ahead())
    }

    pub(super) fn pull(&mut self, items: usize) {
        self.pulled += items as u64;
    }

    /// Takes back items that were counted as pulled in advance and did not come.
    pub(super) fn unpull(&mut self, items: usize) {
        self.pulled -= items as u64;
    }

    /// The sink has taken the outputs of `items`.
    pub(super) fn close(&mut self, items: usize) {
        self.closed += items as u64;
        debug_assert!(self.closed <= self.pulled, "an item is pulled before it is output");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_items_is_kept_to_the_item() {
        let mut window = Window::new(2, NonZeroUsize::new(3));
        window.pull(2);
        assert_eq!(window.room(100), 1);
        window.pull(1);
        assert_eq!(window.room(100), 0);
        window.close(1);
        assert_eq!((window.room(100), window.ahead()), (1, 2));
    }

    #[test]
    fn a_window_of_batches_follows_their_size_and_never_goes_negative() {
        let mut window = Window::new(2, None);
        window.pull(16);
        assert_eq!((window.room(4), window.room(2), window.room(1)), (16, 0, 0));
        window.unpull(1);
        window.close(15);
        assert_eq!((window.room(1), window.ahead()), (8, 0));
    }
}
