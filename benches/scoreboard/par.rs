//! Parallel maps against rayon's own.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use brigade::par::{Progress, par_reduce};
use brigade::{
    CancelReason, CancellationToken, Cancelled, ParBuilder, ParallelIteratorExt, par_map, try_par_for_each, try_par_map,
};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::board::{Board, TURNS, Target, Times};
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("par") {
        return;
    }
    let token = CancellationToken::new();
    maps(board, &token);
    adaptors(board, &token);
    reductions(board, &token);
    uneven(board, &token);
    endings(board, &token);
}

fn maps(board: &mut Board, token: &CancellationToken) {
    for (name, nanoseconds, map, try_map) in
        [("1 ns", 1, 1.3, 0.5), ("40 ns", 40, 1.05, 1.0), ("275 ns", 275, 1.03, 1.0), ("1.6 µs", 1_600, 1.02, 1.0)]
    {
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        let ours = || {
            black_box(par_map(token, 0..items, |item| work.run(item as u64)).expect("never cancelled"));
        };
        board.claim(
            ("par", &format!("par_map, {} / rayon's map().collect()", work.name)),
            items as u64,
            Target::Cost(map),
            ours,
            || {
                black_box((0..items).into_par_iter().map(|item| work.run(item as u64)).collect::<Vec<_>>());
            },
        );
        let f = |item| Ok::<_, Cancelled>(work.run(item as u64));
        board.claim(
            ("par", &format!("try_par_map, {} / rayon's collect::<Result>", work.name)),
            items as u64,
            Target::Cost(try_map),
            || {
                black_box(try_par_map(token, 0..items, f).expect("never fails"));
            },
            || {
                let outputs: Result<Vec<_>, _> = (0..items).into_par_iter().map(f).collect();
                black_box(outputs.expect("never fails"));
            },
        );
        let progress = Progress::new();
        let target = if nanoseconds < 40 { Target::Reported } else { Target::Cost(1.01) };
        board.claim(
            ("par", &format!("par_map with a progress count, {} / without", work.name)),
            items as u64,
            target,
            || {
                let map = ParBuilder::new().progress(&progress).map(token, 0..items, |item| work.run(item as u64));
                black_box(map.expect("never cancelled"));
            },
            ours,
        );
    }
}

fn adaptors(board: &mut Board, token: &CancellationToken) {
    for (name, nanoseconds, target) in [("1 ns", 1, 1.5), ("40 ns", 40, 1.03)] {
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        board.claim(
            ("par", &format!("until_cancelled on map().sum(), {} / without", work.name)),
            items as u64,
            Target::Cost(target),
            || {
                let items = (0..items).into_par_iter().until_cancelled(token);
                black_box(items.map(|item| work.run(item as u64) >> 32).sum::<u64>());
            },
            || {
                black_box((0..items).into_par_iter().map(|item| work.run(item as u64) >> 32).sum::<u64>());
            },
        );
    }
}

fn reductions(board: &mut Board, token: &CancellationToken) {
    const FLOATS: u32 = 10_000_000;
    let floats: Vec<f64> = (1..=FLOATS).map(|number| 1.0 / f64::from(number)).collect();
    board.claim(
        ("par", "par_reduce, ten million floats / rayon's sum, of which each differs"),
        u64::from(FLOATS),
        Target::Cost(1.1),
        || {
            black_box(par_reduce(token, floats.par_iter().copied(), |a, b| a + b).expect("never cancelled"));
        },
        || {
            black_box(floats.par_iter().copied().sum::<f64>());
        },
    );
}

fn uneven(board: &mut Board, token: &CancellationToken) {
    let slow = Work::of("10 ms", Duration::from_millis(10));
    let ours = |items: usize, work: &(dyn Fn(usize) -> u64 + Sync)| {
        black_box(par_map(token, 0..items, work).expect("never cancelled"));
    };
    let rayons = |items: usize, work: &(dyn Fn(usize) -> u64 + Sync)| {
        black_box((0..items).into_par_iter().map(work).collect::<Vec<_>>());
    };
    let run = |item: usize| slow.run(item as u64);
    board.claim(("par", "two items of 10 ms / rayon"), 2, Target::Cost(1.05), || ours(2, &run), || rayons(2, &run));
    let quick = Work::of("1 µs", Duration::from_micros(1));
    // From nothing to 100 µs, the slow ones last.
    let run = |item: usize| (0..item / 10).fold(0, |sum, at| sum ^ quick.run(at as u64));
    board.claim(
        ("par", "uneven work, up to 100 µs / rayon"),
        1_000,
        Target::Cost(1.05),
        || ours(1_000, &run),
        || rayons(1_000, &run),
    );
}

fn endings(board: &mut Board, token: &CancellationToken) {
    const ITEMS: usize = 1_000_000;
    let work = Work::of("1.6 µs", Duration::from_nanos(1_600));
    let fail = |item: usize| {
        black_box(work.run(item as u64));
        if item == 10 { Err(Cancelled::new(CancelReason::Failed)) } else { Ok(()) }
    };
    board.claim_often(
        10 * TURNS,
        ("par", "a failure at item 10 of a million of 1.6 µs / rayon's try_for_each"),
        1,
        Target::Cost(1.5),
        || assert!(try_par_for_each(token, 0..ITEMS, fail).is_err()),
        || assert!((0..ITEMS).into_par_iter().try_for_each(fail).is_err()),
    );
    board.claim_often(
        10 * TURNS,
        ("par", "the same, collected into a vector / rayon's collect::<Result>"),
        1,
        Target::Reported,
        || assert!(try_par_map(token, 0..ITEMS, fail).is_err()),
        || assert!((0..ITEMS).into_par_iter().map(fail).collect::<Result<Vec<_>, _>>().is_err()),
    );
    let until_return = || {
        let (token, cancelled) = (CancellationToken::new(), Mutex::new(None));
        let map = par_map(&token, 0..ITEMS, |item| {
            black_box(work.run(item as u64));
            if item == 1_000 {
                *cancelled.lock().expect("not poisoned") = Some(Instant::now());
                token.cancel();
            }
        });
        let wall = cancelled.lock().expect("not poisoned").expect("it was cancelled").elapsed();
        assert!(map.is_err());
        Times { wall, cpu: wall }
    };
    let none = || Times { wall: Duration::ZERO, cpu: Duration::ZERO };
    let claim = ("par", "from a cancel to the return of par_map, items of 1.6 µs");
    board.claim_measured(10 * TURNS, claim, 1, Target::Time(100_000.0), until_return, none);
}
