//! Parallel maps against rayon's own.

use std::hint::black_box;
use std::time::Duration;

use brigade::{CancellationToken, par_map};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::board::{Board, Target};
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds, target) in
        [("1 ns", 1, 1.3), ("40 ns", 40, 1.05), ("275 ns", 275, 1.03), ("1.6 µs", 1_600, 1.02)]
    {
        if board.skips("par") {
            return;
        }
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        board.claim(
            ("par", &format!("par_map, {} / rayon's map().collect()", work.name)),
            items as u64,
            Target::Cost(target),
            || {
                black_box(par_map(&token, 0..items, |item| work.run(item as u64)).expect("never cancelled"));
            },
            || {
                black_box((0..items).into_par_iter().map(|item| work.run(item as u64)).collect::<Vec<_>>());
            },
        );
    }
}
