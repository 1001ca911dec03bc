//! How far the pulls may run ahead of the sink, by the window and the budget.

use super::super::super::source::Stock;
use super::super::below::{Below, Void};
use super::super::credits::Release;
use super::super::roster::Mode;
use super::super::step::Quota;
use super::State;

impl<S: Stock, D: Below> State<S, D> {
    /// Items of the source are closed.
    pub(super) fn release(&mut self, Release { items, bytes }: Release) {
        self.window.close(items, self.pace.ahead());
        if let Some(gate) = &self.gate {
            gate.release(bytes);
        }
    }

    /// Whether the next item has to wait for room in the budget.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.is_open())
    }

    /// How many more items may be pulled.
    pub(super) fn room(&self) -> usize {
        if self.is_gated() { 0 } else { self.window.room(self.pace.ahead()) }
    }

    pub(super) fn may_pull(&self, void: Void<'_>) -> Option<Quota> {
        let items = self.supply.may_pull(self.pace.batch(), self.room(), void.own)?;
        Some(Quota { items, chunk: self.pace.batch().min(items), number: self.chunk.number() })
    }

    /// How much the puller of a blocking source may pull in addition.
    pub(super) fn quota(&self, void: Void<'_>) -> Option<Quota> {
        if self.roster.is_caller_alone() {
            return None;
        }
        let items = self.supply.may_go_on(self.pace.batch(), self.room(), void.own)?;
        Some(Quota { items, chunk: self.pace.batch().min(items), number: self.chunk.number() })
    }

    /// Widens the window for a member that would sleep for room, while the due item is not there, or the caller is busy
    /// with an item, or has been woken and has no core yet. (That took 1.25 times as long, and takes 1.02, with items
    /// of 1.6 µs.)
    pub(super) fn widens(&mut self, void: Void<'_>) -> bool {
        let batch = self.pace.ahead();
        self.window.room(batch) == 0
            && !self.is_gated()
            && (self.is_caller_busy || self.roster.caller == Mode::Coming || !self.down.is_ready())
            && !self.down.ring().is_full()
            && self.supply.in_hand() < self.threads
            && self.supply.wants_room(batch, void.own)
            && self.window.widen(batch)
    }
}
