//! [`Gate`]: the bound in bytes on the items that were pulled and not yet output.
//!
//! The budget is the window's sibling. The member that pulls weighs an item outside of the state's lock, and asks the
//! gate. If there is no room, the item waits at the gate, with the inlet, and no more is pulled until it is admitted.
//! Its bytes travel with the piece of its batch, and are released where the window is told that its items are closed.
//!
//! Invariants:
//!
//! 1. Items are admitted in order. One is admitted if the budget has room for it, or if none is held. So at most the
//!    budget is held, or one item that is larger; and one more item waits.
//! 2. What is held comes to its end without another pull: it lies in the stock, in a member's hands, in a ring, or with
//!    the sink, as the items of a full window do. So the gate opens again.
//! 3. Only the member that has locked the inlet admits. Others only release, so room that it has seen stays.
//! 4. No wake is lost. A release, and the look of the members whether to pull, are under the state's lock. A puller
//!    that leaves an item at the gate enters the state after that. So the later of the two sees both.

use std::sync::atomic::{AtomicU64, Ordering};

/// The budget of a run.
#[derive(Debug)]
pub struct Gate {
    budget: u64,
    held: AtomicU64,
    /// The weight of the item that waits, and 1; 0 if none does.
    waits: AtomicU64,
}

// Relaxed throughout: the state's lock orders what has to be seen, by invariant 4.
impl Gate {
    pub(super) fn new(budget: u64) -> Self {
        Gate { budget, held: AtomicU64::new(0), waits: AtomicU64::new(0) }
    }

    /// Admits an item by its weight in bytes, or lets it wait. The puller has locked the inlet.
    pub(super) fn admit(&self, bytes: u64) -> bool {
        let is_admitted = self.has_room(bytes);
        if is_admitted {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        self.waits.store(if is_admitted { 0 } else { bytes.saturating_add(1) }, Ordering::Relaxed);
        is_admitted
    }

    /// The sink has taken the outputs of items with this weight in bytes.
    pub(super) fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether the next item to be pulled would be admitted, or is not known yet.
    pub(super) fn is_open(&self) -> bool {
        match self.waits.load(Ordering::Relaxed) {
            0 => true,
            waits => self.has_room(waits - 1),
        }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    fn has_room(&self, bytes: u64) -> bool {
        let held = self.held();
        held == 0 || held.saturating_add(bytes) <= self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_admitted_if_there_is_room_or_nothing_is_held_and_else_waits() {
        let gate = Gate::new(10);
        assert!(gate.admit(6) && gate.admit(4) && gate.is_open());
        assert!(!gate.admit(1) && !gate.is_open());
        gate.release(4);
        assert!(gate.is_open() && gate.admit(1) && !gate.admit(99));
        gate.release(6);
        assert!(!gate.is_open());
        gate.release(1);
        assert!(gate.is_open() && gate.admit(99) && gate.is_open());
        assert!(!gate.admit(0) || gate.held() == 99);
    }
}
