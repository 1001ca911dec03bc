//! The threads of a scope: starting them, keeping their handles, and finding threads to join.

use std::mem;
use std::thread::ScopedJoinHandle;

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled};
use crate::thread::{Spec, Starter};

/// The threads of a scope that have not been joined yet.
///
/// A thread that has ended keeps its stack until it is joined. So the handles are searched for such threads each
/// time their number has doubled.
pub(super) struct Threads<'scope> {
    starter: &'scope (dyn Starter<'scope> + 'scope),
    /// The size of each thread's stack, in bytes.
    stack: Option<usize>,
    handles: Mutex<Handles<'scope>>,
}

struct Handles<'scope> {
    unjoined: Vec<ScopedJoinHandle<'scope, ()>>,
    /// The number of handles at which the next search is due.
    search_at: usize,
}

const SEARCH_FROM: usize = 32;

impl<'scope> Threads<'scope> {
    pub(super) fn new(starter: &'scope (dyn Starter<'scope> + 'scope), stack: Option<usize>) -> Self {
        let handles = Mutex::new(Handles { unjoined: Vec::new(), search_at: SEARCH_FROM });
        Threads { starter, stack, handles }
    }

    /// Starts a thread. If the system refuses it, the error is a [`Cancelled`] whose reason says so.
    pub(super) fn start(
        &self,
        name: &str,
        index: usize,
        f: impl FnOnce() + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, ()>, Cancelled> {
        let refused = Cancelled::new(CancelReason::Other("the system refused to start a thread"));
        let spec = Spec { name, index, stack: self.stack };
        self.starter.start(spec, Box::new(f)).map_err(|_| refused)
    }

    /// Takes any thread, to be joined.
    pub(super) fn take(&self) -> Option<ScopedJoinHandle<'scope, ()>> {
        self.handles.lock().unjoined.pop()
    }

    /// Keeps a handle, and returns those of threads that have ended if a search is due.
    pub(super) fn keep(&self, handle: ScopedJoinHandle<'scope, ()>) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let mut handles = self.handles.lock();
        handles.unjoined.push(handle);
        if handles.unjoined.len() < handles.search_at {
            return Vec::new();
        }
        let (ended, running) = mem::take(&mut handles.unjoined).into_iter().partition(ScopedJoinHandle::is_finished);
        handles.unjoined = running;
        handles.search_at = SEARCH_FROM.max(2 * handles.unjoined.len());
        ended
    }
}
