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

mod bounds;
mod lacks;
mod offers;
mod pulls;
mod wakes;

use std::collections::VecDeque;
use std::mem::{self, size_of};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Order;
use super::super::gate::Gate;
use super::super::source::Stock;
use super::below::{Below, Down, Void};
use super::chunk::OpenChunk;
use super::credits::Release;
use super::pace::Pace;
use super::piece::Piece;
use super::roster::{Guard, Mode, Roster, Sleep};
use super::step::{CallerStep, PIECES, Plan, Quota, Step, Worked};
use super::supply::{Claimed, Supply};
use super::window::Window;
use crate::panic::Payload;

/// The first section with all behind it. The sections behind are in `down`, with the ring that this one fills.
pub(super) struct State<S: Stock, D: Below> {
    supply: Supply<S>,
    pub(super) down: D,
    pace: Pace,
    window: Window,
    roster: Roster,
    threads: usize,
    /// How many workers there may be while the caller only outputs.
    workers_beside_caller: usize,
    /// The user wants the caller to do nothing but output.
    is_caller_reserved: bool,
    /// The caller pulls or works a batch, and cannot output.
    is_caller_busy: bool,
    /// The outputs that members hold back were asked for since the sink took the last.
    is_asked: bool,
    chunk: OpenChunk,
    /// How many items have come to their end without an output, since the last look.
    pub(super) freed: usize,
    /// The bound in bytes on the items that are pulled and not yet output.
    pub(super) gate: Option<Arc<Gate>>,
}

#[cfg(test)]
impl<S, D> std::fmt::Debug for State<S, D>
where
    S: Stock<Batch: std::fmt::Debug> + std::fmt::Debug,
    D: Below + std::fmt::Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { supply, down, pace, window, roster, is_caller_busy, is_asked, chunk, .. } = self;
        let chunk = chunk.situation();
        write!(f, "{supply:?} {down:?} {pace:?} {window:?} {roster:?} {is_caller_busy} {is_asked} {chunk:?}")
    }
}

impl<S: Stock, D: Below> Down for State<S, D> {
    type Below = D;

    fn down(&mut self) -> &mut D {
        &mut self.down
    }
}

impl<S: Stock, D: Below> State<S, D> {
    pub(super) fn new(plan: &Plan, stock: S, down: D) -> Self {
        let Plan { kind, threads, workers, window: items, limit, aim, is_caller_reserved, blocking, .. } = *plan;
        let bytes = size_of::<S::Item>().max(size_of::<D::In>());
        let mut window = Window::new(threads, items, bytes, threads.saturating_add(blocking).saturating_mul(2));
        if let Some(limit) = limit {
            window.set_limit(limit);
        }
        State {
            supply: Supply::new(kind, stock, threads),
            down,
            pace: Pace::new(kind, aim, threads, items, bytes),
            window,
            roster: Roster::new(workers),
            threads,
            workers_beside_caller: Plan::workers_beside_caller(kind, threads),
            is_caller_reserved,
            is_caller_busy: false,
            is_asked: false,
            chunk: OpenChunk::default(),
            freed: 0,
            gate: None,
        }
    }

    pub(super) fn roster(&mut self) -> &mut Roster {
        &mut self.roster
    }

    /// The index that is due at the sink.
    pub(super) fn due(&self) -> u64 {
        self.down.ring().due()
    }

    /// Takes back a batch that a member has worked.
    pub(super) fn commit(&mut self, worked: Option<Worked<S::Batch, D::In, D::InError>>) {
        let Some(Worked { piece, effort, rest }) = worked else { return };
        let Some(piece) = piece else {
            self.supply.put_back(0, None);
            return;
        };
        if let Some(share) = self.down.ring().share_of_batch(self.threads) {
            self.pace.learn_weight(piece.closes, piece.output_bytes, share);
        }
        if piece.end.is_none() {
            self.pace.learn_work(effort.items, effort.elapsed);
        }
        self.supply.put_back(piece.first + piece.closes as u64, rest);
        self.down.ring_mut().put(piece);
        self.share_work();
    }

    /// Takes back a piece that the sink has taken, in `elapsed`.
    pub(super) fn close(&mut self, (piece, elapsed): (Piece<D::Out, D::OutError>, Duration)) {
        self.is_asked = false;
        self.release(Release { items: piece.closes, bytes: piece.bytes });
        self.pace.learn_sink(piece.closes, elapsed);
        if D::SECTIONS > 0 && piece.closes > 0 {
            self.pace.learn_later(piece.closes, self.down.take_spent());
        }
        let mut outputs = piece.outputs;
        self.down.recycle(mem::take(&mut outputs.0), piece.output_bytes);
    }

    pub(super) fn worker_step(&mut self, void: Void<'_>) -> Step<S::Batch, D::In, D::Task> {
        if self.is_over(void) {
            return Step::Leave;
        }
        if self.may_step_behind()
            && let Some(task) = self.down.step(void.next())
        {
            return Step::Behind(task);
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
        Step::Sleep(self.sleeps(Guard::Worker))
    }

    /// The pieces that are due are added to `due`.
    pub(super) fn caller_step(
        &mut self,
        due: &mut VecDeque<Piece<D::Out, D::OutError>>,
        void: Void<'_>,
    ) -> CallerStep<S::Batch, D::In, D::Task> {
        self.roster.caller_awake();
        self.is_caller_busy = false;
        if self.roster.crashed {
            return CallerStep::Abandon;
        }
        if self.take_due(due) {
            return CallerStep::Output;
        }
        if self.down.has_failed() && (self.down.ring().order() == Order::Arrival || self.is_complete()) {
            return CallerStep::Fail;
        }
        if self.is_complete() {
            return CallerStep::As(Step::Leave);
        }
        if self.does_caller_work() {
            if self.members_at_work() < self.threads
                && let Some(task) = self.down.step(void.next())
            {
                self.is_caller_busy = true;
                return CallerStep::As(Step::Behind(task));
            }
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
        CallerStep::As(Step::Sleep(self.sleeps(Guard::Caller)))
    }

    /// Takes the remains of a run that may have failures: the rings and sections, in place of which it gets those of
    /// `empty`, and the panic of the source.
    pub(super) fn take_remains(&mut self, empty: D) -> (D, Option<Payload>) {
        (mem::replace(&mut self.down, empty), self.supply.take_panic())
    }

    /// Whether the caller claims batches, as a worker does.
    ///
    /// If the system has refused the worker that would do the caller's share, the caller has to: the others may be in
    /// `next()`, or wait for room that only the due batch can make.
    fn does_caller_work(&self) -> bool {
        self.roster.is_caller_alone()
            || self.roster.is_short_of(self.workers_beside_caller)
            || !self.is_caller_reserved && !self.are_items_long()
    }

    /// Whether the caller has to pull from a blocking source, because no worker could be started: one item at a time,
    /// and only while no output is due.
    fn must_caller_pull(&self, void: Void<'_>) -> bool {
        self.roster.is_caller_alone() && self.supply.is_idle() && self.window.ahead() == 0 && !self.is_over(void)
    }

    fn are_items_long(&self) -> bool {
        self.pace.are_items_long() || self.down.are_items_long()
    }

    /// How many members have batches in hand, or more: a member that waits inside a batch may have another behind.
    fn members_at_work(&self) -> usize {
        self.supply.in_hand() + self.down.in_hand().shared
    }

    /// Whether a worker may step behind the first section, which is no question where the workers are no more than the
    /// threads that may work.
    fn may_step_behind(&self) -> bool {
        self.workers_beside_caller <= self.threads || self.members_at_work() < self.threads
    }

    /// If the caller only outputs, one more worker does its share.
    fn share_work(&mut self) {
        let is_free = self.is_caller_reserved || self.are_items_long();
        self.roster.set_most(if is_free { self.workers_beside_caller } else { (self.threads - 1).max(1) });
    }

    /// Takes pieces that are due, and have no more weight than one part.
    fn take_due(&mut self, due: &mut VecDeque<Piece<D::Out, D::OutError>>) -> bool {
        let mut room = self.window.share_of_caller(self.pace.ahead());
        while let Some(piece) = self.down.take_due() {
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

    fn can_claim(&self, void: Void<'_>) -> bool {
        self.supply.in_hand() < self.threads && self.supply.can_claim(self.fresh(), void.own)
    }

    fn claim(&mut self, void: Void<'_>) -> Option<Claimed<S::Batch, D::In>> {
        // The caller that takes work up again is one member more than there are threads.
        if self.supply.in_hand() >= self.threads {
            return None;
        }
        let next = self.supply.next();
        let claim = self.supply.claim(self.pace.batch(), self.fresh(), void.own)?;
        if self.supply.is_data() && self.supply.next() > next {
            self.window.pull(claim.items);
        }
        Some((claim, self.down.ring_mut().spare()))
    }

    /// How many items may be claimed for the first time.
    fn fresh(&self) -> usize {
        if self.down.ring().is_full() {
            0
        } else if self.supply.is_data() {
            self.window.room(self.pace.ahead())
        } else {
            usize::MAX
        }
    }

    fn fills_first(&self) -> bool {
        self.supply.fills_first(self.pace.pulls_are_dear())
    }

    fn start_pull(&mut self, quota: Quota) -> Step<S::Batch, D::In, D::Task> {
        if self.supply.is_ready() {
            self.window.pull(quota.items);
        }
        self.supply.start_pull();
        self.chunk.open();
        Step::Pull(Quota { number: self.chunk.number(), ..quota })
    }

    /// How long a member sleeps.
    fn sleeps(&mut self, member: Guard) -> Sleep {
        let sleep = if self.roster.is_unguarded() && self.supply.may_hold() && self.chunk.wants_guard() {
            self.chunk.guard();
            self.roster.stand_guard(member);
            Sleep::ToAlarm
        } else if member == Guard::Caller && !self.is_asked && self.supply.in_hand() + self.down.in_hand().all > 0 {
            // It asks for the outputs that members hold back, once.
            Sleep::ToAsk
        } else {
            Sleep::Long
        };
        let Some(time) = self.untimed_flush() else { return sleep };
        // An alarm rings soon, and then the member looks again.
        let sleep = if sleep == Sleep::Long { Sleep::Until(time) } else { sleep };
        self.roster.stand_timer(member, sleep);
        sleep
    }

    /// When a serial stage is to hand its items on, if no sleeping member wakes then.
    fn untimed_flush(&self) -> Option<Instant> {
        if D::TIMED { self.down.flush_at().filter(|time| self.roster.wants_timer(*time)) } else { None }
    }

    fn is_over(&self, void: Void<'_>) -> bool {
        let is_first_over = self.is_first_over(void);
        is_first_over && self.down.is_over(is_first_over, void.next())
    }

    fn is_first_over(&self, void: Void<'_>) -> bool {
        self.supply.is_over(self.fresh(), void.own)
    }

    /// Whether nothing more comes into the ring of the first section.
    fn is_first_complete(&self) -> bool {
        self.supply.is_exhausted() && self.supply.in_hand() == 0 && self.supply.is_drained(u64::MAX)
    }

    /// Whether the sink has taken every output.
    ///
    /// The void mark has no part in it, because a cancellation between the caller's look at the token and its look here
    /// must not pass for completion.
    fn is_complete(&self) -> bool {
        if D::SECTIONS > 0 {
            return self.down.is_complete(self.is_first_complete());
        }
        self.supply.is_exhausted() && self.window.ahead() == 0
    }
}
