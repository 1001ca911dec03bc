//! Counts of the uses of a run's lock, for tests: on two cores their time does not show.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the members of the runs that a test watches did something.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Entered the state.
    pub(super) entries: AtomicUsize,
    /// Were woken or started.
    pub(super) wakes: AtomicUsize,
    /// Claimed a batch.
    pub(super) batches: AtomicUsize,
}

thread_local!(static WATCHED: RefCell<Option<Arc<Counts>>> = const { RefCell::new(None) });

impl Counts {
    /// The counts for the runs that this thread calls.
    pub(super) fn watched() -> Option<Arc<Counts>> {
        WATCHED.with_borrow(Option::clone)
    }

    /// Counts for the runs that `f` calls on this thread.
    pub(super) fn watch(f: impl FnOnce()) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        WATCHED.set(Some(Arc::clone(&counts)));
        f();
        WATCHED.set(None);
        counts
    }
}

pub(super) fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::pipeline::Pipeline;
    use crate::token::CancellationToken;

    const THREADS: [usize; 4] = [2, 16, 64, 256];

    fn ratio(count: &AtomicUsize, of: usize) -> f64 {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap());
        number(count.load(Ordering::Relaxed)) / number(of)
    }

    fn spin(time: Duration) {
        let started = Instant::now();
        while started.elapsed() < time {}
    }

    #[test]
    fn a_run_over_data_enters_its_state_about_twice_a_batch_at_any_number_of_threads() {
        for threads in THREADS {
            let counts = Counts::watch(|| {
                let work = |item: u32| {
                    spin(Duration::from_nanos(200));
                    black_box(item)
                };
                let run = Pipeline::from_data(0..300_000_u32).threads(threads).map(work);
                run.for_each(&CancellationToken::new(), drop).unwrap();
            });
            // The first and last looks of each thread come beside those of the batches.
            let batches = counts.batches.load(Ordering::Relaxed) + 2 * threads;
            let entries = ratio(&counts.entries, batches);
            assert!(entries <= 2.5, "{threads} threads: {entries} entries a batch, {counts:?}");
        }
    }

    #[test]
    fn a_source_slower_than_its_workers_wakes_a_member_for_few_of_its_items() {
        for threads in THREADS {
            let items = 100_000;
            let run = || {
                let counts = Counts::watch(|| {
                    let source = (0..items).inspect(|_| spin(Duration::from_nanos(100)));
                    let run = Pipeline::from_iter(source).threads(threads).map(black_box);
                    run.for_each(&CancellationToken::new(), drop).unwrap();
                });
                (counts.wakes.load(Ordering::Relaxed), counts)
            };
            // The fewest of some runs: a source whose thread the system takes off its core is another one.
            let (_, counts) = (0..5).map(|_| run()).min_by_key(|(wakes, _)| *wakes).unwrap();
            let wakes = ratio(&counts.wakes, items);
            assert!(wakes <= 0.01, "{threads} threads: {wakes} wakes an item, {counts:?}");
            let entries = ratio(&counts.entries, items);
            assert!(entries <= 0.1, "{threads} threads: {entries} entries an item, {counts:?}");
        }
    }
}
