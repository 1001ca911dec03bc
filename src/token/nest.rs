//! User code that runs inside user code: a callback that cancels another token, a captured value whose drop frees a token
//! with callbacks of its own.
//!
//! Invariants:
//!
//! 1. Such code is nested on the stack [`MOST`] deep at most. What would nest deeper goes to the queue of its thread.
//! 2. The frame at depth `MOST` empties the queue before it returns. Only inside that frame can anything be queued, so a
//!    queue that is not empty has a frame that will empty it.
//! 3. Every panic is caught here. Each frame returns the first one, and discards the others.
//!
//! So tokens that callbacks link to a chain need a stack of `MOST` links, whatever the length of the chain. A queue for
//! all of it was weighed and left: a callback that cancels another token could not rely on that token's callbacks having
//! run when `cancel` returns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::callback::{Boxed, Callback};
use crate::error::CancelReason;
use crate::panic::{self, Payload};
use crate::sync::thread_local;

const MOST: usize = 64;

/// Something that runs user code.
pub(super) enum Work {
    Call(Arc<Callback>, CancelReason),
    /// Drops what a function that is never called has captured.
    Drop(Boxed),
}

impl Work {
    fn run(self) -> Result<(), Payload> {
        match self {
            Work::Call(callback, reason) => callback.run(reason),
            Work::Drop(function) => panic::catch(move || drop(function)),
        }
    }
}

struct Nest {
    depth: Cell<usize>,
    /// Never dropped, so that the thread has it as long as it can drop a token: in the destructor of another thread-local,
    /// for one. Nothing leaks, because it is empty and without an allocation outside the frame of invariant 2.
    queue: ManuallyDrop<RefCell<VecDeque<Work>>>,
}

thread_local! {
    static NEST: Nest = const { Nest {
        depth: Cell::new(0),
        queue: ManuallyDrop::new(RefCell::new(VecDeque::new())),
    } };
}

/// Runs each piece of work now, or, deeper than `MOST`, before the frame at that depth returns. Returns the first panic.
#[must_use = "it may be a panic"]
pub(super) fn run(work: impl IntoIterator<Item = Work>) -> Option<Payload> {
    let depth = depth();
    if depth == MOST {
        _ = NEST.try_with(|nest| nest.queue.borrow_mut().extend(work));
        return None;
    }
    set_depth(depth + 1);
    let mut first = None;
    for piece in work {
        keep_first(&mut first, piece.run());
    }
    if depth + 1 == MOST {
        while let Some(piece) = next() {
            keep_first(&mut first, piece.run());
        }
        _ = NEST.try_with(|nest| nest.queue.take());
    }
    set_depth(depth);
    first
}

/// 0 always, where the system has destroyed the thread's locals.
fn depth() -> usize {
    NEST.try_with(|nest| nest.depth.get()).unwrap_or(0)
}

fn set_depth(depth: usize) {
    _ = NEST.try_with(|nest| nest.depth.set(depth));
}

fn next() -> Option<Work> {
    NEST.try_with(|nest| nest.queue.borrow_mut().pop_front()).ok().flatten()
}

fn keep_first(first: &mut Option<Payload>, result: Result<(), Payload>) {
    match result {
        Err(payload) if first.is_none() => *first = Some(payload),
        Err(payload) => panic::discard(payload),
        Ok(()) => {}
    }
}

/// Goes on with a panic that came out of a drop, unless the thread is panicking: a second panic would abort the process.
pub(super) fn resume_from_drop(payload: Option<Payload>) {
    match payload {
        Some(second) if std::thread::panicking() => panic::discard(second),
        Some(first) => panic::resume(first),
        None => {}
    }
}

/// Drops callbacks that nothing calls any more, each of them even if the drop of another panics.
#[inline]
pub(super) fn drop_all(callbacks: Vec<Arc<Callback>>) {
    if !callbacks.is_empty() {
        drop_each(callbacks);
    }
}

fn drop_each(callbacks: Vec<Arc<Callback>>) {
    if std::thread::panicking() {
        panic::discard_all(callbacks);
    } else {
        panic::drop_each(callbacks);
    }
}
