//! Waiting for a token: the calls that block, callbacks, and the channel for `select!`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, never};

use super::CancellationToken;
use super::call::{Boxed, Call, Kind};
use super::callback::CancelCallback;
use super::nest;
use super::never::Never;
use super::node::Node;
use crate::error::{CancelReason, Cancelled};
use crate::event::Event;
use crate::panic;

impl CancellationToken {
    /// Blocks until the token is cancelled, and returns why.
    ///
    /// Waiting uses no CPU time. If the token is never cancelled, the wait has no end.
    #[expect(clippy::missing_panics_doc, reason = "a wait without a deadline ends by cancellation only")]
    pub fn wait(&self) -> CancelReason {
        self.wait_until(None).expect("without a deadline a wait ends by cancellation only")
    }

    /// Blocks until the token is cancelled or `timeout` has passed; returns the reason, or `None` after the timeout.
    ///
    /// A timeout too long for the clock to hold is no timeout.
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
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Blocks until the token is cancelled or `deadline` is reached; returns the reason, or `None` at the deadline.
    #[must_use = "the result tells cancellation from timeout"]
    pub fn wait_deadline(&self, deadline: Instant) -> Option<CancelReason> {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Option<CancelReason> {
        match &self.node {
            Some(node) => node.wait(deadline),
            None => {
                // No message ever comes through this channel.
                match deadline {
                    None => _ = never::<Never>().recv(),
                    Some(deadline) => _ = never::<Never>().recv_deadline(deadline),
                }
                None
            }
        }
    }

    /// Sleeps for `duration`, or until the token is cancelled: [`std::thread::sleep`] with an early end.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token is cancelled before `duration` has passed, or was already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancellationToken, Cancelled};
    ///
    /// /// Tries until it works, ever more slowly.
    /// fn retry(token: &CancellationToken, mut works: impl FnMut() -> bool) -> Result<(), Cancelled> {
    ///     let mut pause = Duration::from_millis(1);
    ///     while !works() {
    ///         token.sleep(pause)?;
    ///         pause *= 2;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let mut attempts = 0;
    /// retry(&CancellationToken::new(), || {
    ///     attempts += 1;
    ///     attempts == 3
    /// })?;
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        self.wait_timeout(duration).map_or(Ok(()), |reason| Err(Cancelled::new(reason)))
    }

    /// Calls `f` with the reason when the token is cancelled, or now if it already is, until the returned handle is
    /// dropped.
    ///
    /// Use a callback to stop a thing that knows no token: close a socket, kill a child process, set a flag.
    ///
    /// `f` runs once, in the caller of [`cancel`](Self::cancel), or at a deadline on the thread that was the clock
    /// until then. It runs outside of every lock, when all waiters of the token and its descendants have been woken.
    /// While it runs, other callbacks of the same `cancel` wait for their turn, but no deadline does.
    ///
    /// `f` may cancel other tokens. A callback nested more than [64 deep](Self::cancel) does not run at once: it runs
    /// before the `cancel` at depth 64 returns, on the same thread. So, up to that depth, a callback can rely on the
    /// effect of another one that it causes. The values that `f` has captured are dropped in the same way if `f` never
    /// runs: in the drop of the last token or of the handle, or deeper than 64, before the drop at that depth returns.
    ///
    /// # Panics
    ///
    /// A panic of `f` is resumed in the caller of `cancel`, or here if the token is cancelled already. That of a queued
    /// callback is resumed in the `cancel` at depth 64. The first of several panics is resumed. At a deadline there is
    /// no caller: the panic hook shows the panic, and it is dropped. If there is no clock, the thread that finds that
    /// the deadline has passed is the caller.
    ///
    /// If the drop of a captured value panics, the other values are dropped all the same, and the first panic is
    /// resumed, unless the thread is panicking already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::sync::Arc;
    /// use brigade::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let closed = Arc::new(AtomicBool::new(false));
    /// let handle = token.on_cancel({
    ///     let closed = Arc::clone(&closed);
    ///     move |_reason| closed.store(true, Ordering::Relaxed)
    /// });
    /// token.cancel();
    /// assert!(closed.load(Ordering::Relaxed));
    /// # drop(handle);
    /// ```
    pub fn on_cancel(&self, f: impl FnOnce(CancelReason) + Send + 'static) -> CancelCallback {
        self.register(Box::new(f), Kind::User)
    }

    /// Like [`on_cancel`](Self::on_cancel), for a function that only wakes threads.
    ///
    /// It runs when the other waiters are woken, before all callbacks, at any depth of nesting. On the clock's thread
    /// no successor is started for it.
    pub(crate) fn wake_on_cancel(&self, wake: impl FnOnce() + Send + 'static) -> CancelCallback {
        self.register(Box::new(|_reason| wake()), Kind::Wake)
    }

    fn register(&self, function: Boxed, kind: Kind) -> CancelCallback {
        let Some(node) = &self.node else { return CancelCallback::none() };
        let call = Call::new(function, kind);
        match node.register(&call) {
            Ok(key) => CancelCallback::new(Arc::clone(node), key, call),
            Err(reason) => {
                let own = Arc::clone(&call);
                if let Some(payload) = nest::run([move || own.run(reason)]) {
                    panic::resume(payload);
                }
                CancelCallback::of(call)
            }
        }
    }

    /// Returns a channel that disconnects when the token is cancelled, and never carries a message, for
    /// [`select!`](crossbeam::channel::select).
    ///
    /// If several arms of a `select!` are ready, it picks one at random. If the cancel has to win, check the token
    /// first, or use `select_biased!` with this arm as its first. For a single channel use
    /// [`until`](crate::Until::until).
    ///
    /// Keep the token, or a descendant of it, as long as the channel is watched. When the last of them is dropped, the
    /// channel disconnects too, which looks like a cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::CancellationToken;
    /// use crossbeam::channel::{select_biased, unbounded};
    ///
    /// let token = CancellationToken::new();
    /// let (sender, receiver) = unbounded::<u32>();
    /// token.cancel();
    ///
    /// let received = select_biased! {
    ///     recv(token.done()) -> _ => None,
    ///     recv(receiver) -> item => item.ok(),
    /// };
    /// assert_eq!(received, None);
    /// # drop(sender);
    /// ```
    #[must_use]
    pub fn done(&self) -> Receiver<Never> {
        self.node.as_ref().map_or_else(never, Node::done)
    }

    /// Like [`check`](Self::check), but first waits for an ancestor's `cancel` that is under way and has not reached
    /// this token yet.
    ///
    /// It walks up the tree, so it is for rare occasions.
    pub(crate) fn check_ancestors(&self) -> Result<(), Cancelled> {
        let reason = self.node.as_ref().and_then(Node::reason_to_come);
        reason.map_or(Ok(()), |reason| Err(Cancelled::new(reason)))
    }

    /// Returns when a thread that waits for this token has to look at it, because the deadline has no clock to wake it.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.node.as_ref().filter(|node| node.is_clockless()).and_then(|node| node.deadline)
    }
}

// Here and not in `event.rs`, because an event knows no token. Public for the models of `tests/loom/`.
#[cfg_attr(not(brigade_loom), allow(unreachable_pub))]
#[cfg_attr(brigade_loom, allow(missing_docs))]
impl Event {
    /// Wakes every waiter when `token` is cancelled, until the handle is dropped.
    pub fn observe(self: &Arc<Self>, token: &CancellationToken) -> CancelCallback {
        let event = Arc::clone(self);
        token.wake_on_cancel(move || event.notify_all())
    }
}
