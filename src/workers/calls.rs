//! [`Calls`]: how many threads there are in each state, and which thread is called for work that waits.
//!
//! It is a value behind the lock of a queue. Invariants, which the code cites by number:
//!
//! 1. The thread that adds work under the lock then [calls](Calls::call) another. So a thread that finds no work under
//!    the lock may fall asleep.
//! 2. One sleeper is called at a time, and none while a thread is searching or is about to. A searching thread finds
//!    the work there is, and calls the next thread if it leaves any.

/// Which thread is to take the work that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// No thread needs to be called: one will find the work, or all are busy.
    None,
    /// A thread that sleeps.
    Sleeper,
    /// A thread that is still to be started, with this index.
    Another(usize),
}

/// The number of threads in each state.
pub(crate) struct Calls {
    /// The most threads that there may be.
    limit: usize,
    started: usize,
    asleep: usize,
    /// How many threads are looking for work, or are about to start.
    searching: usize,
    /// One of the sleepers has been called, and has not woken yet.
    calling: bool,
    /// The system refused to start another thread.
    refused: bool,
}

impl Calls {
    pub(crate) fn new(limit: usize) -> Self {
        Calls { limit, started: 0, asleep: 0, searching: 0, calling: false, refused: false }
    }

    /// How many threads have nothing to do, or could be started.
    pub(crate) fn free(&self) -> usize {
        self.asleep + self.searching + if self.refused { 0 } else { self.limit - self.started }
    }

    pub(crate) fn started(&self) -> usize {
        self.started
    }

    /// Returns whether no thread runs, is called or is about to start.
    pub(crate) fn all_sleep(&self) -> bool {
        self.asleep == self.started
    }

    /// Returns whether no thread has work, is called or is about to start: those that do not sleep search.
    pub(crate) fn none_works(&self) -> bool {
        self.asleep + self.searching == self.started && !self.calling
    }

    /// Chooses the thread that is to look for the work that waits, if there is any (2).
    #[inline]
    pub(crate) fn call(&mut self, has_work: impl FnOnce() -> bool) -> Call {
        let can_start = self.started < self.limit && !self.refused;
        if self.searching > 0 || self.calling || (self.asleep == 0 && !can_start) || !has_work() {
            Call::None
        } else if self.asleep > 0 {
            self.calling = true;
            Call::Sleeper
        } else {
            self.start()
        }
    }

    /// Has the first thread started, if there is none.
    pub(crate) fn call_first(&mut self) -> Call {
        if self.started == 0 { self.start() } else { Call::None }
    }

    fn start(&mut self) -> Call {
        self.searching += 1;
        self.started += 1;
        Call::Another(self.started - 1)
    }

    /// Notes that the system refused a thread. Another thread may be needed then: while the refused one counted as
    /// searching, no other was called.
    pub(crate) fn thread_refused(&mut self, has_work: impl FnOnce() -> bool) -> Call {
        self.searching -= 1;
        self.started -= 1;
        // Without any thread, the next task tries again.
        self.refused = self.started > 0;
        if self.refused { self.call(has_work) } else { Call::None }
    }

    /// Notes that a thread searches. A thread that was started has counted as searching since it was called.
    pub(crate) fn begin_search(&mut self) {
        self.searching += 1;
    }

    /// Notes that a search has found work; a [`call`](Self::call) follows.
    pub(crate) fn end_search(&mut self) {
        self.searching -= 1;
    }

    /// Notes that a thread falls asleep.
    pub(crate) fn fall_asleep(&mut self) {
        self.searching -= 1;
        self.asleep += 1;
    }

    /// Returns whether a thread that sleeps has been called.
    pub(crate) fn is_calling(&self) -> bool {
        self.calling
    }

    /// Notes that the thread that was called has woken, and searches again.
    pub(crate) fn wake(&mut self) {
        self.calling = false;
        self.asleep -= 1;
        self.searching += 1;
    }
}
