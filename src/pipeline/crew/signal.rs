//! [`Signal`]: the messages of members and token to each other, outside of the state's lock.
//!
//! **Void, not cancelled.** A failure lowers one number, the void mark, which each item is compared with: items
//! from that index on are void. In an ordered run the mark is the index behind the failing item, else it is 0, as
//! when the token is cancelled. Batches are claimed in order, so every item before the mark is already in a
//! member's hands. The earliest failure wins because the caller meets it first, not because failures are compared.
//!
//! **Tickets.** A run borrows from the stack, and a token's callback must not, so a run cannot wait on
//! a condvar beside its state and have a cancellation wake it. [`Event`] splits the two: a member takes
//! a ticket, looks at the void mark and the state, and waits with the ticket. (The caller looks at the token,
//! too.) The mark is set before the events are notified, so a member that has missed the mark holds a stale
//! ticket. `tests/loom/crew.rs` models this.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::utils::CachePadded;

use super::roster::{Wakes, Workers};
use crate::event::Event;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64};

/// All that the token's callback touches, which must not borrow.
pub(in super::super) struct Signal {
    /// Of each section, the first one first.
    marks: Box<[Marks]>,
    // The next three are read often, so each has its own cache line.
    /// A member sleeps, and would take a rest that is handed back.
    idle: CachePadded<AtomicBool>,
    /// How often a sleeping member has waited for the time of an alarm in vain.
    alarms: CachePadded<AtomicU64>,
    /// The number of the last chunk whose puller is to put it into the stock, because such an alarm has rung.
    rung: CachePadded<AtomicU64>,
    /// `OUTSIDE`, `INSIDE` or `CANCELLED`; written by the calling thread alone.
    sink: AtomicU8,
    pub(super) workers: Event,
    pub(super) caller: Event,
    /// For workers that wait for the caller to take a part.
    pub(super) parts: Event,
    /// For the workers of each section that has workers of its own.
    pub(super) blocking: Box<[Event]>,
}

/// The marks of a section. Each is read once an item or often, so it has its own cache line.
pub(in super::super) struct Marks {
    /// Items from this index on are void.
    void: CachePadded<AtomicU64>,
    /// The index of the first item whose outputs were not taken.
    due: CachePadded<AtomicU64>,
}

impl Marks {
    fn new() -> Self {
        Marks { void: CachePadded::new(AtomicU64::new(u64::MAX)), due: CachePadded::new(AtomicU64::new(0)) }
    }

    // Relaxed: the index carries no data. A member that is about to sleep sees a new mark by its ticket.
    #[inline]
    pub(super) fn void(&self) -> u64 {
        self.void.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_void(&self, item: u64) -> bool {
        item >= self.void()
    }

    // Relaxed, as the next: hints.
    pub(super) fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }

    pub(super) fn set_due(&self, item: u64) {
        self.due.store(item, Ordering::Relaxed);
    }
}

/// The caller is not in the sink.
const OUTSIDE: u8 = 0;
/// The caller is in the sink.
const INSIDE: u8 = 1;
/// The sink has cancelled the token.
const CANCELLED: u8 = 2;

impl Signal {
    pub(super) fn new(sections: usize) -> Arc<Signal> {
        Arc::new(Signal {
            marks: (0..sections).map(|_| Marks::new()).collect(),
            idle: CachePadded::new(AtomicBool::new(false)),
            alarms: CachePadded::new(AtomicU64::new(0)),
            rung: CachePadded::new(AtomicU64::new(0)),
            sink: AtomicU8::new(OUTSIDE),
            workers: Event::default(),
            caller: Event::default(),
            parts: Event::default(),
            blocking: (0..sections).map(|_| Event::default()).collect(),
        })
    }

    /// The marks of all sections.
    pub(super) fn all_marks(&self) -> &[Marks] {
        &self.marks
    }

    pub(super) fn marks(&self, section: usize) -> &Marks {
        &self.marks[section]
    }

    /// The void mark of the source's items.
    #[inline]
    pub(super) fn void(&self) -> u64 {
        self.marks[0].void()
    }

    /// Whether any items of the source are void: then those that have not been pulled yet are.
    #[inline]
    pub(super) fn is_any_void(&self) -> bool {
        self.void() != u64::MAX
    }

    /// Voids all.
    pub(super) fn void_all(&self) {
        self.void_from(self.marks.len() - 1, 0);
    }

    /// Voids all that the sections before this one have yet to work: the serial stage at its boundary wants no more.
    pub(super) fn void_before(&self, section: usize) {
        self.void_from(section - 1, 0);
    }

    /// Voids the items of a section from `item` on, and those of the sections before it that have not crossed into it:
    /// all that such a section has yet to work. A member that works on one stops at its next look, and all that sleep
    /// look again.
    pub(super) fn void_from(&self, section: usize, item: u64) {
        for marks in &self.marks[..section] {
            marks.void.store(0, Ordering::Relaxed);
        }
        self.marks[section].void.fetch_min(item, Ordering::Relaxed);
        self.notify_all();
    }

    /// Has all that sleep look again.
    fn notify_all(&self) {
        self.workers.notify_all();
        self.caller.notify_all();
        self.parts.notify_all();
        self.blocking.iter().for_each(Event::notify_all);
    }

    // Relaxed, as the next two: hints.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// A store that changes nothing would cost the members that read the line.
    pub(super) fn set_idle(&self, idle: bool) {
        if self.is_idle() != idle {
            self.idle.store(idle, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Has the members that hold outputs or items back hand them over soon.
    pub(super) fn alarm(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn rung(&self) -> u64 {
        self.rung.load(Ordering::Relaxed)
    }

    /// Has the puller put its chunk into the stock as soon as it comes back from `next()`.
    ///
    /// It may miss this once, while it pushes an item, so an alarm rings twice in a chunk.
    pub(super) fn ring(&self, chunk: u64) {
        self.rung.store(chunk, Ordering::Relaxed);
    }

    // Relaxed, as the next three: the calling thread alone uses them.
    pub(super) fn enter_sink(&self) {
        let _ = self.sink.compare_exchange(OUTSIDE, INSIDE, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn leave_sink(&self) {
        let _ = self.sink.compare_exchange(INSIDE, OUTSIDE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The calling thread cancels the token. It may be in the sink.
    pub(super) fn cancelled_by_caller(&self) {
        let _ = self.sink.compare_exchange(INSIDE, CANCELLED, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled_by_sink(&self) -> bool {
        self.sink.load(Ordering::Relaxed) == CANCELLED
    }

    pub(super) fn wake(&self, wakes: Wakes) {
        match wakes.workers {
            Workers::All => self.workers.notify_all(),
            Workers::One => self.workers.notify_one(),
            Workers::None | Workers::Start(_) => {}
        }
        if wakes.for_parts {
            self.parts.notify_all();
        }
        if wakes.caller {
            self.caller.notify_one();
        }
    }
}
