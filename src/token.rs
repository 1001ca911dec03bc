//! [`CancellationToken`]: one flag that every blocking call observes.
//!
//! Pass a token to each call that may wait, as Go's context is passed. Do not keep it in a struct.
//!
//! | you want | use |
//! |---|---|
//! | to make a token | [`new`](CancellationToken::new), or [`never`](CancellationToken::never) for a call that is not to be stopped |
//! | a part that can be stopped alone | [`child_token`](CancellationToken::child_token) |
//! | a part that ends in time | [`child_with_timeout`](CancellationToken::child_with_timeout), [`child_with_deadline`](CancellationToken::child_with_deadline) |
//! | to be stopped by any of several tokens | [`any_of`](CancellationToken::any_of) |
//! | to cancel | [`cancel`](CancellationToken::cancel), [`cancel_with`](CancellationToken::cancel_with) a reason, or a [`drop_guard`](CancellationToken::drop_guard) |
//! | to stop in a loop of your own | [`check`](CancellationToken::check) with `?`, or [`is_cancelled`](CancellationToken::is_cancelled) |
//! | to wait, or to sleep until then | [`wait`](CancellationToken::wait), [`wait_timeout`](CancellationToken::wait_timeout), [`wait_deadline`](CancellationToken::wait_deadline), [`sleep`](CancellationToken::sleep) |
//! | to stop a thing that knows no token, such as a socket | [`on_cancel`](CancellationToken::on_cancel) |
//! | to observe it in a `select!` | [`done`](CancellationToken::done) |
//!
//! # Deadlines
//!
//! A token with a deadline cancels itself when the time has come, never before, and on an idle machine less than a
//! millisecond after. One thread of the process, `brigade-clock`, watches over all deadlines. The first deadline starts
//! it, and it ends about 100 ms after the last one has gone.
//!
//! If the system refuses to start that thread, each caller that polls such a token or waits for it looks at the time
//! instead. A pipeline with such a token then runs on the calling thread. [`done`](CancellationToken::done) and
//! [`on_cancel`](CancellationToken::on_cancel) are told only when a thread looks at the token.
//!
//! A [callback](CancellationToken::on_cancel) may take long at a deadline, and may wait for other deadlines. Before it
//! runs, another thread becomes the clock; the thread that runs the callback ends after it. So callbacks of different
//! deadlines may run at the same time. If the system refuses to start that other thread, a callback that takes long
//! delays the other deadlines.
//!
//! A child process that is made by a bare `fork` has none of its parent's threads, so it has no clock. If a deadline
//! was armed at the fork, or in the 100 ms before, no deadline fires in the child process, and arming one may block,
//! because the clock's lock may have been held at the fork. Fork before the first deadline, or call `exec` after the
//! fork. [`std::process::Command`] does that.
//!
//! # Costs
//!
//! [`is_cancelled`](CancellationToken::is_cancelled) is one atomic load at any depth of the tree: no lock, no clock, no
//! walk. Making and dropping a child locks its parent for a moment each time, and costs about as much as allocating
//! three small boxes; a deadline costs three times that.
//!
//! A child keeps in memory the ancestors that can still cancel it: those with a token, callback, channel or deadline of
//! their own. The others are freed as generations are made, so `token = token.child_token()` can go on without end.
//! Some hundred of them stay at most, or some 30 for each token that the program holds. (A chain that makes no more
//! children stays as it is.)

mod call;
mod callback;
mod cancel;
mod clock;
mod family;
mod guard;
mod nest;
mod never;
mod node;
mod splice;
mod tree;
mod wait;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{CancelReason, Cancelled};

pub use callback::CancelCallback;
pub use guard::DropGuard;
pub use never::Never;
use node::Node;
pub(crate) use node::Watch;

/// A flag that is set once, by any thread, and that every call that may wait observes.
///
/// Clones share the flag and are equal, as are all [`never`](Self::never)s; other tokens differ. A
/// [child](Self::child_token) is cancelled with its parent, and never cancels it. The [module](self) lists the methods,
/// and has the costs.
///
/// # Cancellation
///
/// Cancellation is final and has one reason, that of the first call. Once a call of [`cancel`](Self::cancel) has
/// returned, whether it won or lost, the token and every descendant read cancelled. A child made from a cancelled token
/// is cancelled from the start. Dropping a token cancels nothing. A descendant stays connected to its ancestors even if
/// every token between them has been dropped.
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
    /// `None` in a token that is never cancelled.
    node: Option<Arc<Node>>,
}

impl CancellationToken {
    /// Creates a token that has no parent.
    #[must_use]
    pub fn new() -> Self {
        CancellationToken { node: Some(Node::root()) }
    }

    /// Returns a token that is never cancelled, for calls that are not to be stopped.
    ///
    /// It costs nothing: no memory, and no load when it is polled. [`cancel`](Self::cancel) does nothing to it and
    /// returns `false`. Its children are tokens like any other.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, par_map};
    ///
    /// static NEVER: CancellationToken = CancellationToken::never();
    /// assert_eq!(par_map(&NEVER, [1, 2, 3], |number| number * number), Ok(vec![1, 4, 9]));
    /// assert!(!NEVER.cancel());
    /// ```
    #[must_use]
    pub const fn never() -> Self {
        CancellationToken { node: None }
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
        CancellationToken { node: Some(Node::child_of(self.node.as_slice(), None)) }
    }

    /// Creates a child that is also cancelled, with the reason [`Deadline`](CancelReason::Deadline), when `timeout` has
    /// passed from now.
    ///
    /// A timeout too long for the clock to hold is no timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline};
    ///
    /// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(10));
    /// let result = Pipeline::from_iter(0..).for_each(&token, |_number| {});
    /// assert_eq!(result, Err(Cancelled::new(CancelReason::Deadline)));
    /// ```
    #[must_use]
    pub fn child_with_timeout(&self, timeout: Duration) -> Self {
        CancellationToken { node: Some(Node::child_of(self.node.as_slice(), Instant::now().checked_add(timeout))) }
    }

    /// Creates a child that is also cancelled, with the reason [`Deadline`](CancelReason::Deadline), when `deadline` is
    /// reached.
    ///
    /// The earliest of its own deadline and its ancestors' counts. A deadline that has passed cancels the child at
    /// once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let late = CancellationToken::new().child_with_deadline(Instant::now());
    /// assert_eq!(late.reason(), Some(CancelReason::Deadline));
    /// ```
    #[must_use]
    pub fn child_with_deadline(&self, deadline: Instant) -> Self {
        CancellationToken { node: Some(Node::child_of(self.node.as_slice(), Some(deadline))) }
    }

    /// Creates a child of several tokens: it is cancelled when any of `tokens` is, with the same reason.
    ///
    /// It can be cancelled alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let (signal, request) = (CancellationToken::new(), CancellationToken::new());
    /// let either = CancellationToken::any_of([&signal, &request]);
    /// signal.cancel_with(CancelReason::Signal(15));
    /// assert_eq!(either.reason(), Some(CancelReason::Signal(15)));
    /// assert!(!request.is_cancelled());
    /// ```
    #[must_use]
    pub fn any_of<'a>(tokens: impl IntoIterator<Item = &'a CancellationToken>) -> Self {
        let parents: Vec<_> = tokens.into_iter().filter_map(|token| token.node.clone()).collect();
        CancellationToken { node: Some(Node::child_of(&parents, None)) }
    }

    /// Cancels the token and its descendants, with the reason [`Requested`](CancelReason::Requested).
    ///
    /// Returns whether this call won, that is, whether the token was live. Either way every descendant reads cancelled
    /// when this returns. If the call won, the token's waiters have also been woken, its [`done`](Self::done) channel
    /// is disconnected and its [callbacks](Self::on_cancel) have run. The same holds for each descendant, except those
    /// that another `cancel`, still under way, has reached first.
    ///
    /// A callback may cancel another token, whose callback cancels a third, and so on. Up to 64 deep such calls run on
    /// the stack, and each returns when its callbacks have run. A deeper `cancel` sets flags and wakes waiters, and
    /// returns; its callbacks go to a queue, which the call at depth 64 empties before it returns. So tokens can be
    /// linked to a chain of any length, and when the outermost `cancel` returns, all callbacks have run.
    ///
    /// Do not call this in a raw signal handler, because it takes locks and allocates. The module `brigade::signal`
    /// cancels at a signal, with the feature `signal`.
    ///
    /// # Panics
    ///
    /// If a callback panics. All other callbacks have run before. The first of several panics is resumed, and the
    /// others are dropped. The panic of a queued callback is resumed in the `cancel` at depth 64, as one of that call's
    /// own.
    pub fn cancel(&self) -> bool {
        self.cancel_with(CancelReason::Requested)
    }

    /// Cancels the token and its descendants, with a reason.
    ///
    /// Returns whether this call won; if it lost, the earlier reason stays. In all else it is [`cancel`](Self::cancel).
    ///
    /// # Panics
    ///
    /// If a callback panics, as in [`cancel`](Self::cancel).
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
        self.node.as_ref().is_some_and(|node| cancel::cancel(node, reason))
    }

    /// Tells whether the token has been cancelled: one atomic load.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.node.as_ref().is_some_and(Node::is_cancelled)
    }

    /// Returns a view of the token for a loop that polls it for each of many items.
    #[inline]
    pub(crate) fn watch(&self) -> Watch<'_> {
        self.node.as_deref().map_or(Watch(None), Node::watch)
    }

    /// Returns an error if the token has been cancelled, for `?` in a loop of your own.
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
        self.node.as_ref().and_then(Node::reason)
    }

    /// Returns when the token cancels itself: the earliest of its own deadline and its ancestors', or `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.node.as_ref().and_then(|node| node.deadline)
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        CancellationToken::new()
    }
}

/// Compares by identity: a token equals its clones.
impl PartialEq for CancellationToken {
    fn eq(&self, other: &Self) -> bool {
        self.node.as_ref().map(Arc::as_ptr) == other.node.as_ref().map(Arc::as_ptr)
    }
}

impl Eq for CancellationToken {}

impl Hash for CancellationToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.as_ref().map(Arc::as_ptr).hash(state);
    }
}

// A panic leaves no token in a bad state.
impl UnwindSafe for CancellationToken {}
impl RefUnwindSafe for CancellationToken {}

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
