//! The threads of a scope: starting them, and joining those that have ended.

use std::thread::ScopedJoinHandle;

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled};
use crate::thread::Starter;

/// The threads of a scope that have not been joined yet. A thread that has ended keeps its stack until then, so they are
/// looked through whenever their number has doubled.
pub(super) struct Threads<'scope> {
    starter: &'scope (dyn Starter<'scope> + 'scope),
    /// The size of their stacks, in bytes.
    stack: Option<usize>,
    handles: Mutex<Handles<'scope>>,
}

struct Handles<'scope> {
    running: Vec<ScopedJoinHandle<'scope, ()>>,
    reap_at: usize,
}

const REAP_FROM: usize = 32;

impl<'scope> Threads<'scope> {
    pub(super) fn new(starter: &'scope (dyn Starter<'scope> + 'scope), stack: Option<usize>) -> Self {
        let handles = Mutex::new(Handles { running: Vec::new(), reap_at: REAP_FROM });
        Threads { starter, stack, handles }
    }

    pub(super) fn start(
        &self,
        name: &str,
        index: usize,
        f: impl FnOnce() + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, ()>, Cancelled> {
        let refused = Cancelled::new(CancelReason::Other("the system refused to start a thread"));
        self.starter.start(name, index, self.stack, Box::new(f)).map_err(|_| refused)
    }

    pub(super) fn take(&self) -> Option<ScopedJoinHandle<'scope, ()>> {
        self.handles.lock().running.pop()
    }

    /// Keeps a handle; returns those of threads that have ended.
    pub(super) fn keep(&self, handle: ScopedJoinHandle<'scope, ()>) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let mut handles = self.handles.lock();
        handles.running.push(handle);
        if handles.running.len() < handles.reap_at {
            return Vec::new();
        }
        let (ended, running) =
            std::mem::take(&mut handles.running).into_iter().partition(ScopedJoinHandle::is_finished);
        handles.running = running;
        handles.reap_at = REAP_FROM.max(2 * handles.running.len());
        ended
    }
}
