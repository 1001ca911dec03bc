//! A terminal: lines as they are typed, and output that is held.

use std::io::{BufRead, Read, Write};
use std::time::Duration;

use brigade::io::{Input, Output};

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
