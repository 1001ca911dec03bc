//! [`OpenChunk`]: the chunk that a puller of a blocking source fills, as far as the state knows it.
//!
//! The puller may wait in `next()` while the chunk holds items. So a sleeping member, the guard, has an alarm; see
//! "Why no item is held back" in the README of this folder.

/// The chunk that a puller fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct OpenChunk {
    /// How many were opened, this one included.
    number: u64,
    /// The number when the guard fell asleep.
    seen: u64,
    /// How often the guard's alarm has rung since it was opened.
    alarms: u8,
}

impl OpenChunk {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// A puller begins, or has put a chunk into the stock.
    pub(super) fn open(&mut self) {
        self.number += 1;
        self.alarms = 0;
    }

    /// Whether a guard would find something, now or later.
    ///
    /// After two alarms the puller waits in `next()`, and will hold nothing back: it has noticed the alarms when it
    /// comes back.
    pub(super) fn wants_guard(&self) -> bool {
        self.alarms < 2
    }

    /// A member falls asleep as the guard.
    pub(super) fn guard(&mut self) {
        self.seen = self.number;
    }

    /// The guard's alarm rings. Returns whether the chunk was open when it fell asleep.
    ///
    /// Where no puller is at work, there is nothing to guard before the next chunk.
    pub(super) fn ring(&mut self, is_pulled: bool) -> bool {
        let is_same = self.number == self.seen;
        if is_same {
            self.alarms = if is_pulled { self.alarms.saturating_add(1) } else { 2 };
        }
        is_same && is_pulled
    }

    /// For the walk of the orders, to which only the difference of the numbers matters.
    #[cfg(test)]
    pub(super) fn situation(&self) -> (bool, u8) {
        (self.number == self.seen, self.alarms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_stays_open_has_no_guard_after_two_alarms_and_the_next_has() {
        let mut chunk = OpenChunk::default();
        chunk.open();
        for _ in 0..2 {
            assert!(chunk.wants_guard());
            chunk.guard();
            assert!(chunk.ring(true));
        }
        assert!(!chunk.wants_guard());
        chunk.open();
        assert!(chunk.wants_guard());
        chunk.guard();
        assert!(!chunk.ring(false) && !chunk.wants_guard());
    }

    #[test]
    fn an_alarm_does_not_count_for_a_chunk_that_was_opened_since() {
        let mut chunk = OpenChunk::default();
        chunk.guard();
        chunk.open();
        assert!(!chunk.ring(true));
        assert_eq!(chunk.situation(), (false, 0));
    }
}
