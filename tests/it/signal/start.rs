//! How a program was started: under `nohup`, in the background of a script, in a terminal.

use std::io::Write;

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
