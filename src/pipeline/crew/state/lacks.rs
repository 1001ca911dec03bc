//! What the report is told: what a member lacks that sleeps, and how far the run is ahead of the sink.

use super::super::super::report::{Ahead, Lack};
use super::super::super::source::Stock;
use super::super::below::{Below, Void};
use super::super::roster::Mode;
use super::State;

impl<S: Stock, D: Below> State<S, D> {
    /// What a member lacks that serves all sections and has nothing to do.
    pub(in super::super) fn lack(&self, void: Void<'_>) -> Lack {
        // The items that a serial stage is at make room when they are through.
        if self.down.crossing() > 0 { Lack::Input } else { self.lack_of_room(void) }
    }

    fn lack_of_room(&self, void: Void<'_>) -> Lack {
        let batch = self.pace.ahead();
        if self.is_gated() || self.down.ring().is_heavy() {
            Lack::Budget
        } else if self.down.ring().is_full() {
            Lack::Output
        } else if self.window.is_full(batch) && self.supply.wants_room(batch, void.own) {
            Lack::Window
        } else {
            Lack::Input
        }
    }

    /// What the caller lacks, if it does more than output.
    pub(in super::super) fn caller_lack(&self, void: Void<'_>) -> Option<Lack> {
        self.does_caller_work().then(|| self.lack(void))
    }

    /// What a worker lacks that serves a section behind the first, if that has nothing for it.
    pub(in super::super) fn own_lack(&self) -> Lack {
        if self.down.crossing() > 0 {
            return Lack::Input;
        }
        if self.is_gated() {
            return Lack::Budget;
        }
        let is_full = self.window.is_full(self.pace.ahead());
        if is_full && !self.supply.is_exhausted() { Lack::Window } else { Lack::Input }
    }

    /// How far the run is ahead of the sink.
    pub(in super::super) fn ahead(&self, void: Void<'_>) -> Ahead {
        Ahead {
            items: self.window.ahead() as u64,
            bytes: self.gate.as_ref().map_or_else(|| self.down.ring().held(), |gate| gate.held()),
            kept_by: self.kept_by(void),
        }
    }

    /// What keeps a thread from work, be it asleep or not started because there is nothing for it: a full bound, or
    /// [`Lack::Input`] for a serial stage.
    ///
    /// A serial stage does while a member is in it, and nothing more can come to the others from the source. Nothing
    /// does while the sink is at outputs: it is the sink then that all wait for.
    fn kept_by(&self, void: Void<'_>) -> Option<Lack> {
        let crossing = self.down.crossing();
        let at_work = self.members_at_work() + self.supply.pulling() + crossing;
        let is_output = self.roster.caller == Mode::Awake && !self.is_caller_busy;
        let is_work_there = self.can_claim(void) || self.down.can_step(void.next());
        if at_work >= self.threads || is_output || is_work_there || self.supply.next() >= void.own {
            return None;
        }
        let bound = Some(self.lack_of_room(void)).filter(|lack| matches!(lack, Lack::Window | Lack::Budget));
        let is_exhausted = self.supply.is_exhausted();
        if crossing > 0 {
            return (bound.is_some() || is_exhausted).then_some(Lack::Input);
        }
        bound.filter(|_| !is_exhausted)
    }
}
