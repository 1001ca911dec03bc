//! The pipeline's `Signal`: members that fall asleep while others change the state, wake them and void the run.
//!
//! The models need two private files of the crew, so these are compiled here a second time: `Signal`, and the `Roster`
//! whose choice it carries out. A lock around a roster and a few counts stands for the state, and [`Run::enter`] for
//! `Members::enter`.

use std::sync::Arc;

use brigade::{CancellationToken, Event};
use loom::model;
use loom::sync::Mutex;
use loom::thread::{JoinHandle, spawn};

use self::roster::{Arrival, Mode, Roster, Sleep, Wakes, Workers};
use self::signal::Signal;
use crate::{A, bounded, with};

#[path = "../../src/pipeline/crew/roster.rs"]
#[allow(dead_code, reason = "the models use a part of it")]
mod roster;
#[path = "../../src/pipeline/crew/signal.rs"]
#[allow(dead_code, reason = "the models use a part of it")]
mod signal;

/// The index of an item.
const ITEM: u64 = 1;

struct State {
    roster: Roster,
    /// How many items can be claimed.
    items: usize,
    /// How many pieces are due at the sink.
    pieces: usize,
    /// How many parts the ring has room for.
    room: usize,
}

/// What a member does next.
enum Step {
    Sleep,
    Leave,
}

#[derive(Clone)]
struct Run(Arc<(Arc<Signal>, Mutex<State>)>);

impl Run {
    fn new() -> Self {
        // The models start the workers.
        let state = State { roster: Roster::new(0), items: 0, pieces: 0, room: 0 };
        Run(Arc::new((Signal::new(1), Mutex::new(state))))
    }

    fn signal(&self) -> &Signal {
        &self.0.0
    }

    /// Enters the state, and on leaving wakes the members that can go on.
    fn enter<T>(&self, f: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.0.1.lock().unwrap();
        let result = f(&mut state, self.signal().void());
        let for_parts = state.roster.wake_for_parts();
        let workers = if state.items > 0 { state.roster.call_one() } else { Workers::None };
        let caller = state.pieces > 0 && state.roster.wake_caller();
        drop(state);
        self.signal().wake(Wakes { workers, caller, for_parts });
        result
    }

    /// Takes a ticket of the event, then the step; until it is to leave.
    fn until_left(&self, event: impl Fn(&Signal) -> &Event, mut step: impl FnMut(&mut State, u64) -> Step) {
        loop {
            let ticket = event(self.signal()).ticket();
            match self.enter(&mut step) {
                Step::Sleep => event(self.signal()).wait(ticket),
                Step::Leave => return,
            }
        }
    }

    /// A worker that claims one item, unless the run is void.
    fn worker(&self) {
        loop {
            let ticket = self.signal().workers.ticket();
            let step = self.enter(|state, void| {
                if void <= ITEM {
                    return Step::Leave;
                }
                if state.items > 0 {
                    state.items -= 1;
                    return Step::Leave;
                }
                state.roster.worker_sleeps();
                Step::Sleep
            });
            match step {
                Step::Leave => return,
                Step::Sleep => {
                    self.signal().workers.wait(ticket);
                    self.enter(|state, _| state.roster.worker_arrives(Arrival::Slept(Sleep::Long)));
                }
            }
        }
    }

    /// The caller, which takes one piece, unless the run is void.
    fn caller(&self) {
        self.until_left(
            |signal| &signal.caller,
            |state, void| {
                state.roster.caller = Mode::Awake;
                if void <= ITEM {
                    return Step::Leave;
                }
                if state.pieces > 0 {
                    state.pieces -= 1;
                    state.room += 1;
                    state.roster.part_taken();
                    return Step::Leave;
                }
                state.roster.caller = Mode::Asleep;
                Step::Sleep
            },
        );
    }

    /// A worker with a part, which it puts where there is room, unless the run is void.
    fn offer(&self) {
        self.until_left(
            |signal| &signal.parts,
            |state, void| {
                if void <= ITEM {
                    return Step::Leave;
                }
                if state.room > 0 {
                    state.room -= 1;
                    return Step::Leave;
                }
                state.roster.await_part();
                Step::Sleep
            },
        );
    }

    fn spawn(&self, f: impl FnOnce(&Run) + 'static) -> JoinHandle<()> {
        let run = self.clone();
        spawn(move || f(&run))
    }
}

#[test]
fn a_worker_does_not_sleep_through_a_void_mark() {
    model(|| {
        let run = Run::new();
        let voiding = run.spawn(|run| run.signal().void_from(0, ITEM));
        run.worker();
        voiding.join().unwrap();
    });
}

#[test]
fn the_caller_does_not_sleep_through_a_void_mark() {
    model(|| {
        let run = Run::new();
        let voiding = run.spawn(|run| run.signal().void_from(0, ITEM));
        run.caller();
        voiding.join().unwrap();
    });
}

#[test]
fn a_worker_that_waits_for_room_does_not_sleep_through_a_void_mark() {
    model(|| {
        let run = Run::new();
        let voiding = run.spawn(|run| run.signal().void_from(0, ITEM));
        run.offer();
        voiding.join().unwrap();
    });
}

#[test]
fn the_caller_which_looks_at_the_token_first_does_not_sleep_through_a_cancel() {
    model(|| {
        let run = Run::new();
        let token = CancellationToken::new();
        let signal = Arc::clone(&run.0.0);
        let watch = token.on_cancel(move |_| signal.void_all());
        let cancelling = with(&token, |token| token.cancel_with(A));
        loop {
            let ticket = run.signal().caller.ticket();
            if token.is_cancelled() {
                break;
            }
            run.enter(|state, _| state.roster.caller = Mode::Asleep);
            run.signal().caller.wait(ticket);
        }
        drop(watch);
        assert!(cancelling.join().unwrap());
    });
}

#[test]
fn a_mark_behind_the_item_hides_no_mark_before_it() {
    bounded(3, || {
        let run = Run::new();
        let failing = run.spawn(|run| run.signal().void_from(0, ITEM + 1));
        let cancelling = run.spawn(|run| run.signal().void_all());
        run.worker();
        failing.join().unwrap();
        cancelling.join().unwrap();
        assert_eq!(run.signal().void(), 0);
    });
}

#[test]
fn one_wake_after_the_other_reaches_two_workers_for_two_items() {
    bounded(3, || {
        let run = Run::new();
        let other = run.spawn(Run::worker);
        let giving = run.spawn(|run| run.enter(|state, _| state.items += 2));
        run.worker();
        other.join().unwrap();
        giving.join().unwrap();
    });
}

#[test]
fn a_wake_for_one_worker_and_a_void_mark_at_once_reach_both() {
    bounded(3, || {
        let run = Run::new();
        let other = run.spawn(Run::worker);
        let giving = run.spawn(|run| {
            run.enter(|state, _| state.items += 1);
            run.signal().void_all();
        });
        run.worker();
        other.join().unwrap();
        giving.join().unwrap();
    });
}

#[test]
fn the_caller_is_woken_for_a_piece() {
    model(|| {
        let run = Run::new();
        let giving = run.spawn(|run| run.enter(|state, _| state.pieces += 1));
        run.caller();
        giving.join().unwrap();
    });
}

#[test]
fn two_workers_that_wait_for_room_go_on_as_the_caller_takes_pieces() {
    bounded(3, || {
        let run = Run::new();
        run.enter(|state, _| state.pieces += 2);
        let others = [run.spawn(Run::offer), run.spawn(Run::offer)];
        run.caller();
        run.caller();
        for other in others {
            other.join().unwrap();
        }
    });
}
