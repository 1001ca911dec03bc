//! [`Row`]: where the plain loop ends a row of outputs, so that a buffered sink can be flushed.
//!
//! Behind each output the loop goes on with an item, and cannot know how long that takes. So it judges by the past. It
//! ends a row behind each output until several outputs have followed each other quickly, because a flush costs little
//! beside outputs that are slow. Quick outputs share a row, of 100 µs at most.

use std::time::{Duration, Instant};

/// Outputs that follow each other in less than this are quick. A write to a pipe takes 1 to 2 µs.
const QUICK: Duration = Duration::from_micros(20);

/// How many quick outputs in a row have a row of their own each.
const FIRST: u32 = 8;

/// How long a row may be, where its outputs are quick.
const LONGEST: Duration = Duration::from_micros(100);

pub(super) struct Row {
    /// Outputs have been taken since the end of the row before.
    is_open: bool,
    /// When the row before ended.
    ended: Instant,
    /// When the last output was taken.
    last: Instant,
    /// How many outputs have been quick, without a slow one between them.
    quick: u32,
}

impl Row {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Row { is_open: false, ended: now, last: now, quick: 0 }
    }

    /// Adds an output; returns whether the row ends behind it.
    pub(super) fn add(&mut self) -> bool {
        let now = Instant::now();
        self.quick = if now - self.last < QUICK { self.quick.saturating_add(1) } else { 0 };
        (self.is_open, self.last) = (true, now);
        self.quick <= FIRST || now - self.ended > LONGEST
    }

    /// Whether the row ends before the next item. `is_ready` if the source has it at hand.
    pub(super) fn ends(&self, is_ready: bool) -> bool {
        self.is_open && (!is_ready || self.ended.elapsed() > LONGEST)
    }

    /// Ends the row; returns whether it had outputs.
    pub(super) fn end(&mut self) -> bool {
        if self.is_open {
            self.ended = Instant::now();
        }
        std::mem::take(&mut self.is_open)
    }
}
