//! The clock: one thread for the deadlines of the whole process, started by the first and gone soon after the last.
//!
//! A deadline is armed once, at the node that has it: its descendants inherit the cancel and the time. The clock knows
//! a node only as [`Timed`].
//!
//! Invariants:
//!
//! 1. While an alarm is armed there is a clock thread, and it wakes no later than the earliest alarm, because a caller
//!    that arms an earlier one wakes it. Arming a later one, and disarming any but the last, wakes no thread.
//! 2. The clock ends between one and two [`LINGER`]s after the last alarm has gone. The caller that disarms the last
//!    alarm wakes the clock, so that it does not sleep on until an hour that concerns no token. While the clock
//!    lingers, arming and disarming wake it only if the new alarm is due before it would look by itself.
//! 3. The clock's lock is never held together with a node's. No user code runs and no user value is dropped under it.
//! 4. The clock runs no user code, because a callback may wait for a deadline itself. A thread that has callbacks to
//!    run first stops being the clock: it starts a successor if an alarm is armed, otherwise the next [`arm`] does.
//!    When the callbacks have returned it is the clock again if there is none; otherwise it ends. (If the system
//!    refuses to start the successor, the thread runs the callbacks as the clock, and they delay the other deadlines.)
//!    Waking a waiter or a pipeline is no user code, and costs no thread. One thread for the callbacks of all deadlines
//!    was weighed and left: it would keep their order, but a callback that blocks would stop the others for ever.
//!
//! The clock is not modelled with loom, which has no time.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::panic;
use crate::thread;

/// How long the clock stays while no alarm is armed, because a thread costs 20 to 80 µs to start.
const LINGER: Duration = Duration::from_millis(100);

/// A node, as the clock knows it.
pub(super) trait Timed: Send + Sync {
    /// Cancels the node because its deadline has passed, but runs no user code: that is returned, if there is any.
    fn ring(self: Arc<Self>) -> Option<UserCode>;
}

pub(super) type UserCode = Box<dyn FnOnce()>;

static CLOCK: Clock = Clock {
    state: Mutex::new(State { alarms: BTreeMap::new(), armed: 0, sleep: Sleep::NoThread }),
    changed: Condvar::new(),
};

struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By deadline; the number tells apart alarms of one deadline.
    alarms: BTreeMap<Key, Weak<dyn Timed>>,
    /// How many alarms have ever been armed.
    armed: u64,
    sleep: Sleep,
}

type Key = (Instant, u64);

/// Until when the clock sleeps, and why.
#[derive(Clone, Copy)]
enum Sleep {
    NoThread,
    /// The earliest alarm.
    Until(Instant),
    /// No alarm was armed when the clock fell asleep.
    Linger(Instant),
}

/// An armed deadline; dropping it disarms it.
pub(super) struct Alarm {
    key: Key,
}

/// Arms an alarm that rings `node` at `deadline`, unless the alarm is dropped before.
pub(super) fn arm(deadline: Instant, node: Weak<dyn Timed>) -> io::Result<Alarm> {
    let mut state = CLOCK.state.lock();
    state.armed += 1;
    let key = (deadline, state.armed);
    match state.sleep {
        Sleep::NoThread => {
            thread::detach("brigade-clock", run)?;
            // The new thread waits for this lock, and looks before it sleeps.
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
    fn take_due(&mut self, now: Instant) -> Vec<Weak<dyn Timed>> {
        let mut due = Vec::new();
        while let Some(first) = self.alarms.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }

    /// Leaves the alarms to another thread; returns false if the system refuses to start one.
    fn hand_over(&mut self) -> bool {
        self.sleep = match self.alarms.first_key_value() {
            None => Sleep::NoThread,
            Some((&(deadline, _), _)) => {
                if thread::detach("brigade-clock", run).is_err() {
                    return false;
                }
                // The new thread waits for the lock, and looks before it sleeps.
                Sleep::Until(deadline)
            }
        };
        true
    }
}

/// The clock's thread.
fn run() {
    let mut state = CLOCK.state.lock();
    // How many alarms had been armed when the clock began to linger.
    let mut lingers_since = None;
    loop {
        let now = Instant::now();
        let due = state.take_due(now);
        if !due.is_empty() {
            drop(state);
            let callbacks: Vec<UserCode> = due.iter().filter_map(|node| node.upgrade()?.ring()).collect();
            state = CLOCK.state.lock();
            if !callbacks.is_empty() {
                let handed_over = state.hand_over();
                drop(state);
                for callbacks in callbacks {
                    // No caller is there to resume a callback's panic in. The hook has shown it, and the other
                    // callbacks are to run.
                    if let Err(payload) = panic::catch(callbacks) {
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
