//! Waiting for a token: the calls that block, and the ways to be told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, never};

use super::callback::{Boxed, Callback, CancelCallback};
use super::nest::{self, Work};
use super::tree::Node;
use super::{CancellationToken, Never};
use crate::error::{CancelReason, Cancelled};
use crate::panic;

impl CancellationToken {
    /// Blocks until the token is cancelled, and returns why.
    ///
    /// Waiting burns no CPU time. A token that nobody cancels is waited for without end.
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
                // Nothing ever comes through this channel.
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
    /// `f` runs once, in the caller of [`cancel`](Self::cancel), or at a deadline on the thread that was the clock's until
    /// then. It runs outside of every lock, when all that wait for the token or a descendant have been woken. Other callbacks
    /// of the same `cancel` wait for their turn while it runs, but no deadline does. It is how to stop what knows nothing of
    /// tokens: close a socket, kill a child process, set a flag.
    ///
    /// `f` may cancel other tokens. Nested more than [64 deep](Self::cancel), callbacks do not run at once: they run before
    /// the `cancel` at depth 64 returns, on the same thread. The same goes for the drop of what a callback has captured that
    /// nothing will call: it happens in the drop of the last token or handle, or deeper than 64, before the drop at that
    /// depth returns. So a callback can rely on the effect of another one that it causes, up to that depth.
    ///
    /// # Panics
    ///
    /// A panic of `f` is resumed in the caller of `cancel`, or here if the token is cancelled already; of a queued one, in the
    /// `cancel` at depth 64. Of several, the first is resumed. At a deadline, where there is no caller, the panic hook shows
    /// it and it is dropped. Where there is no clock, the thread that finds that the deadline has passed is the caller.
    ///
    /// If what is dropped with callbacks that nothing will call panics, the rest is dropped all the same, and the first panic
    /// is resumed, unless the thread is panicking already.
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
        self.register(Box::new(f), false)
    }

    /// Like [`on_cancel`](Self::on_cancel), for what does no more than wake: it runs when the other waiters are woken,
    /// before all callbacks, at any depth. On the clock's thread no successor is started for it.
    pub(crate) fn wake_on_cancel(&self, wake: impl FnOnce() + Send + 'static) -> CancelCallback {
        self.register(Box::new(|_reason| wake()), true)
    }

    fn register(&self, function: Boxed, wakes: bool) -> CancelCallback {
        let Some(node) = &self.node else { return CancelCallback::none() };
        let callback = Callback::new(function, wakes);
        match node.register(&callback) {
            Ok(key) => CancelCallback::new(Arc::clone(node), key, callback),
            Err(reason) => {
                let call = Work::Call(Arc::clone(&callback), reason);
                if let Some(payload) = nest::run([call]) {
                    panic::resume(payload);
                }
                CancelCallback::of(callback)
            }
        }
    }

    /// Returns a channel that disconnects when the token is cancelled, and never carries a message, for
    /// [`select!`](crossbeam::channel::select).
    ///
    /// Where several arms of a `select!` are ready, one is picked at random: check the token first if cancellation has
    /// to win, or use `select_biased!` with this arm as its first. For one channel there is
    /// [`until`](crate::Until::until).
    ///
    /// Keep the token, or a descendant of it, as long as the channel is watched: when the last one is dropped, the
    /// channel disconnects too, which looks like a cancellation.
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

    /// Like [`check`](Self::check), but waits for a cancellation that is on its way, that of an ancestor which has not got
    /// here yet. It walks up the tree, so it is for rare occasions.
    pub(crate) fn check_above(&self) -> Result<(), Cancelled> {
        let reason = self.node.as_ref().and_then(Node::reason_to_come);
        reason.map_or(Ok(()), |reason| Err(Cancelled::new(reason)))
    }

    /// When a thread that waits for this token has to look at it, because it is not woken: at the deadline, where there is
    /// no clock.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.node.as_ref().filter(|node| node.is_clockless()).and_then(|node| node.deadline())
    }
}
