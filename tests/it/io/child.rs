//! Child processes.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade::CancelReason;
use brigade::io::{self, Input};

use super::cancelled_while;
use crate::util::{alone, live, threads_but_the_clock, until_threads_but_the_clock, watched};

const LONG: Duration = Duration::from_secs(3600);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_child_that_ends_gives_its_status() {
    watched(|| {
        assert!(io::run(&mut shell("exit 0"), &live(), LONG).unwrap().success());
        assert_eq!(io::run(&mut shell("exit 7"), &live(), LONG).unwrap().code(), Some(7));
        assert_eq!(io::run(&mut shell("kill -9 $$"), &live(), LONG).unwrap().signal(), Some(9));
        assert_eq!(
            io::run(&mut Command::new("/nowhere"), &live(), LONG).unwrap_err().kind(),
            std::io::ErrorKind::NotFound
        );
    });
}

#[test]
fn a_cancelled_token_starts_no_child() {
    let token = live();
    token.cancel();
    let folder = tempfile::tempdir().unwrap();
    io::run(Command::new("touch").arg(folder.path().join("made")), &token, LONG).unwrap_err();
    assert!(!folder.path().join("made").exists());
}

#[test]
fn cancel_ends_a_child_and_its_children_at_once() {
    if !alone!(cancel_ends_a_child_and_its_children_at_once) {
        return;
    }
    watched(|| {
        let before = threads_but_the_clock();
        // The output stays open as long as any of the group lives.
        let mut child = shell("sleep 3600 | cat & sleep 3600").process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = Input::new(child.stdout.take().unwrap());
        let (result, late) = cancelled_while(|token| io::wait(&mut child, token, LONG));
        result.unwrap_err();
        assert!(late < Duration::from_secs(1), "{late:?}");
        assert_eq!(output.until(&live()).read(&mut [0; 10]).unwrap(), 0);
        until_threads_but_the_clock(before);
    });
}

#[test]
fn a_child_that_ignores_the_request_is_killed_after_the_grace() {
    watched(|| {
        let mut child = shell("trap '' TERM; echo ready; while :; do sleep 3600; done")
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = Input::new(child.stdout.take().unwrap());
        output.until(&live()).read_exact(&mut [0; 6]).unwrap();
        let token = live();
        token.cancel();
        let (begun, grace) = (Instant::now(), Duration::from_millis(100));
        io::wait(&mut child, &token, grace).unwrap_err();
        assert!(begun.elapsed() >= grace);
        assert_eq!(output.until(&live()).read(&mut [0; 10]).unwrap(), 0);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    });
}

#[test]
fn a_child_may_clean_up_within_the_grace() {
    watched(|| {
        let mut child = shell("trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = Input::new(child.stdout.take().unwrap());
        output.until(&live()).read_exact(&mut [0; 6]).unwrap();
        let token = live();
        token.cancel_with(CancelReason::Other("told"));
        let error = io::wait(&mut child, &token, LONG).unwrap_err();
        assert_eq!(error.to_string(), "cancelled: told");
        let mut said = String::new();
        output.until(&live()).read_to_string(&mut said).unwrap();
        assert_eq!((&*said, child.wait().unwrap().code()), ("cleaned\n", Some(3)));
    });
}

#[test]
fn a_child_without_a_group_of_its_own_gets_the_signal_alone() {
    watched(|| {
        let mut child = Command::new("sleep").arg("3600").spawn().unwrap();
        let token = live().child_with_timeout(Duration::from_millis(1));
        io::wait(&mut child, &token, LONG).unwrap_err();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    });
}

#[test]
fn the_input_of_a_child_is_closed_before_the_wait() {
    watched(|| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(io::wait(&mut child, &live(), LONG).unwrap().success());
    });
}
