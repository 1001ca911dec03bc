//! From a result to the end of the process.

use rustix::process::Signal;

use super::Program;
use crate::util::watched;

#[test]
fn an_error_is_printed_with_its_chain() {
    watched(|| {
        let mut program = Program::start("fails");
        let line = program.line();
        assert!(line.ends_with(": check: no such list"), "{line}");
        program.ends_with(1);
    });
}

#[test]
fn an_error_after_a_signal_is_an_error() {
    watched(|| {
        let mut program = Program::start("fails after a signal");
        program.signal(Signal::TERM);
        assert!(program.line().ends_with(": disk full"));
        program.ends_with(1);
    });
}

#[test]
fn a_deadline_is_124() {
    watched(|| {
        let mut program = Program::start("is late");
        assert!(program.line().ends_with(": cancelled: the deadline passed"));
        program.ends_with(124);
    });
}

#[test]
fn a_closed_pipe_is_a_death_by_sigpipe() {
    watched(|| {
        let mut program = Program::start("prints");
        drop(program.child.stdout.take());
        program.dies_by(Signal::PIPE);
    });
}

#[test]
fn a_program_may_say_how_a_closed_pipe_ends_it() {
    watched(|| {
        let mut program = Program::start("prints, and says how it ends");
        drop(program.child.stdout.take());
        program.ends_with(3);
    });
}

#[test]
fn a_closed_socket_that_is_not_the_output_is_an_error() {
    watched(|| {
        let mut program = Program::start("loses a peer");
        let line = program.line();
        assert!(line.ends_with("Broken pipe (os error 32)"), "{line}");
        program.ends_with(1);
    });
}
