//! [`Hold`]: the default actions of signals, put off while a guard wants them.
//!
//! signal-hook leaves its handler in place when the last action is unregistered, and the signal is swallowed from then
//! on. So each signal gets one action for the life of the process, which takes the default action while no guard wants
//! the signal.
//!
//! Linux spares process 1, the first one of a container, every default action. signal-hook's emulation of a death then
//! ends in an abort, of which the parent sees SIGSEGV. So process 1 exits, with the status that a shell gives for the
//! death.

use std::collections::BTreeMap;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGIO, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
use signal_hook::{flag, low_level};

use super::ignored;

static ACTIONS: Mutex<BTreeMap<i32, Action>> = Mutex::new(BTreeMap::new());

/// What a signal does while no guard wants it.
struct Action {
    guards: usize,
    /// The handler in the system reads it. `None` if another handler was there before, and is to be alone again.
    takes_default: Option<Arc<AtomicBool>>,
}

impl Action {
    fn set_default(&self, takes_default: bool) {
        if let Some(flag) = &self.takes_default {
            // SeqCst, as in the handler's load of signal-hook. Nothing else hangs on it.
            flag.store(takes_default, Ordering::SeqCst);
        }
    }
}

/// Takes the default action of a signal, on the calling thread.
pub(super) fn take(signal: i32) {
    if let Some(status) = spared_status(signal) {
        low_level::exit(status);
    }
    let _ = low_level::emulate_default_handler(signal);
}

/// Ends the process by a signal.
pub(super) fn die(signal: i32) -> ! {
    take(signal);
    // The default action of this signal ends no process.
    low_level::exit(128 + signal)
}

/// The status with which the process exits where it would die by the signal if the system let it.
fn spared_status(signal: i32) -> Option<i32> {
    // Those that signal-hook emulates by nothing or by a stop.
    const HARMLESS: [i32; 8] = [SIGCHLD, SIGCONT, SIGIO, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH];
    (process::id() == 1 && !HARMLESS.contains(&signal)).then_some(128 + signal)
}

/// Prepares the signals for a first guard, before it installs its own actions. A signal that comes between the two
/// takes its default action.
pub(super) fn prepare(signals: &[i32]) -> io::Result<()> {
    let mut actions = ACTIONS.lock();
    for &signal in signals {
        if actions.contains_key(&signal) {
            continue;
        }
        let takes_default = if ignored::has_handler(signal) {
            None
        } else {
            let flag = Arc::new(AtomicBool::new(true));
            match spared_status(signal) {
                Some(status) => flag::register_conditional_shutdown(signal, status, Arc::clone(&flag))?,
                None => flag::register_conditional_default(signal, Arc::clone(&flag))?,
            };
            Some(flag)
        };
        actions.insert(signal, Action { guards: 0, takes_default });
    }
    Ok(())
}

/// Signals that have been [prepared](prepare), and do not take their default action until this is dropped.
#[derive(Debug)]
pub(super) struct Hold(Vec<i32>);

impl Hold {
    pub(super) fn new(signals: Vec<i32>) -> Self {
        let mut actions = ACTIONS.lock();
        for signal in &signals {
            let Some(action) = actions.get_mut(signal) else { continue };
            action.guards += 1;
            action.set_default(false);
        }
        Hold(signals)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut actions = ACTIONS.lock();
        for signal in &self.0 {
            let Some(action) = actions.get_mut(signal) else { continue };
            action.guards -= 1;
            action.set_default(action.guards == 0);
        }
    }
}
