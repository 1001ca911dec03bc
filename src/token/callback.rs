//! [`CancelCallback`]: the handle of a function that is called when a token is cancelled.

use std::fmt;
use std::sync::Arc;

use super::call::Call;
use super::node::Node;

/// A registered callback: dropping it takes the callback back.
///
/// [`CancellationToken::on_cancel`](crate::CancellationToken::on_cancel) makes it.
///
/// When the drop returns, the callback has returned or will never run, because the drop waits for a callback that runs
/// on another thread. So the callback may use values that are torn down after the handle. The drop does not wait if the
/// callback itself, or another callback of the same `cancel`, drops the handle.
///
/// Give a handle that is to be kept a name: `let _ = token.on_cancel(..)` drops it at once. [Detach](Self::detach) a
/// handle that is not to be kept.
///
/// Two callbacks that run on two threads and drop each other's handles wait for each other for ever.
#[must_use = "dropping it takes the callback back"]
pub struct CancelCallback {
    /// `None` if the callback will not run any more.
    registered: Option<Registered>,
}

struct Registered {
    /// `None` if the token was cancelled already, and the callback is queued.
    place: Option<(Arc<Node>, u64)>,
    call: Arc<Call>,
}

impl CancelCallback {
    /// The handle of a callback that `node` has registered under `key`.
    pub(super) fn new(node: Arc<Node>, key: u64, call: Arc<Call>) -> Self {
        CancelCallback { registered: Some(Registered { place: Some((node, key)), call }) }
    }

    /// The handle of a callback that no node has registered: it has run, or it is queued.
    pub(super) fn of(call: Arc<Call>) -> Self {
        CancelCallback { registered: call.is_waiting().then_some(Registered { place: None, call }) }
    }

    /// The handle of a callback that will never run.
    pub(super) const fn none() -> Self {
        CancelCallback { registered: None }
    }

    /// Gives up the handle, and leaves the callback registered until it runs, or until the token and all its
    /// descendants are gone.
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
}

impl Drop for CancelCallback {
    fn drop(&mut self) {
        if let Some(Registered { place, call }) = self.registered.take() {
            if let Some((node, key)) = &place {
                node.unregister(*key);
            }
            call.withdraw();
        }
    }
}

impl fmt::Debug for CancelCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.registered.as_ref().map_or("none", |registered| registered.call.stage());
        f.debug_struct("CancelCallback").field("stage", &stage).finish()
    }
}
