//! How a program was started: under `nohup`, in the background of a script, in a terminal, as process 1.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Program, command};
use crate::terminal::terminal;
use crate::util::watched;

#[test]
fn sighup_under_nohup_stays_ignored() {
    watched(|| {
        let mut program = Program::start_by("ends", &["nohup"]);
        program.signal(Signal::HUP);
        program.signal(Signal::HUP);
        program.signal(Signal::TERM);
        program.says("clean");
        program.dies_by(Signal::TERM);
    });
}

#[test]
fn sigint_in_the_background_of_a_script_stays_ignored() {
    watched(|| {
        let mut program = Program::start_by("ends", &["sh", "-c", r#""$0" "$@" & wait $!; exit $?"#]);
        program.signal(Signal::INT);
        program.signal(Signal::TERM);
        program.says("clean");
        let (status, _) = program.end();
        assert_eq!(status.code(), Some(128 + Signal::TERM.as_raw()));
    });
}

#[test]
fn ctrl_c_in_a_terminal_ends_the_program_in_good_order() {
    watched(|| {
        let (mut person, terminal) = terminal();
        let mut program = Program::spawn(command("ends", &["setsid", "--ctty"]).stdin(terminal));
        person.write_all(b"\x03").unwrap();
        program.says("clean");
        program.dies_by(Signal::INT);
    });
}

#[test]
fn a_terminal_that_hangs_up_ends_the_program_in_good_order() {
    watched(|| {
        let (person, terminal) = terminal();
        let mut program = Program::spawn(command("ends", &["setsid", "--ctty"]).stdin(terminal));
        drop(person);
        program.says("clean");
        program.dies_by(Signal::HUP);
    });
}

/// The first process of a container has the number 1, too.
#[test]
fn where_process_1_would_die_by_a_signal_it_exits_with_128_and_its_number() {
    watched(|| {
        let may = |wrapper: &&[&str]| {
            let mut probe = Command::new(wrapper[0]);
            probe.args(&wrapper[1..]).args(["--mount-proc", "true"]).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        };
        let wrappers = [&["unshare", "--pid", "--fork"][..], &["unshare", "--map-root-user", "--pid", "--fork"]];
        let Some(wrapper) = wrappers.into_iter().find(may) else {
            println!("not tested: this system does not let us start a process 1");
            return;
        };
        for (role, number, message) in [
            ("signals itself", Signal::TERM, ""),
            ("signals itself twice", Signal::TERM, ""),
            ("signals itself, and is stuck", Signal::TERM, "still running 100ms after signal 15: "),
            ("signals itself, and was guarded", Signal::TERM, ""),
            ("prints", Signal::PIPE, ""),
        ] {
            let mut child = command(role, &[wrapper, &["--mount-proc"]].concat()).spawn().unwrap();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            let (mut first, mut said) = (String::new(), String::new());
            stderr.read_line(&mut first).unwrap();
            assert_eq!(first, "ready 1\n", "{role}");
            drop(child.stdout.take());
            stderr.read_to_string(&mut said).unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(128 + number.as_raw()), "{role}: {status}: {said}");
            assert!(said.starts_with(message) && said.is_empty() == message.is_empty(), "{role}: {said}");
        }
    });
}
