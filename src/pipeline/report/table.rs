//! The table that a person reads.

use std::fmt;
use std::time::Duration;

use super::counted::{Counted, Grouped};
use super::figures::{Figures, SectionFigures, Waits};

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_running { "running" } else { "ended" };
        let Figures { elapsed, items, outputs, started, most_ahead, .. } = self;
        let (items, outputs) = (Counted(*items, "item"), Counted(*outputs, "output"));
        let (threads, ahead) = (Counted(*started as u64, "thread"), Counted(*most_ahead, "item"));
        writeln!(f, "{state} after {elapsed:.2?}: {items}, {outputs}; {threads} took part")?;
        write!(f, "at most {ahead} ahead of the sink")?;
        if let Some(budget) = self.budget {
            write!(f, ", and {} of {}", Grouped(self.most_held), Counted(budget, "byte"))?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:<24} {:>6} {:>6} {:>6} {:>6} {:>6} {:>14} {:>10}",
            "", "busy", "input", "output", "window", "budget", "items", "batches"
        )?;
        self.row(f, "source", self.source)?;
        for (at, section) in self.sections.iter().enumerate() {
            if !section.serial.is_zero() {
                self.row(f, &format!("serial stage before {}", at + 1), section.serial)?;
            }
            self.section_row(f, at + 1, section)?;
        }
        self.row(f, "sink", self.sink)?;
        write!(f, "{}", self.bottleneck())
    }
}

impl Figures {
    /// A part that one thread at a time is in.
    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, busy: Duration) -> fmt::Result {
        writeln!(f, "{name:<24} {}", Percent(self.share(busy, 1)))
    }

    fn section_row(&self, f: &mut fmt::Formatter<'_>, number: usize, section: &SectionFigures) -> fmt::Result {
        let threads = self.threads_of(section);
        let noun = if section.own_threads.is_some() { "own thread" } else { "thread" };
        let share = |spent| Percent(self.share(spent, threads));
        let Waits { input, output, window, budget } = section.waits;
        let name = format!("section {number}, {}", Counted(threads as u64, noun));
        write!(f, "{name:<24} {} {} {} ", share(section.busy), share(input), share(output))?;
        write!(f, "{} {} ", share(window), share(budget))?;
        writeln!(f, "{:>14} {:>10}", Grouped(section.items).to_string(), Grouped(section.batches).to_string())
    }
}

/// A share, from 0 to 1.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4.0} %", self.0 * 100.0)
    }
}
