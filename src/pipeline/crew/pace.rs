//! [`Pace`]: how many items make a batch, and whether the caller works.
//!
//! This is the wish. A claim takes less towards the end of data, where the window has less room, or of a rest that was
//! handed back (`Supply::claim`). And a member hands the rest of a batch back that takes too long (`Work::run`).
//!
//! Invariants: `1 <= ahead <= batch <= largest`. Both grow at most twofold at a time, and shrink at once. `ahead` grows
//! when the sink has taken a piece, so that a sink that is slow from the start is known before the window is wide.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::source::Kind;
use super::window::BATCHES_A_THREAD;

/// How long a batch is meant to take on up to [`FEW`] threads. A batch costs up to a microsecond of locks, clocks and
/// cache lines that change hands: 1.93 times the plain loop on two threads with 50 µs. Longer ones keep small costly
/// items behind each other.
const AIM: Duration = Duration::from_micros(100);

/// On more threads than these the aim grows with them, because all of them meet at one lock.
const FEW: usize = 16;

/// The largest batch. At 1024 an item of 1 ns cost 4.2 ns in place of 1.7, and one of 40 ns had 1.55 times the speed of
/// the plain loop in place of 1.6; 8192 gain nothing more.
const LARGEST: usize = 4096;

/// The largest batch of items so large that the largest ones would take more memory than this, in bytes.
const LARGEST_OF_LARGE: usize = 1024;
const MEMORY: usize = 256 << 10;

/// How long an item takes on average when the caller stops to work, and when it takes work up again: a caller that
/// works cannot output meanwhile.
const LONG: f64 = 1e6;
const SHORT: f64 = 5e5;

/// Learns from the past how many items make a batch.
#[derive(Debug)]
pub(in super::super) struct Pace {
    kind: Kind,
    aim: Duration,
    batch: usize,
    /// What a batch would be if the time in `next()` counted, for the window to measure with; and the most it may be.
    ahead: usize,
    ahead_most: usize,
    largest: usize,
    /// Running means of the cost of an item, in ns. The sink counts too: a batch that takes the stages no time is still
    /// too large if the sink takes a second for it. Pulling counts where a member pulls the batch that it works.
    work: f64,
    pull: f64,
    sink: f64,
    /// Of the sections behind, per item of the source.
    later: f64,
    are_items_long: bool,
    /// How many bytes the outputs of an item weigh, and the largest batch by that.
    bytes: f64,
    by_weight: usize,
}

impl Pace {
    /// `window` is the user's bound in items. `bytes` is the size of an item or an output, whichever is larger.
    pub(super) fn new(kind: Kind, aim: Duration, threads: usize, window: Option<NonZeroUsize>, bytes: usize) -> Self {
        let batches = threads.saturating_mul(BATCHES_A_THREAD);
        let most = (MEMORY / bytes.max(1)).clamp(LARGEST_OF_LARGE, LARGEST);
        let largest = window.map_or(most, |items| (items.get() / batches).clamp(1, most));
        let (work, pull, sink, later) = (0.0, 0.0, 0.0, 0.0);
        Pace {
            kind,
            aim,
            batch: 1,
            ahead: 1,
            ahead_most: 1,
            largest,
            work,
            pull,
            sink,
            later,
            are_items_long: false,
            bytes: 0.0,
            by_weight: usize::MAX,
        }
    }

    /// How many items the next batch should have.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// How many items the window counts as a batch.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Whether an item keeps a member so long that the caller should not work, lest it keep outputs waiting.
    pub(super) fn are_items_long(&self) -> bool {
        self.are_items_long
    }

    /// Learns the sink's cost from `items` that it has taken.
    pub(super) fn learn_sink(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.sink, items, elapsed);
        self.ahead_most = (2 * self.ahead).min(self.largest);
        self.set_ahead();
    }

    /// Learns the cost of the sections behind from `items` of the source that have passed them.
    pub(super) fn learn_later(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.later, items, elapsed);
    }

    /// Learns the source's cost from `items` that were pulled.
    pub(super) fn learn_pull(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.pull, items, elapsed);
    }

    /// Whether pulling takes so much of a thread's time that two of them would often meet there.
    pub(super) fn pulls_are_dear(&self) -> bool {
        self.pull > (self.work + self.sink) / 16.0
    }

    /// Learns how many `bytes` the outputs of `items` weigh. Those of a batch should weigh `share`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn learn_weight(&mut self, items: usize, bytes: u64, share: u64) {
        if items > 0 {
            let mean = bytes as f64 / items as f64;
            // It shrinks the batch at once, and lets it grow slowly.
            self.bytes = if mean > self.bytes { mean } else { self.bytes + (mean - self.bytes) / 4.0 };
            self.by_weight = ((share as f64 / self.bytes.max(f64::MIN_POSITIVE)) as usize).max(1);
        }
    }

    /// Learns the stages' cost from `items` that were worked, and sets the next batch.
    pub(super) fn learn_work(&mut self, items: usize, elapsed: Duration) {
        learn(&mut self.work, items, elapsed);
        self.are_items_long = self.work > if self.are_items_long { SHORT } else { LONG };
        // A batch that was cut short by a slow source says little about the right size.
        let grown = |batch: usize| if items * 2 >= batch { batch * 2 } else { batch };
        let most = grown(self.batch).min(self.largest).min(self.by_weight);
        let pull = if self.kind == Kind::Blocking { 0.0 } else { self.pull };
        self.batch = self.fitting(self.work + self.sink + pull).clamp(1, most);
        self.set_ahead();
    }

    fn set_ahead(&mut self) {
        let fitting = self.fitting(self.work + self.sink + self.pull + self.later);
        self.ahead = fitting.clamp(1, self.batch.min(self.ahead_most));
    }

    /// How many items of `cost` take the time of a batch.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    fn fitting(&self, cost: f64) -> usize {
        (self.aim.as_nanos() as f64 / cost.max(0.1)) as usize
    }
}

/// How long a batch is meant to take where `threads` can run at once.
pub(super) fn aim(threads: usize) -> Duration {
    let times = threads.max(FEW) * 1000 / FEW;
    AIM * u32::try_from(times).unwrap_or(u32::MAX) / 1000
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
        let mut pace = Pace::new(Kind::Ready, AIM, 2, None, 8);
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
    fn batches_of_large_items_are_smaller() {
        let largest = |bytes| Pace::new(Kind::Data, AIM, 2, None, bytes).largest;
        assert_eq!([0, 64, 128, 256, 1 << 20].map(largest), [4096, 4096, 2048, 1024, 1024]);
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

    #[test]
    fn the_time_in_next_of_a_blocking_source_narrows_the_window_and_not_the_batch() {
        let mut pace = Pace::new(Kind::Blocking, AIM, 2, None, 8);
        for _ in 0..20 {
            pace.learn_pull(1, Duration::from_micros(1));
            pace.learn_work(pace.batch(), Duration::from_nanos(200) * u32::try_from(pace.batch()).unwrap());
            pace.learn_sink(1, Duration::ZERO);
        }
        assert!((495..=505).contains(&pace.batch()) && (80..=90).contains(&pace.ahead()), "{pace:?}");
    }

    #[test]
    fn items_are_long_from_a_millisecond_on_until_they_take_half_of_it() {
        let mut pace = Pace::new(Kind::Data, AIM, 2, None, 8);
        let mut after = |micros| {
            (0..30).for_each(|_| pace.learn_work(1, Duration::from_micros(micros)));
            pace.are_items_long()
        };
        assert_eq!([after(900), after(1100), after(600), after(400), after(900)], [false, true, true, false, false]);
    }

    #[test]
    fn the_aim_grows_with_the_threads_beyond_sixteen() {
        assert_eq!([aim(1), aim(16), aim(24), aim(128)].map(|aim| aim.as_micros()), [100, 100, 150, 800]);
    }

    #[test]
    fn the_window_stays_narrow_until_the_sink_has_taken_a_piece() {
        let mut pace = Pace::new(Kind::Data, AIM, 2, None, 8);
        (0..20).for_each(|_| pace.learn_work(pace.batch(), FREE));
        assert_eq!((pace.batch(), pace.ahead()), (LARGEST, 1));
        pace.learn_sink(1, FREE);
        assert_eq!(pace.ahead(), 2);
        pace.learn_sink(1, COSTLY);
        assert_eq!(pace.ahead(), 1);
    }
}
