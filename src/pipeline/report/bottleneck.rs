//! [`Bottleneck`]: what bounds a run.
//!
//! A part that one thread at a time is in (the source, a serial stage, the sink) bounds the run when it is busy almost
//! always. The stages bound it when all threads that serve them are. If neither holds, the threads wait for something
//! that is not busy either: for the window or the budget, which then is too narrow. But a serial stage that takes many
//! items at a time is not busy always, and yet fills the window while other threads wait for these items.

use std::fmt;
use std::time::Duration;

use super::counted::Counted;
use super::figures::{Figures, SectionFigures};

/// What bounds a run, which [`Report::bottleneck`](super::Report::bottleneck) finds.
///
/// Its `Display` says what to change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Bottleneck {
    /// A thread is in the source almost always. More threads do not help.
    Source {
        /// The share of the time, from 0 to 1.
        share: f64,
        /// How long an item takes there.
        each: Duration,
    },
    /// A thread is in the serial stage in front of a section almost always, or others wait for it.
    Serial {
        /// The number of the section, from 1.
        section: usize,
        /// The share of the time, from 0 to 1.
        share: f64,
        /// How long an item takes there.
        each: Duration,
    },
    /// The threads are at the stages almost always, and at those of this section longest.
    Section {
        /// The number of the section, from 1.
        section: usize,
        /// How many threads serve it.
        threads: usize,
        /// Whether they serve no other.
        are_own: bool,
        /// The share of their time in which they are busy, from 0 to 1.
        share: f64,
        /// How long an item takes there.
        each: Duration,
    },
    /// The sink is busy almost always.
    Sink {
        /// The share of the time, from 0 to 1.
        share: f64,
        /// How long an output takes there.
        each: Duration,
    },
    /// Threads wait for room in the window, or are not even started for want of it.
    Window {
        /// The window, if one was set.
        window: Option<usize>,
        /// How many threads work at most in one section.
        threads: usize,
        /// The share of the time for which one does, from 0 to 1.
        share: f64,
    },
    /// Threads wait for room in the budget of bytes, or are not even started for want of it.
    Budget {
        /// The budget.
        bytes: u64,
        /// The share of the time for which one does, from 0 to 1.
        share: f64,
    },
    /// No part is at its limit.
    Balanced,
}

/// How busy a part is that one thread at a time is in, if it bounds the run: in any case, if no group of threads is
/// busier, and if nothing else does.
const BUSY: f64 = 0.9;
const QUITE_BUSY: f64 = 0.75;
const RATHER_BUSY: f64 = 0.6;

/// How busy a group of threads is, if it bounds the run.
const BUSY_THREADS: f64 = 0.8;

/// How much of the time a thread waits for room, if that bounds the run.
const WAITING: f64 = 0.3;

impl Figures {
    /// Returns what bounds the run, as far as it has come.
    #[must_use]
    pub fn bottleneck(&self) -> Bottleneck {
        if self.threads <= 1 && self.own_threads() == 0 {
            return self.bottleneck_of_one_thread();
        }
        // Threads that the system keeps from running make all shares smaller.
        self.busiest_of_one(BUSY)
            .or_else(|| self.busiest_threads())
            .or_else(|| self.busiest_of_one(QUITE_BUSY))
            .or_else(|| self.narrowest())
            .or_else(|| self.busiest_of_one(RATHER_BUSY))
            .unwrap_or(Bottleneck::Balanced)
    }

    /// The plain loop is in one part at a time: the one that it is in longest.
    fn bottleneck_of_one_thread(&self) -> Bottleneck {
        let stages = self.sections.iter().map(|section| section.busy).sum();
        let share = self.share(stages, 1);
        self.busiest_of_one(share.max(0.4))
            .or_else(|| self.longest_shared(share).filter(|_| share >= 0.4))
            .unwrap_or(Bottleneck::Balanced)
    }

    /// The part that one thread at a time is in, and that is busiest, if it is busy for more than this share.
    fn busiest_of_one(&self, least: f64) -> Option<Bottleneck> {
        let items = self.sections.first().map_or(0, |section| section.items);
        let source = Bottleneck::Source { share: self.share(self.source, 1), each: each(self.source, items) };
        let sink = Bottleneck::Sink { share: self.share(self.sink, 1), each: each(self.sink, self.outputs) };
        let parts = [source, sink].into_iter().chain(self.serials());
        parts.max_by(|a, b| a.share().total_cmp(&b.share())).filter(|part| part.share() >= least)
    }

    fn serials(&self) -> impl Iterator<Item = Bottleneck> {
        self.sections.iter().enumerate().map(|(at, section)| {
            let SectionFigures { serial, items, .. } = *section;
            Bottleneck::Serial { section: at + 1, share: self.share(serial, 1), each: each(serial, items) }
        })
    }

    /// The threads that are busiest, if they are almost always: those of a section's own, or those of the run.
    fn busiest_threads(&self) -> Option<Bottleneck> {
        let own = self.sections.iter().enumerate().filter_map(|(at, section)| {
            let threads = section.own_threads?;
            let share = self.share(section.busy, threads);
            Some(Bottleneck::Section { section: at + 1, threads, are_own: true, share, each: section.each() })
        });
        let shared = self.longest_shared(self.shared_share());
        own.chain(shared)
            .max_by(|a, b| a.share().total_cmp(&b.share()))
            .filter(|threads| threads.share() >= BUSY_THREADS)
    }

    /// How busy the threads are that serve all sections.
    fn shared_share(&self) -> f64 {
        let shared = self.sections.iter().filter(|section| section.own_threads.is_none());
        let stages: Duration = shared.map(|section| section.busy).sum();
        let serial: Duration = self.sections.iter().map(|section| section.serial).sum();
        // A calling thread that only outputs comes beside the others.
        let is_beside = self.started > self.threads + self.own_threads();
        let sink = if is_beside { Duration::ZERO } else { self.sink };
        self.share(stages + serial + self.source + sink, self.threads)
    }

    /// The section that the threads of the run are in longest.
    fn longest_shared(&self, share: f64) -> Option<Bottleneck> {
        let shared = self.sections.iter().enumerate().filter(|(_, section)| section.own_threads.is_none());
        shared.max_by_key(|(_, section)| section.busy).map(|(at, section)| Bottleneck::Section {
            section: at + 1,
            threads: self.threads,
            are_own: false,
            share,
            each: section.each(),
        })
    }

    /// The bound that threads wait at, or the serial stage that they wait for, if they do so for long.
    ///
    /// By the time in which a thread had to wait, and not by the waits that threads were in: of a narrow window's many
    /// threads few are started, and the others are in no wait.
    fn narrowest(&self) -> Option<Bottleneck> {
        let [serial, window, budget] =
            [self.serial_kept, self.window_full, self.budget_full].map(|kept| self.share(kept, 1));
        let longest = serial.max(window).max(budget);
        if longest < WAITING {
            return None;
        }
        if serial >= longest {
            return self.serials().max_by(|a, b| a.share().total_cmp(&b.share()));
        }
        if window >= longest {
            let threads = self.sections.iter().map(|section| self.threads_of(section)).max().unwrap_or(0);
            return Some(Bottleneck::Window { window: self.window, threads, share: longest });
        }
        Some(Bottleneck::Budget { bytes: self.budget.unwrap_or(0), share: longest })
    }
}

impl SectionFigures {
    fn each(&self) -> Duration {
        each(self.busy, self.items)
    }
}

fn each(time: Duration, items: u64) -> Duration {
    Duration::from_nanos(u64::try_from(time.as_nanos() / u128::from(items.max(1))).unwrap_or(u64::MAX))
}

impl Bottleneck {
    fn share(&self) -> f64 {
        match self {
            Bottleneck::Source { share, .. }
            | Bottleneck::Serial { share, .. }
            | Bottleneck::Section { share, .. }
            | Bottleneck::Sink { share, .. }
            | Bottleneck::Window { share, .. }
            | Bottleneck::Budget { share, .. } => *share,
            Bottleneck::Balanced => 0.0,
        }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.share() * 100.0).round();
        match self {
            Bottleneck::Source { each, .. } => write!(
                f,
                "the source is busy {percent} % of the time, and gives an item each {each:.1?}: more threads will not help; \
                 have it give items faster, or larger ones, and leave work on them to a stage"
            ),
            Bottleneck::Serial { section, each, .. } => write!(
                f,
                "the serial stage in front of section {section} is busy {percent} % of the time, {each:.1?} an item: \
                 move work out of it, into a parallel stage"
            ),
            Bottleneck::Section { section, threads, are_own: true, each, .. } => write!(
                f,
                "the {} of the blocking stage in section {section} {} busy {percent} % of the time, \
                 {each:.1?} an item: give it more threads",
                Counted(*threads as u64, "thread"),
                if *threads == 1 { "is" } else { "are" }
            ),
            Bottleneck::Section { section, threads: 1, each, .. } => write!(
                f,
                "the stages of section {section} take most of one thread's time, {each:.1?} an item: more threads help"
            ),
            Bottleneck::Section { section, threads, each, .. } => write!(
                f,
                "the {threads} threads are busy {percent} % of the time, with the stages of section {section} longest, \
                 {each:.1?} an item: more threads help if there are cores for them, else cheaper stages"
            ),
            Bottleneck::Sink { each, .. } => write!(
                f,
                "the sink is busy {percent} % of the time, {each:.1?} an output: \
                 move work out of it into a stage; format in a stage, and write bytes in the sink"
            ),
            Bottleneck::Window { window: Some(window), threads, .. } if window < threads => write!(
                f,
                "window({window}) is narrower than the {threads} threads, and threads wait {percent} % of the time for \
                 room in it: widen it to {threads} or more"
            ),
            Bottleneck::Window { window: Some(window), .. } => write!(
                f,
                "window({window}) is full, and threads wait {percent} % of the time for room in it, behind an item \
                 that takes long: widen it"
            ),
            Bottleneck::Window { window: None, .. } => write!(
                f,
                "the default window is full, and threads wait {percent} % of the time for room in it, behind an item \
                 that takes long: set a wider one, if the memory allows it"
            ),
            Bottleneck::Budget { bytes, .. } => write!(
                f,
                "the budget of {} is used up while threads wait {percent} % of the time for room in it: \
                 raise it, or make items smaller",
                Counted(*bytes, "byte")
            ),
            Bottleneck::Balanced => f.write_str("no part is at its limit"),
        }
    }
}
