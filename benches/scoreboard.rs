//! The scoreboard: what brigade claims of its speed, each claim measured beside its peer in one run.
//!
//! `cargo bench --bench scoreboard -- [GROUP] [--check]` prints a line a claim. Ours and the peer take turns, so that a
//! machine whose speed drifts slows both; the ratio is the median of the turns' ratios, and the spread beside it their
//! quartiles. CPU time over wall time stands beside, since what spins looks fast. With `--check` the exit status is 1 if
//! a claim falls short of its target.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade::{CancellationToken, Cancelled, Pipeline, par_map, scope};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustix::time::{ClockId, clock_gettime};

const GROUPS: [&str; 6] = ["cancel", "pipeline", "scope", "par", "limit", "pool"];

/// How often ours and the peer take turns.
const TURNS: usize = 15;

/// How many threads the parallel claims run on.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let mut group = None;
    let mut check = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo passes this one to every bench.
            "--bench" => {}
            "--check" => check = true,
            name if GROUPS.contains(&name) => group = Some(name.to_owned()),
            other => {
                eprintln!("scoreboard: {other}: no such group or option; groups are {}", GROUPS.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("nothing has used the pool yet");

    let mut board = Board { group, short: 0, lines: 0 };
    println!(
        "{:<9} {:<56} {:>10} {:>10} {:>7} {:<15} {:>8} {:>8}",
        "group", "claim", "ours", "peer", "ratio", "(quartiles)", "target", "cpu/wall"
    );
    cancel(&mut board);
    pipeline(&mut board);
    scopes(&mut board);
    par(&mut board);
    println!("{} claims, {} short", board.lines, board.short);
    if check && board.short > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn cancel(board: &mut Board) {
    const POLLS: u64 = 10_000_000;
    // What one would write by hand: a flag that several hold.
    let flag = Arc::new(AtomicBool::new(false));
    for (depth, name) in [(0, "poll of a root token"), (64, "poll of a token 64 deep")] {
        let token = (0..depth).fold(CancellationToken::new(), |token, _| token.child_token());
        board.claim(
            ("cancel", &format!("{name} / load of an Arc<AtomicBool>")),
            POLLS,
            Target::Cost(1.1),
            || (0..POLLS).for_each(|_| assert!(!black_box(&token).is_cancelled())),
            || (0..POLLS).for_each(|_| assert!(!black_box(&flag).load(Ordering::Acquire))),
        );
    }
}

fn pipeline(board: &mut Board) {
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

#[expect(clippy::disallowed_methods, reason = "the peer")]
fn scopes(board: &mut Board) {
    const TASKS: u64 = 8;
    if board.skips("scope") {
        return;
    }
    let work = Work::of("1 ms", Duration::from_millis(1));
    let token = CancellationToken::new();
    board.claim(
        ("scope", "eight tasks of 1 ms / std::thread::scope"),
        TASKS,
        Target::Cost(1.05),
        || {
            scope(&token, |s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move |_| Ok::<_, Cancelled>(black_box(work.run(task))))?;
                }
                Ok(())
            })
            .expect("never fails");
        },
        || {
            std::thread::scope(|s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move || black_box(work.run(task)));
                }
            });
        },
    );
}

fn par(board: &mut Board) {
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

/// Work of a known size: a chain of dependent multiplications.
struct Work {
    name: &'static str,
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
    fn of(name: &'static str, cost: Duration) -> Work {
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
    fn run(&self, item: u64) -> u64 {
        (0..self.steps).fold(item, |value, _| {
            black_box(value).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        })
    }

    /// The plain loop.
    fn plain(&self, items: usize) {
        let mut sum = 0_u64;
        for item in 0..items {
            sum = sum.wrapping_add(self.run(item as u64));
        }
        black_box(sum);
    }

    /// How many items take the plain loop so long.
    fn items(&self, long: Duration) -> usize {
        usize::try_from(long.as_nanos() / self.cost.as_nanos()).expect("some millions at most")
    }
}

/// What a claim is measured by.
#[derive(Clone, Copy)]
enum Target {
    /// Our time over the peer's, at most.
    Cost(f64),
    /// The peer's time over ours, at least.
    Speedup(f64),
    /// Our time less the peer's, in ns an item, at most.
    Overhead(f64),
}

impl Target {
    fn measure(self, ours: f64, peer: f64) -> f64 {
        match self {
            Target::Cost(_) => ours / peer,
            Target::Speedup(_) => peer / ours,
            Target::Overhead(_) => ours - peer,
        }
    }

    fn is_met(self, measured: f64) -> bool {
        match self {
            Target::Cost(most) | Target::Overhead(most) => measured <= most,
            Target::Speedup(least) => measured >= least,
        }
    }

    fn show(self, measured: f64) -> String {
        match self {
            Target::Cost(_) | Target::Speedup(_) => format!("{measured:.2}x"),
            Target::Overhead(_) => format!("{measured:.1}ns"),
        }
    }

    fn bound(self) -> String {
        match self {
            Target::Cost(most) | Target::Overhead(most) => format!("<={}", self.show(most)),
            Target::Speedup(least) => format!(">={}", self.show(least)),
        }
    }
}

struct Board {
    group: Option<String>,
    lines: usize,
    short: usize,
}

impl Board {
    fn skips(&self, group: &str) -> bool {
        self.group.as_ref().is_some_and(|only| only != group)
    }

    /// Measures a claim of `items` items a turn, and prints its line.
    fn claim(
        &mut self,
        (group, claim): (&str, &str),
        items: u64,
        target: Target,
        mut ours: impl FnMut(),
        mut peer: impl FnMut(),
    ) {
        if self.skips(group) {
            return;
        }
        // Once each to warm up.
        time(&mut ours);
        time(&mut peer);
        let turns: Vec<(Times, Times)> = (0..TURNS).map(|_| (time(&mut ours), time(&mut peer))).collect();
        let ours: Vec<f64> = turns.iter().map(|(ours, _)| ours.ns_of(items)).collect();
        let peer: Vec<f64> = turns.iter().map(|(_, peer)| peer.ns_of(items)).collect();
        let measured: Vec<f64> = ours.iter().zip(&peer).map(|(&ours, &peer)| target.measure(ours, peer)).collect();
        let load: Vec<f64> = turns.iter().map(|(ours, _)| ours.cpu.as_secs_f64() / ours.wall.as_secs_f64()).collect();

        let median = quantile(&measured, 0.5);
        let met = target.is_met(median);
        self.lines += 1;
        self.short += usize::from(!met);
        let mut line = String::new();
        let spread = format!("({} {})", target.show(quantile(&measured, 0.25)), target.show(quantile(&measured, 0.75)));
        write!(
            line,
            "{group:<9} {claim:<56} {:>10} {:>10} {:>7} {spread:<15} {:>8} {:>8.2} {}",
            show_ns(quantile(&ours, 0.5)),
            show_ns(quantile(&peer, 0.5)),
            target.show(median),
            target.bound(),
            quantile(&load, 0.5),
            if met { "ok" } else { "SHORT" },
        )
        .expect("a string takes it");
        println!("{line}");
    }
}

#[derive(Clone, Copy)]
struct Times {
    wall: Duration,
    cpu: Duration,
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "for print")]
    fn ns_of(self, items: u64) -> f64 {
        self.wall.as_secs_f64() * 1e9 / items as f64
    }
}

fn time(run: impl FnOnce()) -> Times {
    let cpu = process_cpu();
    let started = Instant::now();
    run();
    Times { wall: started.elapsed(), cpu: process_cpu().saturating_sub(cpu) }
}

fn process_cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("never negative")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "an index below the length"
)]
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

fn show_ns(ns: f64) -> String {
    if ns < 1_000.0 { format!("{ns:.2}ns") } else { format!("{:.2}µs", ns / 1_000.0) }
}
