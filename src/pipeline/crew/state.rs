//! [`State`]: the values that the members of a run share under one lock, and the choice of their next steps.
//!
//! The state is a value. No code of the user's runs in it, nothing of the user's is dropped, and there is no
//! lock, event, token or clock inside: durations and the void mark are arguments. (A rayon source is the
//! exception, which runs the user's code when it is split.) `void` is the index from which on all items are void.
//!
//! **One lock.** A worker takes it once a batch, to commit one and claim the next in the same breath, and a batch is
//! 100 µs of work. Separate locks for claiming and committing would be taken as often, twice.
//!
//! **The caller takes all that is due at once**, up to a quarter of the window. A late caller that takes one piece at a
//! time lets the window fill, and then pays a wake for each piece. (In a model of 128 cores and items of 1.6 µs the
//! speed-up is 122 this way, and 46 piece by piece.)

mod wakes;

use std::collections::VecDeque;
use std::mem::size_of;
use std::time::Duration;

use super::super::source::{Chunk, Stock};
use super::chunk::OpenChunk;
use super::pace::Pace;
use super::piece::Piece;
use super::ring::Ring;
use super::roster::{Guard, Mode, Roster, Sleep};
use super::step::{Answer, CallerAnswer, CallerStep, Offer, Plan, Quota, Step, Worked};
use super::supply::{Claim, Supply};
use super::weight::PART;
use super::window::Window;
use crate::panic::Payload;

pub(super) struct State<S: Stock, R, E> {
    supply: Supply<S>,
    ring: Ring<R, E>,
    pace: Pace,
    window: Window,
    roster: Roster,
    threads: usize,
    /// The user wants the caller to do nothing but output.
    is_caller_reserved: bool,
    /// The caller pulls or works a batch, and cannot output.
    is_caller_busy: bool,
    /// The outputs that members hold back were asked for since the sink took the last.
    is_asked: bool,
    chunk: OpenChunk,
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
        let State { supply, ring, pace, window, roster, is_caller_busy, is_asked, chunk, .. } = self;
        let chunk = chunk.situation();
        write!(f, "{supply:?} {ring:?} {pace:?} {window:?} {roster:?} {is_caller_busy} {is_asked} {chunk:?}")
    }
}

/// How many pieces the caller takes at a time.
const PIECES: usize = 8;

impl<S: Stock, R, E> State<S, R, E> {
    pub(super) fn new(plan: &Plan, stock: S) -> Self {
        let Plan { kind, order, threads, workers, window, aim, is_caller_reserved } = *plan;
        let bytes = size_of::<S::Item>().max(size_of::<R>());
        State {
            supply: Supply::new(kind, stock, threads),
            ring: Ring::new(order, threads),
            pace: Pace::new(kind, aim, threads, window),
            window: Window::new(threads, window, bytes),
            roster: Roster::new(workers),
            threads,
            is_caller_reserved,
            is_caller_busy: false,
            is_asked: false,
            chunk: OpenChunk::default(),
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
        self.share_work();
    }

    /// Takes back a piece that the sink has taken, in `elapsed`.
    pub(super) fn close(&mut self, (piece, elapsed): (Piece<R, E>, Duration)) {
        self.is_asked = false;
        self.window.close(piece.closes, self.pace.ahead());
        self.pace.learn_sink(piece.closes, elapsed);
        let mut outputs = piece.outputs;
        // Not one that an item with many outputs has made large.
        if self.spare.len() < self.supply.full() && outputs.0.capacity() <= PART {
            self.spare.push(std::mem::take(&mut outputs.0));
        }
    }

    pub(super) fn worker_step(&mut self, void: u64) -> Step<S::Batch, R> {
        if self.is_over(void) {
            return Step::Leave;
        }
        loop {
            if let Some(quota) = self.may_pull(void).filter(|_| self.fills_first()) {
                return self.start_pull(quota);
            }
            if let Some((claim, outputs)) = self.claim(void) {
                return Step::Work(claim, outputs);
            }
            if let Some(quota) = self.may_pull(void) {
                return self.start_pull(quota);
            }
            if !self.widens(void) {
                break;
            }
        }
        self.roster.worker_sleeps();
        Step::Sleep(self.guard(Guard::Worker))
    }

    /// The pieces that are due are added to `due`.
    pub(super) fn caller_step(&mut self, due: &mut VecDeque<Piece<R, E>>, void: u64) -> CallerStep<S::Batch, R> {
        self.roster.caller_awake();
        self.is_caller_busy = false;
        if self.roster.crashed {
            return CallerStep::Abandon;
        }
        if self.take_due(due) {
            return CallerStep::Output;
        }
        if self.is_complete() {
            return CallerStep::As(Step::Leave);
        }
        if self.does_caller_work() {
            loop {
                if let Some((claim, outputs)) = self.claim(void) {
                    self.is_caller_busy = true;
                    return CallerStep::As(Step::Work(claim, outputs));
                }
                if let Some(quota) = self.may_pull(void).filter(|_| self.supply.is_ready()) {
                    self.is_caller_busy = true;
                    return CallerStep::As(self.start_pull(quota));
                }
                if !self.widens(void) {
                    break;
                }
            }
            if self.must_caller_pull(void) {
                return CallerStep::As(self.start_pull(Quota { items: 1, chunk: 1, number: 0 }));
            }
        }
        self.roster.caller = Mode::Asleep;
        CallerStep::As(Step::Sleep(self.caller_sleeps()))
    }

    /// A worker offers a part of the batch that is in its hands.
    pub(super) fn worker_offers(&mut self, offer: &mut Offer<'_, R, E>, void: u64) -> Answer<R> {
        if offer.first >= void {
            Answer::Void
        } else if self.ring.offer(&mut offer.part, offer.offers) {
            Answer::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            self.roster.await_part();
            Answer::Wait(Sleep::Long)
        }
    }

    /// The caller offers a part of the batch that is in its hands. The pieces that are due are added to `due`.
    pub(super) fn caller_offers(
        &mut self,
        offer: &mut Offer<'_, R, E>,
        due: &mut VecDeque<Piece<R, E>>,
        void: u64,
    ) -> CallerAnswer<R> {
        self.roster.caller_awake();
        if offer.first >= void {
            return CallerAnswer::As(Answer::Void);
        }
        let accepted = self.ring.offer(&mut offer.part, offer.offers);
        if self.take_due(due) {
            return CallerAnswer::Output;
        }
        CallerAnswer::As(if accepted {
            Answer::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            self.roster.caller = Mode::AsleepHolding;
            Answer::Wait(self.caller_sleeps())
        })
    }

    /// Puts a chunk of a blocking source into the stock, and opens the next. Returns how much to pull into that.
    pub(super) fn put(&mut self, chunk: Chunk<S::Load>, elapsed: Duration, void: u64) -> Option<Quota> {
        let items = self.take_chunk(chunk);
        self.pace.learn_pull(items, elapsed);
        self.chunk.open();
        self.quota(void)
    }

    /// Puts items into the stock that a puller holds, because it waits in `next()`.
    pub(super) fn take_chunk(&mut self, chunk: Chunk<S::Load>) -> usize {
        let items = self.supply.put(chunk);
        self.window.pull(items);
        items
    }

    /// The alarm of a sleeping member rings. Returns the number of the chunk whose items are to be taken from the
    /// puller, because it was open when the member fell asleep.
    pub(super) fn ring_alarm(&mut self, sleep: Sleep) -> Option<u64> {
        self.is_asked = true;
        if sleep != Sleep::ToAlarm {
            return None;
        }
        self.chunk.ring(self.supply.is_pulled()).then(|| self.chunk.number())
    }

    /// Ends a pull.
    pub(super) fn end_pull(&mut self, ended: Result<bool, Payload>) {
        self.supply.end_pull(ended);
    }

    /// Takes a batch that was pulled from a ready source in `elapsed`, where `asked` items were wanted.
    pub(super) fn put_batch(&mut self, batch: Vec<S::Load>, asked: usize, elapsed: Duration) {
        self.window.unpull(asked - batch.len());
        self.pace.learn_pull(batch.len(), elapsed);
        self.supply.put(Chunk::List(batch));
    }

    /// Claims a batch for the member that has just put one into the stock, unless the stock should be filled first.
    pub(super) fn claim_pulled(&mut self, void: u64) -> Option<(Claim<S::Batch>, Vec<R>)> {
        if self.fills_first() { None } else { self.claim(void) }
    }

    /// Takes the failures that are left of a run: in its pieces, and the panic of the source.
    pub(super) fn take_failures(&mut self) -> (impl Iterator<Item = Piece<R, E>> + use<S, R, E>, Option<Payload>) {
        (self.ring.take_rest(), self.supply.take_panic())
    }

    /// Whether the caller claims batches, as a worker does.
    ///
    /// If the system has refused the worker that would do the caller's share, the caller has to: the others may be in
    /// `next()`, or wait for room that only the due batch can make.
    fn does_caller_work(&self) -> bool {
        self.roster.is_caller_alone()
            || self.roster.is_short_of(self.threads)
            || !self.is_caller_reserved && !self.pace.are_items_long()
    }

    /// Whether the caller has to pull from a blocking source, because no worker could be started: one item at a time,
    /// and only while no output is due.
    fn must_caller_pull(&self, void: u64) -> bool {
        self.roster.is_caller_alone() && self.supply.is_idle() && self.window.ahead() == 0 && !self.is_over(void)
    }

    /// If the caller only outputs, one more worker does its share.
    fn share_work(&mut self) {
        let is_free = self.is_caller_reserved || self.pace.are_items_long();
        self.roster.set_most(if is_free { self.threads } else { self.threads - 1 });
    }

    /// Takes pieces that are due, and have no more weight than one part.
    fn take_due(&mut self, due: &mut VecDeque<Piece<R, E>>) -> bool {
        let mut room = self.window.share_of_caller(self.pace.ahead());
        while let Some(piece) = self.ring.take() {
            room = room.saturating_sub(piece.closes);
            let is_last = room == 0 || piece.weight > 0 || piece.end.is_some();
            due.push_back(piece);
            if is_last || due.len() >= PIECES {
                break;
            }
        }
        if due.is_empty() {
            return false;
        }
        self.roster.part_taken();
        true
    }

    fn can_claim(&self, void: u64) -> bool {
        self.supply.in_hand() < self.threads && self.supply.can_claim(self.fresh(), void)
    }

    fn claim(&mut self, void: u64) -> Option<(Claim<S::Batch>, Vec<R>)> {
        // The caller that takes work up again is one member more than there are threads.
        if self.supply.in_hand() >= self.threads {
            return None;
        }
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
            self.window.room(self.pace.ahead())
        } else {
            usize::MAX
        }
    }

    fn may_pull(&self, void: u64) -> Option<Quota> {
        let room = self.window.room(self.pace.ahead());
        let items = self.supply.may_pull(self.pace.batch(), room, void)?;
        Some(Quota { items, chunk: self.pace.batch().min(items), number: self.chunk.number() })
    }

    /// How much the puller of a blocking source may pull in addition.
    fn quota(&self, void: u64) -> Option<Quota> {
        if self.roster.is_caller_alone() {
            return None;
        }
        let room = self.window.room(self.pace.ahead());
        let items = self.supply.may_go_on(self.pace.batch(), room, void)?;
        Some(Quota { items, chunk: self.pace.batch().min(items), number: self.chunk.number() })
    }

    fn fills_first(&self) -> bool {
        self.supply.fills_first(self.pace.pulls_are_dear())
    }

    fn start_pull(&mut self, quota: Quota) -> Step<S::Batch, R> {
        if self.supply.is_ready() {
            self.window.pull(quota.items);
        }
        self.supply.start_pull();
        self.chunk.open();
        Step::Pull(Quota { number: self.chunk.number(), ..quota })
    }

    /// Widens the window for a member that would sleep for room, while the due item is not there, or the caller is busy
    /// with an item.
    fn widens(&mut self, void: u64) -> bool {
        let batch = self.pace.ahead();
        self.window.room(batch) == 0
            && (self.is_caller_busy || !self.ring.is_ready())
            && !self.ring.is_full()
            && self.supply.in_hand() < self.threads
            && self.supply.wants_room(batch, void)
            && self.window.widen(batch)
    }

    /// How long a member sleeps.
    fn guard(&mut self, guard: Guard) -> Sleep {
        if self.roster.is_unguarded() && self.supply.may_hold() && self.chunk.wants_guard() {
            self.chunk.guard();
            self.roster.stand_guard(guard);
            return Sleep::ToAlarm;
        }
        Sleep::Long
    }

    /// How long the caller sleeps: it also asks for the outputs that members hold back, once.
    fn caller_sleeps(&mut self) -> Sleep {
        match self.guard(Guard::Caller) {
            Sleep::Long if !self.is_asked && self.supply.in_hand() > 0 => Sleep::ToAsk,
            sleep => sleep,
        }
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
