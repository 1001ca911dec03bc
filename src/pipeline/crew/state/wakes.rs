//! The choice of the members to wake or start when the state has changed.
//!
//! The README of the crew has the proof that no wake is lost.

use super::super::super::Order;
use super::super::super::source::Stock;
use super::super::below::{Below, Calls, Void};
use super::super::roster::{Mode, Wakes, Workers};
use super::State;

impl<S: Stock, D: Below> State<S, D> {
    /// Whether a member sleeps, or could be started, that would take a rest that is handed back.
    ///
    /// If all there is no room because the caller is late, smaller batches would only cost it more.
    pub(in super::super) fn is_idle(&self) -> bool {
        (self.roster.has_sleeper() || self.roster.can_start())
            && !(self.down.is_ready() && self.window.room(self.pace.ahead()) == 0)
    }

    /// Chooses the members to wake, now that the state may have changed.
    ///
    /// One worker at a time: when it leaves the state in turn, it wakes the next, if there is more to do. But all of
    /// them when the run is over. (The caller wakes them too when it has left its loop, but its sink may take long.)
    pub(in super::super) fn wakes(&mut self, void: Void<'_>) -> Wakes {
        let for_parts = self.roster.wake_for_parts();
        if !self.roster.has_sleeper() && !self.roster.can_start() {
            return Wakes { for_parts, ..Wakes::NONE };
        }
        let can_claim = self.can_claim(void) || self.may_step_behind() && self.down.can_step(void.next());
        let does_caller_claim = can_claim && self.roster.caller == Mode::Asleep && self.does_caller_work();
        let can_pull = self.may_pull(void).is_some();
        // When the caller has looked, it calls a worker in turn if there is more to claim.
        let is_caller_on_its_way = self.roster.caller == Mode::Coming && self.does_caller_work();
        let is_alarm_wanted = self.needs_alarm() && !self.roster.is_caller_asleep() && self.roster.has_worker_asleep();
        let workers = if self.is_over(void) {
            self.roster.dismiss()
        } else if can_claim && !does_caller_claim && !is_caller_on_its_way || can_pull || is_alarm_wanted {
            self.roster.call_one()
        } else {
            Workers::None
        };
        // The room for it may come without the caller where there are several sections.
        let does_caller_pull = D::SECTIONS > 0
            && can_pull
            && self.supply.is_ready()
            && self.roster.caller == Mode::Asleep
            && self.does_caller_work();
        let caller_can_go_on = self.down.is_ready()
            || self.is_complete()
            || does_caller_claim
            || self.needs_alarm()
            || self.must_caller_pull(void)
            || self.down.has_failed() && self.down.ring().order() == Order::Arrival
            || does_caller_pull
            || self.roster.caller == Mode::AsleepHolding && self.down.can_step(void.next());
        let caller = caller_can_go_on && self.roster.wake_caller();
        Wakes { workers, caller, for_parts }
    }

    /// Whether a puller or a serial stage may hold items, and no member that sleeps has an alarm for that.
    fn needs_alarm(&self) -> bool {
        self.roster.is_unguarded() && self.supply.is_pulled() && self.chunk.wants_guard()
            || self.untimed_flush().is_some()
    }

    /// The workers of single sections to wake or start, now that the state may have changed.
    pub(in super::super) fn own_calls(&mut self, void: Void<'_>) -> Calls {
        let mut calls = Calls::new();
        if D::SECTIONS > 0 {
            let is_over = self.is_first_over(void);
            self.down.calls(1, is_over, void.next(), &mut calls);
        }
        calls
    }
}
