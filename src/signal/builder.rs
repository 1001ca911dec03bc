//! [`SignalBuilder`] and [`SignalGuard`]: which signals do what, and for how long.

use std::fmt;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{FORBIDDEN, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::Handle;
use signal_hook::low_level::signal_name;

use super::default_action::{self, Hold};
use super::ignored;
use super::watcher::{NAME, Watcher};
use crate::thread;
use crate::token::CancellationToken;

/// How many forwarded signals wait for the program.
const FORWARDED: usize = 64;

/// Cancels `token` at SIGINT, SIGTERM and SIGHUP, until the guard is dropped: [`SignalBuilder`] with its defaults.
///
/// # Errors
///
/// As [`SignalBuilder::install`].
pub fn cancel_on_signals(token: &CancellationToken) -> io::Result<SignalGuard> {
    SignalBuilder::new().install(token)
}

/// Which signals cancel a token, which the program is told of, and how long it may take to end.
///
/// # Examples
///
/// A program that reloads at SIGHUP:
///
/// ```
/// use std::time::Duration;
/// use brigade::{CancellationToken, signal};
///
/// let token = CancellationToken::new();
/// let guard = signal::SignalBuilder::new()
///     .forward([signal::SIGHUP])
///     .grace(Duration::from_secs(20))
///     .install(&token)?;
/// assert!(guard.forwarded().try_recv().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is installed"]
pub struct SignalBuilder {
    cancel: Vec<i32>,
    forward: Vec<i32>,
    grace: Duration,
}

impl SignalBuilder {
    /// SIGINT, SIGTERM and SIGHUP cancel, no signal is forwarded, and the grace is 5 s.
    ///
    /// Most supervisors kill a service 10 s after their first signal, or later. With 5 s the program comes first, and
    /// says which thread is slow.
    pub fn new() -> Self {
        SignalBuilder { cancel: vec![SIGINT, SIGTERM, SIGHUP], forward: Vec::new(), grace: Duration::from_secs(5) }
    }

    /// Sets the signals that cancel, in place of the defaults.
    pub fn cancel(mut self, signals: impl IntoIterator<Item = i32>) -> Self {
        self.cancel = signals.into_iter().collect();
        self
    }

    /// Sets the signals that come through [`SignalGuard::forwarded`]. None of them cancels.
    pub fn forward(mut self, signals: impl IntoIterator<Item = i32>) -> Self {
        self.forward = signals.into_iter().collect();
        self
    }

    /// Sets how long the program may take from the first signal to the drop of the guard. Then the process ends.
    ///
    /// [`Duration::MAX`] is no limit.
    ///
    /// Child processes do not end with this process, neither at the end of the grace nor at a second signal. A call of
    /// `io::run` ends its child before the grace is over if its own grace is shorter by a second or more.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Installs the handlers, and starts the thread `brigade-signal`, which the guard joins.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal, or one that a program cannot
    /// handle. The error of the system if it refuses the thread or a descriptor.
    pub fn install(self, token: &CancellationToken) -> io::Result<SignalGuard> {
        let SignalBuilder { cancel, mut forward, grace } = self;
        let mut signals: Vec<i32> = cancel.into_iter().chain(forward.iter().copied()).collect();
        signals.sort_unstable();
        signals.dedup();
        if let Some(wrong) = signals.iter().find(|signal| FORBIDDEN.contains(signal) || signal_name(**signal).is_none())
        {
            let message = format!("{wrong} is not a signal that a program can handle");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        signals.retain(|signal| !ignored::is_ignored(*signal));
        forward.retain(|signal| signals.contains(signal));

        default_action::prepare(&signals)?;
        let (sender, forwarded) = bounded(FORWARDED);
        let watcher = Watcher::new(token, grace, &signals, (forward, sender))?;
        let handle = watcher.handle();
        let thread = thread::own(NAME, || watcher.run())?;
        Ok(SignalGuard { hold: Some(Hold::new(signals)), handle, thread: Some(thread), forwarded })
    }
}

impl Default for SignalBuilder {
    fn default() -> Self {
        SignalBuilder::new()
    }
}

/// Signals cancel a token while it lives.
///
/// Its drop gives the signals their default action again, and joins its thread. That waits for the token's callbacks,
/// if a signal has called them. So do not drop it in a callback of its token.
#[must_use = "dropping it gives the signals their default action again"]
pub struct SignalGuard {
    /// Dropped first: a signal that comes while the thread ends is not lost.
    hold: Option<Hold>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    forwarded: Receiver<i32>,
}

impl SignalGuard {
    /// Returns the channel of the signals that are [forwarded](SignalBuilder::forward), by their numbers.
    ///
    /// The system merges signals that come faster than they are handled. If 64 wait in the channel, further ones are
    /// dropped.
    #[must_use]
    pub fn forwarded(&self) -> &Receiver<i32> {
        &self.forwarded
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        drop(self.hold.take());
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It catches the panics of callbacks.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SignalGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalGuard").field("hold", &self.hold).finish_non_exhaustive()
    }
}
