//! Pipelines of several sections.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::{CancellationToken, Cancelled, Pipeline};
use pariter::IteratorExt;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::THREADS;
use crate::board::{Board, Target};
use crate::work::Work;

/// How many threads wait, and how many items.
const WAITING: usize = 16;
const ITEMS: usize = 20_000;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("sections") {
        return;
    }
    fused(board);
    waits(board);
    scans(board);
    tokens(board);
}

fn fused(board: &mut Board) {
    let token = CancellationToken::new();
    let third = Work::of("275 ns", Duration::from_nanos(275));
    let items = third.items(Duration::from_millis(30));
    board.claim(
        // The work of 825 ns is three times that of 275, because a longer chain of steps is no exact multiple of a
        // shorter one: the processor overlaps the ends.
        ("sections", "three stages of 275 ns, data / one of 825 ns"),
        items as u64,
        Target::Cost(1.03),
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| third.run(item as u64))
                .map(|item| third.run(item))
                .map(|item| third.run(item))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| third.run(third.run(third.run(item as u64))))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the peer is written by hand, and items sleep as they would in a system call"
)]
fn waits(board: &mut Board) {
    let token = CancellationToken::new();
    let work = Arc::new(Work::of("275 ns", Duration::from_nanos(275)));
    let sleep = |item: usize, every: usize| {
        let long = every > 0 && item % every == 0;
        std::thread::sleep(Duration::from_millis(if long { 50 } else { 1 }));
    };
    for (name, every, target) in [("1 ms", 0, 1.05), ("1 ms, one in 500 takes 50 ms", 500, 1.3)] {
        let ours = || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..ITEMS)
                .threads(THREADS)
                .map(|item| (item, work.run(item as u64)))
                .blocking(WAITING, |_, (item, output)| {
                    sleep(item, every);
                    output
                })
                .map(|output| work.run(output))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        };
        let bare = || {
            let next = &AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..WAITING {
                    scope.spawn(move || {
                        loop {
                            let item = next.fetch_add(1, Ordering::Relaxed);
                            if item >= ITEMS {
                                break;
                            }
                            sleep(item, every);
                        }
                    });
                }
            });
        };
        let claim = format!("parallel, blocking on 16 threads ({name}), parallel, ordered / 16 bare threads");
        board.claim(("sections", &claim), ITEMS as u64, Target::Cost(target), ours, bare);
        if every > 0 {
            let claim = format!("parallel, blocking on 16 threads ({name}), parallel, ordered / pariter, three maps");
            board.claim(("sections", &claim), ITEMS as u64, Target::Cost(1.0), ours, || {
                let (first, last) = (Arc::clone(&work), Arc::clone(&work));
                let sum = (0..ITEMS)
                    .parallel_map_custom(|options| options.threads(THREADS), move |item| (item, first.run(item as u64)))
                    .parallel_map_custom(
                        |options| options.threads(WAITING).buffer_size(2 * WAITING),
                        move |(item, output)| {
                            sleep(item, every);
                            output
                        },
                    )
                    .parallel_map_custom(|options| options.threads(THREADS), move |item| last.run(item))
                    .fold(0_u64, u64::wrapping_add);
                black_box(sum);
            });
        }
    }
}

fn scans(board: &mut Board) {
    let token = CancellationToken::new();
    let work = Work::of("275 ns", Duration::from_nanos(275));
    let items = work.items(Duration::from_millis(60));
    board.claim(
        ("sections", "parallel, scan, parallel, 275 ns each / rayon: collect, loop, collect"),
        items as u64,
        Target::Cost(0.85),
        || {
            let scan = |last: &mut u64, item: u64| {
                *last = work.run(*last ^ item);
                Some(*last)
            };
            let outputs: Vec<u64> = Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| work.run(item as u64))
                .scan(0_u64, scan)
                .map(|item| work.run(item))
                .collect(&token)
                .expect("never cancelled");
            black_box(outputs);
        },
        || {
            let mut outputs: Vec<u64> = (0..items).into_par_iter().map(|item| work.run(item as u64)).collect();
            let mut last = 0;
            for output in &mut outputs {
                last = work.run(last ^ *output);
                *output = last;
            }
            let outputs: Vec<u64> = outputs.into_par_iter().map(|item| work.run(item)).collect();
            black_box(outputs);
        },
    );
    board.claim(
        ("sections", "parallel, scan of 5 ns, parallel, 275 ns each / two fused stages"),
        items as u64,
        Target::Cost(1.03),
        || {
            let mut sum = 0_u64;
            let scan = |last: &mut u64, item: u64| {
                *last = last.wrapping_mul(31).rotate_left(7) ^ item;
                Some(*last)
            };
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| work.run(item as u64))
                .scan(0_u64, scan)
                .map(|item| work.run(item))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| work.run(item as u64))
                .map(|item| work.run(item))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
    );
}

fn tokens(board: &mut Board) {
    let token = CancellationToken::new();
    let work = Work::of("1.6 µs", Duration::from_nanos(1_600));
    let items = work.items(Duration::from_millis(60));
    board.claim(
        ("sections", "a token asked for, data, 1.6 µs / try_map"),
        items as u64,
        Target::Cost(1.03),
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .try_map_with_token(|token, item| {
                    token.check()?;
                    Ok::<_, Cancelled>(work.run(item as u64))
                })
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .try_map(|item| Ok::<_, Cancelled>(work.run(item as u64)))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
    );
}
