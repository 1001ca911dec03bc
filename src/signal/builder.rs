//! [`SignalBuilder`] and [`SignalGuard`]: which signals do what, and for how long.

use std::fmt;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{FORBIDDEN, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM};
use signal_hook::low_level::signal_name;

use super::default_action::{self, Hold};
use super::ignored;
use super::watcher::{NAME, Stop, Watcher};
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
    ///
    /// A signal that the process ignores when the guard is made never comes; [`SignalGuard::left_ignored`] tells. That
    /// is always so for SIGPIPE, which Rust's runtime ignores before `main`.
    pub fn forward(mut self, signals: impl IntoIterator<Item = i32>) -> Self {
        self.forward = signals.into_iter().collect();
        self
    }

    /// Sets how long the program may take from the first signal to the drop of the guard. Then the process ends.
    ///
    /// [`Duration::MAX`] is no limit. Child processes outlive this end; the [module](crate::signal#child-processes)
    /// says what to do. A call of `io::run` ends its child before the grace is over if its own grace is shorter by a
    /// second or more.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Installs the handlers, and starts the thread `brigade-signal`, which the guard joins.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal, for SIGKILL and SIGSTOP, for a
    /// signal that tells of a fault (SIGILL, SIGFPE, SIGSEGV), and for a real-time signal, whose default action could
    /// not be given back. The error of the system if it refuses the thread or a descriptor.
    pub fn install(self, token: &CancellationToken) -> io::Result<SignalGuard> {
        let SignalBuilder { cancel, mut forward, grace } = self;
        let mut signals: Vec<i32> = cancel.into_iter().chain(forward.iter().copied()).collect();
        signals.sort_unstable();
        signals.dedup();
        for signal in &signals {
            check(*signal)?;
        }
        let (left_ignored, signals) = signals.into_iter().partition::<Vec<_>, _>(|signal| ignored::is_ignored(*signal));
        forward.retain(|signal| signals.contains(signal));

        default_action::prepare(&signals)?;
        let (sender, forwarded) = bounded(FORWARDED);
        let watcher = Watcher::new(token, grace, &signals, (forward, sender))?;
        let stop = watcher.stop.clone();
        let thread = thread::own(NAME, || watcher.run())?;
        Ok(SignalGuard { hold: Some(Hold::new(signals)), stop, thread: Some(thread), forwarded, left_ignored })
    }
}

/// Refuses a signal that a guard cannot take over.
fn check(signal: i32) -> io::Result<()> {
    let reason = match signal {
        SIGKILL | SIGSTOP => "no program can handle it",
        _ if FORBIDDEN.contains(&signal) => "it tells of a fault in the program",
        _ if signal_name(signal).is_some() => return Ok(()),
        1..=64 => "its default action is not known, so that it could not be given back",
        _ => "there is no such signal",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} cannot be guarded: {reason}")))
}

impl Default for SignalBuilder {
    fn default() -> Self {
        SignalBuilder::new()
    }
}

/// Signals cancel a token while it lives.
///
/// Its drop gives the signals their default action again, and joins its thread. A signal that came before has then
/// cancelled the token, or waits in the channel. The drop waits for the token's callbacks, if a signal has called them.
/// So do not drop it in a callback of its token.
///
/// While it lives, a second signal and the end of the grace end the process at once. Children of `brigade::io::run`
/// then live on; the [module](crate::signal#child-processes) says what to do.
#[must_use = "dropping it gives the signals their default action again"]
pub struct SignalGuard {
    /// Dropped first: a signal that comes from then on takes its default action, unless another guard holds it. One
    /// that came before is for the thread, which looks once more as it ends.
    hold: Option<Hold>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    forwarded: Receiver<i32>,
    left_ignored: Vec<i32>,
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

    /// Returns the signals that the guard was to take over, and that stay ignored, because they were when it was made.
    ///
    /// Each stands there once, the smallest number first. Only Linux tells; elsewhere there are none.
    #[must_use]
    pub fn left_ignored(&self) -> &[i32] {
        &self.left_ignored
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        drop(self.hold.take());
        self.stop.stop();
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
