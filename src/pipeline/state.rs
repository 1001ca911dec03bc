//! The state of a run: what its members share, and what each does next. No user code runs here, and nothing of the
//! user's is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::claim::Stock;
use super::commit::Ring;
use super::run::Settings;
use super::window::Window;
use super::work::Done;
use crate::panic::Payload;
use crate::token::{CancellationToken, Event, Ticket};

pub(super) struct State<S, R, E> {
    pub(super) stock: S,
    pub(super) inlet: Inlet,
    pub(super) window: Window,
    pub(super) ring: Ring<Done<R, E>>,
    /// `next()` panicked; the run ends so once all that was pulled before is output.
    pub(super) source_panic: Option<Payload>,
    /// A worker is gone by a panic that belongs to no item.
    pub(super) crashed: bool,
    signal: Arc<Signal>,
    ordered: bool,
    /// The inlet never waits: anybody pulls, a batch at a time.
    ready: bool,
    /// How much stock is enough for the one who pulls to turn to other work, in batches: half the default window.
    enough: usize,
    /// Batches that are being pulled from a ready inlet. The window has counted them.
    pulling: usize,
    /// Batches claimed; the number of the next one.
    claimed: u64,
    /// Batches committed; where no order is kept, the place of the next one.
    committed: u64,
    /// Batches whose outputs the sink has taken.
    output: u64,
    /// Emptied vectors of outputs, for reuse.
    spare: Vec<Vec<R>>,
    /// Workers that sleep or are about to.
    asleep: usize,
    /// One of them has been woken and has not looked yet.
    waking: bool,
    caller_asleep: bool,
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

/// What a member does next.
pub(super) enum Step<B, R, E> {
    Work(Claim<B, R>),
    /// The stock holds less than this, a batch, but somebody is filling it: give it a moment.
    Linger(usize),
    /// Pull so many items into the stock, then look again.
    Pull(usize),
    /// Hand a batch to the sink. For the caller only.
    Output(Done<R, E>),
    Sleep(Ticket),
    /// Nothing will be left to do.
    Leave,
    /// The run ends for a reason that the state does not hold. For the caller only.
    Abandon,
}

pub(super) struct Claim<B, R> {
    pub(super) number: u64,
    pub(super) batch: B,
    pub(super) items: usize,
    pub(super) outputs: Vec<R>,
}

pub(super) struct Worked<R, E> {
    pub(super) number: u64,
    pub(super) done: Done<R, E>,
}

/// A batch that the sink has taken.
pub(super) struct Taken<R> {
    pub(super) emptied: Vec<R>,
    pub(super) items: usize,
}

/// Whom a change of the state lets go on.
#[derive(Default)]
pub(super) struct Wakes {
    all_workers: bool,
    a_worker: bool,
    the_caller: bool,
}

impl<S: Stock, R, E> State<S, R, E> {
    pub(super) fn new(stock: S, inlet: Inlet, ready: bool, settings: Settings, signal: Arc<Signal>) -> Self {
        let threads = settings.threads.get();
        State {
            stock,
            inlet,
            window: Window::new(threads, settings.window),
            ring: Ring::new(),
            source_panic: None,
            crashed: false,
            signal,
            ordered: settings.ordered,
            ready,
            enough: threads.saturating_mul(2),
            pulling: 0,
            claimed: 0,
            committed: 0,
            output: 0,
            spare: Vec::new(),
            asleep: 0,
            waking: false,
            caller_asleep: false,
        }
    }

    /// `lingered`: the last step was to linger.
    pub(super) fn worker_step(&mut self, worked: Option<Worked<R, E>>, lingered: bool) -> Step<S::Batch, R, E> {
        self.commit(worked);
        let ticket = self.signal.workers.ticket();
        if self.is_over() {
            Step::Leave
        } else if let Some(items) = self.may_pull().filter(|_| !self.ready || self.stock.len() == 0) {
            self.start_pull(items)
        } else if let Some(step) = self.claim(lingered) {
            step
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
        worked: Option<Worked<R, E>>,
        taken: Option<Taken<R>>,
        token: &CancellationToken,
        alone: bool,
        lingered: bool,
    ) -> Step<S::Batch, R, E> {
        self.commit(worked);
        if let Some(Taken { emptied, items }) = taken {
            self.output += 1;
            self.window.take(items);
            if self.spare.len() < self.enough {
                self.spare.push(emptied);
            }
        }
        self.caller_asleep = false;
        let ticket = self.signal.caller.ticket();
        if token.is_cancelled() || self.crashed {
            Step::Abandon
        } else if let Some(done) = self.ring.take() {
            Step::Output(done)
        } else if self.is_exhausted() && self.outstanding() == 0 {
            // Not `is_over`: a cancellation between the look at the token and this one would pass for completion.
            Step::Leave
        } else if let Some(step) = self.claim(lingered) {
            step
        } else if let Some(items) = self.may_pull().filter(|_| self.ready) {
            self.start_pull(items)
        } else if alone && self.inlet == Inlet::Idle && self.outstanding() == 0 && !self.is_over() {
            self.start_pull(1)
        } else {
            self.caller_asleep = true;
            Step::Sleep(ticket)
        }
    }

    /// Puts an item that was pulled into the stock; returns whether the run still wants any.
    pub(super) fn stock_up(&mut self, item: S::Item) -> bool {
        self.window.pull(1);
        self.stock.put(item, self.window.batch());
        !self.signal.is_void(self.claimed)
    }

    /// Puts a batch that was pulled from a ready inlet into the stock, `asked` items having been wanted.
    pub(super) fn stock_up_batch(&mut self, batch: Vec<S::Item>, asked: usize, elapsed: Duration) {
        self.pulling -= 1;
        self.window.learn_pull(batch.len(), elapsed);
        self.window.unpull(asked - batch.len());
        self.stock.put_batch(batch);
    }

    /// Ends a pull.
    pub(super) fn pulled(&mut self, ended: Result<bool, Payload>) {
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
        if self.asleep == 0 && !self.caller_asleep {
            return Wakes::default();
        }
        let over = self.is_over();
        let can_claim = self.can_claim();
        let can_pull = self.may_pull().is_some();
        let wakes = Wakes {
            all_workers: self.asleep > 0 && over,
            a_worker: self.asleep > 0 && !over && !self.waking && (can_claim || can_pull),
            the_caller: self.caller_asleep
                && (self.ring.is_ready() || can_claim && self.asleep == 0 || over && self.outstanding() == 0),
        };
        self.waking |= wakes.a_worker;
        self.caller_asleep &= !wakes.the_caller;
        wakes
    }

    fn commit(&mut self, worked: Option<Worked<R, E>>) {
        let Some(Worked { number, done }) = worked else { return };
        self.window.learn(done.items, done.elapsed);
        let place = if self.ordered { number } else { self.committed };
        self.committed += 1;
        self.ring.put(place, done);
    }

    fn claim(&mut self, lingered: bool) -> Option<Step<S::Batch, R, E>> {
        if !self.can_claim() {
            return None;
        }
        let wanted = self.window.batch();
        if S::PULLED && self.inlet == Inlet::Busy && self.stock.len() < wanted && !lingered {
            return Some(Step::Linger(wanted));
        }
        let most = if S::PULLED { wanted } else { wanted.min(self.room()) };
        let (batch, items) = self.stock.take(most)?;
        if !S::PULLED {
            self.window.pull(items);
        }
        let number = self.claimed;
        self.claimed += 1;
        Some(Step::Work(Claim { number, batch, items, outputs: self.spare.pop().unwrap_or_default() }))
    }

    /// Whether nothing is left to claim, now and later.
    fn is_over(&self) -> bool {
        self.signal.is_void(self.claimed) || self.is_exhausted()
    }

    /// Whether everything has been pulled and claimed.
    fn is_exhausted(&self) -> bool {
        self.inlet == Inlet::Closed && self.stock.len() == 0
    }

    fn can_claim(&self) -> bool {
        self.stock.len() > 0 && (S::PULLED || self.room() > 0) && !self.signal.is_void(self.claimed)
    }

    /// How many items may be pulled now, and should be: a batch of a ready inlet; of another, as much as the stock lacks.
    fn may_pull(&self) -> Option<usize> {
        if self.inlet != Inlet::Idle || self.signal.is_void(self.claimed) {
            return None;
        }
        let batches = if self.ready { 1 } else { self.enough };
        let lacking = batches.saturating_mul(self.window.batch()).saturating_sub(self.stock.len());
        Some(lacking.min(self.room())).filter(|items| *items > 0)
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

    fn room(&self) -> usize {
        self.window.room(self.outstanding(), if S::PULLED { self.stock.len() } else { 0 })
    }

    /// Batches claimed, or about to be, and not yet output.
    fn outstanding(&self) -> usize {
        usize::try_from(self.claimed - self.output).unwrap_or(usize::MAX).saturating_add(self.pulling)
    }
}

/// What the token's callback touches, which must not borrow.
pub(super) struct Signal {
    /// Batches from this one on are void: one below them failed, or the run is over.
    void_from: AtomicU64,
    pub(super) workers: Event,
    pub(super) caller: Event,
}

impl Signal {
    pub(super) fn new() -> Arc<Signal> {
        Arc::new(Signal { void_from: AtomicU64::new(u64::MAX), workers: Event::default(), caller: Event::default() })
    }

    // Relaxed: the number carries no data. Who is about to sleep sees it by the ticket.
    #[inline]
    pub(super) fn is_void(&self, batch: u64) -> bool {
        batch >= self.void_from.load(Ordering::Relaxed)
    }

    /// Who works on a batch from this one on stops at the next item; who sleeps looks again.
    pub(super) fn void_from(&self, batch: u64) {
        self.void_from.fetch_min(batch, Ordering::Relaxed);
        self.workers.notify_all();
        self.caller.notify_all();
    }

    pub(super) fn wake(&self, wakes: &Wakes) {
        if wakes.all_workers {
            self.workers.notify_all();
        } else if wakes.a_worker {
            self.workers.notify_one();
        }
        if wakes.the_caller {
            self.caller.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::claim::{Feed, FromIter};
    use super::*;

    type Endless = FromIter<std::iter::Repeat<()>>;

    #[test]
    fn a_run_that_was_voided_is_not_complete() {
        let settings = Settings { threads: NonZeroUsize::MIN, window: None, ordered: true };
        let (stock, _) = <Endless as Feed>::split(FromIter(std::iter::repeat(())));
        let mut state = State::<_, (), ()>::new(stock, Inlet::Idle, false, settings, Signal::new());
        // The token is cancelled between the caller's look at it and its look at the mark.
        state.signal.void_from(0);
        let step = state.caller_step(None, None, &CancellationToken::new(), false, false);
        assert!(matches!(step, Step::Sleep(_)));
    }
}
