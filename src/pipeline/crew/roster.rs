//! [`Roster`]: which members sleep, and which have to be woken.
//!
//! Invariants:
//!
//! 1. `asleep` counts the workers between the step that sent them to sleep and their next look at the state.
//! 2. `waking` is set from the choice to wake one worker until the first worker looks after its sleep.
//!    Meanwhile no other is woken: the one that looks passes the wake-up on when it leaves the state.
//! 3. The caller's mode is `Awake` from the choice to wake it, so it is woken once a sleep.

/// The members of a run, as the state sees them.
#[derive(Debug)]
pub(super) struct Roster {
    /// How many worker threads were started.
    started: usize,
    asleep: usize,
    waking: bool,
    pub(super) caller: Mode,
    parts: Parts,
    /// A worker is gone by a panic that belongs to no item.
    pub(super) crashed: bool,
}

/// The calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Awake,
    Asleep,
    /// It sleeps with a batch in hand, a part of which it has to hand over: it cannot claim another.
    AsleepHolding,
}

/// Workers that wait for a part to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    NotAwaited,
    Awaited,
    /// A part was taken since, and they have yet to be woken.
    Taken,
}

/// The members that a change of the state lets go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wakes {
    pub(super) workers: Workers,
    pub(super) caller: bool,
    /// The workers that wait for a part to be taken.
    pub(super) for_parts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workers {
    None,
    One,
    All,
}

impl Wakes {
    pub(super) const NONE: Wakes = Wakes { workers: Workers::None, caller: false, for_parts: false };
}

impl Roster {
    pub(super) fn new(started: usize) -> Self {
        Roster { started, asleep: 0, waking: false, caller: Mode::Awake, parts: Parts::NotAwaited, crashed: false }
    }

    pub(super) fn set_started(&mut self, workers: usize) {
        self.started = workers;
    }

    /// Whether the caller is the only member.
    pub(super) fn is_caller_alone(&self) -> bool {
        self.started == 0
    }

    pub(super) fn worker_sleeps(&mut self) {
        self.asleep += 1;
    }

    /// A worker looks after a sleep.
    pub(super) fn worker_awake(&mut self) {
        self.asleep -= 1;
        self.waking = false;
    }

    pub(super) fn workers_asleep(&self) -> usize {
        self.asleep
    }

    /// Whether a member sleeps, and would take a rest that is handed back.
    pub(super) fn is_idle(&self) -> bool {
        self.asleep > 0 || self.caller != Mode::Awake
    }

    /// A worker waits for a part to be taken.
    pub(super) fn await_part(&mut self) {
        self.parts = Parts::Awaited;
    }

    pub(super) fn part_taken(&mut self) {
        if self.parts == Parts::Awaited {
            self.parts = Parts::Taken;
        }
    }

    /// Whether the workers that wait for a part to be taken have to be woken now.
    pub(super) fn wake_for_parts(&mut self) -> bool {
        let taken = self.parts == Parts::Taken;
        if taken {
            self.parts = Parts::NotAwaited;
        }
        taken
    }

    /// Whether to wake a worker for a step that one of them can do.
    pub(super) fn wake_one(&mut self) -> Workers {
        if self.asleep == 0 || self.waking {
            return Workers::None;
        }
        self.waking = true;
        Workers::One
    }

    /// Whether to wake the caller, whose step is there.
    pub(super) fn wake_caller(&mut self) -> bool {
        std::mem::replace(&mut self.caller, Mode::Awake) != Mode::Awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_woken_at_a_time_and_passes_the_wake_up_on() {
        let mut roster = Roster::new(2);
        assert_eq!(roster.wake_one(), Workers::None);
        roster.worker_sleeps();
        roster.worker_sleeps();
        assert_eq!((roster.wake_one(), roster.wake_one()), (Workers::One, Workers::None));
        roster.worker_awake();
        assert_eq!(roster.wake_one(), Workers::One);
    }

    #[test]
    fn the_caller_is_woken_once_a_sleep() {
        let mut roster = Roster::new(2);
        assert!(!roster.wake_caller());
        roster.caller = Mode::AsleepHolding;
        assert!(roster.is_idle() && roster.wake_caller() && !roster.wake_caller());
    }

    #[test]
    fn a_taken_part_is_told_to_those_that_wait_for_it_only() {
        let mut roster = Roster::new(2);
        roster.part_taken();
        assert!(!roster.wake_for_parts());
        roster.await_part();
        assert!(!roster.wake_for_parts());
        roster.part_taken();
        assert!(roster.wake_for_parts() && !roster.wake_for_parts());
    }
}
