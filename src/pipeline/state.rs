//! The state of a run: what its members share, and what each does next. No closure of the user's runs here, and nothing
//! of the user's is dropped.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Batch, Stock};
use super::commit::{Place, Ring, Taken};
use super::run::Settings;
use super::signal::{Signal, Wakes};
use super::step::{Claim, Step, Worked};
use super::weight::{PART, PARTS, PARTS_A_THREAD};
use super::window::Window;
use super::work::Done;
use crate::panic::Payload;
use crate::token::CancellationToken;

pub(super) struct State<S: Stock, R, E> {
    pub(super) stock: S,
    /// Rests of batches that were handed back, by the index of their first item.
    pub(super) returned: BTreeMap<u64, (S::Batch, usize)>,
    pub(super) inlet: Inlet,
    pub(super) window: Window,
    pub(super) ring: Ring<Done<R, E>>,
    /// What lies in the ring weighs, and should weigh at most beyond the due batch.
    pub(super) weight: usize,
    pub(super) most_weight: usize,
    /// `next()` panicked; the run ends so once all that was pulled before is output.
    pub(super) source_panic: Option<Payload>,
    /// A worker is gone by a panic that belongs to no item.
    pub(super) crashed: bool,
    pub(super) signal: Arc<Signal>,
    pub(super) ordered: bool,
    /// The inlet never waits: anybody pulls, a batch at a time.
    ready: bool,
    /// How much stock is enough for the one who pulls to turn to other work, in batches: half the default window.
    enough: usize,
    /// Who pulls from a ready inlet, or waits to.
    pulling: usize,
    /// Items claimed; the index of the next one.
    claimed: u64,
    /// Where no order is kept, the place of the next batch.
    place: u64,
    /// Batches that somebody works on, and may hand back in part.
    in_hand: usize,
    /// Emptied vectors of outputs, for reuse.
    pub(super) spare: Vec<Vec<R>>,
    /// Workers that sleep or are about to.
    asleep: usize,
    /// One of them has been woken and has not looked yet.
    waking: bool,
    pub(super) caller_asleep: bool,
    /// It sleeps with a batch in hand, of which there is a part to hand over: it cannot claim another.
    pub(super) caller_holds: bool,
    /// A worker waits for a part to be taken.
    pub(super) part_awaited: bool,
    /// It may have been, and the worker has yet to be woken.
    part_taken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inlet {
    /// There is more to pull, and nobody does.
    Idle,
    /// Somebody pulls.
    Busy,
    /// There is nothing more to pull.
    Closed,
}

impl<S: Stock, R, E> State<S, R, E> {
    pub(super) fn new(stock: S, inlet: Inlet, ready: bool, settings: &Settings, signal: Arc<Signal>) -> Self {
        let threads = settings.threads();
        State {
            stock,
            returned: BTreeMap::new(),
            inlet,
            window: Window::new(threads, settings.window),
            ring: Ring::new(),
            weight: 0,
            most_weight: threads.saturating_mul(PARTS_A_THREAD).saturating_add(PARTS).saturating_mul(PART),
            source_panic: None,
            crashed: false,
            signal,
            ordered: settings.ordered,
            ready,
            enough: threads.saturating_mul(2),
            pulling: 0,
            claimed: 0,
            place: 0,
            in_hand: 0,
            spare: Vec::new(),
            asleep: 0,
            waking: false,
            caller_asleep: false,
            caller_holds: false,
            part_awaited: false,
            part_taken: false,
        }
    }

    /// `lingered`: the last step was to linger.
    pub(super) fn worker_step(
        &mut self,
        worked: Option<Worked<S::Batch, R, E>>,
        lingered: bool,
    ) -> Step<S::Batch, R, E> {
        self.commit(worked);
        let ticket = self.signal.workers.ticket();
        if self.is_over() {
            Step::Leave
        } else if let Some(items) = self.may_pull().filter(|_| self.fills_first()) {
            self.start_pull(items)
        } else if let Some(step) = self.claim_or_linger(lingered) {
            step
        } else if let Some(items) = self.may_pull() {
            self.start_pull(items)
        } else {
            self.asleep += 1;
            Step::Sleep(ticket)
        }
    }

    /// After a sleep.
    pub(super) fn worker_awake(&mut self) {
        self.asleep -= 1;
        self.waking = false;
    }

    /// `alone`: there is no worker, so the caller pulls, one item at a time and only while no output is due.
    pub(super) fn caller_step(
        &mut self,
        worked: Option<Worked<S::Batch, R, E>>,
        taken: Option<Taken<R>>,
        token: &CancellationToken,
        alone: bool,
        lingered: bool,
    ) -> Step<S::Batch, R, E> {
        self.commit(worked);
        self.taken(taken);
        self.caller_asleep = false;
        let ticket = self.signal.caller.ticket();
        if token.is_cancelled() || self.crashed {
            Step::Abandon
        } else if let Some(done) = self.take() {
            Step::Output(done)
        } else if self.is_complete() {
            Step::Leave
        } else if let Some(step) = self.claim_or_linger(lingered) {
            step
        } else if let Some(items) = self.may_pull().filter(|_| self.ready) {
            self.start_pull(items)
        } else if alone && self.inlet == Inlet::Idle && self.window.ahead() == 0 && !self.is_over() {
            self.start_pull(1)
        } else {
            self.caller_asleep = true;
            Step::Sleep(ticket)
        }
    }

    /// Puts what was pulled into the stock; returns how many items it was, and whether the run still wants any.
    pub(super) fn stock_up(&mut self, loads: impl Iterator<Item = S::Load>) -> (usize, bool) {
        let batch = self.window.batch();
        let items = loads.map(|load| self.stock.put(load, batch)).sum();
        self.window.pull(items);
        (items, !self.signal.is_void(self.claimed))
    }

    /// Puts a batch that was pulled from a ready inlet into the stock, `asked` items having been wanted.
    pub(super) fn stock_up_batch(&mut self, batch: Vec<S::Load>, asked: usize) {
        self.pulling -= 1;
        self.window.unpull(asked - batch.len());
        self.stock.put_batch(batch);
    }

    /// Ends a pull of `items` items.
    pub(super) fn pulled(&mut self, items: usize, elapsed: Duration, ended: Result<bool, Payload>) {
        self.window.learn_pull(items, elapsed);
        self.inlet = match ended {
            Ok(false) => Inlet::Idle,
            Ok(true) => Inlet::Closed,
            Err(payload) => {
                self.source_panic = Some(payload);
                Inlet::Closed
            }
        };
    }

    /// Whom to wake, now that the state may have changed. One worker at a time: when it leaves the state in turn, it
    /// wakes the next, if there is more.
    pub(super) fn wakes(&mut self) -> Wakes {
        let for_parts = mem::take(&mut self.part_taken);
        let idle = self.asleep > 0 || self.caller_asleep;
        self.signal.set_idle(idle);
        if !idle {
            return Wakes { for_parts, ..Wakes::default() };
        }
        let over = self.is_over();
        let can_claim = self.can_claim();
        let can_pull = self.may_pull().is_some();
        let wakes = Wakes {
            all_workers: self.asleep > 0 && over,
            a_worker: self.asleep > 0 && !over && !self.waking && (can_claim || can_pull),
            the_caller: self.caller_asleep
                && (self.ring.is_ready() || can_claim && self.asleep == 0 && !self.caller_holds || self.is_complete()),
            for_parts,
        };
        self.waking |= wakes.a_worker;
        self.caller_asleep &= !wakes.the_caller;
        wakes
    }

    fn commit(&mut self, worked: Option<Worked<S::Batch, R, E>>) {
        let Some(Worked { first, done, effort, rest }) = worked else { return };
        self.in_hand -= 1;
        let Some(done) = done else { return };
        if done.end.is_none() {
            self.window.learn_work(effort.items, effort.elapsed);
        }
        if let Some(rest) = rest {
            self.returned.insert(first + done.items as u64, rest);
        }
        self.put(first, done);
    }

    /// Puts a batch that begins at `first` into the ring.
    pub(super) fn put(&mut self, first: u64, done: Done<R, E>) -> Place {
        let (place, items) = if self.ordered { ((first, done.part), done.items) } else { ((self.place, 0), 1) };
        self.place += 1;
        self.weight += done.weight;
        self.ring.put(place, items, done);
        place
    }

    /// Takes what is due out of the ring.
    pub(super) fn take(&mut self) -> Option<Done<R, E>> {
        let done = self.ring.take()?;
        self.weight -= done.weight;
        self.signal.set_due(self.ring.due());
        self.part_taken |= mem::take(&mut self.part_awaited);
        Some(done)
    }

    /// The sink has taken a batch.
    pub(super) fn taken(&mut self, taken: Option<Taken<R>>) {
        let Some(Taken { emptied, items, elapsed }) = taken else { return };
        self.window.take(items, elapsed);
        // Not one that an item with many outputs has made large.
        if self.spare.len() < self.enough && emptied.capacity() <= PART {
            self.spare.push(emptied);
        }
    }

    fn claim_or_linger(&mut self, lingered: bool) -> Option<Step<S::Batch, R, E>> {
        let wanted = self.window.batch();
        let is_filling = S::PULLED && self.inlet == Inlet::Busy && self.stock.len() < wanted;
        if is_filling && !lingered && self.returned.is_empty() && self.can_claim() {
            return Some(Step::Linger(wanted));
        }
        self.claim().map(Step::Work)
    }

    /// Claims the next items, if there are any.
    pub(super) fn claim(&mut self) -> Option<Claim<S::Batch, R>> {
        if !self.can_claim() {
            return None;
        }
        let wanted = self.window.batch();
        let (first, batch, items) = if let Some((first, (mut batch, items))) = self.returned.pop_first() {
            // What was handed back lies before all that was never claimed.
            if items > wanted {
                let front = batch.split(wanted);
                self.returned.insert(first + wanted as u64, (batch, items - wanted));
                (first, front, wanted)
            } else {
                (first, batch, items)
            }
        } else {
            // Towards the end of data batches become small, so that nobody waits long for the one who has the last.
            let share = self.stock.len().div_ceil(self.enough);
            let most = if S::PULLED { wanted } else { wanted.min(share).min(self.window.room()) };
            let (batch, items) = self.stock.take(most)?;
            if !S::PULLED {
                self.window.pull(items);
            }
            let first = self.claimed;
            self.claimed += items as u64;
            (first, batch, items)
        };
        self.in_hand += 1;
        Some(Claim { first, batch, items, outputs: self.spare.pop().unwrap_or_default() })
    }

    /// Whether nothing is left to claim, now and later. What is in hand may yet be handed back.
    fn is_over(&self) -> bool {
        self.signal.is_void(0)
            || (self.signal.is_void(self.claimed) || self.is_exhausted()) && self.in_hand == 0 && !self.can_claim()
    }

    /// Whether everything has been pulled and claimed once.
    fn is_exhausted(&self) -> bool {
        self.inlet == Inlet::Closed && self.stock.len() == 0
    }

    /// Whether every output has been taken. A run that was voided is not complete, nor is it by chance: a cancellation
    /// between the caller's look at the token and its look here must not pass for completion.
    fn is_complete(&self) -> bool {
        self.is_exhausted() && self.window.ahead() == 0
    }

    fn can_claim(&self) -> bool {
        match self.returned.first_key_value() {
            Some((first, _)) => !self.signal.is_void(*first),
            None => {
                let has_room = (S::PULLED || self.window.room() > 0) && self.weight < self.most_weight;
                self.stock.len() > 0 && has_room && !self.signal.is_void(self.claimed)
            }
        }
    }

    /// How many items may be pulled now, and should be: as much as the stock lacks, of a ready inlet a batch.
    fn may_pull(&self) -> Option<usize> {
        if self.inlet != Inlet::Idle || self.signal.is_void(self.claimed) {
            return None;
        }
        let batch = self.window.batch();
        let lacking = self.enough.saturating_mul(batch).saturating_sub(self.stock.len());
        let wanted = match self.ready {
            true if lacking < batch => 0,
            true => batch,
            false => lacking,
        };
        Some(wanted.min(self.window.room())).filter(|items| *items > 0)
    }

    /// Whether to fill the stock before claiming anything, so that nobody has to wait for it. What was handed back is due
    /// before anything else. And a batch that is pulled from a ready inlet in no time need not go by way of the stock, nor
    /// does anybody wait to pull from one while there is something to claim.
    pub(super) fn fills_first(&self) -> bool {
        self.returned.is_empty() && (!self.ready || self.pulling == 0 && self.window.pulls_are_dear())
    }

    fn start_pull(&mut self, items: usize) -> Step<S::Batch, R, E> {
        if self.ready {
            self.window.pull(items);
            self.pulling += 1;
        } else {
            self.inlet = Inlet::Busy;
        }
        Step::Pull(items)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::claim::Feed;
    use super::super::pulled::FromIter;
    use super::*;

    type Endless = FromIter<std::iter::Repeat<()>, false>;

    #[test]
    fn a_run_that_was_voided_is_not_complete() {
        let settings =
            Settings { threads: Some(NonZeroUsize::MIN), window: None, ordered: true, name: None, stack: None };
        let (stock, _) = <Endless as Feed>::split(FromIter(std::iter::repeat(())));
        let mut state = State::<_, (), ()>::new(stock, Inlet::Idle, false, &settings, Signal::new());
        // The token is cancelled between the caller's look at it and its look at the mark.
        state.signal.void_from(0);
        let step = state.caller_step(None, None, &CancellationToken::new(), false, false);
        assert!(matches!(step, Step::Sleep(_)));
    }
}
