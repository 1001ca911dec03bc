//! Pipelines against the plain loop, rayon, pipelines written by hand, and crates that do the same.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use brigade::{CancellationToken, Cancelled, Pipeline, States};
use crossbeam::channel::{Receiver, Sender, unbounded};
use olympipe_rs::Pipeline as Olympipe;
use pariter::IteratorExt;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelBridge, ParallelIterator};

use crate::THREADS;
use crate::board::{Board, TURNS, Target, Times, time};
use crate::hand_made;
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("pipeline") {
        return;
    }
    plain_loop(board);
    rayon_maps(board);
    by_hand(board);
    crates(board);
    stages(board);
    iterators(board);
    shapes(board);
    lines(board);
    reduced(board);
}

/// A sum of floats with the same bits in every run.
fn reduced(board: &mut Board) {
    const ITEMS: u64 = 10_000_000;
    let token = CancellationToken::new();
    let floats: Vec<f64> = (1..=10_000_000_u32).map(|number| 1.0 / f64::from(number)).collect();
    board.claim(
        ("pipeline", "reduce_by, 10 M floats / rayon's sum, of any bits"),
        ITEMS,
        Target::Cost(1.1),
        || {
            let floats = Pipeline::from_data(&floats).threads(THREADS).map(|float| *float);
            black_box(floats.reduce_by(&token, 4096, |sum, float| sum + float).expect("never cancelled"));
        },
        || _ = black_box(floats.par_iter().sum::<f64>()),
    );
}

fn plain_loop(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds, data, any) in [
        ("1 ns", 1, Target::Overhead(6.0), Target::Overhead(35.0)),
        ("40 ns", 40, Target::Speedup(1.65), Target::Speedup(1.15)),
        ("275 ns", 275, Target::Speedup(1.9), Target::Speedup(1.8)),
        ("1.6 µs", 1_600, Target::Speedup(1.95), Target::Speedup(1.93)),
        ("20 µs", 20_000, Target::Speedup(1.96), Target::Speedup(1.95)),
    ] {
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
        board.claim(
            ("pipeline", &format!("what the machine gives: a counter, {name} / plain loop")),
            items as u64,
            Target::Speedup(0.0),
            || {
                let batch = work.items(Duration::from_micros(100)).clamp(1, 1024);
                hand_made::by_counter(items, THREADS, batch, |item| work.run(item as u64));
            },
            || work.plain(items),
        );
        claim!("data", data, Pipeline::from_data(0..items));
        claim!("from_ready", data, Pipeline::from_ready(0..items));
        claim!("any iterator", any, Pipeline::from_iter(0..items));
    }
}

fn rayon_maps(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds, collect) in
        [("40 ns", 40, None), ("275 ns", 275, Some(1.06)), ("1.6 µs", 1_600, Some(1.03))]
    {
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        let stage = |item: usize| work.run(item as u64);
        if let Some(most) = collect {
            board.claim(
                ("pipeline", &format!("ordered map, data, {name} / rayon's map().collect()")),
                items as u64,
                Target::Cost(most),
                || _ = black_box(Pipeline::from_data(0..items).threads(THREADS).map(stage).collect::<Vec<_>>(&token)),
                || _ = black_box((0..items).into_par_iter().map(stage).collect::<Vec<_>>()),
            );
        }
        board.claim(
            ("pipeline", &format!("ordered map, from_ready, {name} / rayon's par_bridge, unordered")),
            items as u64,
            Target::Cost(1.0),
            || _ = black_box(Pipeline::from_ready(0..items).threads(THREADS).map(stage).collect::<Vec<_>>(&token)),
            || _ = black_box((0..items).par_bridge().map(stage).collect::<Vec<_>>()),
        );
    }
}

fn by_hand(board: &mut Board) {
    let token = CancellationToken::new();
    let work = Work::of("275 ns", Duration::from_nanos(275));
    let items = work.items(Duration::from_millis(60));
    let stage = |item: usize| work.run(item as u64);
    let ours = || _ = black_box(Pipeline::from_iter(0..items).threads(THREADS).map(stage).collect::<Vec<_>>(&token));
    board.claim(
        ("pipeline", "ordered map, any iterator, 275 ns / channels, by item"),
        items as u64,
        Target::Cost(0.5),
        ours,
        || _ = black_box(hand_made::by_item(0..items, THREADS, stage)),
    );
    board.claim(
        ("pipeline", "ordered map, any iterator, 275 ns / channels, packets of 64"),
        items as u64,
        Target::Cost(1.1),
        ours,
        || _ = black_box(hand_made::by_packet(0..items, THREADS, 64, stage)),
    );
}

fn crates(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds) in [("98 ns", 98), ("1.3 µs", 1_300), ("13 µs", 13_000)] {
        let work = Arc::new(Work::of(name, Duration::from_nanos(nanoseconds)));
        let items = work.items(Duration::from_millis(60));
        let stage = || {
            let work = Arc::clone(&work);
            move |item: usize| work.run(item as u64)
        };
        let ours =
            || _ = black_box(Pipeline::from_iter(0..items).threads(THREADS).map(stage()).collect::<Vec<_>>(&token));
        let mut ahead = |peer: &str, run: &mut dyn FnMut()| {
            let claim = format!("ordered map, any iterator, {name} / {peer}");
            board.claim(("pipeline", &claim), items as u64, Target::Cost(1.0), ours, run);
        };
        ahead("pariter", &mut || {
            black_box((0..items).parallel_map_custom(|o| o.threads(THREADS), stage()).collect::<Vec<_>>());
        });
        ahead("pariter, buffer 64", &mut || {
            let mapped = (0..items).parallel_map_custom(|o| o.threads(THREADS).buffer_size(64), stage());
            black_box(mapped.collect::<Vec<_>>());
        });
        ahead("olympipe-rs, unordered", &mut || {
            black_box(Olympipe::new(0..items).task(stage(), THREADS).collect());
        });
    }
}

/// What a state a thread and a catch an item cost.
fn stages(board: &mut Board) {
    let token = CancellationToken::new();
    let work = Work::of("40 ns", Duration::from_nanos(40));
    let items = work.items(Duration::from_millis(60));
    let mapped = || {
        let mut sum = 0_u64;
        Pipeline::from_data(0..items)
            .threads(THREADS)
            .map(|item| work.run(item as u64))
            .for_each(&token, |output| sum = sum.wrapping_add(output))
            .expect("never cancelled");
        black_box(sum);
    };
    board.claim(
        ("pipeline", "map_init with a cheap state, data, 40 ns / map"),
        items as u64,
        Target::Cost(1.03),
        || {
            let (counts, mut sum) = (States::new(|| 0_u64), 0_u64);
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map_init(&counts, |count, item| {
                    *count += 1;
                    work.run(item as u64)
                })
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box((sum, counts.into_vec()));
        },
        mapped,
    );
    // The sink of the next claim takes results, which are as large as a failure. Here they end in a stage.
    board.claim(
        ("pipeline", "keep_going, then a map to the value, data, 40 ns / map"),
        items as u64,
        Target::Cost(1.03),
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| work.run(item as u64))
                .keep_going()
                .map(|output| output.unwrap_or(0))
                .for_each(&token, |output| sum = sum.wrapping_add(output))
                .expect("never cancelled");
            black_box(sum);
        },
        mapped,
    );
    board.claim(
        ("pipeline", "keep_going, data, 40 ns / map"),
        items as u64,
        Target::Cost(1.03),
        || {
            let mut sum = 0_u64;
            Pipeline::from_data(0..items)
                .threads(THREADS)
                .map(|item| work.run(item as u64))
                .keep_going()
                .for_each(&token, |output| sum = sum.wrapping_add(output.expect("never fails")))
                .expect("never cancelled");
            black_box(sum);
        },
        mapped,
    );
}

/// What it costs that the outputs are asked for.
fn iterators(board: &mut Board) {
    let token = CancellationToken::new();
    for (name, nanoseconds, most) in [("40 ns", 40, 1.3), ("275 ns", 275, 1.05), ("1.6 µs", 1_600, 1.05)] {
        let work = Arc::new(Work::of(name, Duration::from_nanos(nanoseconds)));
        let items = work.items(Duration::from_millis(60));
        let pipeline = || {
            let work = Arc::clone(&work);
            Pipeline::from_data(0..items).threads(THREADS).map(move |item| work.run(item as u64))
        };
        let sink = || {
            let mut sum = 0_u64;
            pipeline().for_each(&token, |output| sum = sum.wrapping_add(output)).expect("never cancelled");
            black_box(sum);
        };
        let mut claim = |end: &str, run: &mut dyn FnMut()| {
            let claim = format!("{end} and a plain for, data, {name} / for_each");
            board.claim(("pipeline", &claim), items as u64, Target::Cost(most), run, sink);
        };
        claim("iter", &mut || {
            let sum = pipeline().iter(&token, |outputs| {
                let mut sum = 0_u64;
                for output in outputs {
                    sum = sum.wrapping_add(output.expect("never cancelled"));
                }
                sum
            });
            black_box(sum);
        });
        claim("into_iter", &mut || {
            let mut sum = 0_u64;
            for output in pipeline().into_iter(&token) {
                sum = sum.wrapping_add(output.expect("never cancelled"));
            }
            black_box(sum);
        });
    }
}

/// Uneven work, few items, and what order costs.
fn shapes(board: &mut Board) {
    let token = CancellationToken::new();
    let (cheap, dear) = (Work::of("1 µs", Duration::from_micros(1)), Work::of("100 µs", Duration::from_micros(100)));
    let even = Work::of("2 µs", Duration::from_micros(2));
    let uneven = |item: usize| if item % 100 == 37 { dear.run(item as u64) } else { cheap.run(item as u64) };
    let items = 30_000_usize;
    board.claim(
        ("pipeline", "uneven work, data / rayon's map().collect()"),
        items as u64,
        Target::Cost(1.1),
        || _ = black_box(Pipeline::from_data(0..items).threads(THREADS).map(uneven).collect::<Vec<_>>(&token)),
        || _ = black_box((0..items).into_par_iter().map(uneven).collect::<Vec<_>>()),
    );
    board.claim(
        ("pipeline", "even work, data, ordered / unordered"),
        items as u64,
        Target::Cost(1.03),
        || {
            let pipeline = Pipeline::from_data(0..items).threads(THREADS).map(|item| even.run(item as u64));
            black_box(pipeline.collect::<Vec<_>>(&token).expect("never cancelled"));
        },
        || {
            let pipeline = Pipeline::from_data(0..items).threads(THREADS).map(|item| even.run(item as u64));
            black_box(pipeline.unordered().collect::<Vec<_>>(&token).expect("never cancelled"));
        },
    );
    board.claim(
        ("pipeline", "uneven work, data, ordered / unordered"),
        items as u64,
        Target::Cost(1.1),
        || _ = black_box(Pipeline::from_data(0..items).threads(THREADS).map(uneven).collect::<Vec<_>>(&token)),
        || {
            let pipeline = Pipeline::from_data(0..items).threads(THREADS).map(uneven).unordered();
            black_box(pipeline.collect::<Vec<_>>(&token).expect("never cancelled"));
        },
    );
    let long = Work::of("10 ms", Duration::from_millis(10));
    board.claim(
        ("pipeline", "two items of 10 ms, data / rayon's map().collect()"),
        2,
        Target::Cost(1.05),
        || {
            let pipeline = Pipeline::from_data(0..2_usize).threads(THREADS).map(|item| long.run(item as u64));
            black_box(pipeline.collect::<Vec<_>>(&token).expect("never cancelled"));
        },
        || _ = black_box((0..2_usize).into_par_iter().map(|item| long.run(item as u64)).collect::<Vec<_>>()),
    );
    ten_items(board);
    lone_item(board);
}

/// How long an item takes through a pipeline whose threads all sleep.
#[expect(clippy::disallowed_methods, reason = "the same for ours and the peer")]
fn lone_item(board: &mut Board) {
    const TIMES: u32 = 20;
    let crossing = |pipeline: &(dyn Fn(Receiver<u64>, Sender<u64>) + Sync)| {
        std::thread::scope(|s| {
            let ((send, source), (sink, receive)) = (unbounded(), unbounded());
            s.spawn(move || pipeline(source, sink));
            let cross = || {
                std::thread::sleep(Duration::from_millis(2));
                time(|| {
                    send.send(1).expect("the pipeline receives");
                    receive.recv().expect("the pipeline sends");
                })
            };
            cross();
            let all: Vec<Times> = (0..TIMES).map(|_| cross()).collect();
            drop(send);
            Times { wall: all.iter().map(|times| times.wall).sum(), cpu: all.iter().map(|times| times.cpu).sum() }
        })
    };
    board.claim_measured(
        TURNS,
        ("pipeline", "a lone item, from_receiver, all asleep / channels, by item"),
        u64::from(TIMES),
        Target::Reported,
        || {
            crossing(&|source, sink| {
                let pipeline = Pipeline::from_receiver(source).threads(THREADS + 1).map(|item| item + 1);
                pipeline
                    .for_each(&CancellationToken::never(), |item| sink.send(item).expect("received"))
                    .expect("never");
            })
        },
        || {
            crossing(&|source, sink| {
                hand_made::for_each(
                    source.into_iter(),
                    THREADS,
                    |item| item + 1,
                    |item| sink.send(item).expect("received"),
                );
            })
        },
    );
}

#[expect(clippy::disallowed_methods, reason = "the peer")]
fn ten_items(board: &mut Board) {
    const RUNS: u32 = 200;
    let token = CancellationToken::new();
    board.claim(
        ("pipeline", "ten trivial items, all in / std::thread::scope with one spawn"),
        u64::from(RUNS),
        Target::Cost(1.2),
        || {
            for _ in 0..RUNS {
                black_box(Pipeline::from_data(0..10).threads(THREADS).map(|item| item + 1).collect::<Vec<i32>>(&token))
                    .expect("never cancelled");
            }
        },
        || (0..RUNS).for_each(|_| std::thread::scope(|s| _ = s.spawn(|| black_box(1)))),
    );
}

/// A text of 1 GB: numbers of up to nine digits, five in a line, to be parsed and summed up.
fn lines(board: &mut Board) {
    const SIZE: u64 = 1 << 30;
    let token = CancellationToken::new();
    let file = tempfile::NamedTempFile::new().expect("a file for the text");
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
    let (mut written, mut count, mut number) = (0, 0, 1_u64);
    while written < SIZE {
        let mut next = || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number >> 34
        };
        let line = format!("{} {} {} {} {}\n", next(), next(), next(), next(), next());
        out.write_all(line.as_bytes()).expect("room for the text");
        written += line.len() as u64;
        count += 1;
    }
    out.flush().expect("room for the text");
    drop(out);
    let open = || BufReader::with_capacity(1 << 16, File::open(file.path()).expect("written above"));
    let sum = |line: &str| line.split(' ').map(|word| word.parse::<u64>().expect("a number")).sum::<u64>();
    let ours = || {
        let pipeline = Pipeline::from_lines(open()).threads(THREADS).try_map(|line| line.map(|line| sum(&line)));
        black_box(pipeline.fold(&token, 0, u64::wrapping_add).expect("a good disk"));
    };
    board.claim_often(
        3,
        ("pipeline", "lines of 1 GB, parsed and summed / plain loop"),
        count,
        Target::Speedup(1.0),
        ours,
        || {
            black_box(open().lines().map(|line| sum(&line.expect("a good disk"))).fold(0, u64::wrapping_add));
        },
    );
    board.claim_often(
        3,
        ("pipeline", "lines of 1 GB, parsed and summed / channels, packets of 64"),
        count,
        Target::Cost(1.0),
        ours,
        || {
            let lines = open().lines().map(|line| line.expect("a good disk"));
            let sums = hand_made::fold_by_packet(lines, THREADS, 64, |line: String| sum(&line), 0, u64::wrapping_add);
            black_box(sums);
        },
    );
}
