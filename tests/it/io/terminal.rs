//! A terminal: lines as they are typed, and output that is held.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use brigade::io::{Input, Output};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::cancelled_while;
use crate::util::{alone, live, watched};

/// The two sides of a pseudo terminal: the person's, and the program's.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (File::from(person), program)
}

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
        let (result, late) = cancelled_while(|token| Output::new(&program).until(token).write_all(&[b'x'; 1 << 20]));
        result.unwrap_err();
        assert!(late < Duration::from_millis(500), "{late:?}");
        drop(person);
    });
}
