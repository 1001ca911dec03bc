//! What a report and the bounds in bytes cost a pipeline.

use std::hint::black_box;
use std::time::Duration;

use brigade::pipeline::Report;
use brigade::{CancellationToken, Pipeline};

use crate::THREADS;
use crate::board::{Board, Target};
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("bounds") {
        return;
    }
    let token = CancellationToken::new();
    let work = Work::of("1.6 µs", Duration::from_nanos(1_600));
    let items = work.items(Duration::from_millis(120));
    let stage = |item: usize| work.run(item as u64);
    // A macro, because each pipeline is of another type.
    macro_rules! claim {
        ($name:literal, $target:expr, $ours:expr, $peer:expr) => {
            let (mut ours, mut peer) = (0_u64, 0_u64);
            board.claim(
                ("bounds", $name),
                items as u64,
                Target::Cost($target),
                || _ = $ours.threads(THREADS).for_each(&token, |output| ours = ours.wrapping_add(output)),
                || _ = $peer.threads(THREADS).for_each(&token, |output| peer = peer.wrapping_add(output)),
            );
            black_box((ours, peer));
        };
    }
    let report = Report::new();
    let data = || Pipeline::from_data(0..items).map(stage);
    let any = || Pipeline::from_iter(0..items).map(stage);
    claim!("a report on, data, 1.6 µs / off", 1.01, data().report(&report), data());
    claim!("a report on, any iterator, 1.6 µs / off", 1.01, any().report(&report), any());
    let budget = || Pipeline::from_iter(0..items).budget(1 << 20, |_| 8).map(stage);
    claim!("a budget of 1 MiB on, any iterator, 1.6 µs / off", 1.03, budget(), any());
    claim!("weigh_output on, data, 1.6 µs / off", 1.03, data().weigh_output(1 << 20, |_| 8), data());
}
