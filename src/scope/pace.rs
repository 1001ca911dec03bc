//! How many tasks a thread of a crew takes at a time.

use std::time::{Duration, Instant};

/// The most tasks that a thread takes at a time.
const MOST: usize = 64;

/// How long they should take: so long may a task be started later than one that was spawned after it.
const TURN: Duration = Duration::from_micros(100);

/// How many short tasks go to one look at the clock. One look for each turn cost a sixth of the time of trivial tasks, whose
/// turns are often of few.
const MEASURED: usize = 32;

/// Measures how long tasks take: one at a time is taken of those that take long, and more of those that do not.
pub(super) struct Pace {
    turn: usize,
    /// When it was last measured.
    since: Option<Instant>,
    /// How many tasks were taken since then.
    tasks: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { turn: 1, since: None, tasks: 0 }
    }
}

impl Pace {
    /// Some tasks have been taken, and nothing is left of those before. What it took to find them counts as theirs: who
    /// waits for tasks finds few in any case.
    pub(super) fn took(&mut self, tasks: usize) {
        if self.tasks >= self.turn.min(MEASURED) {
            let now = Instant::now();
            if let Some(since) = self.since.replace(now) {
                let each = (now - since).as_nanos() / self.tasks as u128;
                let fit = usize::try_from(TURN.as_nanos() / each.max(1)).unwrap_or(MOST);
                self.turn = fit.clamp(1, (2 * self.turn).min(MOST));
            }
            self.tasks = 0;
        }
        self.tasks += tasks;
    }

    /// How many tasks may be taken next, at most.
    pub(super) fn turn(&self) -> usize {
        self.turn
    }
}
