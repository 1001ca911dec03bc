//! [`At`]: the place of an item in the run, which the stages are given with it.

use std::fmt;

use crate::token::CancellationToken;

/// The place of an item in the run.
///
/// By value, because behind a reference it would cost a third of a nanosecond an item.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The index among the items of the section, which for the first section are those of the source.
    pub(super) index: u64,
    run: &'a dyn ItemRun,
}

/// The part of a run that an item belongs to.
pub(super) trait ItemRun {
    /// The token of the item, which is made now if it is the first to ask.
    fn token(&self) -> &CancellationToken;

    /// Notes that an output of the item weighs `bytes` bytes.
    fn weigh(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Notes that the item stands for `more` more: those of the source, if it is a leaf of the source.
    fn stand_for(&self, more: usize, of_source: bool) {
        let _ = (more, of_source);
    }
}

impl<'a> At<'a> {
    #[inline]
    pub(super) fn new(index: u64, run: &'a dyn ItemRun) -> Self {
        At { index, run }
    }

    pub(super) fn token(self) -> &'a CancellationToken {
        self.run.token()
    }

    /// Notes that an output of the item weighs `bytes` bytes.
    pub(super) fn weigh(self, bytes: u64) {
        self.run.weigh(bytes);
    }

    /// Notes that the item stands for `more` more: those of the source, if it is a leaf of the source.
    pub(super) fn stand_for(self, more: usize, of_source: bool) {
        self.run.stand_for(more, of_source);
    }
}

impl fmt::Debug for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("index", &self.index).finish_non_exhaustive()
    }
}
