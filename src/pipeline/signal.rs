//! Signals: what members of a crew tell each other outside of the state's lock, and the token tells them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

use crate::event::{Event, Ticket};

/// How long outputs may be held back that the caller waits for.
const ALARM: Duration = Duration::from_millis(1);

/// What the token's callback touches, which must not borrow.
pub(super) struct Signal {
    /// Items from this index on are void: one below them failed, or the run is over.
    ///
    /// Read for each item, so it has a cache line of its own, as the next has.
    void_from: CachePadded<AtomicU64>,
    /// Somebody sleeps, and would take what is handed back.
    idle: CachePadded<AtomicBool>,
    /// The index of the first item whose outputs the caller has not taken.
    due: CachePadded<AtomicU64>,
    /// How often the caller has waited for a millisecond in vain.
    alarms: CachePadded<AtomicU64>,
    /// The caller is in the sink.
    outputting: AtomicBool,
    /// There it has cancelled the token.
    cancelled_by_sink: AtomicBool,
    pub(super) workers: Event,
    pub(super) caller: Event,
    /// For workers that have handed over a part of a batch and wait for the caller to take it.
    pub(super) parts: Event,
}

impl Signal {
    pub(super) fn new() -> Arc<Signal> {
        Arc::new(Signal {
            void_from: CachePadded::new(AtomicU64::new(u64::MAX)),
            idle: CachePadded::new(AtomicBool::new(false)),
            due: CachePadded::new(AtomicU64::new(0)),
            alarms: CachePadded::new(AtomicU64::new(0)),
            outputting: AtomicBool::new(false),
            cancelled_by_sink: AtomicBool::new(false),
            workers: Event::default(),
            caller: Event::default(),
            parts: Event::default(),
        })
    }

    // Relaxed: the index carries no data. Who is about to sleep sees it by the ticket.
    #[inline]
    pub(super) fn is_void(&self, item: u64) -> bool {
        item >= self.void_from.load(Ordering::Relaxed)
    }

    // Relaxed, as below: a hint.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Called with the state in hand, for each item that is pulled: a store that changes nothing would cost those who look.
    pub(super) fn set_idle(&self, idle: bool) {
        if self.is_idle() != idle {
            self.idle.store(idle, Ordering::Relaxed);
        }
    }

    // Relaxed, as the next three: hints.
    pub(super) fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }

    pub(super) fn set_due(&self, item: u64) {
        self.due.store(item, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// For the caller: waits until it is notified. After a millisecond it lets those who hold outputs back know of it,
    /// once.
    pub(super) fn wait_as_caller(&self, ticket: Ticket, patience: &mut bool) {
        if *patience {
            let end = Instant::now() + ALARM;
            self.caller.wait_until(ticket, Some(end));
            *patience = Instant::now() < end;
            if !*patience {
                self.alarm();
            }
        } else {
            self.caller.wait(ticket);
        }
    }

    /// Has those who hold outputs back hand them over soon.
    pub(super) fn alarm(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    // Relaxed, as the next two: they are the caller's alone.
    pub(super) fn set_outputting(&self, outputting: bool) {
        self.outputting.store(outputting, Ordering::Relaxed);
    }

    /// The token is cancelled by the calling thread, which may be in the sink.
    pub(super) fn cancelled_by_caller(&self) {
        if self.outputting.load(Ordering::Relaxed) {
            self.cancelled_by_sink.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_cancelled_by_sink(&self) -> bool {
        self.cancelled_by_sink.load(Ordering::Relaxed)
    }

    /// Who works on an item from this one on stops at the next; who sleeps looks again.
    pub(super) fn void_from(&self, item: u64) {
        self.void_from.fetch_min(item, Ordering::Relaxed);
        self.workers.notify_all();
        self.caller.notify_all();
        self.parts.notify_all();
    }

    pub(super) fn wake(&self, wakes: &Wakes) {
        if wakes.all_workers {
            self.workers.notify_all();
        } else if wakes.a_worker {
            self.workers.notify_one();
        }
        if wakes.for_parts {
            self.parts.notify_all();
        }
        if wakes.the_caller {
            self.caller.notify_one();
        }
    }
}

/// Whom a change of the state lets go on.
#[derive(Default)]
pub(super) struct Wakes {
    pub(super) all_workers: bool,
    pub(super) a_worker: bool,
    pub(super) the_caller: bool,
    /// Those who wait for a part to be taken.
    pub(super) for_parts: bool,
}
