//! What a signal does while a guard lives, and after.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use brigade::CancelReason;
use brigade::signal::{SIGTERM, SIGUSR1, SignalBuilder, cancel_on_signals};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use signal_hook::low_level::raise;

use super::Program;
use crate::util::{alone, cpu_time, live, threads, until_threads, watched};

#[test]
fn a_signal_cancels_and_the_program_dies_by_it() {
    watched(|| {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut program = Program::start("ends");
            program.signal(signal);
            program.says("clean");
            program.dies_by(signal);
        }
    });
}

#[test]
fn a_service_that_drains_ends_well() {
    watched(|| {
        let mut program = Program::start("drains");
        program.signal(Signal::TERM);
        program.ends_with(0);
    });
}

#[test]
fn after_the_grace_the_process_names_its_threads_and_dies() {
    watched(|| {
        let mut program = Program::start("is stuck");
        program.signal(Signal::TERM);
        let line = program.line();
        assert!(line.starts_with("still running 300ms after signal 15: "), "{line}");
        assert!(line.contains("deaf#0") && !line.contains("brigade-signal"), "{line}");
        program.dies_by(Signal::TERM);
    });
}

#[test]
fn the_lock_of_the_standard_error_does_not_outlast_the_grace() {
    watched(|| {
        let mut program = Program::start("is stuck with the standard error locked");
        program.signal(Signal::TERM);
        assert!(program.line().starts_with("still running 300ms after signal 15: "));
        program.dies_by(Signal::TERM);
    });
}

#[test]
fn a_write_to_a_full_standard_error_does_not_outlast_the_grace() {
    watched(|| {
        let mut program = Program::start("is stuck in a message");
        // The pipe is read only when the program has ended.
        assert_eq!(program.child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    });
}

#[test]
fn after_the_last_guard_a_signal_has_its_default_action() {
    watched(|| {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut program = Program::start("was guarded");
            program.signal(signal);
            program.dies_by(signal);
        }
    });
}

#[test]
fn each_guard_does_its_part_until_the_last_is_dropped() {
    watched(|| {
        let mut program = Program::start("has two guards");
        program.signal(Signal::TERM);
        program.says("the last is left");
        program.signal(Signal::TERM);
        program.says("none is left");
        program.signal(Signal::TERM);
        program.dies_by(Signal::TERM);
    });
}

#[test]
fn a_handler_from_before_runs_first_and_is_alone_after_the_last_guard() {
    watched(|| {
        let mut program = Program::start("has a handler");
        program.signal(Signal::TERM);
        program.says("unguarded");
        program.signal(Signal::TERM);
        program.says("handled");
        program.ends_with(0);
    });
}

#[test]
fn other_signals_come_through_a_channel_and_cancel_nothing() {
    watched(|| {
        let mut program = Program::start("forwards");
        program.signal(Signal::USR1);
        program.says(&format!("got {}", Signal::USR1.as_raw()));
        program.signal(Signal::HUP);
        program.says("got 1");
        program.signal(Signal::INT);
        program.dies_by(Signal::INT);
    });
}

#[test]
fn what_no_program_can_handle_is_refused() {
    let (none, fault) = ("there is no such signal", "it tells of a fault in the program");
    let (never, unknown) =
        ("no program can handle it", "its default action is not known, so that it could not be given back");
    for (wrong, reason) in [(0, none), (-1, none), (9, never), (19, never), (11, fault), (34, unknown), (999, none)] {
        let error = SignalBuilder::new().cancel([SIGTERM, wrong]).install(&live()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{wrong}");
        assert_eq!(error.to_string(), format!("signal {wrong} cannot be guarded: {reason}"));
        SignalBuilder::new().forward([wrong]).install(&live()).unwrap_err();
    }
}

#[test]
fn a_guard_tells_which_signals_stay_ignored() {
    if !alone!(a_guard_tells_which_signals_stay_ignored) {
        return;
    }
    watched(|| {
        let pipe = Signal::PIPE.as_raw();
        let at_start = cancel_on_signals(&live()).unwrap().left_ignored().to_vec();
        let guard = SignalBuilder::new().forward([SIGUSR1, pipe]).install(&live()).unwrap();
        assert_eq!(guard.left_ignored(), [at_start.clone(), vec![pipe]].concat());
        raise(pipe).unwrap();
        raise(SIGUSR1).unwrap();
        assert_eq!(guard.forwarded().recv(), Ok(SIGUSR1));
        drop(guard);
        let guard = cancel_on_signals(&live()).unwrap();
        assert_eq!(guard.left_ignored(), at_start);
    });
}

/// `poll` refuses to wait for a descriptor where none may be open.
#[test]
fn a_guard_that_cannot_wait_sees_signals_and_burns_no_time() {
    if !alone!(a_guard_that_cannot_wait_sees_signals_and_burns_no_time) {
        return;
    }
    watched(|| {
        let token = live();
        let guard = SignalBuilder::new().forward([SIGUSR1]).install(&token).unwrap();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
        raise(SIGUSR1).unwrap();
        assert_eq!(guard.forwarded().recv(), Ok(SIGUSR1));
        let before = cpu_time();
        live().sleep(Duration::from_millis(500)).unwrap();
        let used = cpu_time().checked_sub(before).unwrap();
        assert!(used < Duration::from_millis(250), "{used:?}");
        raise(SIGTERM).unwrap();
        assert_eq!(token.wait(), CancelReason::Signal(SIGTERM));
        drop(guard);
    });
}

#[test]
fn a_guard_joins_its_thread() {
    if !alone!(a_guard_joins_its_thread) {
        return;
    }
    watched(|| {
        let before = threads();
        let guards = [live(), live()].map(|token| cancel_on_signals(&token).unwrap());
        assert_eq!(threads(), before + 2);
        drop(guards);
        until_threads(before);
    });
}

#[test]
fn a_signal_just_before_the_drop_of_a_guard_is_not_lost() {
    if !alone!(a_signal_just_before_the_drop_of_a_guard_is_not_lost) {
        return;
    }
    watched(|| {
        for _ in 0..200 {
            let token = live();
            let guard = SignalBuilder::new().forward([SIGUSR1]).install(&token).unwrap();
            let forwarded = guard.forwarded().clone();
            raise(SIGUSR1).unwrap();
            raise(SIGTERM).unwrap();
            drop(guard);
            assert_eq!(token.reason(), Some(CancelReason::Signal(SIGTERM)));
            assert_eq!(forwarded.try_recv(), Ok(SIGUSR1));
        }
    });
}

/// A guard that comes and goes while signals come: each cancels a token, or kills.
#[test]
fn a_signal_amid_guards_that_come_and_go_ends_the_program() {
    watched(|| {
        for _ in 0..20 {
            let mut program = Program::start("has guards that come and go");
            program.signal(Signal::TERM);
            program.dies_by(Signal::TERM);
        }
    });
}
