//! The table that a person reads.

use std::fmt;
use std::time::Duration;

use super::figures::{Figures, SectionFigures, Waits};

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_running { "running" } else { "ended" };
        let Figures { elapsed, items, outputs, started, most_ahead, .. } = self;
        let (items, outputs, ahead) = (Grouped(*items), Grouped(*outputs), Grouped(*most_ahead));
        writeln!(f, "{state} after {elapsed:.2?}: {items} items, {outputs} outputs; {started} threads took part")?;
        write!(f, "at most {ahead} items ahead of the sink")?;
        if let Some(budget) = self.budget {
            write!(f, ", and {} of {} bytes", Grouped(self.most_held), Grouped(budget))?;
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
        let plural = if threads == 1 { "" } else { "s" };
        let whose = if section.own_threads.is_some() { "own " } else { "" };
        let share = |spent| Percent(self.share(spent, threads));
        let Waits { input, output, window, budget } = section.waits;
        let name = format!("section {number}, {threads} {whose}thread{plural}");
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

/// A number with its thousands apart.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_kept_apart() {
        let grouped: Vec<_> = [0, 999, 1_000, 12_345, 1_234_567].map(|number| Grouped(number).to_string()).into();
        assert_eq!(grouped, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
