//! [`CancelCallback`]: a function that is called when a token is cancelled.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::tree::Node;
use crate::error::CancelReason;
use crate::panic::{self, Payload};
use crate::sync::{Condvar, Mutex, ThreadId, current};

/// A registered callback: dropping it takes the callback back. Made by
/// [`CancellationToken::on_cancel`](crate::CancellationToken::on_cancel).
///
/// When the drop returns, the callback has run to its end or never will run: while it runs on another thread, the drop
/// waits for it. So it may use what is torn down after the handle. Dropped by the callback itself, or by another callback
/// of the same `cancel`, the handle waits for nobody.
///
/// A handle that is to be kept needs a name: `let _ = token.on_cancel(..)` drops it at once. One that is not to be kept is
/// [detached](Self::detach).
///
/// Two callbacks that run on two threads and drop each other's handles wait for each other for ever.
#[must_use = "dropping it takes the callback back"]
pub struct CancelCallback {
    /// `None` if the callback ran when it was to be registered.
    registered: Option<Registered>,
}

struct Registered {
    node: Arc<Node>,
    key: u64,
    callback: Arc<Callback>,
}

impl CancelCallback {
    pub(super) fn new(node: Arc<Node>, key: u64, callback: Arc<Callback>) -> Self {
        CancelCallback { registered: Some(Registered { node, key, callback }) }
    }

    /// Gives up the handle, and leaves the callback registered until it runs or the token and all its descendants are
    /// gone.
    ///
    /// A callback that owns a clone of its token, or of a descendant, keeps both in memory until they are cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// let token = brigade::CancellationToken::new();
    /// token.on_cancel(|reason| eprintln!("stopping: {reason}")).detach();
    /// token.cancel();
    /// ```
    pub fn detach(mut self) {
        self.registered = None;
    }

    /// The handle of a callback that has run, or that nothing will ever call.
    pub(super) const fn none() -> Self {
        CancelCallback { registered: None }
    }
}

impl Drop for CancelCallback {
    fn drop(&mut self) {
        if let Some(Registered { node, key, callback }) = self.registered.take() {
            node.unregister(key);
            callback.withdraw();
        }
    }
}

impl fmt::Debug for CancelCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.registered {
            None => "none",
            Some(registered) => match *registered.callback.stage.lock() {
                Stage::Waiting(_) => "waiting",
                Stage::Running(_) => "running",
                Stage::Ended => "ended",
            },
        };
        f.debug_struct("CancelCallback").field("stage", &stage).finish()
    }
}

type Function = Box<dyn FnOnce(CancelReason) + Send>;

/// What a node and a handle share. Whoever takes the function out of it decides whether it runs.
pub(super) struct Callback {
    stage: Mutex<Stage>,
    ended: Condvar,
}

enum Stage {
    Waiting(Function),
    Running(ThreadId),
    /// It has run, or was taken back.
    Ended,
}

impl Callback {
    pub(super) fn new(f: Function) -> Arc<Self> {
        Arc::new(Callback { stage: Mutex::new(Stage::Waiting(f)), ended: Condvar::new() })
    }

    /// Runs the function, if nobody has taken it back; what it panics with comes back.
    pub(super) fn run(&self, reason: CancelReason) -> Result<(), Payload> {
        let function = {
            let mut stage = self.stage.lock();
            match mem::replace(&mut *stage, Stage::Running(current().id())) {
                Stage::Waiting(function) => function,
                other => {
                    *stage = other;
                    return Ok(());
                }
            }
        };
        let result = panic::catch(|| function(reason));
        *self.stage.lock() = Stage::Ended;
        self.ended.notify_all();
        result
    }

    /// Takes the function back, or waits until it has run, unless it is it that asks.
    fn withdraw(&self) {
        let mut stage = self.stage.lock();
        match *stage {
            Stage::Waiting(_) => {
                let function = mem::replace(&mut *stage, Stage::Ended);
                drop(stage);
                drop(function);
            }
            Stage::Running(thread) if thread != current().id() => {
                while matches!(*stage, Stage::Running(_)) {
                    self.ended.wait(&mut stage);
                }
            }
            Stage::Running(_) | Stage::Ended => {}
        }
    }
}
