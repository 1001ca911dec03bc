//! Options that are refused, and a standard error that is gone.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Running;
use crate::util::watched;

#[test]
fn options_with_which_no_client_would_be_served_are_refused_at_the_start() {
    watched(|| {
        for option in [
            ["--request-timeout", "0"],
            ["--connections", "0"],
            ["--queue-bytes", "18446744073709551615"],
            ["--body-bytes", "18446744073709551615"],
            ["--body-bytes", "1000"],
        ] {
            let program = Command::new(env!("CARGO_BIN_EXE_jobs")).args(option).output().expect("a program");
            let said = String::from_utf8(program.stderr).expect("text");
            assert_eq!(program.status.code(), Some(2), "{option:?}: {said}");
            assert!(said.starts_with("error: invalid value"), "{option:?}: {said}");
        }
    });
}

#[test]
fn the_largest_numbers_are_no_less_than_large_ones() {
    watched(|| {
        for option in [["--connections", "18446744073709551615"], ["--queue", "18446744073709551615"]] {
            let server = Running::start(&option);
            assert_eq!(server.get("/healthz").0, 200);
            server.stop();
        }
    });
}

#[test]
fn a_good_end_is_one_even_if_the_account_has_no_reader() {
    watched(|| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_jobs"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        drop(child.stderr.take());
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        assert_eq!(child.wait().expect("a child").code(), Some(0));
    });
}
