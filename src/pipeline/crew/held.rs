//! [`Held`]: the outputs of a batch that its member holds back, and when it hands them over.
//!
//! **Outputs of one item are handed over in parts, where they are very many.** A `flat_map` may have no end, and its
//! outputs would lie in memory until it had. So parts of up to 4096 outputs go into the ring, where 16 and 2 a thread
//! may wait for their turn, in the whole run, and 16 more of the batch that is due. A worker with another part waits,
//! and no new batch is claimed. The due batch waits for the sink alone, so the run goes on. With less room, items of
//! some thousands of outputs would wait for each other: with two parts a batch, twenty items of 250,000 outputs ran
//! no faster than the plain loop, with sixteen 1.3 times as fast, and 1.9 times if all were kept.

use std::cell::Cell;
use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::piece::{End, Piece};
use super::signal::Signal;
use super::weight::{self, PART};
use crate::panic::Unmet;

/// How many outputs of a `flat_map` at most go by between two looks at the clock, and how long that should take.
const BETWEEN_LOOKS: usize = 64;
const LOOK: Duration = Duration::from_micros(2);

/// How long the outputs of one item are held back before the next is asked for.
const LATE: Duration = Duration::from_micros(400);

/// The outputs of a batch that its member holds back.
pub(super) struct Held<'a, R, H> {
    signal: &'a Signal,
    pub(super) outputs: Vec<R>,
    hand_over: H,
    /// The index at which the next part begins, and how many parts were handed over before.
    pub(super) first: u64,
    part: usize,
    /// How many bytes the items weigh that have ended since the last part.
    pub(super) bytes: u64,
    /// How many bytes the outputs weigh since then.
    weighed: &'a Cell<u64>,
    pub(super) since: Instant,
    /// How many outputs make a part.
    most: usize,
    /// How long it took to hand parts over.
    pub(super) waited: Duration,
    looks: Looks,
    /// No more is wanted.
    pub(super) broken_off: bool,
}

/// The looks at the clock between the outputs of one item.
struct Looks {
    /// How many outputs have gone by since the last look, and how many may.
    outputs: usize,
    until: usize,
    last: Instant,
    /// The alarms of the caller that were heard.
    alarms: u64,
}

impl<'a, R, H> Held<'a, R, H> {
    pub(super) fn new(first: u64, outputs: Vec<R>, hand_over: H, signal: &'a Signal, weighed: &'a Cell<u64>) -> Self {
        let since = Instant::now();
        let most = PART / weight::of_each::<R>(1, Duration::ZERO);
        let looks = Looks { outputs: 0, until: 1, last: since, alarms: signal.alarms() };
        Held {
            signal,
            outputs,
            hand_over,
            first,
            part: 0,
            bytes: 0,
            weighed,
            since,
            most,
            waited: Duration::ZERO,
            looks,
            broken_off: false,
        }
    }

    /// How many items of the next part are earlier than `index`.
    pub(super) fn items_before(&self, index: u64) -> usize {
        usize::try_from(index - self.first).unwrap_or(usize::MAX)
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.outputs.len() >= self.most
    }

    /// Hands over the outputs there are, of the items before `this`, and of `this`, which may end in a later part.
    #[cold]
    #[inline(never)]
    pub(super) fn hand_over<E>(&mut self, this: u64) -> ControlFlow<()>
    where
        H: FnMut(Piece<R, E>) -> ControlFlow<(), Vec<R>>,
    {
        let begun = Instant::now();
        let part = self.take(self.items_before(this), begun, None);
        self.first = this;
        self.part += 1;
        self.outputs = (self.hand_over)(part)?;
        self.since = Instant::now();
        self.looks.last = self.since;
        self.waited += self.since - begun;
        ControlFlow::Continue(())
    }

    /// Takes the outputs there are, in which `closes` items end.
    pub(super) fn take<E>(&mut self, closes: usize, now: Instant, end: Option<End<E>>) -> Piece<R, E> {
        let outputs = mem::take(&mut self.outputs);
        // The window counts one output an item.
        let more = outputs.len().saturating_sub(closes);
        let weight = weight::of_some::<R>(more, outputs.len(), now - self.since);
        Piece {
            first: self.first,
            part: self.part,
            outputs: Unmet(outputs),
            closes,
            bytes: mem::take(&mut self.bytes),
            output_bytes: self.weighed.take(),
            weight,
            end,
        }
    }

    /// Whether to hand over the outputs before a stage that makes many of an item is asked for the next, which may take
    /// long.
    ///
    /// It looks at the clock every 2 µs or so, and every 64 outputs at least: so after each where they are slow.
    #[inline]
    pub(super) fn is_late(&mut self) -> bool {
        self.looks.outputs += 1;
        (self.looks.outputs >= self.looks.until || self.looks.alarms != self.signal.alarms()) && self.look()
    }

    fn look(&mut self) -> bool {
        let looks = &mut self.looks;
        let alarms = self.signal.alarms();
        let is_awaited = mem::replace(&mut looks.alarms, alarms) != alarms;
        let now = Instant::now();
        let outputs = self.outputs.len();
        if outputs > 0 {
            // Before the first output is there, its time says nothing.
            let fit = (looks.outputs as u128 * LOOK.as_nanos()).checked_div((now - looks.last).as_nanos());
            let fit = fit.map_or(BETWEEN_LOOKS, |fit| usize::try_from(fit).unwrap_or(BETWEEN_LOOKS));
            looks.until = fit.clamp(1, (looks.until * 2).min(BETWEEN_LOOKS));
            self.most = PART / weight::of_each::<R>(outputs, now - self.since);
        }
        looks.outputs = 0;
        looks.last = now;
        outputs > 0 && (is_awaited || outputs >= self.most || now - self.since > LATE)
    }

    #[cold]
    pub(super) fn break_off(&mut self) -> ControlFlow<()> {
        self.broken_off = true;
        ControlFlow::Break(())
    }
}
