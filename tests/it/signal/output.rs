//! What is left of the output when a signal ends the program of the first page.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Program, command};
use crate::util::watched;

/// The squares that the program has printed, behind what the test harness prints before them.
fn squares(output: impl BufRead) -> impl Iterator<Item = u64> {
    output.lines().filter_map(|line| line.unwrap().rsplit(' ').next()?.parse().ok())
}

#[test]
fn no_line_is_held_back_while_the_input_is_silent() {
    watched(|| {
        let mut program = Program::spawn(command("squares", &[]).stdin(Stdio::piped()));
        let mut stdin = program.child.stdin.take().unwrap();
        let mut printed = squares(BufReader::new(program.child.stdout.take().unwrap()));
        for first in [1, 101] {
            let numbers = first..first + 100_u64;
            let lines: Vec<_> = numbers.clone().map(|number| format!("{number}\n")).collect();
            stdin.write_all(lines.concat().as_bytes()).unwrap();
            assert!(printed.by_ref().take(100).eq(numbers.map(|number| number.pow(2))));
        }
        program.signal(Signal::TERM);
        program.dies_by(Signal::TERM);
        assert_eq!(printed.next(), None);
        drop(stdin);
    });
}

#[test]
fn a_signal_cuts_no_line() {
    watched(|| {
        for _ in 0..10 {
            let mut yes = Command::new("yes").arg("1234").stdout(Stdio::piped()).spawn().unwrap();
            let mut program = Program::spawn(command("squares", &[]).stdin(yes.stdout.take().unwrap()));
            let mut output = BufReader::new(program.child.stdout.take().unwrap());
            assert!(squares(output.by_ref()).take(1000).all(|square| square == 1234 * 1234));
            // The pipe is full now, or the program is amid a row.
            program.signal(Signal::TERM);
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            program.dies_by(Signal::TERM);
            assert!(rest.ends_with('\n') && rest.lines().skip(1).all(|line| line == "1522756"), "{rest}");
            yes.wait().unwrap();
        }
    });
}
