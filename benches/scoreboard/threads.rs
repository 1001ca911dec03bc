//! More threads than cores: beside the same run on two threads, and beside the plain loop.
//!
//! A machine with few cores cannot show that many threads are fast. It shows what they cost: their start, the wakes,
//! and the CPU time of the threads that find nothing to do.
#![expect(clippy::disallowed_methods, reason = "the peers, and items that are asleep")]

use std::fmt;
use std::hint::black_box;
use std::io::BufReader;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use brigade::{CancellationToken, Pipeline};
use tokio_util::sync::CancellationToken as TokioToken;

use crate::THREADS;
use crate::board::{Board, TURNS, Target, Times, Turn, time};
use crate::work::Work;

/// The numbers of threads that stand beside two.
const MANY: [usize; 6] = [3, 4, 8, 16, 64, 256];

/// How long the plain loop takes in the claims of long runs.
const LONG: Duration = Duration::from_millis(300);

/// How often a long run and its peer take turns.
const FEW_TURNS: usize = 3;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("threads") {
        return;
    }
    source_bound(board);
    any_iterator(board);
    every_number(board);
    starts(board);
    short_run(board);
    outliers(board);
    feedback(board);
    children(board);
}

/// A run on so many threads, in this order.
#[derive(Clone, Copy)]
struct Setting {
    threads: usize,
    order: Order,
}

#[derive(Clone, Copy)]
enum Order {
    Ordered,
    Unordered,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Ordered => "ordered",
            Order::Unordered => "unordered",
        };
        write!(f, "{order}, {} threads", self.threads)
    }
}

/// Runs a pipeline with a stage by a setting, and sums up its outputs. A macro, because each source makes a pipeline
/// of another type.
macro_rules! run {
    ($pipeline:expr, $setting:expr, $stage:expr) => {{
        let Setting { threads, order } = $setting;
        let pipeline = $pipeline.threads(threads).map($stage);
        let pipeline = match order {
            Order::Ordered => pipeline,
            Order::Unordered => pipeline.unordered(),
        };
        let mut sum = 0_u64;
        pipeline
            .for_each(&CancellationToken::never(), |output| sum = sum.wrapping_add(output))
            .expect("never cancelled");
        black_box(sum);
    }};
}

/// A setting, and its turns beside the peer.
struct Case {
    setting: Setting,
    turns: Vec<Turn>,
}

/// Lets the runs of the settings take turns with one peer.
fn beside(settings: &[Setting], run: impl Fn(Setting), peer: impl Fn()) -> Vec<Case> {
    let mut cases: Vec<Case> = settings.iter().map(|&setting| Case { setting, turns: Vec::new() }).collect();
    // Once to warm up.
    peer();
    for _ in 0..FEW_TURNS {
        let peer = time(&peer);
        for case in &mut cases {
            case.turns.push((time(|| run(case.setting)), peer));
        }
    }
    cases
}

/// Claims that each of the cases is within the target, on one line, which is that of the worst.
fn claim_worst(board: &mut Board, claim: &str, peer: &str, items: u64, target: Target, cases: &[Case]) {
    let median = |case: &Case| target.median(items, &case.turns);
    let worst = cases.iter().max_by(|a, b| median(a).total_cmp(&median(b))).expect("there are cases");
    let time = if let Target::Cpu(_) = target { "CPU" } else { "wall" };
    let claim = format!("{claim}: {} / {peer}, {time}", worst.setting);
    board.claim_turns(("threads", &claim), items, target, &worst.turns);
}

/// The medians of the cases' wall time, and of their CPU time in parentheses.
fn remark(cases: &[Case]) -> String {
    let show = |Case { setting, turns }: &Case| {
        let median = |target: Target| target.median(1, turns);
        format!("{} {:.2} ({:.2})", setting.threads, median(Target::Cost(1.0)), median(Target::Cpu(1.0)))
    };
    cases.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The source is slower than the stages, so that one thread could do it all.
fn source_bound(board: &mut Board) {
    let work = Work::of("40 ns", Duration::from_nanos(40));
    for (name, nanoseconds) in [("100 ns", 100), ("300 ns", 300), ("1 µs", 1_000), ("10 µs", 10_000)] {
        let claim = format!("next() {name}, 40 ns");
        if board.skips_claim(("threads", &claim)) {
            continue;
        }
        let next = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = u64::try_from(LONG.as_nanos()).expect("short") / (nanoseconds + 40);
        let source = || (0..items).map(|item| next.run(item));
        let settings = [2, 16].map(|threads| Setting { threads, order: Order::Ordered });
        let cases = beside(
            &settings,
            |setting| run!(Pipeline::from_iter(source()), setting, |item| work.run(item)),
            || _ = black_box(source().fold(0_u64, |sum, item| sum.wrapping_add(work.run(item)))),
        );
        claim_worst(board, &claim, "loop", items, Target::Cost(1.05), &cases);
        claim_worst(board, &claim, "loop", items, Target::Cpu(1.2), &cases);
    }
}

/// An iterator of which the pipeline does not know that it never waits.
fn any_iterator(board: &mut Board) {
    for (name, nanoseconds, target) in
        [("1 ns", 1, Target::Time(9.0)), ("40 ns", 40, Target::Speedup(1.45)), ("275 ns", 275, Target::Speedup(1.87))]
    {
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(Duration::from_millis(60));
        let setting = Setting { threads: THREADS, order: Order::Ordered };
        board.claim(
            ("threads", &format!("from_iter, {name}, 2 threads / loop")),
            items as u64,
            target,
            || run!(Pipeline::from_iter(0..items), setting, |item| work.run(item as u64)),
            || work.plain(items),
        );
    }
}

/// Each source, work, order and number of threads, beside two threads.
fn every_number(board: &mut Board) {
    for (name, nanoseconds) in [("40 ns", 40), ("275 ns", 275), ("1.6 µs", 1_600), ("1 ms", 1_000_000)] {
        let work = Work::of(name, Duration::from_nanos(nanoseconds));
        let items = work.items(LONG);
        let stage = |item: usize| work.run(item as u64);
        series(board, "data", &work, items, |setting| run!(Pipeline::from_data(0..items), setting, stage));
        series(board, "from_ready", &work, items, |setting| run!(Pipeline::from_ready(0..items), setting, stage));
        series(board, "from_iter", &work, items, |setting| run!(Pipeline::from_iter(0..items), setting, stage));
    }
}

fn series(board: &mut Board, source: &str, work: &Work, items: usize, run: impl Fn(Setting)) {
    let claim = format!("{source}, {}", work.name);
    if board.skips_claim(("threads", &claim)) {
        return;
    }
    let (mut cases, mut remarks) = (Vec::new(), Vec::new());
    for order in [Order::Ordered, Order::Unordered] {
        let two = Setting { threads: THREADS, order };
        let beside_two = beside(&MANY.map(|threads| Setting { threads, order }), &run, || run(two));
        remarks.push(format!("{two}: {}", remark(&beside_two)));
        cases.extend(beside_two);
    }
    claim_worst(board, &claim, "2", items as u64, Target::Cost(1.15), &cases);
    claim_worst(board, &claim, "2", items as u64, Target::Cpu(1.3), &cases);
    remarks.iter().for_each(|remark| Board::remark(&format!("beside {remark}")));
    let ordered = Setting { threads: THREADS, order: Order::Ordered };
    let beside_loop = beside(&[ordered], &run, || work.plain(items));
    Board::remark(&format!("beside the plain loop: {}", remark(&beside_loop)));
}

/// Runs that are over before many threads could have been started.
fn starts(board: &mut Board) {
    const RUNS: u32 = 20;
    let token = CancellationToken::never();
    let lines = |threads| {
        for _ in 0..RUNS {
            let lines = Pipeline::from_lines(BufReader::new(&b"one\ntwo\nthree\n"[..])).threads(threads);
            black_box(lines.try_map(|line| line).count(&token).expect("text"));
        }
    };
    let claim = ("threads", "three lines, from_lines, 256 threads / 2");
    board.claim(claim, u64::from(RUNS), Target::Cost(1.5), || lines(256), || lines(2));
    let first = |threads| {
        let mut wall = Duration::ZERO;
        for _ in 0..RUNS {
            let started = Instant::now();
            let mut first = None;
            let numbers = Pipeline::from_data(0..1024).threads(threads).map(|item| item + 1);
            numbers.for_each(&token, |_| _ = first.get_or_insert_with(|| started.elapsed())).expect("never cancelled");
            wall += first.expect("there are items");
        }
        Times { wall, cpu: wall }
    };
    board.claim_measured(
        TURNS,
        ("threads", "the first of 1,024 trivial items, data, 128 threads / 2"),
        u64::from(RUNS),
        Target::Cost(1.5),
        || first(128),
        || first(2),
    );
}

fn short_run(board: &mut Board) {
    let work = Work::of("1.6 µs", Duration::from_nanos(1_600));
    let items = work.items(Duration::from_millis(10));
    let run = |threads| {
        let setting = Setting { threads, order: Order::Ordered };
        run!(Pipeline::from_data(0..items), setting, |item| work.run(item as u64));
    };
    board.claim(
        ("threads", "10 ms of work, 1.6 µs, data, 64 threads / 2"),
        1,
        Target::Cost(1.3),
        || run(64),
        || run(2),
    );
}

/// Items that sleep, so that many threads work at once on any machine, and now and then one that takes a hundredfold.
fn outliers(board: &mut Board) {
    let stage = |item: usize| {
        thread::sleep(Duration::from_millis(if item % 500 == 250 { 200 } else { 2 }));
        item as u64
    };
    for (threads, items) in [(16, 4_000), (64, 8_000)] {
        for order in [Order::Ordered, Order::Unordered] {
            let setting = Setting { threads, order };
            let source = || Pipeline::from_data(0..items);
            board.claim_often(
                FEW_TURNS,
                ("threads", &format!("2 ms, one in 500 200 ms: {setting} / window(4096)")),
                items as u64,
                Target::Cost(1.1),
                || run!(source(), setting, stage),
                || run!(source().window(4096), setting, stage),
            );
        }
    }
}

/// The source waits in `next()` for the output of the item before.
fn feedback(board: &mut Board) {
    const ROUND_TRIPS: u64 = 50;
    let round_trips = |threads| {
        let (sender, outputs) = mpsc::channel();
        let source = (0..=ROUND_TRIPS).inspect(move |item| {
            if *item > 0 {
                outputs.recv().expect("the item before is output meanwhile");
            }
        });
        let pipeline = Pipeline::from_iter(source).threads(threads);
        // The source may have ended before the last output.
        pipeline.for_each(&CancellationToken::never(), |item| _ = sender.send(item)).expect("never cancelled");
    };
    for threads in [2, 16] {
        board.claim_often(
            FEW_TURNS,
            ("threads", &format!("a round trip of a feedback loop, {threads} threads / 2")),
            ROUND_TRIPS,
            Target::Time(3e6),
            || round_trips(threads),
            || round_trips(THREADS),
        );
    }
}

fn children(board: &mut Board) {
    const CHILDREN: u64 = 200_000;
    const PARENTS: u64 = 8;
    fn on_threads(make: impl Fn(u64) + Sync) {
        thread::scope(|s| {
            for _ in 0..PARENTS {
                s.spawn(|| make(CHILDREN / PARENTS));
            }
        });
    }
    let (token, peer) = (CancellationToken::new(), TokioToken::new());
    let ours = |count| (0..count).for_each(|_| drop(black_box(black_box(&token).child_token())));
    let tokios = |count| (0..count).for_each(|_| drop(black_box(black_box(&peer).child_token())));
    board.claim(
        ("threads", "children of one token, made and dropped, 8 threads / 1"),
        CHILDREN,
        Target::Reported,
        || on_threads(ours),
        || ours(CHILDREN),
    );
    board.claim(
        ("threads", "children of one token, made and dropped, 8 threads / tokio-util's"),
        CHILDREN,
        Target::Cost(1.0),
        || on_threads(ours),
        || on_threads(tokios),
    );
}
