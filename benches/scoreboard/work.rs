//! [`Work`]: something to do that takes a known time.

use std::hint::black_box;
use std::time::Duration;

use crate::board::time;

/// Work of a known size: a chain of dependent multiplications.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    cost: Duration,
    steps: u64,
}

impl Work {
    /// Work that takes the plain loop `cost` an item, on this machine and today.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "steps are counted in whole numbers"
    )]
    pub(crate) fn of(name: &'static str, cost: Duration) -> Work {
        let mut work = Work { name, cost, steps: 1 };
        let items = work.items(Duration::from_millis(10));
        // The processor overlaps the ends of short chains, so that a step has no cost of its own: measured and mended.
        for _ in 0..6 {
            let took = (0..3).map(|_| time(|| work.plain(items)).wall).min().expect("three times");
            let scale = cost.as_secs_f64() * items as f64 / took.as_secs_f64();
            work.steps = ((work.steps as f64 * scale).round() as u64).max(1);
        }
        work
    }

    // One piece of machine code for all who call it: inlined, its loop is laid out and aligned anew for each of them,
    // which made differences of up to 9 % where there are none.
    #[inline(never)]
    pub(crate) fn run(&self, item: u64) -> u64 {
        (0..self.steps).fold(item, |value, _| {
            black_box(value).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        })
    }

    /// The plain loop.
    pub(crate) fn plain(&self, items: usize) {
        let mut sum = 0_u64;
        for item in 0..items {
            sum = sum.wrapping_add(self.run(item as u64));
        }
        black_box(sum);
    }

    /// How many items take the plain loop so long.
    pub(crate) fn items(&self, long: Duration) -> usize {
        usize::try_from(long.as_nanos() / self.cost.as_nanos()).expect("some millions at most")
    }
}
