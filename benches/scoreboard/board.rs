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
    /// Our CPU time over the peer's, at most.
    Cpu(f64),
    /// Our time over the peer's, for the record.
    Reported,
}

impl Target {
    /// The median of some turns of `items` items each, ours and the peer's.
    pub(crate) fn median(self, items: u64, turns: &[Turn]) -> f64 {
        quantile(&self.measure_all(items, turns), 0.5)
    }

    fn measure_all(self, items: u64, turns: &[Turn]) -> Vec<f64> {
        turns.iter().map(|&(ours, peer)| self.measure(self.ns_of(ours, items), self.ns_of(peer, items))).collect()
    }

    /// The time that this target bounds, in ns an item.
    #[expect(clippy::cast_precision_loss, reason = "for print")]
    fn ns_of(self, times: Times, items: u64) -> f64 {
        let time = if let Target::Cpu(_) = self { times.cpu } else { times.wall };
        time.as_secs_f64() * 1e9 / items as f64
    }

    fn measure(self, ours: f64, peer: f64) -> f64 {
        match self {
            Target::Cost(_) | Target::Cpu(_) | Target::Reported => ours / peer,
            Target::Speedup(_) => peer / ours,
            Target::Overhead(_) => ours - peer,
            Target::Time(_) => ours,
        }
    }

    fn is_met(self, measured: f64) -> bool {
        match self {
            Target::Cost(most) | Target::Cpu(most) | Target::Overhead(most) | Target::Time(most) => measured <= most,
            Target::Speedup(least) => measured >= least,
            Target::Reported => true,
        }
    }

    fn show(self, measured: f64) -> String {
        match self {
            Target::Cost(most) if most < 0.1 => format!("{measured:.3}x"),
            Target::Cost(_) | Target::Cpu(_) | Target::Speedup(_) | Target::Reported => format!("{measured:.2}x"),
            Target::Overhead(_) => format!("{measured:.1}ns"),
            Target::Time(_) => show_ns(measured),
        }
    }

    fn bound(self) -> String {
        match self {
            Target::Cost(most) | Target::Cpu(most) | Target::Overhead(most) | Target::Time(most) => {
                format!("<={}", self.show(most))
            }
            Target::Speedup(least) => format!(">={}", self.show(least)),
            Target::Reported => "-".to_owned(),
        }
    }
}

pub(crate) struct Board {
    group: Option<String>,
    /// What the claims that are to be measured have in their names.
    words: Option<String>,
    /// The groups that have had no claim so far.
    claimless: Vec<&'static str>,
    lines: usize,
    short: usize,
}

impl Board {
    /// Makes a board for claims of `groups`. Only `group` is measured if there is one, and of its
    /// claims only those with `words` in their names.
    pub(crate) fn new(groups: &[&'static str], group: Option<String>, words: Option<String>) -> Self {
        println!(
            "{:<9} {:<66} {:>10} {:>10} {:>7} {:<17} {:>8} {:>8}",
            "group", "claim", "ours", "peer", "ratio", "(quartiles)", "target", "cpu/wall"
        );
        Board { group, words, claimless: groups.to_vec(), lines: 0, short: 0 }
    }

    /// Returns the groups that were to be measured and have no claim.
    pub(crate) fn claimless(&self) -> Vec<&'static str> {
        self.claimless.iter().copied().filter(|group| !self.skips(group)).collect()
    }

    /// Returns whether no claim was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Prints the sum; returns whether every claim holds.
    pub(crate) fn close(self) -> bool {
        println!("{} claims, {} short", self.lines, self.short);
        self.short == 0
    }

    pub(crate) fn skips(&self, group: &str) -> bool {
        self.group.as_ref().is_some_and(|only| only != group)
    }

    /// Returns whether a claim is not to be measured.
    pub(crate) fn skips_claim(&mut self, (group, claim): (&str, &str)) -> bool {
        self.claimless.retain(|claimless| *claimless != group);
        self.skips(group) || self.words.as_ref().is_some_and(|words| !claim.contains(words.as_str()))
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
        name: (&str, &str),
        items: u64,
        target: Target,
        mut ours: impl FnMut() -> Times,
        mut peer: impl FnMut() -> Times,
    ) {
        if self.skips_claim(name) {
            return;
        }
        // Once each to warm up.
        ours();
        peer();
        let turns: Vec<Turn> = (0..turns).map(|_| (ours(), peer())).collect();
        self.claim_turns(name, items, target, &turns);
    }

    /// Prints the line of a claim whose turns have been measured.
    pub(crate) fn claim_turns(&mut self, (group, claim): (&str, &str), items: u64, target: Target, turns: &[Turn]) {
        let ours: Vec<f64> = turns.iter().map(|(ours, _)| target.ns_of(*ours, items)).collect();
        let peer: Vec<f64> = turns.iter().map(|(_, peer)| target.ns_of(*peer, items)).collect();
        let measured = target.measure_all(items, turns);
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

    /// Prints a remark on the claim before it.
    pub(crate) fn remark(remark: &str) {
        println!("{:<9}     {remark}", "");
    }
}

/// The times of one turn, ours and the peer's.
pub(crate) type Turn = (Times, Times);

#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
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
