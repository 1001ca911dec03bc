//! [`Pace`]: how many items make a batch.
//!
//! This is the wish. A claim takes less towards the end of data, where the window has less room, or of a rest that was
//! handed back (`Supply::claim`). And a member hands the rest of a batch back that takes too long (`Work::run`).
//!
//! Invariant: `1 <= batch <= largest`. A batch grows at most twofold at a time, and shrinks at once.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::window::BATCHES_A_THREAD;

/// How long a batch is meant to take. A batch costs up to a microsecond of locks, clocks and cache lines that change
/// hands: 1.93 times the plain loop on two threads with 50 µs. Longer ones keep small costly items behind each other.
pub(super) const AIM: Duration = Duration::from_micros(100);

/// The largest batch. Larger ones gain nothing even at 1 ns an item, and would hold more of them.
const LARGEST: usize = 1024;

/// Learns from the past how many items make a batch.
#[derive(Debug)]
pub(super) struct Pace {
    batch: usize,
    largest: usize,
    /// Running means of the cost of an item, in ns. The sink and the source count too: a batch that takes the stages no
    /// time is still too large if the sink takes a second for it.
    work: f64,
    pull: f64,
    sink: f64,
}

impl Pace {
    /// `window` is the user's bound in items.
    pub(super) fn new(threads: usize, window: Option<NonZeroUsize>) -> Self {
        let batches = threads.saturating_mul(BATCHES_A_THREAD);
        let largest = window.map_or(LARGEST, |items| (items.get() / batches).clamp(1, LARGEST));
        Pace { batch: 1, largest, work: 0.0, pull: 0.0, sink: 0.0 }
    }

    /// How many items the next batch should have.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Learns the sink's cost from `items` that it has taken.
    pub(super) fn learn_sink(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.sink, items, elapsed);
    }

    /// Learns the source's cost from `items` that were pulled.
    pub(super) fn learn_pull(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.pull, items, elapsed);
    }

    /// Whether pulling takes so much of a thread's time that two of them would often meet there.
    pub(super) fn pulls_are_dear(&self) -> bool {
        self.pull > (self.work + self.sink) / 16.0
    }

    /// Learns the stages' cost from `items` that were worked, and sets the next batch.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn learn_work(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.work, items, elapsed);
        let ideal = (AIM.as_nanos() as f64 / (self.work + self.pull + self.sink).max(0.1)) as usize;
        // A batch that was cut short by a slow source says little about the right size.
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

    /// A pace that has seen twenty batches of items that cost so much each.
    fn after(work: Duration, pull: Duration, sink: Duration) -> Pace {
        let mut pace = Pace::new(2, None);
        for _ in 0..20 {
            let items = pace.batch();
            let times = u32::try_from(items).unwrap();
            pace.learn_pull(items, pull * times);
            pace.learn_work(items, work * times);
            pace.learn_sink(items, sink * times);
        }
        pace
    }

    const FREE: Duration = Duration::from_nanos(2);
    const COSTLY: Duration = Duration::from_millis(10);

    #[test]
    fn batches_of_cheap_items_grow_to_the_largest() {
        assert_eq!(after(FREE, FREE, FREE).batch(), LARGEST);
    }

    #[test]
    fn batches_of_costly_items_stay_at_one_wherever_the_cost_lies() {
        for pace in [after(COSTLY, FREE, FREE), after(FREE, COSTLY, FREE), after(FREE, FREE, COSTLY)] {
            assert_eq!(pace.batch(), 1);
        }
    }

    #[test]
    fn one_costly_batch_shrinks_the_next_at_once() {
        let mut pace = after(Duration::from_micros(1), Duration::ZERO, Duration::ZERO);
        assert!((99..=101).contains(&pace.batch()), "{}", pace.batch());
        pace.learn_work(1, COSTLY);
        assert_eq!(pace.batch(), 1);
    }
}
