//! [`Counts`]: how often the threads of a limit meet, for tests. Other builds count nothing.

#[cfg(test)]
use std::sync::atomic::AtomicUsize;

/// An event that is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// A thread locks the queue.
    Lock,
    /// A thread falls asleep.
    Sleep,
    /// A thread is called that sleeps.
    Wake,
    /// A thread is started.
    Start,
    /// The body waits for room.
    Wait,
}

#[derive(Default)]
pub(super) struct Counts {
    #[cfg(test)]
    counts: [AtomicUsize; 5],
}

impl Counts {
    #[inline]
    pub(super) fn add(&self, counted: Counted) {
        #[cfg(test)]
        self.count(counted).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _ = counted;
    }

    #[cfg(test)]
    pub(super) fn count(&self, counted: Counted) -> &AtomicUsize {
        &self.counts[counted as usize]
    }
}
