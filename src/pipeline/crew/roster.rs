//! [`Roster`]: which members sleep, and which have to be woken.
//!
//! Invariants:
//!
//! 1. `asleep` counts the workers between the step that sent them to sleep and their next look at the state.
//! 2. `is_coming` is set from the choice to wake or start one worker until the first worker looks after its sleep or
//!    its start. Meanwhile no other is woken or started: the one that looks passes the wake-up on when it leaves.
//! 3. The caller's mode is `Coming` from the choice to wake it until it looks, so it is woken once a sleep.
//! 4. `guard` is a member that sleeps with an alarm. At most one member is the guard.
//! 5. `timer` is a member that sleeps no longer than until a serial stage is to hand its items on.

use std::time::Instant;

/// The members of a run, as the state sees them.
#[derive(Debug)]
pub(in super::super) struct Roster {
    /// How many workers were started, those included that are about to begin.
    started: usize,
    /// How many workers may be started.
    most: usize,
    /// The system has refused to start one: no other is tried.
    is_refused: bool,
    asleep: usize,
    is_coming: bool,
    pub(super) caller: Mode,
    guard: Option<Guard>,
    timer: Option<(Guard, Sleep)>,
    parts: Parts,
    /// All workers were woken, because the run is over.
    is_dismissed: bool,
    /// A worker is gone by a panic that belongs to no item.
    pub(super) crashed: bool,
}

/// The calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Mode {
    Awake,
    /// It was woken, and has not looked yet.
    Coming,
    Asleep,
    /// It sleeps with a batch in hand, a part of which it has to hand over: it cannot claim another.
    AsleepHolding,
}

/// The sleeping member that has an alarm, lest items stay with a puller that waits in `next()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Guard {
    Caller,
    Worker,
}

/// How long a member sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Sleep {
    /// Until it is woken.
    Long,
    /// As the guard: until it is woken, or for the time of an alarm.
    ToAlarm,
    /// The caller, where another member or none is the guard: until it is woken, or it asks for the outputs that are
    /// held back.
    ToAsk,
    /// Until it is woken, or until this time, when a serial stage is to hand its items on.
    Until(Instant),
}

/// How a worker comes to look at the state, if not from work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Arrival {
    /// It was started.
    Started,
    /// It has slept.
    Slept(Sleep),
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
pub(in super::super) struct Wakes {
    pub(super) workers: Workers,
    pub(super) caller: bool,
    /// The workers that wait for a part to be taken.
    pub(super) for_parts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Workers {
    None,
    One,
    /// Starts the worker of this number, from 1.
    Start(usize),
    All,
}

impl Wakes {
    pub(super) const NONE: Wakes = Wakes { workers: Workers::None, caller: false, for_parts: false };
}

impl Roster {
    /// `most` is how many workers may be started.
    pub(super) fn new(most: usize) -> Self {
        Roster {
            started: 0,
            most,
            is_refused: false,
            asleep: 0,
            is_coming: false,
            caller: Mode::Awake,
            guard: None,
            timer: None,
            parts: Parts::NotAwaited,
            is_dismissed: false,
            crashed: false,
        }
    }

    /// Sets how many workers may be started, in place of the number that was given before.
    pub(super) fn set_most(&mut self, most: usize) {
        if !self.is_refused {
            self.most = most;
        }
    }

    /// Whether the caller is the only member, and will be.
    pub(super) fn is_caller_alone(&self) -> bool {
        self.started == 0 && self.most == 0
    }

    /// Whether the system has refused a worker, so that the run has fewer than `threads`.
    pub(super) fn is_short_of(&self, threads: usize) -> bool {
        self.is_refused && self.most < threads
    }

    pub(super) fn can_start(&self) -> bool {
        self.started < self.most
    }

    pub(super) fn worker_sleeps(&mut self) {
        self.asleep += 1;
    }

    /// A worker looks for the first time, or after a sleep. Its step is chosen in the same breath: otherwise another
    /// one would be called for it.
    pub(super) fn worker_arrives(&mut self, arrival: Arrival) {
        self.is_coming = false;
        if let Arrival::Slept(sleep) = arrival {
            self.asleep -= 1;
            if sleep == Sleep::ToAlarm {
                self.guard = None;
            }
            self.timer.take_if(|timer| *timer == (Guard::Worker, sleep));
        }
    }

    /// The system has refused to start the worker that was to come.
    pub(super) fn start_refused(&mut self) {
        self.started -= 1;
        self.most = self.started;
        self.is_refused = true;
        self.is_coming = false;
    }

    /// The caller looks after a sleep, or goes on.
    pub(super) fn caller_awake(&mut self) {
        self.caller = Mode::Awake;
        if self.guard == Some(Guard::Caller) {
            self.guard = None;
        }
        self.timer.take_if(|(timer, _)| *timer == Guard::Caller);
    }

    /// Makes a member that falls asleep the guard, where there is none.
    pub(super) fn stand_guard(&mut self, guard: Guard) {
        debug_assert!(self.guard.is_none(), "there is one guard");
        self.guard = Some(guard);
    }

    /// Whether no sleeping member has an alarm.
    pub(super) fn is_unguarded(&self) -> bool {
        self.guard.is_none()
    }

    /// Whether no sleeping member wakes at this time, or before.
    pub(super) fn wants_timer(&self, time: Instant) -> bool {
        match self.timer {
            None => true,
            Some((_, Sleep::Until(other))) => time < other,
            Some(_) => false,
        }
    }

    /// Makes a member that falls asleep the timer.
    pub(super) fn stand_timer(&mut self, timer: Guard, sleep: Sleep) {
        self.timer = Some((timer, sleep));
    }

    pub(super) fn has_sleeper(&self) -> bool {
        self.asleep > 0 || self.is_caller_asleep()
    }

    pub(super) fn is_caller_asleep(&self) -> bool {
        matches!(self.caller, Mode::Asleep | Mode::AsleepHolding)
    }

    pub(super) fn has_worker_asleep(&self) -> bool {
        self.asleep > 0
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

    /// Whether to wake or start a worker for a step that one of them can do.
    pub(super) fn call_one(&mut self) -> Workers {
        if self.is_coming {
            return Workers::None;
        }
        if self.asleep > 0 {
            self.is_coming = true;
            return Workers::One;
        }
        if !self.can_start() {
            return Workers::None;
        }
        self.is_coming = true;
        self.started += 1;
        Workers::Start(self.started)
    }

    /// Whether to wake all workers, because the run is over: once, as no worker falls asleep after that.
    pub(super) fn dismiss(&mut self) -> Workers {
        if std::mem::replace(&mut self.is_dismissed, true) || self.asleep == 0 { Workers::None } else { Workers::All }
    }

    /// Whether to wake the caller, whose step is there.
    pub(super) fn wake_caller(&mut self) -> bool {
        let is_asleep = self.is_caller_asleep();
        if is_asleep {
            self.caller = Mode::Coming;
        }
        is_asleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_called_at_a_time_the_sleeping_before_one_that_is_not_started() {
        let mut roster = Roster::new(2);
        assert_eq!((roster.call_one(), roster.call_one()), (Workers::Start(1), Workers::None));
        roster.worker_arrives(Arrival::Started);
        roster.worker_sleeps();
        assert_eq!((roster.call_one(), roster.call_one()), (Workers::One, Workers::None));
        roster.worker_arrives(Arrival::Slept(Sleep::Long));
        assert_eq!(roster.call_one(), Workers::Start(2));
        roster.worker_arrives(Arrival::Started);
        assert_eq!(roster.call_one(), Workers::None);
    }

    #[test]
    fn after_a_refused_start_no_other_is_tried() {
        let mut roster = Roster::new(3);
        assert_eq!(roster.call_one(), Workers::Start(1));
        roster.start_refused();
        assert!(roster.is_caller_alone());
        roster.set_most(4);
        assert_eq!(roster.call_one(), Workers::None);
    }

    #[test]
    fn the_caller_is_woken_once_a_sleep() {
        let mut roster = Roster::new(1);
        assert!(!roster.wake_caller());
        roster.caller = Mode::AsleepHolding;
        assert!(roster.wake_caller() && !roster.wake_caller());
    }

    #[test]
    fn one_sleeper_stands_guard_until_it_looks() {
        let mut roster = Roster::new(2);
        roster.worker_sleeps();
        roster.stand_guard(Guard::Worker);
        roster.caller_awake();
        assert!(!roster.is_unguarded());
        roster.worker_arrives(Arrival::Slept(Sleep::ToAlarm));
        assert!(roster.is_unguarded());
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
