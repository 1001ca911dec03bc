//! Drives the example `service` as a supervisor does.
//!
//! `cargo test` builds the example; to run these tests alone, build it first:
//! `cargo build --features signal --example service && cargo test --features signal --test service`.
#![cfg(unix)]

#[path = "../example/mod.rs"]
mod example;
#[path = "../it/terminal.rs"]
mod terminal;
#[path = "../it/util.rs"]
#[allow(clippy::disallowed_methods, dead_code, unused_imports, unused_macros, reason = "helpers of the other tests")]
mod util;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::terminal::terminal;
use crate::util::watched;

/// The service, which is running.
struct Service {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Service {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(example::binary("service"));
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let mut service = Service { child, said };
        assert_eq!(service.line(), "started\n");
        service
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line
    }

    /// Asks for reports until it has counted a job.
    fn work(&mut self) -> u64 {
        loop {
            self.signal(Signal::USR1);
            let line = self.line();
            assert!(line.starts_with("so far: "), "{line}");
            if jobs(&line) > 0 {
                return jobs(&line);
            }
        }
    }

    /// Asks for a report; returns whether there is one within a moment.
    fn answers(&mut self) -> bool {
        self.signal(Signal::USR1);
        let mut fds = [PollFd::new(self.said.get_ref(), PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let answers = !self.said.buffer().is_empty() || poll(&mut fds, Some(&moment)).expect("it can be polled") > 0;
        answers && self.line().starts_with("so far: ")
    }

    /// Waits for its end; returns the last lines of its output and of its errors too.
    fn end(mut self) -> (ExitStatus, String, String) {
        let (mut said, mut complained) = (String::new(), String::new());
        self.said.read_to_string(&mut said).expect("text");
        self.child.stderr.take().expect("piped").read_to_string(&mut complained).expect("text");
        (self.child.wait().expect("a child"), said, complained)
    }
}

/// How many jobs a line reports.
fn jobs(line: &str) -> u64 {
    let number = line.split(' ').find_map(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{line:?} reports no jobs"))
}

#[test]
fn a_signal_stops_the_service_in_good_order_within_its_grace() {
    watched(|| {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let mut service = Service::start(&["--every", "1"]);
            let counted = service.work();
            let told = Instant::now();
            service.signal(signal);
            let (status, said, complained) = service.end();
            assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
            assert_eq!((status.code(), &*complained), (Some(0), ""), "{status}");
            let last = said.lines().last().expect("a last line");
            assert!(last.starts_with("stopped: ") && jobs(last) >= counted, "{said}");
        }
    });
}

#[test]
fn after_the_grace_the_service_names_the_component_that_was_slow() {
    watched(|| {
        let mut service = Service::start(&["--every", "1", "--grace", "300", "--hang-at", "5"]);
        // Its consumer hangs when it answers no more.
        while service.answers() {}
        let told = Instant::now();
        service.signal(Signal::TERM);
        let (status, _, complained) = service.end();
        assert!(told.elapsed() >= Duration::from_millis(300));
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
        assert!(complained.starts_with("still running 300ms after signal 15: "), "{complained}");
        assert!(complained.contains("consumer#"), "{complained}");
        // Those that wait for the consumer have ended, but for the main thread.
        assert!(!complained.contains("producer#") && !complained.contains("pipeline#"), "{complained}");
    });
}

#[test]
fn without_a_reader_the_service_dies_by_sigpipe_silently() {
    watched(|| {
        let mut command = Command::new(example::binary("service"));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.signal(), &*complained), (Some(Signal::PIPE.as_raw()), ""), "{}", output.status);
    });
}

#[test]
fn a_terminal_that_hangs_up_stops_the_service_in_good_order() {
    watched(|| {
        let (person, terminal) = terminal();
        let mut command = Command::new("setsid");
        command.args(["--ctty".as_ref(), example::binary("service").as_os_str()]).args(["--every", "1"]);
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut line = String::new();
        BufReader::new(person).read_line(&mut line).unwrap();
        assert_eq!(line, "started\r\n");
        // The reader is dropped, so that the terminal hangs up, and the service gets SIGHUP.
        let mut complained = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), &*complained), (Some(0), ""), "{status}");
    });
}
