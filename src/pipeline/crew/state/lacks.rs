//! What a member lacks that sleeps, for the report.

use super::super::super::report::Lack;
use super::super::super::source::Stock;
use super::super::below::{Below, Void};
use super::State;

impl<S: Stock, D: Below> State<S, D> {
    /// What a member lacks that serves all sections and has nothing to do.
    pub(in super::super) fn lack(&self, void: Void<'_>) -> Lack {
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
        if self.is_gated() {
            return Lack::Budget;
        }
        let is_full = self.window.is_full(self.pace.ahead());
        if is_full && !self.supply.is_exhausted() { Lack::Window } else { Lack::Input }
    }
}
