//! Child processes.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use brigade::io::{self, Input};
use brigade::{CancelReason, CancellationToken};
use rustix::process::{Pid, Signal, getpid, kill_process_group, set_child_subreaper};

use super::cancelled_while;
use crate::util::{alone, live, threads_but_the_clock, until, until_threads_but_the_clock, watched};

const LONG: Duration = Duration::from_secs(3600);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Starts a script in a process group of its own, and waits until it has said `ready`.
fn ready(script: &str) -> (Child, Input<ChildStdout>) {
    let mut child = shell(script).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = Input::new(child.stdout.take().unwrap());
    output.until(&live()).read_exact(&mut [0; 6]).unwrap();
    (child, output)
}

/// Waits until a process is in a state, which is a letter of `/proc/*/stat`.
fn until_state(process: u32, letter: char) {
    until(|| fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains(&format!(") {letter} ")));
}

/// Reads to the end, which comes when no process has the output open.
fn rest(mut output: Input<ChildStdout>) -> String {
    let mut said = String::new();
    output.until(&live()).read_to_string(&mut said).unwrap();
    said
}

fn cancelled() -> CancellationToken {
    let token = live();
    token.cancel();
    token
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
        let (mut child, output) = ready("trap '' TERM; echo ready; while :; do sleep 3600; done");
        let (begun, grace) = (Instant::now(), Duration::from_millis(100));
        io::wait(&mut child, &cancelled(), grace).unwrap_err();
        assert!(begun.elapsed() >= grace);
        assert_eq!(rest(output), "");
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    });
}

#[test]
fn a_child_may_clean_up_within_the_grace() {
    watched(|| {
        let (mut child, output) = ready("trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
        let token = live();
        token.cancel_with(CancelReason::Other("told"));
        let error = io::wait(&mut child, &token, LONG).unwrap_err();
        assert_eq!(error.to_string(), "cancelled: told");
        assert_eq!((&*rest(output), child.wait().unwrap().code()), ("cleaned\n", Some(3)));
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

#[test]
fn the_group_has_the_grace_though_its_leader_ends_at_once() {
    watched(|| {
        let clean_up = "sleep 0.1; echo cleaned; exit";
        let (mut child, output) =
            ready(&format!("(trap '{clean_up}' TERM; echo ready; while :; do sleep 0.01; done) & wait"));
        io::wait(&mut child, &cancelled(), LONG).unwrap_err();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert_eq!(rest(output), "cleaned\n");
    });
}

#[test]
fn a_group_that_ignores_the_request_is_killed_after_the_grace_though_its_leader_has_ended() {
    watched(|| {
        let (mut child, output) = ready("(trap '' TERM; echo ready; while :; do sleep 3600; done) & wait");
        let (begun, grace) = (Instant::now(), Duration::from_millis(100));
        io::wait(&mut child, &cancelled(), grace).unwrap_err();
        assert!(begun.elapsed() >= grace);
        assert_eq!((&*rest(output), child.wait().unwrap().signal()), ("", Some(15)));
    });
}

#[test]
fn the_dead_of_a_group_that_no_parent_takes_note_of_do_not_use_up_the_grace() {
    if !alone!(the_dead_of_a_group_that_no_parent_takes_note_of_do_not_use_up_the_grace) {
        return;
    }
    watched(|| {
        // The orphans of this process's children become its own children, and it waits for none of them.
        set_child_subreaper(Some(getpid())).unwrap();
        let (mut child, output) = ready("sleep 3600 & echo ready; wait");
        io::wait(&mut child, &cancelled(), LONG).unwrap_err();
        assert_eq!(rest(output), "");
    });
}

#[test]
fn a_stopped_child_ends_within_the_grace() {
    watched(|| {
        let (mut child, _output) = ready("echo ready; kill -STOP $$; sleep 3600");
        until_state(child.id(), 'T');
        io::wait(&mut child, &cancelled(), LONG).unwrap_err();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    });
}

#[test]
fn a_cancelled_wait_ends_the_group_of_a_child_that_has_ended() {
    watched(|| {
        let (mut child, output) = ready("sleep 3600 & echo ready");
        until_state(child.id(), 'Z');
        io::wait(&mut child, &cancelled(), LONG).unwrap_err();
        assert_eq!(rest(output), "");
        assert!(io::wait(&mut child, &cancelled(), LONG).unwrap().success(), "it has been waited for");
    });
}

#[test]
fn what_a_child_leaves_running_goes_on_if_nothing_is_cancelled() {
    watched(|| {
        let (mut child, output) = ready("(trap 'echo asked; exit' USR1; echo ready; while :; do sleep 0.01; done) &");
        assert!(io::wait(&mut child, &live(), LONG).unwrap().success());
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::USR1).unwrap();
        assert_eq!(rest(output), "asked\n");
    });
}
