//! The scope: its body and tasks, policies, a limit, `finish`, and how it stands beside its peers.

mod accounts;
mod body;
mod collect_all;
mod edges;
mod finish;
mod finish_races;
mod joins;
mod limit;
pub(crate) mod model;
mod peers;
mod phases;
mod policy;
mod slow_one;

use std::sync::Mutex;
use std::time::Duration;

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::{Failures, Panic};

/// The failures of a list as they are printed.
fn shown<E: std::fmt::Display>(failures: &Failures<E>) -> Vec<String> {
    failures.iter().map(ToString::to_string).collect()
}

/// A value that panics with this message when it is dropped, but not while another panic unwinds.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "{}", self.0);
    }
}

/// A value that panics with this message whenever it is dropped.
struct EagerBomb(&'static str);

impl Drop for EagerBomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Hooks that write a line for each start, end and panic.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Takes all lines.
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Takes all lines but those of starts.
    fn lines_after_starts(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| !line.ends_with(" started")).collect()
    }
}

impl Hooks for Log {
    fn started(&self, task: Task<'_>) {
        self.add(format!("{}#{} started", task.name, task.index));
    }

    fn ended(&self, task: Task<'_>, outcome: Outcome, took: Duration) {
        assert_eq!(matches!(outcome, Outcome::Skipped(_)), took == Duration::ZERO);
        self.add(format!("{}#{} {outcome}", task.name, task.index));
    }

    fn panicked(&self, panic: &Panic) {
        self.add(panic.to_string());
    }
}
