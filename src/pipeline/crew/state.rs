//! [`State`]: the values that the members of a run share under one lock, and the choice of their next steps.
//!
//! The state is a value. No code of the user's runs in it, nothing of the user's is dropped, and there is no
//! lock, event, token or clock inside: durations and the void mark are arguments. (A rayon source is the
//! exception, which runs the user's code when it is split.) `void` is the index from which on all items are void.
//!
//! **One lock.** A worker takes it once a batch, to commit one and claim the next in the same breath, and a batch is
//! 100 µs of work. Separate locks for claiming and committing would be taken as often, twice.

use std::time::Duration;

use super::super::Settings;
use super::super::source::{Kind, Stock};
use super::pace::Pace;
use super::piece::Piece;
use super::ring::{Offers, Ring};
use super::roster::{Mode, Roster, Wakes, Workers};
use super::supply::{Claim, Rest, Supply};
use super::weight::PART;
use super::window::Window;
use crate::panic::Payload;

pub(super) struct State<S: Stock, R, E> {
    supply: Supply<S>,
    ring: Ring<R, E>,
    pace: Pace,
    window: Window,
    roster: Roster,
    /// Emptied vectors of outputs, for reuse.
    spare: Vec<Vec<R>>,
}

#[cfg(test)]
impl<S, R, E> std::fmt::Debug for State<S, R, E>
where
    S: Stock<Batch: std::fmt::Debug> + std::fmt::Debug,
    R: std::fmt::Debug,
    E: std::fmt::Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { supply, ring, pace, window, roster, .. } = self;
        write!(f, "{supply:?} {ring:?} {pace:?} {window:?} {roster:?}")
    }
}

/// The next step of a member.
pub(super) enum Step<B, R> {
    /// Works the batch, into the vector.
    Work(Claim<B>, Vec<R>),
    /// The stock holds less than a batch, which is this many items, but a worker is filling it: gives it a moment.
    Linger(usize),
    /// The member pulls up to this number of items into the stock, then looks again.
    Pull(usize),
    Sleep,
    /// Nothing will be left to do.
    Leave,
}

/// The next step of the caller.
pub(super) enum CallerStep<B, R, E> {
    /// Hands a piece to the sink.
    Output(Piece<R, E>),
    As(Step<B, R>),
    /// Ends the run, because a worker is gone.
    Abandon,
}

/// Whether a member may linger in its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    MayLinger,
    /// It has just lingered.
    HasLingered,
}

/// A batch that a member has worked.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Worked<B, R, E> {
    /// The outputs; `None` if the batch became void.
    pub(super) piece: Option<Piece<R, E>>,
    pub(super) effort: Effort,
    /// The items that were not worked.
    pub(super) rest: Option<Rest<B>>,
}

/// How many items were worked and how long that took, for the pace to learn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) items: usize,
    pub(super) elapsed: Duration,
}

/// The answer to a worker's offer of a part.
pub(super) enum Answer<R> {
    /// The part is in the ring; here is a vector for the next.
    Accepted(Vec<R>),
    /// There is no room for it yet.
    Wait,
    /// Nothing more is wanted of the batch.
    Void,
}

/// The answer to the caller's offer of a part.
pub(super) enum CallerAnswer<R, E> {
    /// Hands this to the sink first.
    Output(Piece<R, E>),
    As(Answer<R>),
}

impl<S: Stock, R, E> State<S, R, E> {
    pub(super) fn new(kind: Kind, stock: S, settings: &Settings) -> Self {
        let threads = settings.threads();
        State {
            supply: Supply::new(kind, stock, threads),
            ring: Ring::new(settings.order, threads),
            pace: Pace::new(threads, settings.window),
            window: Window::new(threads, settings.window),
            roster: Roster::new(threads - 1),
            spare: Vec::new(),
        }
    }

    pub(super) fn roster(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// The index that is due at the sink.
    pub(super) fn due(&self) -> u64 {
        self.ring.due()
    }

    /// Whether a member sleeps, and would take a rest that is handed back.
    pub(super) fn is_idle(&self) -> bool {
        self.roster.is_idle()
    }

    /// How many items lie in the stock.
    pub(super) fn in_stock(&self) -> usize {
        self.supply.in_stock()
    }

    /// Takes back a batch that a member has worked.
    pub(super) fn commit(&mut self, worked: Option<Worked<S::Batch, R, E>>) {
        let Some(Worked { piece, effort, rest }) = worked else { return };
        let Some(piece) = piece else {
            self.supply.put_back(0, None);
            return;
        };
        if piece.end.is_none() {
            self.pace.learn_work(effort.items, effort.elapsed);
        }
        self.supply.put_back(piece.first + piece.closes as u64, rest);
        self.ring.put(piece);
    }

    /// Takes back a piece that the sink has taken, in `elapsed`.
    pub(super) fn close(&mut self, taken: Option<(Piece<R, E>, Duration)>) {
        let Some((piece, elapsed)) = taken else { return };
        self.window.close(piece.closes);
        self.pace.learn_sink(piece.closes, elapsed);
        let mut outputs = piece.outputs;
        // Not one that an item with many outputs has made large.
        if self.spare.len() < self.supply.full() && outputs.0.capacity() <= PART {
            self.spare.push(std::mem::take(&mut outputs.0));
        }
    }

    pub(super) fn worker_step(&mut self, haste: Haste, void: u64) -> Step<S::Batch, R> {
        if self.is_over(void) {
            Step::Leave
        } else if let Some(items) = self.may_pull(void).filter(|_| self.fills_first()) {
            self.start_pull(items)
        } else if let Some(step) = self.claim_or_linger(haste, void) {
            step
        } else if let Some(items) = self.may_pull(void) {
            self.start_pull(items)
        } else {
            self.roster.worker_sleeps();
            Step::Sleep
        }
    }

    pub(super) fn caller_step(&mut self, haste: Haste, void: u64) -> CallerStep<S::Batch, R, E> {
        self.roster.caller = Mode::Awake;
        if self.roster.crashed {
            return CallerStep::Abandon;
        }
        if let Some(piece) = self.take_due() {
            return CallerStep::Output(piece);
        }
        CallerStep::As(if self.is_complete() {
            Step::Leave
        } else if let Some(step) = self.claim_or_linger(haste, void) {
            step
        } else if let Some(items) = self.may_pull(void).filter(|_| self.supply.is_ready()) {
            self.start_pull(items)
        } else if self.roster.is_caller_alone()
            && self.supply.is_idle()
            && self.window.ahead() == 0
            && !self.is_over(void)
        {
            // No worker could be started: the caller pulls one item at a time, and only while no output is due.
            self.start_pull(1)
        } else {
            self.roster.caller = Mode::Asleep;
            Step::Sleep
        })
    }

    /// A worker offers a part of the batch that is in its hands. `part` is `None` once it has been accepted.
    pub(super) fn worker_offers(
        &mut self,
        first: u64,
        part: &mut Option<Piece<R, E>>,
        offers: &mut Offers,
        void: u64,
    ) -> Answer<R> {
        if first >= void {
            Answer::Void
        } else if self.ring.offer(part, offers) {
            Answer::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            self.roster.await_part();
            Answer::Wait
        }
    }

    /// The caller offers a part of the batch that is in its hands.
    pub(super) fn caller_offers(
        &mut self,
        first: u64,
        part: &mut Option<Piece<R, E>>,
        offers: &mut Offers,
        void: u64,
    ) -> CallerAnswer<R, E> {
        self.roster.caller = Mode::Awake;
        if first >= void {
            return CallerAnswer::As(Answer::Void);
        }
        let accepted = self.ring.offer(part, offers);
        if let Some(piece) = self.take_due() {
            return CallerAnswer::Output(piece);
        }
        CallerAnswer::As(if accepted {
            Answer::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            self.roster.caller = Mode::AsleepHolding;
            Answer::Wait
        })
    }

    /// Puts pulled loads into the stock. Returns how many items they have, and whether the run still wants any.
    pub(super) fn put(&mut self, loads: impl Iterator<Item = S::Load>, void: u64) -> (usize, bool) {
        let batch = self.pace.batch();
        let items = loads.map(|load| self.supply.put(load, batch)).sum();
        self.window.pull(items);
        (items, self.supply.next() < void)
    }

    /// Ends a pull of `items` from a blocking source.
    pub(super) fn end_pull(&mut self, items: usize, elapsed: Duration, ended: Result<bool, Payload>) {
        self.pace.learn_pull(items, elapsed);
        self.supply.end_pull(ended);
    }

    /// Takes a batch that was pulled from a ready source, where `asked` items were wanted.
    pub(super) fn put_batch(&mut self, batch: Vec<S::Load>, asked: usize) {
        self.window.unpull(asked - batch.len());
        self.supply.put_batch(batch);
    }

    /// Claims a batch for the member that has just put one into the stock, unless the stock should be filled first.
    pub(super) fn claim_pulled(&mut self, void: u64) -> Option<(Claim<S::Batch>, Vec<R>)> {
        if self.fills_first() { None } else { self.claim(void) }
    }

    /// Chooses the members to wake, now that the state may have changed.
    ///
    /// One worker at a time: when it leaves the state in turn, it wakes the next, if there is more to do. But all of
    /// them when the run is over. (The caller wakes them too when it has left its loop, but its sink may take long.)
    pub(super) fn wakes(&mut self, void: u64) -> Wakes {
        let for_parts = self.roster.wake_for_parts();
        if !self.roster.is_idle() {
            return Wakes { for_parts, ..Wakes::NONE };
        }
        let asleep = self.roster.workers_asleep();
        let can_claim = self.supply.can_claim(self.fresh(), void);
        let workers = if self.is_over(void) {
            if asleep > 0 { Workers::All } else { Workers::None }
        } else if can_claim || self.may_pull(void).is_some() {
            self.roster.wake_one()
        } else {
            Workers::None
        };
        let caller_can_go_on = self.ring.is_ready()
            || self.is_complete()
            || can_claim && asleep == 0 && self.roster.caller == Mode::Asleep;
        let caller = caller_can_go_on && self.roster.wake_caller();
        Wakes { workers, caller, for_parts }
    }

    /// Takes apart the remains of a run: pieces, the panic of the source, and values to drop.
    pub(super) fn into_rest(self) -> (impl Iterator<Item = Piece<R, E>>, Option<Payload>, impl Sized) {
        let (payload, leftovers) = self.supply.into_rest();
        (self.ring.into_rest(), payload, leftovers)
    }

    fn take_due(&mut self) -> Option<Piece<R, E>> {
        let piece = self.ring.take()?;
        self.roster.part_taken();
        Some(piece)
    }

    fn claim_or_linger(&mut self, haste: Haste, void: u64) -> Option<Step<S::Batch, R>> {
        let wanted = self.pace.batch();
        if haste == Haste::MayLinger && self.supply.is_filling(wanted) && self.supply.can_claim(self.fresh(), void) {
            return Some(Step::Linger(wanted));
        }
        self.claim(void).map(|(claim, outputs)| Step::Work(claim, outputs))
    }

    fn claim(&mut self, void: u64) -> Option<(Claim<S::Batch>, Vec<R>)> {
        let next = self.supply.next();
        let claim = self.supply.claim(self.pace.batch(), self.fresh(), void)?;
        if self.supply.is_data() && self.supply.next() > next {
            self.window.pull(claim.items);
        }
        Some((claim, self.spare.pop().unwrap_or_default()))
    }

    /// How many items may be claimed for the first time.
    fn fresh(&self) -> usize {
        if self.ring.is_full() {
            0
        } else if self.supply.is_data() {
            self.window.room(self.pace.batch())
        } else {
            usize::MAX
        }
    }

    fn may_pull(&self, void: u64) -> Option<usize> {
        let batch = self.pace.batch();
        self.supply.may_pull(batch, self.window.room(batch), void)
    }

    fn fills_first(&self) -> bool {
        self.supply.fills_first(self.pace.pulls_are_dear())
    }

    fn start_pull(&mut self, items: usize) -> Step<S::Batch, R> {
        if self.supply.is_ready() {
            self.window.pull(items);
        }
        self.supply.start_pull();
        Step::Pull(items)
    }

    fn is_over(&self, void: u64) -> bool {
        self.supply.is_over(self.fresh(), void)
    }

    /// Whether the sink has taken every output.
    ///
    /// The void mark has no part in it, because a cancellation between the caller's look at the token and its look here
    /// must not pass for completion.
    fn is_complete(&self) -> bool {
        self.supply.is_exhausted() && self.window.ahead() == 0
    }
}
