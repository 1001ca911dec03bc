//! The second signal.

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade::scope::ScopedTask;
use brigade::{Cancelled, scope};
use rustix::process::Signal;

use super::{Program, command};
use crate::util::{live, watched};

/// Sends a signal after a moment, and again until the program has ended: on a busy machine the first may be taken for
/// one of the moment before.
fn insist(program: &mut Program, signal: Signal) {
    while program.child.try_wait().unwrap().is_none() {
        live().sleep(Duration::from_millis(300)).unwrap();
        program.signal(signal);
    }
}

#[test]
fn a_second_signal_after_a_moment_takes_its_default_action() {
    watched(|| {
        for role in ["lingers", "lingers in a callback"] {
            for second in [Signal::TERM, Signal::INT] {
                let mut program = Program::start(role);
                program.signal(Signal::TERM);
                program.says("cancelled");
                insist(&mut program, second);
                program.dies_by(second);
            }
        }
    });
}

/// Starts a program that lingers, and cancels it by a signal, upon which it gets `others` at once.
fn signalled(others: [Signal; 2]) -> Program {
    loop {
        let mut program = Program::start("lingers");
        let first = Instant::now();
        program.signal(Signal::TERM);
        program.says("cancelled");
        others.into_iter().for_each(|signal| program.signal(signal));
        // Later, on a machine that is busy, the others may be another request.
        if first.elapsed() <= Duration::from_millis(200) {
            return program;
        }
    }
}

#[test]
fn a_second_signal_at_once_is_the_same_request() {
    watched(|| {
        let mut program = signalled([Signal::TERM, Signal::INT]);
        live().sleep(Duration::from_millis(300)).unwrap();
        assert!(program.child.try_wait().unwrap().is_none(), "it died of the second signal");
        insist(&mut program, Signal::HUP);
        program.dies_by(Signal::HUP);
    });
}

#[test]
fn signals_that_a_stopped_process_finds_late_are_the_same_request() {
    watched(|| {
        let mut program = signalled([Signal::STOP, Signal::INT]);
        live().sleep(Duration::from_millis(500)).unwrap();
        program.signal(Signal::CONT);
        insist(&mut program, Signal::HUP);
        program.dies_by(Signal::HUP);
    });
}

/// `timeout` sends SIGTERM to the process, and then to its group.
#[test]
fn five_hundred_runs_under_timeout_on_a_busy_machine_end_in_good_order() {
    const RUNS: usize = 500;
    const AT_ONCE: usize = 16;
    watched(|| {
        let over = AtomicBool::new(false);
        let clean: usize = scope(&live(), |s| {
            let over = &over;
            for _ in 0..2 {
                s.named("load").spawn(|_| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    Ok::<_, Cancelled>(())
                })?;
            }
            let runners = (0..AT_ONCE)
                .map(|_| s.named("runs").spawn(|_| Ok((0..RUNS.div_ceil(AT_ONCE)).filter(|_| run()).count())));
            let runners: Vec<_> = runners.collect::<Result<_, _>>()?;
            let clean = runners.into_iter().map(ScopedTask::join).sum::<Result<usize, _>>();
            over.store(true, Ordering::Relaxed);
            clean
        })
        .unwrap();
        assert!(clean > RUNS / 2, "only {clean} runs had begun when they were told to end");
    });
}

/// Returns whether the run had begun before it was told to end.
fn run() -> bool {
    let mut child = command("works", &["timeout", "0.1"]).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(124), "{said}");
    let begun = said.starts_with("ready ");
    assert!(!begun || said.ends_with("\nclean\n"), "{said}");
    begun
}
