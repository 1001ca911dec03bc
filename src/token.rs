//! [`CancellationToken`]: one flag that every blocking call observes.

mod event;
mod tree;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;

use crate::error::{CancelReason, Cancelled};

pub(crate) use event::{Event, Ticket};
use tree::Node;
pub(crate) use tree::Watch;

/// A flag that is set once, by anybody, and observed by every call that may wait.
///
/// Clones share the flag. A [child](Self::child_token) is cancelled with its parent, and never cancels it. Pass a token
/// to the call that may wait, as Go's context is passed; do not keep it in a struct.
///
/// # Cancellation
///
/// Cancellation is final and has one reason, that of the first call. Once a call of [`cancel`](Self::cancel) has
/// returned, whether it won or lost, the token and every descendant read cancelled. A child made from a cancelled token
/// is cancelled from the start. Dropping a token cancels nothing, and a descendant stays connected to its ancestors even
/// if every token between them has been dropped.
///
/// # Costs
///
/// [`is_cancelled`](Self::is_cancelled) is one atomic load at any depth of the tree: no lock, no clock, no walk. Making
/// and dropping a child locks its parent for a moment each time.
///
/// # Examples
///
/// ```
/// use brigade::{CancelReason, CancellationToken};
///
/// let token = CancellationToken::new();
/// let child = token.child_token();
///
/// assert!(child.check().is_ok());
/// assert!(token.cancel());
/// assert!(child.is_cancelled());
/// assert_eq!(child.reason(), Some(CancelReason::Requested));
/// ```
#[derive(Clone)]
pub struct CancellationToken {
    node: Arc<Node>,
}

impl CancellationToken {
    /// Creates a token that has no parent.
    #[must_use]
    pub fn new() -> Self {
        CancellationToken { node: Node::root() }
    }

    /// Creates a token that is cancelled when this one is, and that can be cancelled alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::CancellationToken;
    ///
    /// let run = CancellationToken::new();
    /// let step = run.child_token();
    /// step.cancel();
    /// assert!(!run.is_cancelled());
    /// ```
    #[must_use]
    pub fn child_token(&self) -> Self {
        CancellationToken { node: Node::child_of(&self.node) }
    }

    /// Cancels the token and its descendants, with the reason [`Requested`](CancelReason::Requested).
    ///
    /// Returns whether this call won, that is, whether the token was live. Either way every descendant reads cancelled
    /// when this returns, every [`wait`](Self::wait) for one has been woken, and every [`done`](Self::done) channel is
    /// disconnected. Calls that observe the token otherwise, such as a [`join`](crate::ScopedTask::join) or a run of a
    /// [`Pipeline`](crate::Pipeline), are told by callbacks: these have run too, save those that another `cancel`,
    /// still under way, has in hand.
    pub fn cancel(&self) -> bool {
        self.cancel_with(CancelReason::Requested)
    }

    /// Cancels the token and its descendants, with a reason.
    ///
    /// Returns whether this call won; if it lost, the earlier reason stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let token = CancellationToken::new();
    /// assert!(token.cancel_with(CancelReason::Signal(2)));
    /// assert!(!token.cancel());
    /// assert_eq!(token.reason(), Some(CancelReason::Signal(2)));
    /// ```
    pub fn cancel_with(&self, reason: CancelReason) -> bool {
        tree::cancel(&self.node, reason)
    }

    /// Tells whether the token has been cancelled: one atomic load.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.node.is_cancelled()
    }

    /// Returns an error if the token has been cancelled, for `?` in a loop of one's own.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], with the reason, if the token has been cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled};
    ///
    /// fn sum(token: &CancellationToken, numbers: &[u64]) -> Result<u64, Cancelled> {
    ///     let mut sum = 0;
    ///     for number in numbers {
    ///         token.check()?;
    ///         sum += number;
    ///     }
    ///     Ok(sum)
    /// }
    /// assert_eq!(sum(&CancellationToken::new(), &[1, 2, 3]), Ok(6));
    /// ```
    #[inline]
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(Cancelled::new(reason)),
        }
    }

    /// Returns why the token was cancelled, or `None` while it is live.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<CancelReason> {
        self.node.reason()
    }

    /// Blocks until the token is cancelled, and returns why.
    ///
    /// Waiting burns no CPU time. A token that nobody cancels is waited for without end.
    #[expect(clippy::missing_panics_doc, reason = "a wait without a deadline ends by cancellation only")]
    pub fn wait(&self) -> CancelReason {
        self.node.wait(None).expect("without a deadline a wait ends by cancellation only")
    }

    /// Blocks until the token is cancelled or `timeout` has passed; returns the reason, or `None` after the timeout.
    ///
    /// This is also a sleep that can be cancelled. A timeout too long for the clock to hold is no timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let token = CancellationToken::new();
    /// assert_eq!(token.wait_timeout(Duration::from_millis(1)), None);
    /// token.cancel();
    /// assert_eq!(token.wait_timeout(Duration::from_secs(3600)), Some(CancelReason::Requested));
    /// ```
    #[must_use = "the result tells cancellation from timeout"]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<CancelReason> {
        self.node.wait(Instant::now().checked_add(timeout))
    }

    /// Returns a channel that disconnects when the token is cancelled, and never carries a message, for
    /// [`select!`](crossbeam::channel::select).
    ///
    /// Where several arms of a `select!` are ready, one is picked at random: check the token first if cancellation has
    /// to win.
    ///
    /// Keep the token, or a descendant of it, as long as the channel is watched: when the last one is dropped, the
    /// channel disconnects too, which looks like a cancellation.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::CancellationToken;
    /// use crossbeam::channel::{select, unbounded};
    ///
    /// let token = CancellationToken::new();
    /// let (sender, receiver) = unbounded::<u32>();
    /// token.cancel();
    ///
    /// let received = select! {
    ///     recv(receiver) -> item => item.ok(),
    ///     recv(token.done()) -> _ => None,
    /// };
    /// assert_eq!(received, None);
    /// # drop(sender);
    /// ```
    #[must_use]
    pub fn done(&self) -> Receiver<Never> {
        self.node.done()
    }

    /// Returns a guard that cancels this token when it is dropped, with the reason [`Dropped`](CancelReason::Dropped).
    ///
    /// It keeps helpers from outliving an early return or a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let token = CancellationToken::new();
    /// {
    ///     let _guard = token.drop_guard();
    /// }
    /// assert_eq!(token.reason(), Some(CancelReason::Dropped));
    /// ```
    pub fn drop_guard(&self) -> DropGuard {
        DropGuard { token: Some(self.clone()) }
    }

    /// Calls `f` once when the token is cancelled, or now if it already is, until the returned watch is dropped.
    ///
    /// `f` runs in the caller of `cancel`, outside every lock. It may still be running when the drop returns.
    pub(crate) fn watch(&self, f: impl FnOnce() + Send + 'static) -> Watch {
        tree::watch(&self.node, Box::new(f))
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        CancellationToken::new()
    }
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CancellationToken");
        out.field("cancelled", &self.is_cancelled());
        if let Some(reason) = self.reason() {
            out.field("reason", &reason);
        }
        out.finish()
    }
}

/// The message type of [`CancellationToken::done`]: it has no values, so none can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

/// Cancels its token when dropped. Made by [`CancellationToken::drop_guard`].
#[must_use = "dropping the guard cancels the token"]
#[derive(Debug)]
pub struct DropGuard {
    token: Option<CancellationToken>,
}

impl DropGuard {
    /// Gives up the guard without cancelling, and returns its token.
    ///
    /// # Examples
    ///
    /// ```
    /// let token = brigade::CancellationToken::new();
    /// let guard = token.drop_guard();
    /// guard.disarm();
    /// assert!(!token.is_cancelled());
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the token is taken by this method and by drop only")]
    pub fn disarm(mut self) -> CancellationToken {
        self.token.take().expect("a guard holds its token until it is disarmed")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel_with(CancelReason::Dropped);
        }
    }
}
