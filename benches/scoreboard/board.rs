//! [`Board`]: measures claims and prints them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How often ours and the peer take turns.
pub(crate) const TURNS: usize = 15;

/// What a claim is measured by.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Our time over the peer's, at most.
    Cost(f64),
    /// The peer's time over ours, at least.
    Speedup(f64),
    /// Our time less the peer's, in ns an item, at most.
    Overhead(f64),
    /// Our time, in ns an item, at most. There is no peer but the clock.
    Time(f64),
    /// Our time over the peer's, for the record.
    Reported,
}

impl Target {
    fn measure(self, ours: f64, peer: f64) -> f64 {
        match self {
            Target::Cost(_) | Target::Reported => ours / peer,
            Target::Speedup(_) => peer / ours,
            Target::Overhead(_) => ours - peer,
            Target::Time(_) => ours,
        }
    }

    fn is_met(self, measured: f64) -> bool {
        match self {
            Target::Cost(most) | Target::Overhead(most) | Target::Time(most) => measured <= most,
            Target::Speedup(least) => measured >= least,
            Target::Reported => true,
        }
    }

    fn show(self, measured: f64) -> String {
        match self {
            Target::Cost(most) if most < 0.1 => format!("{measured:.3}x"),
            Target::Cost(_) | Target::Speedup(_) | Target::Reported => format!("{measured:.2}x"),
            Target::Overhead(_) => format!("{measured:.1}ns"),
            Target::Time(_) => show_ns(measured),
        }
    }

    fn bound(self) -> String {
        match self {
            Target::Cost(most) | Target::Overhead(most) | Target::Time(most) => format!("<={}", self.show(most)),
            Target::Speedup(least) => format!(">={}", self.show(least)),
            Target::Reported => "-".to_owned(),
        }
    }
}

pub(crate) struct Board {
    group: Option<String>,
    /// The groups that have had no claim so far.
    claimless: Vec<&'static str>,
    lines: usize,
    short: usize,
}

impl Board {
    /// Makes a board for claims of `groups`, of which only `group` is measured if there is one.
    pub(crate) fn new(groups: &[&'static str], group: Option<String>) -> Self {
        println!(
            "{:<9} {:<66} {:>10} {:>10} {:>7} {:<17} {:>8} {:>8}",
            "group", "claim", "ours", "peer", "ratio", "(quartiles)", "target", "cpu/wall"
        );
        Board { group, claimless: groups.to_vec(), lines: 0, short: 0 }
    }

    /// Returns the groups that were to be measured and have no claim.
    pub(crate) fn claimless(&self) -> Vec<&'static str> {
        self.claimless.iter().copied().filter(|group| !self.skips(group)).collect()
    }

    /// Prints the sum; returns whether every claim holds.
    pub(crate) fn close(self) -> bool {
        println!("{} claims, {} short", self.lines, self.short);
        self.short == 0
    }

    pub(crate) fn skips(&self, group: &str) -> bool {
        self.group.as_ref().is_some_and(|only| only != group)
    }

    /// Measures a claim of `items` items a turn, and prints its line.
    pub(crate) fn claim(
        &mut self,
        name: (&str, &str),
        items: u64,
        target: Target,
        mut ours: impl FnMut(),
        mut peer: impl FnMut(),
    ) {
        self.claim_measured(TURNS, name, items, target, || time(&mut ours), || time(&mut peer));
    }

    /// The same, with a number of turns of its own.
    pub(crate) fn claim_often(
        &mut self,
        turns: usize,
        name: (&str, &str),
        items: u64,
        target: Target,
        mut ours: impl FnMut(),
        mut peer: impl FnMut(),
    ) {
        self.claim_measured(turns, name, items, target, || time(&mut ours), || time(&mut peer));
    }

    /// The same, where the turns measure themselves: what they make ready is no part of it.
    pub(crate) fn claim_measured(
        &mut self,
        turns: usize,
        (group, claim): (&str, &str),
        items: u64,
        target: Target,
        mut ours: impl FnMut() -> Times,
        mut peer: impl FnMut() -> Times,
    ) {
        self.claimless.retain(|claimless| *claimless != group);
        if self.skips(group) {
            return;
        }
        // Once each to warm up.
        ours();
        peer();
        let turns: Vec<(Times, Times)> = (0..turns).map(|_| (ours(), peer())).collect();
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
            "{group:<9} {claim:<66} {:>10} {:>10} {:>7} {spread:<17} {:>8} {:>8.2} {}",
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
pub(crate) struct Times {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "for print")]
    fn ns_of(self, items: u64) -> f64 {
        self.wall.as_secs_f64() * 1e9 / items as f64
    }
}

pub(crate) fn time(run: impl FnOnce()) -> Times {
    let cpu = process_cpu();
    let started = Instant::now();
    run();
    Times { wall: started.elapsed(), cpu: process_cpu().saturating_sub(cpu) }
}

pub(crate) fn process_cpu() -> Duration {
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
