//! The clock: one thread for the deadlines of the whole process, started by the first and gone soon after the last.
//!
//! Invariants:
//!
//! 1. While an alarm is armed there is a clock thread, and it wakes no later than the earliest alarm: a caller that arms an
//!    earlier one wakes it.
//! 2. It ends between one and two [`LINGER`]s after the last alarm has gone. The caller that disarms the last one wakes it,
//!    so that it does not sleep on until an hour that concerns no token; once it lingers, arming and disarming wake nothing,
//!    unless the new alarm is due before it would look by itself.
//! 3. Its lock is never held together with a node's, and no user code runs and no user value is dropped under it.
//! 4. The clock runs no user code. A thread that has callbacks to run gives up being the clock first: it starts a
//!    successor if an alarm is armed, else the next [`arm`] does. When the callbacks have ended it is the clock again if
//!    there is none, else it ends. (Where the system refuses the successor, it runs the callbacks as the clock: then they
//!    delay the other deadlines.) What only wakes, be it a waiter or a pipeline, is no user code, and costs no thread.
//!
//! It is not modelled with loom, which has no time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::cancel::{Told, tell};
use super::tree::Node;
use crate::error::CancelReason;
use crate::panic;
use crate::thread;

/// How long the clock stays when there is nothing to wait for: a thread costs 20 to 80 µs to start.
const LINGER: Duration = Duration::from_millis(100);

static CLOCK: Clock = Clock {
    state: Mutex::new(State { alarms: BTreeMap::new(), armed: 0, sleep: Sleep::NoThread }),
    changed: Condvar::new(),
};

struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By deadline; the number tells apart those of one deadline.
    alarms: BTreeMap<Key, Weak<Node>>,
    /// How many alarms were ever armed.
    armed: u64,
    sleep: Sleep,
}

type Key = (Instant, u64);

/// What the thread does next by itself.
#[derive(Clone, Copy)]
enum Sleep {
    NoThread,
    Until(Instant),
    /// Nothing was armed when it fell asleep.
    Linger(Instant),
}

/// An armed deadline; dropping it disarms it.
pub(super) struct Alarm {
    key: Key,
}

/// Has `node` cancelled at `deadline`, unless the alarm is dropped before.
pub(super) fn arm(deadline: Instant, node: Weak<Node>) -> io::Result<Alarm> {
    let mut state = CLOCK.state.lock();
    state.armed += 1;
    let key = (deadline, state.armed);
    match state.sleep {
        Sleep::NoThread => {
            thread::detach("brigade-clock", run)?;
            // The thread waits for this lock, and looks before it sleeps.
            state.sleep = Sleep::Until(deadline);
        }
        Sleep::Until(time) | Sleep::Linger(time) => {
            if deadline < time {
                CLOCK.changed.notify_one();
            }
        }
    }
    state.alarms.insert(key, node);
    Ok(Alarm { key })
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut state = CLOCK.state.lock();
        let removed = state.alarms.remove(&self.key);
        if removed.is_some() && state.alarms.is_empty() && matches!(state.sleep, Sleep::Until(_)) {
            CLOCK.changed.notify_one();
        }
    }
}

impl State {
    fn take_due(&mut self, now: Instant) -> Vec<Weak<Node>> {
        let mut due = Vec::new();
        while let Some(first) = self.alarms.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }

    /// Leaves the alarms to another thread. Returns false where the system refuses to start one.
    fn hand_over(&mut self) -> bool {
        self.sleep = match self.alarms.first_key_value() {
            None => Sleep::NoThread,
            Some((&(deadline, _), _)) => {
                if thread::detach("brigade-clock", run).is_err() {
                    return false;
                }
                // The thread waits for the lock, and looks before it sleeps.
                Sleep::Until(deadline)
            }
        };
        true
    }
}

/// What the thread does.
fn run() {
    let mut state = CLOCK.state.lock();
    // How many had been armed when it began to linger.
    let mut lingers_since = None;
    loop {
        let now = Instant::now();
        let due = state.take_due(now);
        if !due.is_empty() {
            drop(state);
            let told: Vec<Told> = due.iter().filter_map(ring).collect();
            state = CLOCK.state.lock();
            if !told.is_empty() {
                let handed_over = state.hand_over();
                drop(state);
                for told in told {
                    // No caller is there to resume a callback's panic in; the hook has shown it, and the others count.
                    if let Err(payload) = panic::catch(|| told.finish()) {
                        panic::discard(payload);
                    }
                }
                state = CLOCK.state.lock();
                if handed_over && !matches!(state.sleep, Sleep::NoThread) {
                    return;
                }
            }
            continue;
        }
        state.sleep = match (state.alarms.first_key_value(), state.sleep) {
            (Some((&(deadline, _), _)), _) => Sleep::Until(deadline),
            (None, Sleep::Linger(end)) if now < end => Sleep::Linger(end),
            (None, Sleep::Linger(_)) if lingers_since == Some(state.armed) => {
                state.sleep = Sleep::NoThread;
                return;
            }
            (None, _) => {
                lingers_since = Some(state.armed);
                Sleep::Linger(now + LINGER)
            }
        };
        if let Sleep::Until(time) | Sleep::Linger(time) = state.sleep {
            CLOCK.changed.wait_until(&mut state, time);
        }
    }
}

/// Cancels a node that is due, but for the user code that this calls for, which is returned if there is any.
fn ring(node: &Weak<Node>) -> Option<Told> {
    let node = node.upgrade()?;
    let mut told = tell(&node, CancelReason::Deadline);
    told.let_go(node);
    (!told.is_over()).then_some(told)
}
