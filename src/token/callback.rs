//! [`CancelCallback`]: a function that is called when a token is cancelled.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::nest::{self, Work};
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
    /// `None` if nothing will call the callback.
    registered: Option<Registered>,
}

struct Registered {
    /// `None` if the token was cancelled already, and the callback is queued.
    place: Option<(Arc<Node>, u64)>,
    callback: Arc<Callback>,
}

impl CancelCallback {
    pub(super) fn new(node: Arc<Node>, key: u64, callback: Arc<Callback>) -> Self {
        CancelCallback { registered: Some(Registered { place: Some((node, key)), callback }) }
    }

    /// The handle of a callback that no node has: it has run, or it is queued.
    pub(super) fn of(callback: Arc<Callback>) -> Self {
        let queued = matches!(*callback.stage.lock(), Stage::Waiting(_));
        CancelCallback { registered: queued.then_some(Registered { place: None, callback }) }
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

    /// The handle of a callback that nothing will ever call.
    pub(super) const fn none() -> Self {
        CancelCallback { registered: None }
    }
}

impl Drop for CancelCallback {
    fn drop(&mut self) {
        if let Some(Registered { place, callback }) = self.registered.take() {
            if let Some((node, key)) = &place {
                node.unregister(*key);
            }
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

pub(super) type Boxed = Box<dyn FnOnce(CancelReason) + Send>;

/// A function that has not been called. What it has captured may own tokens whose callbacks own others, and so on: so it is
/// dropped as work that may be nested.
struct Function(Option<Boxed>);

impl Function {
    fn call(mut self, reason: CancelReason) {
        if let Some(function) = self.0.take() {
            function(reason);
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if let Some(function) = self.0.take() {
            nest::resume_from_drop(nest::run([Work::Drop(function)]));
        }
    }
}

/// What a node and a handle share. The one that takes the function out of it decides whether it runs.
pub(super) struct Callback {
    stage: Mutex<Stage>,
    ended: Condvar,
    /// It is brigade's own, and only wakes.
    pub(super) wakes: bool,
}

enum Stage {
    Waiting(Function),
    Running(ThreadId),
    /// It has run, or was taken back.
    Ended,
}

impl Callback {
    pub(super) fn new(function: Boxed, wakes: bool) -> Arc<Self> {
        let stage = Mutex::new(Stage::Waiting(Function(Some(function))));
        Arc::new(Callback { stage, ended: Condvar::new(), wakes })
    }

    /// Runs the function, unless it was taken back; what it panics with comes back.
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
        let result = panic::catch(|| function.call(reason));
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
