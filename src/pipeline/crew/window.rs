//! [`Window`]: how far pulls run ahead of the sink.
//!
//! It counts, and says how much room is left. `State` keeps the bound: it asks before each pull (`State::may_pull`)
//! and before each claim of data (`State::fresh`).
//!
//! Invariant: `closed <= pulled`, and no pull begins that would make `pulled - closed` larger than the window was at
//! that time. A window in items is strict: input `k + items` is not pulled before the sink has taken output `k`. A
//! window in batches follows the batch size, so it may become narrower than the items ahead; then nothing is pulled.
//!
//! **The default widens for an item that takes long.** Four batches a thread are 400 µs of the work of all. If the item
//! that is due takes longer, the other members stop at the window and wait for it. So a member that would sleep for
//! room while the due item is not there doubles the window, up to a bound. (Items of 2 ms on 16 threads, one in 500 of
//! 200 ms: 4.7 times the plain loop by four batches, 12.6 by a window of 4096 items.) Once four windows have gone by
//! without such a wait, the window is halved.

use std::num::NonZeroUsize;

/// How many batches a thread may be pulled and not yet output, unless the user sets the items.
pub(super) const BATCHES_A_THREAD: usize = 4;

/// How much wider than that the window may become for an item that takes long.
const WIDEST: usize = 16;

/// How many items, and how many bytes of items or outputs inline, a window that has widened holds at most.
const MOST_ITEMS: usize = 1 << 16;
const MOST_BYTES: usize = 64 << 20;

/// Counts the items that are pulled and not yet taken by the sink.
#[derive(Debug)]
pub(in super::super) struct Window {
    width: Width,
    /// Items pulled from the source, or claimed from data, or about to be.
    pulled: u64,
    /// Items whose outputs the sink has taken.
    closed: u64,
    /// How many items are wanted at most in the whole run.
    limit: u64,
}

#[derive(Debug)]
enum Width {
    Items(usize),
    Batches(Batches),
}

#[derive(Debug)]
struct Batches {
    /// The usual width, in batches.
    usual: usize,
    /// The usual width, in items, if that is wider.
    least: usize,
    /// How many times the usual width it is now.
    factor: usize,
    /// How many items a window that has widened holds at most.
    most: usize,
    /// How many items have been closed since a member had to wait for the due item.
    since_wait: usize,
}

impl Window {
    /// `items` is the user's bound, and `least` how many items the default has at least; `bytes` is the size of an item
    /// or an output inline, whichever is larger.
    pub(super) fn new(threads: usize, items: Option<NonZeroUsize>, bytes: usize, least: usize) -> Self {
        let usual = threads.saturating_mul(BATCHES_A_THREAD);
        let most = MOST_ITEMS.min(MOST_BYTES / bytes.max(1));
        let batches = || Width::Batches(Batches { usual, least, factor: 1, most, since_wait: 0 });
        let width = items.map_or_else(batches, |items| Width::Items(items.get()));
        Window { width, pulled: 0, closed: 0, limit: u64::MAX }
    }

    /// No more than `items` are wanted in the whole run.
    pub(super) fn set_limit(&mut self, items: u64) {
        self.limit = items;
    }

    /// How many items are pulled and not yet output.
    pub(super) fn ahead(&self) -> usize {
        usize::try_from(self.pulled - self.closed).unwrap_or(usize::MAX)
    }

    /// How many more items may be pulled, where a batch has `batch`.
    pub(super) fn room(&self, batch: usize) -> usize {
        let wanted = usize::try_from(self.limit - self.pulled).unwrap_or(usize::MAX);
        self.items(batch).saturating_sub(self.ahead()).min(wanted)
    }

    /// Whether there is no room for a wanted item.
    pub(super) fn is_full(&self, batch: usize) -> bool {
        self.ahead() >= self.items(batch) && self.pulled < self.limit
    }

    /// The width in items.
    fn items(&self, batch: usize) -> usize {
        match &self.width {
            Width::Items(items) => *items,
            Width::Batches(batches) => batches.items(batch),
        }
    }

    /// How many items the caller may take at a time and give their room back together: one piece, if this is 0.
    pub(super) fn share_of_caller(&self, batch: usize) -> usize {
        match &self.width {
            // The user's window gets its room back at once.
            Width::Items(_) => 0,
            Width::Batches(batches) => batches.items(batch) / 4,
        }
    }

    /// Doubles the default, because there is no room and the due item takes long. Returns whether there is room now.
    pub(super) fn widen(&mut self, batch: usize) -> bool {
        if let Width::Batches(batches) = &mut self.width {
            batches.since_wait = 0;
            if batches.factor < WIDEST {
                batches.factor *= 2;
            }
        }
        self.room(batch) > 0
    }

    pub(super) fn pull(&mut self, items: usize) {
        self.pulled += items as u64;
    }

    /// Takes back items that were counted as pulled in advance and did not come.
    pub(super) fn unpull(&mut self, items: usize) {
        self.pulled -= items as u64;
    }

    /// The sink has taken the outputs of `items`, where a batch has `batch`.
    pub(super) fn close(&mut self, items: usize, batch: usize) {
        self.closed += items as u64;
        debug_assert!(self.closed <= self.pulled, "an item is pulled before it is output");
        if let Width::Batches(batches) = &mut self.width
            && batches.factor > 1
        {
            batches.since_wait += items;
            if batches.since_wait >= 4 * batches.items(batch) {
                batches.factor /= 2;
                batches.since_wait = 0;
            }
        }
    }
}

impl Batches {
    /// The width in items.
    fn items(&self, batch: usize) -> usize {
        let usual = self.usual.saturating_mul(batch).max(self.least);
        usual.saturating_mul(self.factor).min(self.most).max(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_items_is_kept_to_the_item() {
        let mut window = Window::new(2, NonZeroUsize::new(3), 8, 1);
        window.pull(2);
        assert_eq!(window.room(100), 1);
        window.pull(1);
        assert_eq!(window.room(100), 0);
        assert!(!window.widen(100));
        window.close(1, 100);
        assert_eq!((window.room(100), window.ahead()), (1, 2));
    }

    #[test]
    fn a_window_of_batches_follows_their_size_and_never_goes_negative() {
        let mut window = Window::new(2, None, 8, 1);
        window.pull(16);
        assert_eq!((window.room(4), window.room(2), window.room(1)), (16, 0, 0));
        window.unpull(1);
        window.close(15, 1);
        assert_eq!((window.room(1), window.ahead()), (8, 0));
    }

    #[test]
    fn a_window_widens_for_a_late_item_up_to_its_bounds_and_narrows_when_none_is_late() {
        let mut window = Window::new(2, None, 8, 1);
        for room in [16, 32, 64, 128, 128] {
            assert!(window.widen(1));
            assert_eq!(window.room(1), room);
        }
        for (items, room) in [(511, 128), (1, 64), (256, 32), (128, 16), (64, 8), (1000, 8)] {
            window.pull(items);
            window.close(items, 1);
            assert_eq!(window.room(1), room);
        }
    }

    #[test]
    fn a_wide_window_holds_few_large_items_and_never_fewer_than_usual() {
        for (bytes, batch, most) in
            [(8, 1_000, MOST_ITEMS), (1 << 20, 4, 64), (1 << 20, 100, 800), (0, 1_000, MOST_ITEMS)]
        {
            let mut window = Window::new(2, None, bytes, 1);
            (0..9).for_each(|_| _ = window.widen(batch));
            assert_eq!(window.room(batch), most);
        }
    }
}
