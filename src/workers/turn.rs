//! [`Turn`]: how many tasks a thread takes from the queue at a time.

use std::time::{Duration, Instant};

/// The most tasks that a thread takes at a time.
const MOST: usize = 64;

/// How long the tasks of one turn should take together. So a task may start this much later than one that was
/// spawned after it.
const TURN: Duration = Duration::from_micros(100);

/// How many short tasks a thread runs between two looks at the clock. One look each turn cost a sixth of the time
/// of trivial tasks, because their turns often have few tasks.
const MEASURED: usize = 32;

/// Measures how long tasks take: a thread takes long tasks one at a time, and several short ones.
pub(crate) struct Turn {
    /// How many tasks the thread may take next.
    most: usize,
    /// The time of the last measurement.
    since: Option<Instant>,
    /// How many tasks the thread has taken since then.
    tasks: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Turn { most: 1, since: None, tasks: 0 }
    }
}

impl Turn {
    /// Notes that the thread has taken `tasks` tasks, and has none left of those before.
    ///
    /// The time that it took to find the tasks counts as theirs, because a thread that waits for tasks finds few in
    /// any case.
    pub(crate) fn took(&mut self, tasks: usize) {
        if self.tasks >= self.most.min(MEASURED) {
            let now = Instant::now();
            if let Some(since) = self.since.replace(now) {
                let each = (now - since).as_nanos() / self.tasks as u128;
                let fit = usize::try_from(TURN.as_nanos() / each.max(1)).unwrap_or(MOST);
                self.most = fit.clamp(1, (2 * self.most).min(MOST));
            }
            self.tasks = 0;
        }
        self.tasks += tasks;
    }

    /// Returns how many tasks the thread may take next, at most.
    pub(crate) fn most(&self) -> usize {
        self.most
    }
}
