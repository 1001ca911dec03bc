//! Signals and exit statuses, on real processes: this test binary, run again in a role.

mod exit;
mod guard;
#[cfg(feature = "io")]
mod output;
mod program;
mod second;
mod start;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use brigade::signal::SignalBuilder;
use rustix::process::{Pid, Signal, kill_process};

use crate::util::live;

/// The variable that holds the role.
const ROLE: &str = "BRIGADE_TEST_ROLE";

/// The words by which this test binary is run in a role.
fn words() -> Vec<String> {
    let binary = std::env::current_exe().expect("the test binary").to_str().expect("text").to_owned();
    let test = concat!(module_path!(), "::program::program");
    let name = test.split_once("::").expect("a crate").1;
    [&binary, name, "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
}

/// The words by which a command gets the default actions of the signals that this process ignores, as it does under
/// `nohup` and behind a script's `&`.
fn heeding() -> &'static [&'static str] {
    let heeds_all = SignalBuilder::new().install(&live()).expect("a guard").left_ignored().is_empty();
    if heeds_all { &[] } else { &["env", "--default-signal=HUP,INT,TERM"] }
}

/// A command that runs a role, by `wrapper`, which gets the command as its last words.
fn command(role: &str, wrapper: &[&str]) -> Command {
    let words: Vec<String> = heeding().iter().chain(wrapper).map(|word| (*word).to_owned()).chain(words()).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(ROLE, role);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program in a role.
struct Program {
    child: Child,
    pid: Pid,
    said: BufReader<ChildStderr>,
}

impl Program {
    /// Starts a role, and waits until it is ready.
    fn start(role: &str) -> Self {
        Program::start_by(role, &[])
    }

    fn start_by(role: &str, wrapper: &[&str]) -> Self {
        Program::spawn(&mut command(role, wrapper))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let pid = Pid::from_child(&child);
        let mut program = Program { child, pid, said };
        // `nohup` has something to say before.
        let ready =
            std::iter::repeat_with(|| program.line()).find(|line| line.starts_with("ready ") || line.is_empty());
        let number = ready.expect("a line").trim_start_matches("ready ").parse().expect("its number");
        program.pid = Pid::from_raw(number).expect("not 0");
        program
    }

    /// The next line of the standard error; empty at its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it runs");
    }

    /// Waits for its end; returns what else it said.
    fn end(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("a child"), rest)
    }

    /// Asserts that it dies by a signal, and says no more.
    #[track_caller]
    fn dies_by(&mut self, signal: Signal) {
        let (status, rest) = self.end();
        assert_eq!((status.signal(), &*rest), (Some(signal.as_raw()), ""), "{status}");
    }

    /// Asserts that it ends with a status, and says no more.
    #[track_caller]
    fn ends_with(&mut self, code: i32) {
        let (status, rest) = self.end();
        assert_eq!((status.code(), &*rest), (Some(code), ""), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
