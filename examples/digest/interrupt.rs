//! SIGINT and SIGTERM: they cancel a token, and once the run has ended in good order the process dies by them.
//!
//! A shell stops its loop if the process dies by the signal, but not if it exits with a status of its own.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, scope};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::{flag, low_level};

/// How long a cancelled run may take.
///
/// A token does not reach into a system call. A run that reads a FIFO or a terminal without a writer, or writes into a
/// pipe without a reader, would not end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `body` with a token that SIGINT and SIGTERM cancel. A second signal ends the process on the spot.
///
/// Does not return if a signal has come: the process then dies by it.
pub(crate) fn interruptible<T>(body: impl FnOnce(&CancellationToken) -> T) -> io::Result<T> {
    // Before the flags, because a signal that comes between the two must not be lost.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in this order, so the first signal finds the flag unset, and sets it for the next.
        flag::register_conditional_default(signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }

    let token = CancellationToken::new();
    let over = CancellationToken::new();
    let value = scope(&token, |s| {
        // When the body ends, even by a panic, this ends the thread that is spawned next; then the scope joins it.
        let _release = Release { signals: signals.handle(), over: over.clone() };
        s.named("signals").spawn(|_| {
            if let Some(signal) = signals.forever().next() {
                token.cancel_with(CancelReason::Signal(signal));
                if over.wait_timeout(GRACE).is_none() {
                    die(signal);
                }
            }
            Ok(())
        })?;
        Ok::<_, io::Error>(body(&token))
    })?;
    match token.reason() {
        Some(CancelReason::Signal(signal)) => die(signal),
        _ => Ok(value),
    }
}

/// A guard that ends the thread that waits for signals.
struct Release {
    signals: Handle,
    over: CancellationToken,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.over.cancel();
        self.signals.close();
    }
}

fn die(signal: i32) -> ! {
    // It returns only for a signal that it does not know. Then the exit status is the one that a shell would report.
    let _ = low_level::emulate_default_handler(signal);
    process::exit(128 + signal)
}
