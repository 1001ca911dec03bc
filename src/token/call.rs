//! [`Call`]: a function that is to be called once, shared by a node and a handle.

use std::mem;
use std::sync::Arc;

use super::nest;
use crate::error::CancelReason;
use crate::panic::{self, Payload};
use crate::sync::{Condvar, Mutex, ThreadId, current};

pub(super) type Boxed = Box<dyn FnOnce(CancelReason) + Send>;

/// Whose function a call runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The user's: it is called when all waiters of a `cancel` have been woken.
    User,
    /// Brigade's own, which only wakes: it is called with the other waiters.
    Wake,
}

/// A function that is called once or taken back: the thread that takes it out of here decides which.
pub(super) struct Call {
    stage: Mutex<Stage>,
    ended: Condvar,
    pub(super) kind: Kind,
}

enum Stage {
    Waiting(Function),
    Running(ThreadId),
    /// The function has been called, or was taken back.
    Ended,
}

impl Call {
    pub(super) fn new(function: Boxed, kind: Kind) -> Arc<Self> {
        let stage = Mutex::new(Stage::Waiting(Function(Some(function))));
        Arc::new(Call { stage, ended: Condvar::new(), kind })
    }

    /// Returns the name of the stage.
    pub(super) fn stage(&self) -> &'static str {
        match *self.stage.lock() {
            Stage::Waiting(_) => "waiting",
            Stage::Running(_) => "running",
            Stage::Ended => "ended",
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Waiting(_))
    }

    /// Calls the function, unless it was taken back; its panic comes back.
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

    /// Takes the function back, or waits until it has returned, unless the function itself asks.
    pub(super) fn withdraw(&self) {
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

/// A function that has not been called.
///
/// Its captured values may own tokens whose callbacks own others, and so on. So it is dropped as nested user code.
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
            nest::resume_from_drop(nest::run([move || panic::catch(move || drop(function))]));
        }
    }
}
