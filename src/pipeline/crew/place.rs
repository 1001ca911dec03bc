//! [`Place`]: where in its run a section is, for the members that work there.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use super::super::Order;
use super::super::report::{Recording, Times};
use super::super::stage::ItemRun;
use super::signal::{Marks, Signal};
use crate::error::CancelReason;
use crate::item_tokens::ItemTokens;
use crate::token::CancellationToken;

/// The place of a section in its run.
#[derive(Clone, Copy)]
pub(in super::super) struct Place<'w> {
    pub(super) signal: &'w Signal,
    pub(super) tokens: &'w ItemTokens,
    /// The number of the section: 0 is the one behind the source.
    pub(super) section: usize,
    pub(super) order: Order,
    /// How long a batch is meant to take.
    pub(super) aim: Duration,
    /// How long outputs are held back that the next member in their way could take.
    pub(super) held: Duration,
    pub(super) recording: &'w Recording,
    /// The times of the member, if there is a report.
    pub(super) times: Option<&'w Times>,
    #[cfg(test)]
    pub(super) counts: Option<&'w super::counts::Counts>,
}

impl<'w> Place<'w> {
    pub(super) fn marks(self) -> &'w Marks {
        self.signal.marks(self.section)
    }

    /// An item has failed, and `behind` is the index that follows. In order, the items before it go on. Without order,
    /// no item of this section and those before does; sections behind go on until the caller has seen the failure,
    /// because a serial stage may have ended the run well before.
    pub(super) fn void_behind(self, behind: u64) {
        let from = if self.order == Order::Source { behind } else { 0 };
        self.tokens.fail();
        self.signal.void_from(self.section, from);
        self.tokens.cancel_from(self.section, from, CancelReason::Failed);
    }

    /// The serial stage before this section wants no more.
    pub(super) fn void_before(self) {
        self.signal.void_before(self.section);
        self.tokens.cancel_from(self.section, u64::MAX, CancelReason::Finished);
    }

    /// The place of the section behind.
    pub(super) fn next(self) -> Self {
        Place { section: self.section + 1, ..self }
    }
}

/// A batch in a member's hands, for the token of its items.
pub(super) struct BatchRun<'w> {
    place: Place<'w>,
    first: u64,
    token: OnceCell<CancellationToken>,
    weighed: Cell<u64>,
}

impl<'w> BatchRun<'w> {
    pub(super) fn new(place: Place<'w>, first: u64) -> Self {
        BatchRun { place, first, token: OnceCell::new(), weighed: Cell::new(0) }
    }

    /// How many bytes the outputs weigh that have been made.
    pub(super) fn weighed(&self) -> &Cell<u64> {
        &self.weighed
    }
}

impl ItemRun for BatchRun<'_> {
    fn token(&self) -> &CancellationToken {
        let Place { tokens, section, .. } = self.place;
        self.token.get_or_init(|| tokens.give(section, self.first, || self.place.marks().is_void(self.first)))
    }

    fn weigh(&self, bytes: u64) {
        self.weighed.set(self.weighed.get().saturating_add(bytes));
    }

    fn stand_for(&self, more: usize, of_source: bool) {
        if let Some(times) = self.place.times {
            times.count_more(more);
        }
        if of_source {
            self.place.recording.worked(more);
        }
    }
}

impl Drop for BatchRun<'_> {
    fn drop(&mut self) {
        if self.token.get().is_some() {
            self.place.tokens.forget(self.place.section, self.first);
        }
    }
}
