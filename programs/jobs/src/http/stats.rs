//! [`Stats`]: what a server counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a server counts. Each count is of its own, so the counts of one look may differ by requests under way.
#[derive(Debug)]
pub struct Stats {
    answers: [AtomicU64; 600],
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
}

// Relaxed throughout: no other memory depends on a count.
impl Stats {
    pub(super) fn new() -> Self {
        Stats {
            answers: std::array::from_fn(|_| AtomicU64::new(0)),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn count_answer(&self, status: u16) {
        if let Some(count) = self.answers.get(usize::from(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many responses have had each status, for those that occurred.
    pub fn answers(&self) -> impl Iterator<Item = (usize, u64)> {
        self.answers
            .iter()
            .enumerate()
            .map(|(status, count)| (status, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    /// Returns how many responses were written.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers().map(|(_, count)| count).sum()
    }

    /// Returns how many connections have been opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns how many connections are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        // `closed` first: a connection that is opened and closed in between is not subtracted.
        let closed = self.closed.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(closed)
    }

    /// Returns how many connections were refused, because too many were open.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
