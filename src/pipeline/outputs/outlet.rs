//! [`Outlet`]: where the outputs of a run wait for the iterator that owns it.
//!
//! The run's own thread, the driver, puts outputs here; the iterator takes all there are. The driver waits where it is
//! too far ahead, and the iterator where there are none. Each is woken when it waits, under the rule of
//! [`Event`]: it takes its ticket before it looks.

use std::collections::VecDeque;
use std::mem;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::refill::{Ended, LEFT};
use crate::event::Event;
use crate::panic::{self, Payload};
use crate::token::CancellationToken;

/// How many times the driver may put outputs here that the iterator has not taken.
const HANDFULS: usize = 4;

/// The same while the iterator may be waiting for a core, for [`LATE`]: so many times, or so many outputs.
///
/// On two cores that work, a thread that is woken runs a millisecond later or two. A driver that slept meanwhile would
/// leave its core to it, and both would be woken in turns: 1.11 times as long as `for_each` with items of 1.6 µs, and
/// now 1.01 times.
const MORE_HANDFULS: usize = 32;

/// See [`MORE_HANDFULS`].
const FEW: usize = 1024;

/// See [`MORE_HANDFULS`].
const LATE: Duration = Duration::from_millis(3);

pub(super) struct Outlet<R, E> {
    shelf: Mutex<Shelf<R, E>>,
    /// For the iterator: there are outputs, or the run has ended.
    filled: Event,
    /// For the driver: there is room, or the token is cancelled.
    emptied: Event,
    /// The driver waits until the iterator has passed on every output, because the user has set a window.
    is_strict: bool,
}

struct Shelf<R, E> {
    outputs: VecDeque<R>,
    /// How often the driver has put outputs since the iterator took them, and when it began to.
    handfuls: usize,
    since: Option<Instant>,
    /// The iterator is at the outputs that it has taken.
    is_held: bool,
    iterator: Waiting,
    driver: Waiting,
    /// The thread that has taken outputs last.
    consumer: ThreadId,
    /// That thread has cancelled the token.
    is_cancelled_by_consumer: bool,
    closed: Option<Closed<E>>,
}

#[derive(PartialEq, Eq)]
enum Waiting {
    No,
    Yes,
}

/// The end of a run.
pub(super) struct Closed<E> {
    /// `None` if the iterator was dropped before.
    pub(super) ended: Option<Ended<E>>,
    /// The panic of a `Drop`.
    pub(super) dropped: Option<Payload>,
}

/// The answer to an iterator that looks.
pub(super) enum Found<E> {
    Outputs,
    /// The run has ended. It is told once.
    End(Closed<E>),
}

impl<R, E> Outlet<R, E> {
    pub(super) fn new(is_strict: bool) -> Self {
        let shelf = Shelf {
            outputs: VecDeque::new(),
            handfuls: 0,
            since: None,
            is_held: false,
            iterator: Waiting::No,
            driver: Waiting::No,
            consumer: thread::current().id(),
            is_cancelled_by_consumer: false,
            closed: None,
        };
        Outlet { shelf: Mutex::new(shelf), filled: Event::default(), emptied: Event::default(), is_strict }
    }

    /// Puts the outputs of `more` here. Returns when the driver may make the next, or `token` is cancelled.
    pub(super) fn put(&self, more: &mut VecDeque<R>, token: &CancellationToken) {
        let mut shelf = self.shelf.lock();
        if shelf.outputs.is_empty() {
            mem::swap(&mut shelf.outputs, more);
        } else {
            shelf.outputs.append(more);
        }
        shelf.handfuls += 1;
        let awaited = mem::replace(&mut shelf.iterator, Waiting::No);
        drop(shelf);
        if awaited == Waiting::Yes {
            self.filled.notify_one();
        }
        loop {
            let ticket = self.emptied.ticket();
            let mut shelf = self.shelf.lock();
            if token.is_cancelled() || self.has_room(&mut shelf) {
                return;
            }
            shelf.driver = Waiting::Yes;
            drop(shelf);
            self.emptied.wait_until(ticket, token.look_at());
        }
    }

    fn has_room(&self, shelf: &mut Shelf<R, E>) -> bool {
        if self.is_strict {
            return shelf.outputs.is_empty() && !shelf.is_held;
        }
        if shelf.handfuls < HANDFULS {
            return true;
        }
        let since = *shelf.since.get_or_insert_with(Instant::now);
        (shelf.handfuls < MORE_HANDFULS || shelf.outputs.len() < FEW) && since.elapsed() < LATE
    }

    /// Waits for outputs, which are swapped with those of `taken`, of which there are none, or for the end.
    pub(super) fn take(&self, taken: &mut VecDeque<R>) -> Found<E> {
        debug_assert!(taken.is_empty(), "the iterator has passed them on");
        let mut is_back = true;
        loop {
            let ticket = self.filled.ticket();
            let mut shelf = self.shelf.lock();
            shelf.consumer = thread::current().id();
            if mem::take(&mut is_back) {
                shelf.is_held = false;
            }
            let found = if shelf.outputs.is_empty() {
                shelf.closed.take().map(Found::End)
            } else {
                mem::swap(&mut shelf.outputs, taken);
                (shelf.handfuls, shelf.since, shelf.is_held) = (0, None, true);
                Some(Found::Outputs)
            };
            // A strict driver goes on when the iterator is back, all others when it has taken.
            let has_room = shelf.driver == Waiting::Yes && self.has_room(&mut shelf);
            if has_room {
                shelf.driver = Waiting::No;
            }
            if found.is_none() {
                shelf.iterator = Waiting::Yes;
            }
            drop(shelf);
            if has_room {
                self.emptied.notify_one();
            }
            match found {
                Some(found) => return found,
                None => self.filled.wait(ticket),
            }
        }
    }

    /// Drops the outputs that are here, and waits for the end.
    pub(super) fn skip(&self) -> Closed<E> {
        let mut taken = VecDeque::new();
        loop {
            match self.take(&mut taken) {
                Found::Outputs => panic::discard_all(taken.drain(..)),
                Found::End(closed) => return closed,
            }
        }
    }

    pub(super) fn close(&self, closed: Closed<E>) {
        let mut shelf = self.shelf.lock();
        shelf.closed = Some(closed);
        drop(shelf);
        self.filled.notify_one();
    }

    /// The token is cancelled, on this thread.
    pub(super) fn cancelled(&self) {
        let mut shelf = self.shelf.lock();
        shelf.is_cancelled_by_consumer = shelf.consumer == thread::current().id();
        drop(shelf);
        self.emptied.notify_one();
    }

    pub(super) fn is_cancelled_by_consumer(&self) -> bool {
        self.shelf.lock().is_cancelled_by_consumer
    }
}

/// Whether the iterator was dropped, so that nothing more is wanted.
pub(super) fn is_left(token: &CancellationToken) -> bool {
    token.reason() == Some(LEFT)
}
