//! [`Behind`]: a section behind a boundary, as the state sees it.
//!
//! A piece *crosses* the boundary when it is due in the ring of the section before, and there is room. Where nothing
//! stands between the two sections, it crosses under the lock, in no time. Where a [`Serial`] does, one member at a
//! time takes pieces out, calls it outside of the lock, and puts its outputs into the supply.
//!
//! Invariants:
//!
//! 1. In an ordered run every item that has crossed is earlier than every item that has not. So a failure crosses
//!    behind all outputs before it, and closes the input; and a failure in a section voids all that has not crossed.
//! 2. Nothing crosses while the supply holds four batches a thread, or the input is closed.
//! 3. The lock is never held while the user's code runs. `is_crossing` marks that one member calls the serial stage.

mod boundary;
mod parts;

use std::time::{Duration, Instant};

use super::super::Order;
use super::super::serial::Serial;
use super::super::source::Kind;
use super::super::source::iter::Items;
use super::below::{Below, Calls, Coming, Down, InHand, Outcome, OwnStep, Void};
use super::credits::Release;
use super::crossed::Crossed;
use super::crossing::{Crossing, Done, Flush, Input, Task};
use super::pace::Pace;
use super::piece::{End, Piece};
use super::ring::Ring;
use super::roster::{Arrival, Roster, Workers};
use super::signal::Marks;
use super::step::{PIECES, Plan, Worked};
use super::supply::{Claimed, Supply};

/// `I` and `E` are the outputs and the error of the section before; `Q` stands at the boundary; `D` has the ring for
/// the outputs of this section, and all below.
pub(in super::super) struct Behind<I, E, Q: Serial<I, Output: Send>, D> {
    ring: Ring<I, E>,
    input: Input<E>,
    is_crossing: bool,
    /// The items that have crossed as they are and are not worked yet, and how many bytes they weigh.
    crossed: Release,
    flush: Flush,
    /// Whether more comes into the ring.
    coming: Coming,
    supply: Supply<Crossed<Q::Output>>,
    pace: Pace,
    threads: usize,
    /// The workers of its own that it has.
    own: Option<Roster>,
    has_changed: bool,
    /// How long members have worked here since the last look.
    spent: Duration,
    down: D,
}

impl<I, E, Q, D> Behind<I, E, Q, D>
where
    Q: Serial<I, Output: Send>,
    D: Below,
{
    /// `own` is how many workers of its own it has.
    pub(super) fn new(plan: &Plan, ring: Ring<I, E>, own: Option<usize>, down: D) -> Self {
        let threads = own.unwrap_or(plan.threads);
        // Its items are worked one by one where it has workers of its own.
        let largest = if own.is_some() { std::num::NonZeroUsize::new(1) } else { plan.window };
        let bytes = size_of::<Q::Output>().max(size_of::<D::In>());
        Behind {
            ring,
            input: Input::Open,
            is_crossing: false,
            crossed: Release::default(),
            flush: Flush::Never,
            coming: Coming::More,
            supply: Supply::new(Kind::Ready, Crossed::new(), threads),
            pace: Pace::new(Kind::Ready, plan.aim, threads, largest, bytes),
            threads,
            own: own.map(Roster::new),
            has_changed: false,
            spent: Duration::ZERO,
            down,
        }
    }

    fn fresh(&self) -> usize {
        if self.down.ring().is_full() { 0 } else { usize::MAX }
    }

    /// Whether a member that serves all sections may claim here.
    fn is_shared(&self) -> bool {
        self.own.as_ref().is_none_or(Roster::is_caller_alone)
    }

    fn can_claim(&self, void: Void<'_>) -> bool {
        self.supply.in_hand() < self.threads && self.supply.can_claim(self.fresh(), void.own)
    }

    fn claim(&mut self, void: Void<'_>) -> Option<Claimed<Items<Q::Output>, D::In>> {
        if !self.can_claim(void) {
            return None;
        }
        let claim = self.supply.claim(self.pace.batch(), self.fresh(), void.own)?;
        self.has_changed = true;
        Some((claim, self.down.ring_mut().spare()))
    }

    fn is_own_over(&self, is_above_over: bool, void: Void<'_>) -> bool {
        let is_input_over = match self.input {
            Input::Open => self.down.ring().next() >= void.own && is_above_over,
            Input::Closed(_) | Input::Ended => true,
        };
        let is_drained = self.supply.is_drained(void.own);
        void.own == 0 || is_input_over && !self.is_crossing && self.supply.in_hand() == 0 && is_drained
    }

    /// Whether more comes out of the section.
    fn gives(&self) -> Coming {
        match &self.input {
            _ if !self.is_own_complete() => Coming::More,
            Input::Closed(Some(End::Panic(_))) => Coming::NothingForPanic,
            Input::Closed(None) => self.coming,
            Input::Open | Input::Closed(Some(End::Error(_))) | Input::Ended => Coming::Nothing,
        }
    }

    fn is_own_complete(&self) -> bool {
        !matches!(self.input, Input::Open)
            && !self.is_crossing
            && self.supply.in_hand() == 0
            && self.supply.is_drained(u64::MAX)
    }
}

impl<I, E, Q, D> Down for Behind<I, E, Q, D>
where
    Q: Serial<I, Output: Send>,
    D: Below,
{
    type Below = D;

    fn down(&mut self) -> &mut D {
        &mut self.down
    }
}

impl<I, E, Q, D> Below for Behind<I, E, Q, D>
where
    Q: Serial<I, Output: Send>,
    D: Below,
{
    type In = I;
    type InError = E;
    type Out = D::Out;
    type OutError = D::OutError;
    type Task = Task<I, E, Q::Output, D::In, D::Task>;
    type Done = Done<E, Q::Output, Worked<Items<Q::Output>, D::In, D::InError>, D::Done>;

    const SECTIONS: usize = D::SECTIONS + 1;
    const TIMED: bool = Q::TIMED || D::TIMED;

    fn ring(&self) -> &Ring<I, E> {
        &self.ring
    }

    fn ring_mut(&mut self) -> &mut Ring<I, E> {
        &mut self.ring
    }

    fn take_due(&mut self) -> Option<Piece<D::Out, D::OutError>> {
        let due = self.down.take_due();
        self.has_changed |= due.is_some();
        due
    }

    fn recycle(&mut self, outputs: Vec<D::Out>, output_bytes: u64) {
        self.down.recycle(outputs, output_bytes);
    }

    fn is_ready(&self) -> bool {
        self.down.is_ready()
    }

    fn free(&mut self, items: Release) {
        let closed = self.down.ring_mut().credit(0, items);
        self.down.free(closed);
    }

    fn take_freed(&mut self) -> Release {
        self.down.take_freed()
    }

    fn commit(&mut self, done: Self::Done) {
        self.has_changed = true;
        match done {
            Done::Behind(done) => self.down.commit(done),
            Done::Crossed(Crossing { items, closes, input, flush_at }) => {
                self.is_crossing = false;
                self.enter(items, closes);
                self.input = input;
                self.flush = flush_at.into();
            }
            Done::Worked(Worked { piece: None, .. }) => self.supply.put_back(0, None),
            Done::Worked(Worked { piece: Some(piece), effort, rest }) => {
                if let Some(share) = self.down.ring().share_of_batch(self.threads) {
                    self.pace.learn_weight(piece.closes, piece.output_bytes, share);
                }
                if piece.end.is_none() {
                    self.pace.learn_work(effort.items, effort.elapsed);
                }
                if self.own.is_none() {
                    self.spent += effort.elapsed;
                }
                self.release_crossed(effort.items);
                self.supply.put_back(piece.first + piece.closes as u64, rest);
                self.down.ring_mut().put(piece);
            }
        }
    }

    fn step(&mut self, void: Void<'_>) -> Option<Self::Task> {
        if let Some(task) = self.down.step(void.next()) {
            return Some(Task::Behind(task));
        }
        if !Q::PASSES && (self.can_cross(void) || self.must_flush(void)) {
            let mut pieces = Vec::new();
            while pieces.len() < PIECES && self.can_cross(void) {
                pieces.extend(self.cross());
            }
            self.is_crossing = true;
            return Some(Task::Cross { pieces, ends: false });
        }
        if self.must_finish() {
            self.has_changed = true;
            self.is_crossing = true;
            return Some(Task::Cross { pieces: Vec::new(), ends: true });
        }
        if self.is_shared()
            && let Some((claim, outputs)) = self.claim(void)
        {
            return Some(Task::Work(claim, outputs));
        }
        None
    }

    fn can_step(&self, void: Void<'_>) -> bool {
        self.down.can_step(void.next())
            || !Q::PASSES && (self.can_cross(void) || self.must_flush(void))
            || self.must_finish()
            || self.is_shared() && self.can_claim(void)
    }

    fn settle(&mut self, coming: Coming, void: Void<'_>) {
        self.coming = coming;
        if Q::PASSES {
            while self.can_cross(void)
                && let Some(mut piece) = self.cross()
            {
                let items = std::mem::take(&mut piece.outputs.0).into_iter().map(|item| Q::fuse(0, item)).collect();
                self.enter(items, Release { items: piece.closes, bytes: piece.bytes });
                if piece.end.is_some() {
                    self.input = Input::Closed(piece.end);
                }
            }
        }
        let closes = match coming {
            Coming::More => false,
            // The serial stage is told first.
            Coming::Nothing => Q::PASSES,
            Coming::NothingForPanic => true,
        };
        if closes && matches!(self.input, Input::Open) && !self.is_crossing && self.ring.is_empty() {
            self.has_changed = true;
            self.input = Input::Closed(None);
        }
        self.down.settle(self.gives(), void.next());
    }

    fn flush_at(&self) -> Option<Instant> {
        let own = self.flush.time().filter(|_| !self.is_crossing);
        [own, self.down.flush_at()].into_iter().flatten().min()
    }

    fn tell_time(&mut self, now: Instant) {
        self.flush.tell_time(now);
        self.down.tell_time(now);
    }

    fn take_changed(&mut self) -> bool {
        let below = self.down.take_changed();
        std::mem::take(&mut self.has_changed) || below
    }

    fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent) + self.down.take_spent()
    }

    fn is_over(&self, is_above_over: bool, void: Void<'_>) -> bool {
        let is_over = self.is_own_over(is_above_over, void);
        is_over && self.down.is_over(is_over, void.next())
    }

    fn is_complete(&self, _is_above_complete: bool) -> bool {
        self.down.is_complete(self.is_own_complete())
    }

    fn outcome(&self) -> Option<Outcome> {
        let own = match self.input {
            Input::Ended => Some(Outcome::Well),
            Input::Closed(Some(_)) => Some(Outcome::Failed),
            _ if self.ring.order() == Order::Arrival && self.ring.has_failure() => Some(Outcome::Failed),
            Input::Open | Input::Closed(None) => None,
        };
        self.down.outcome().or(own)
    }

    fn in_hand(&self) -> InHand {
        let InHand { all, shared } = self.down.in_hand();
        let own = self.supply.in_hand();
        InHand { all: all + own, shared: if self.own.is_none() { shared + own } else { shared } }
    }

    fn crossing(&self) -> usize {
        usize::from(self.is_crossing) + self.down.crossing()
    }

    fn are_items_long(&self) -> bool {
        self.own.is_none() && self.pace.are_items_long() || self.down.are_items_long()
    }

    fn publish(&self, marks: &[Marks]) {
        if let [first, behind @ ..] = marks {
            first.set_due(self.ring.due());
            self.down.publish(behind);
        }
    }

    fn own_step(
        &mut self,
        at: usize,
        arrival: Option<Arrival>,
        is_above_over: bool,
        void: Void<'_>,
    ) -> OwnStep<Self::Task> {
        let is_over = self.is_own_over(is_above_over, void);
        if at > 0 {
            return match self.down.own_step(at - 1, arrival, is_over, void.next()) {
                OwnStep::Work(task) => OwnStep::Work(Task::Behind(task)),
                OwnStep::Sleep => OwnStep::Sleep,
                OwnStep::Leave => OwnStep::Leave,
            };
        }
        let claimed = self.claim(void);
        let Some(roster) = &mut self.own else { return OwnStep::Leave };
        if let Some(arrival) = arrival {
            roster.worker_arrives(arrival);
        }
        match claimed {
            Some((claim, outputs)) => OwnStep::Work(Task::Work(claim, outputs)),
            None if is_over => OwnStep::Leave,
            None => {
                roster.worker_sleeps();
                OwnStep::Sleep
            }
        }
    }

    fn own_refused(&mut self, at: usize) {
        match (&mut self.own, at) {
            (Some(roster), 0) => {
                self.has_changed = true;
                roster.start_refused();
            }
            (None, 0) => {}
            _ => self.down.own_refused(at - 1),
        }
    }

    fn calls(&mut self, section: usize, is_above_over: bool, void: Void<'_>, calls: &mut Calls) {
        let is_over = self.is_own_over(is_above_over, void);
        let can_claim = self.can_claim(void);
        if let Some(roster) = &mut self.own {
            let called = match (is_over, can_claim) {
                (true, _) => roster.dismiss(),
                (false, true) => roster.call_one(),
                (false, false) => Workers::None,
            };
            if called != Workers::None {
                calls.push((section, called));
            }
        }
        self.down.calls(section + 1, is_over, void.next(), calls);
    }
}
