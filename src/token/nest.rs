//! User code that runs inside user code: a callback that cancels another token, or the drop of a captured value that
//! frees a token with callbacks of its own.
//!
//! Invariants:
//!
//! 1. Such code is nested on the stack [`MOST`] deep at most. Code that would nest deeper goes to the queue of its
//!    thread.
//! 2. The frame at depth `MOST` empties the queue before it returns. Code is queued only inside that frame, so a queue
//!    that is not empty has a frame that will empty it.
//! 3. Every panic is caught here. Each frame returns the first one, and discards the others.
//!
//! So tokens that callbacks link to a chain need a stack of `MOST` links, at any length of the chain. The stack
//! alone overflowed at some 7,000 links. A queue for all of it was weighed and left: a callback that cancels another
//! token could not rely on that token's callbacks having run when `cancel` returns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use crate::panic::{self, Payload};
use crate::sync::thread_local;

const MOST: usize = 64;

/// User code on its way through the queue.
type Queued = Box<dyn FnOnce() -> Result<(), Payload>>;

struct Nest {
    depth: Cell<usize>,
    /// Never dropped, so that a thread has its queue as long as it can drop a token, for example in the destructor of
    /// another thread-local. Nothing leaks, because outside the frame of invariant 2 the queue has no allocation.
    queue: ManuallyDrop<RefCell<VecDeque<Queued>>>,
}

thread_local! {
    static NEST: Nest = const { Nest {
        depth: Cell::new(0),
        queue: ManuallyDrop::new(RefCell::new(VecDeque::new())),
    } };
}

/// Runs each piece of user code now, or, deeper than `MOST`, before the frame at that depth returns.
///
/// A piece returns its own panic. The first panic of all pieces comes back.
#[must_use = "it may be a panic"]
pub(super) fn run<W>(work: impl IntoIterator<Item = W>) -> Option<Payload>
where
    W: FnOnce() -> Result<(), Payload> + 'static,
{
    let depth = depth();
    if depth == MOST {
        let work = work.into_iter().map(|piece| Box::new(piece) as Queued);
        _ = NEST.try_with(|nest| nest.queue.borrow_mut().extend(work));
        return None;
    }
    set_depth(depth + 1);
    let mut first = None;
    for piece in work {
        keep_first(&mut first, piece());
    }
    if depth + 1 == MOST {
        while let Some(piece) = next() {
            keep_first(&mut first, piece());
        }
        _ = NEST.try_with(|nest| nest.queue.take());
    }
    set_depth(depth);
    first
}

/// Returns the depth of the calling frame, or 0 if the system has destroyed the thread's locals.
fn depth() -> usize {
    NEST.try_with(|nest| nest.depth.get()).unwrap_or(0)
}

fn set_depth(depth: usize) {
    _ = NEST.try_with(|nest| nest.depth.set(depth));
}

fn next() -> Option<Queued> {
    NEST.try_with(|nest| nest.queue.borrow_mut().pop_front()).ok().flatten()
}

fn keep_first(first: &mut Option<Payload>, result: Result<(), Payload>) {
    match result {
        Err(payload) if first.is_none() => *first = Some(payload),
        Err(payload) => panic::discard(payload),
        Ok(()) => {}
    }
}

/// Resumes the panic of a drop, unless the thread is panicking, because a second panic would abort the process.
pub(super) fn resume_from_drop(payload: Option<Payload>) {
    match payload {
        Some(second) if std::thread::panicking() => panic::discard(second),
        Some(first) => panic::resume(first),
        None => {}
    }
}

/// Drops each value even if the drop of another panics; then resumes the first panic, unless the thread is panicking.
#[inline]
pub(super) fn drop_all<T>(values: Vec<T>) {
    if !values.is_empty() {
        drop_some(values);
    }
}

fn drop_some<T>(values: Vec<T>) {
    if std::thread::panicking() {
        panic::discard_all(values);
    } else {
        panic::drop_each(values);
    }
}
