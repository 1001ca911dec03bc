//! The window: how far claims may run ahead of the output, and how large a batch is.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How much work a batch aims at. A batch costs some 300 ns of locking and clock; much larger ones would make the others
/// wait at the end, and small costly items wait behind each other.
const AIM: Duration = Duration::from_micros(50);

/// The largest batch, which bounds the memory of cheap items: 4096 of 1 ns cost ten times what claiming them does.
const LARGEST: usize = 4096;

/// How many batches a thread may be claimed and not yet output, unless the user sets the items.
const BATCHES_A_THREAD: usize = 4;

/// Counts what is pulled and not yet taken by the sink.
pub(super) struct Window {
    /// The user's bound in items. Strict: input `k + items` is not pulled before output `k` was taken.
    items: Option<NonZeroUsize>,
    /// Our own bound in batches, where the user gave none.
    batches: usize,
    /// Items pulled from the source, or claimed from data.
    pulled: u64,
    /// Items whose output the sink has taken.
    taken: u64,
    /// How many items the next batch should have.
    batch: usize,
    largest: usize,
    /// The running mean of an item's work, in ns; `None` before the first batch.
    item_cost: Option<f64>,
    /// What pulling an item costs beside, in ns, where that is done by batches.
    pull_cost: f64,
}

impl Window {
    pub(super) fn new(threads: usize, items: Option<NonZeroUsize>) -> Self {
        let batches = threads.saturating_mul(BATCHES_A_THREAD);
        let largest = items.map_or(LARGEST, |items| (items.get() / batches).clamp(1, LARGEST));
        Window { items, batches, pulled: 0, taken: 0, batch: 1, largest, item_cost: None, pull_cost: 0.0 }
    }

    /// How many items the next batch should have.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// How many more items may be pulled, `outstanding` batches being claimed and not yet output, and `stock` items
    /// being pulled and not yet claimed.
    pub(super) fn room(&self, outstanding: usize, stock: usize) -> usize {
        match self.items {
            Some(items) => {
                let ahead = usize::try_from(self.pulled - self.taken).unwrap_or(usize::MAX);
                items.get().saturating_sub(ahead)
            }
            None => self.batches.saturating_sub(outstanding).saturating_mul(self.batch).saturating_sub(stock),
        }
    }

    pub(super) fn pull(&mut self, items: usize) {
        self.pulled += items as u64;
    }

    /// Takes back what was counted as pulled and was not there.
    pub(super) fn unpull(&mut self, items: usize) {
        self.pulled -= items as u64;
    }

    pub(super) fn take(&mut self, items: usize) {
        self.taken += items as u64;
    }

    /// Learns from a batch what an item costs. Batches grow at most twofold at a time, and shrink at once.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn learn(&mut self, items: usize, elapsed: Duration) {
        let cost = a_part(elapsed, items);
        let mean = self.item_cost.map_or(cost, |mean| mean + (cost - mean) / 4.0);
        self.item_cost = Some(mean);
        let ideal = (AIM.as_nanos() as f64 / (mean + self.pull_cost).max(0.1)) as usize;
        // A batch that was cut short by a slow source says little about how many fit.
        let grown = if items * 2 >= self.batch { self.batch * 2 } else { self.batch };
        self.batch = ideal.clamp(1, grown.min(self.largest));
    }

    /// Learns what pulling an item costs.
    pub(super) fn learn_pull(&mut self, items: usize, elapsed: Duration) {
        if items > 0 {
            self.pull_cost += (a_part(elapsed, items) - self.pull_cost) / 4.0;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn a_part(elapsed: Duration, items: usize) -> f64 {
    elapsed.as_nanos() as f64 / items as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_cheap_items_grow_to_the_largest() {
        let mut window = Window::new(2, None);
        for _ in 0..20 {
            window.learn(window.batch(), Duration::from_nanos(2 * window.batch() as u64));
        }
        assert_eq!(window.batch(), LARGEST);
    }

    #[test]
    fn batches_of_costly_items_stay_at_one() {
        let mut window = Window::new(2, None);
        for _ in 0..20 {
            window.learn(1, Duration::from_millis(10));
        }
        assert_eq!((window.batch(), window.room(0, 0)), (1, 8));
    }

    #[test]
    fn one_costly_batch_shrinks_the_next_at_once() {
        let mut window = Window::new(2, None);
        for _ in 0..20 {
            window.learn(window.batch(), Duration::from_micros(window.batch() as u64));
        }
        assert_eq!(window.batch(), 50);
        window.learn(1, Duration::from_millis(10));
        assert_eq!(window.batch(), 1);
    }

    #[test]
    fn what_is_slow_to_pull_comes_in_small_batches() {
        let mut window = Window::new(2, None);
        for _ in 0..20 {
            window.learn_pull(window.batch(), Duration::from_micros(10 * window.batch() as u64));
            window.learn(window.batch(), Duration::from_nanos(window.batch() as u64));
        }
        assert!((4..=6).contains(&window.batch()), "{}", window.batch());
    }

    #[test]
    fn a_window_of_items_counts_items_only() {
        let mut window = Window::new(2, NonZeroUsize::new(3));
        window.pull(2);
        assert_eq!(window.room(2, 0), 1);
        window.pull(1);
        assert_eq!(window.room(0, 0), 0);
        window.take(1);
        assert_eq!(window.room(0, 0), 1);
    }
}
