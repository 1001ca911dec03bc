//! A terminal: lines as they are typed, and output that is held.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::time::Duration;

use brigade::io::{Input, Output};
use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::cancelled_while;
use crate::terminal::terminal;
use crate::util::{alone, cpu_time, live, watched};

#[test]
fn a_terminal_gives_lines_and_ends_its_read_at_a_cancel() {
    if !alone!(a_terminal_gives_lines_and_ends_its_read_at_a_cancel) {
        return;
    }
    watched(|| {
        let (mut person, program) = terminal();
        person.write_all(b"typed\nbegun").unwrap();
        let mut input = Input::new(program);
        let mut line = String::new();
        input.until(&live()).read_line(&mut line).unwrap();
        assert_eq!(line, "typed\n");
        let (result, late) = cancelled_while(|token| input.until(token).read(&mut [0; 10]));
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        // The line that was begun is still there.
        person.write_all(b"\n").unwrap();
        line.clear();
        input.until(&live()).read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
    });
}

#[test]
fn a_write_to_a_terminal_without_a_reader_ends_at_a_cancel() {
    if !alone!(a_write_to_a_terminal_without_a_reader_ends_at_a_cancel) {
        return;
    }
    watched(|| {
        let (person, program) = terminal();
        let (result, late) =
            cancelled_while(|token| Output::new(&program).until(token).write_all(&vec![b'x'; 1 << 20]));
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        // The terminal is full now.
        let used = cpu_time();
        let token = live().child_with_timeout(Duration::from_millis(300));
        Output::new(&program).until(&token).write_all(&vec![b'\n'; 1 << 20]).unwrap_err();
        let used = cpu_time().saturating_sub(used);
        assert!(used < Duration::from_millis(20), "{used:?}");
        drop(person);
    });
}

/// A terminal that passes on what it is given, byte by byte.
pub(super) fn raw_terminal() -> (File, File) {
    let (person, program) = terminal();
    let mut settings = tcgetattr(&program).unwrap();
    settings.make_raw();
    tcsetattr(&program, OptionalActions::Now, &settings).unwrap();
    (person, program)
}

#[test]
fn bytes_written_to_the_side_of_the_person_come_to_the_program() {
    watched(|| {
        let (person, program) = raw_terminal();
        Output::new(person.try_clone().unwrap()).until(&live()).write_all(b"hello\n").unwrap();
        let mut line = String::new();
        let token = live().child_with_timeout(Duration::from_secs(5));
        Input::new(program).until(&token).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
    });
}

#[test]
fn a_write_to_the_side_of_the_person_ends_at_a_cancel() {
    if !alone!(a_write_to_the_side_of_the_person_ends_at_a_cancel) {
        return;
    }
    watched(|| {
        let (person, program) = raw_terminal();
        let (result, late) =
            cancelled_while(|token| Output::new(&person).until(token).write_all(&vec![b'\n'; 1 << 20]));
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        drop(program);
    });
}

#[test]
fn a_terminal_that_was_opened_for_input_takes_no_output() {
    watched(|| {
        let (person, _program) = terminal();
        let name = rustix::pty::ptsname(&person, Vec::new()).unwrap();
        let input = open(&name, OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let error = Output::new(input).until(&live()).write(b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9), "a bad descriptor");
    });
}

#[test]
fn a_write_of_nothing_waits_for_nothing() {
    watched(|| {
        let (person, program) = raw_terminal();
        for full in [&person, &program] {
            let mut output = Output::new(full);
            let token = live().child_with_timeout(Duration::from_millis(50));
            output.until(&token).write_all(&vec![b'x'; 1 << 20]).unwrap_err();
            let token = live().child_with_timeout(Duration::from_secs(1));
            assert_eq!(output.until(&token).write(&[]).unwrap(), 0);
        }
    });
}
