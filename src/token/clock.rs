//! The clock: one thread for the deadlines of the whole process, started by the first and gone soon after the last.
//!
//! Invariants:
//!
//! 1. While an alarm is armed there is a clock thread, and it wakes no later than the earliest alarm: who arms an earlier
//!    one wakes it.
//! 2. It ends between one and two [`LINGER`]s after the last alarm has gone. Who disarms the last one wakes it, so that it does
//!    not sleep on until an hour that concerns nobody; once it lingers, arming and disarming wake nobody, unless the new
//!    alarm is due before it would look by itself.
//! 3. Its lock is never held together with a node's, and nothing of the user's runs or is dropped under it.
//!
//! It is not modelled with loom, which has no time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::tree::{self, Node};
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

/// What the thread does.
fn run() {
    let mut state = CLOCK.state.lock();
    // How many had been armed when it began to linger.
    let mut lingers_since = None;
    loop {
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some(first) = state.alarms.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        if !due.is_empty() {
            drop(state);
            for node in due.iter().filter_map(Weak::upgrade) {
                // There is nobody to resume a callback's panic in; the hook has shown it, and the other deadlines count.
                if let Err(payload) = panic::catch(|| tree::cancel(&node, CancelReason::Deadline)) {
                    panic::discard(payload);
                }
            }
            state = CLOCK.state.lock();
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
