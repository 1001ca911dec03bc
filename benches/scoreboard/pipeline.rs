//! Pipelines against the plain loop.

use std::hint::black_box;
use std::time::Duration;

use brigade::{CancellationToken, Cancelled, Pipeline};

use crate::THREADS;
use crate::board::{Board, Target};
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds, data, any) in [
        ("1 ns", 1, Target::Overhead(6.0), Target::Overhead(35.0)),
        ("40 ns", 40, Target::Speedup(1.65), Target::Speedup(1.15)),
        ("275 ns", 275, Target::Speedup(1.9), Target::Speedup(1.8)),
        ("1.6 µs", 1_600, Target::Speedup(1.95), Target::Speedup(1.93)),
        ("20 µs", 20_000, Target::Speedup(1.96), Target::Speedup(1.95)),
    ] {
        if board.skips("pipeline") {
            return;
        }
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        let stage = |item: usize| Ok::<_, Cancelled>(work.run(item as u64));
        // A macro, because each source makes a pipeline of another type.
        macro_rules! claim {
            ($source:literal, $target:expr, $pipeline:expr) => {
                board.claim(
                    ("pipeline", &format!("ordered try_map, {}, {name} / plain loop", $source)),
                    items as u64,
                    $target,
                    || {
                        let mut sum = 0_u64;
                        $pipeline
                            .threads(THREADS)
                            .try_map(stage)
                            .for_each(&token, |output| sum = sum.wrapping_add(output))
                            .expect("never fails");
                        black_box(sum);
                    },
                    || work.plain(items),
                );
            };
        }
        claim!("data", data, Pipeline::from_data(0..items));
        claim!("from_ready", data, Pipeline::from_ready(0..items));
        claim!("any iterator", any, Pipeline::from_iter(0..items));
    }
}
