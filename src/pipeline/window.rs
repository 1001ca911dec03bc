//! The window: how far claims may run ahead of the output, and how large a batch is.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How long a batch is meant to take. A batch costs up to a microsecond of locks, clocks and cache lines that change
/// hands: 1.93 times the plain loop on two threads with 50 µs. Longer ones keep small costly items behind each other.
pub(super) const AIM: Duration = Duration::from_micros(100);

/// The largest batch. Larger ones gain nothing even at 1 ns an item, and would hold more of them.
pub(super) const LARGEST: usize = 1024;

/// How many batches a thread may be pulled and not yet output, unless the user sets the items.
const BATCHES_A_THREAD: usize = 4;

/// Counts what is pulled and not yet taken by the sink, and learns how many items make a batch.
pub(super) struct Window {
    /// The user's bound in items. Strict: input `k + items` is not pulled before output `k` was taken.
    items: Option<NonZeroUsize>,
    /// Our own bound in batches, where the user gave none.
    batches: usize,
    /// Items pulled from the source, or claimed from data, or about to be.
    pulled: u64,
    /// Items whose output the sink has taken.
    taken: u64,
    /// How many items the next batch should have.
    batch: usize,
    largest: usize,
    /// Running means of what an item costs, in ns. The sink and the source count too: a batch that takes the stages no
    /// time is still too large if the sink takes a second for it.
    work: f64,
    pull: f64,
    sink: f64,
}

impl Window {
    pub(super) fn new(threads: usize, items: Option<NonZeroUsize>) -> Self {
        let batches = threads.saturating_mul(BATCHES_A_THREAD);
        let largest = items.map_or(LARGEST, |items| (items.get() / batches).clamp(1, LARGEST));
        Window { items, batches, pulled: 0, taken: 0, batch: 1, largest, work: 0.0, pull: 0.0, sink: 0.0 }
    }

    /// How many items the next batch should have.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// How many items are pulled and not yet output.
    pub(super) fn ahead(&self) -> usize {
        usize::try_from(self.pulled - self.taken).unwrap_or(usize::MAX)
    }

    /// How many more items may be pulled.
    pub(super) fn room(&self) -> usize {
        let most = self.items.map_or(self.batches.saturating_mul(self.batch), NonZeroUsize::get);
        most.saturating_sub(self.ahead())
    }

    pub(super) fn pull(&mut self, items: usize) {
        self.pulled += items as u64;
    }

    /// Takes back what was counted as pulled and was not there.
    pub(super) fn unpull(&mut self, items: usize) {
        self.pulled -= items as u64;
    }

    /// The sink has taken a batch.
    pub(super) fn take(&mut self, items: usize, elapsed: Duration) {
        self.taken += items as u64;
        learn(&mut self.sink, items, elapsed);
    }

    /// Learns what pulling an item costs.
    pub(super) fn learn_pull(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.pull, items, elapsed);
    }

    /// Whether pulling takes so much of a thread's time that two of them would often meet there.
    pub(super) fn pulls_are_dear(&self) -> bool {
        self.pull > (self.work + self.sink) / 16.0
    }

    /// Learns from a batch what an item costs. Batches grow at most twofold at a time, and shrink at once.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn learn_work(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.work, items, elapsed);
        let ideal = (AIM.as_nanos() as f64 / (self.work + self.pull + self.sink).max(0.1)) as usize;
        // A batch that was cut short by a slow source says little about how many fit.
        let grown = if items * 2 >= self.batch { self.batch * 2 } else { self.batch };
        self.batch = ideal.clamp(1, grown.min(self.largest));
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn learn(mean: &mut f64, items: usize, elapsed: Duration) {
    if items > 0 {
        *mean += (elapsed.as_nanos() as f64 / items as f64 - *mean) / 4.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that has seen twenty batches of items that cost so much each.
    fn after(threads: usize, work: Duration, pull: Duration, sink: Duration) -> Window {
        let mut window = Window::new(threads, None);
        for _ in 0..20 {
            let items = window.batch();
            let times = u32::try_from(items).unwrap();
            window.pull(items);
            window.learn_pull(items, pull * times);
            window.learn_work(items, work * times);
            window.take(items, sink * times);
        }
        window
    }

    const FREE: Duration = Duration::from_nanos(2);
    const COSTLY: Duration = Duration::from_millis(10);

    #[test]
    fn batches_of_cheap_items_grow_to_the_largest() {
        assert_eq!(after(2, FREE, FREE, FREE).batch(), LARGEST);
    }

    #[test]
    fn batches_of_costly_items_stay_at_one_wherever_the_cost_lies() {
        for window in [after(2, COSTLY, FREE, FREE), after(2, FREE, COSTLY, FREE), after(2, FREE, FREE, COSTLY)] {
            assert_eq!((window.batch(), window.room()), (1, 8));
        }
    }

    #[test]
    fn one_costly_batch_shrinks_the_next_at_once() {
        let mut window = after(2, Duration::from_micros(1), Duration::ZERO, Duration::ZERO);
        assert!((99..=101).contains(&window.batch()), "{}", window.batch());
        window.learn_work(1, COSTLY);
        assert_eq!(window.batch(), 1);
    }

    #[test]
    fn a_window_of_items_is_kept_to_the_item() {
        let mut window = Window::new(2, NonZeroUsize::new(3));
        window.pull(2);
        assert_eq!(window.room(), 1);
        window.pull(1);
        assert_eq!(window.room(), 0);
        window.take(1, FREE);
        assert_eq!((window.room(), window.ahead()), (1, 2));
    }
}
