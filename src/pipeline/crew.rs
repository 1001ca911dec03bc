//! The crew: N workers that claim, work and commit. The calling thread is one of them, and the only one at the sink.
//!
//! Invariants:
//!
//! 1. One lock guards the [`State`]. The inlet has its own, held by the one who pulls, who enters the state for each item
//!    and never the other way round.
//! 2. Batches are claimed in the order of their items: all below a batch is in somebody's hands, done, or handed back. So
//!    a failure only has to void what lies above it, and what lies below arrives.
//! 3. Unless the inlet is ready, an item that was pulled lies in the stock before `next()` is called again, and whoever
//!    sleeps is told of it.
//! 4. Unless the inlet is ready, the calling thread does not pull while there is a worker: it alone can output what an
//!    iterator may wait for.
//! 5. The state is entered by [`Crew::enter`] alone, which on leaving wakes who can go on.
//! 6. A ticket is taken before the state, the token or the void mark is looked at (see [`Event`](crate::token::Event)).

use std::hint;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam::utils::{Backoff, CachePadded};
use parking_lot::{Mutex, MutexGuard};

use super::claim::{Pull, Stock};
use super::commit::{Ring, Taken};
use super::parts::Offers;
use super::run::{Refused, Settings, Stop};
use super::signal::Signal;
use super::stage::Stage;
use super::state::{Claim, Inlet, State, Step, Worked};
use super::window::AIM;
use super::work::{Done, End, work};
use crate::panic::{self, Payload};
use crate::token::{CancelCallback, CancellationToken};

type Shared<S, R, E> = CachePadded<Mutex<State<S, R, E>>>;

/// What the members of a crew share.
pub(super) struct Crew<'a, S: Stock, I, W: Stage<S::Item>> {
    stage: &'a W,
    ordered: bool,
    pub(super) signal: Arc<Signal>,
    // Padded: whoever works reads what stands above for each item, while who pulls takes this lock for each.
    state: Shared<S, W::Output, W::Error>,
    inlet: Mutex<Pulling<I>>,
    /// Whether the inlet never waits.
    ready: bool,
    /// The length of the stock, for who lingers.
    in_stock: CachePadded<AtomicUsize>,
}

/// The source, in the hands of the one who pulls.
struct Pulling<I> {
    source: Option<I>,
    /// It is a ready one and has come to its end, or panicked: `next()` is not called again.
    ended: bool,
}

const NO_SOURCE: &str = "who finds the inlet idle finds a source behind it";

/// What the caller's part ended with.
pub(super) enum Ended<S, E> {
    /// Every output has been taken. The source may have panicked behind its last item.
    Complete,
    Stopped(Stop<S, E>),
    /// The plain loop would have come no further.
    CancelledBySink,
    /// A stage panicked.
    Panicked(Payload),
    /// A worker is gone by a panic that belongs to no item; joining it gives the payload.
    Crashed,
}

impl<'a, S: Stock, I, W: Stage<S::Item>> Crew<'a, S, I, W> {
    pub(super) fn new(stage: &'a W, settings: &Settings, stock: S, inlet: Option<I>, ready: bool) -> Self {
        let signal = Signal::new();
        let opening = if inlet.is_some() { Inlet::Idle } else { Inlet::Closed };
        Crew {
            stage,
            ordered: settings.ordered,
            signal: Arc::clone(&signal),
            state: CachePadded::new(Mutex::new(State::new(stock, opening, ready, settings, signal))),
            inlet: Mutex::new(Pulling { ended: inlet.is_none(), source: inlet }),
            ready,
            in_stock: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Voids the run when `token` is cancelled, until the handle is dropped.
    pub(super) fn observe(&self, token: &CancellationToken) -> CancelCallback {
        let (signal, caller) = (Arc::clone(&self.signal), std::thread::current().id());
        token.on_cancel(move |_| {
            if std::thread::current().id() == caller {
                signal.cancelled_by_caller();
            }
            signal.void_from(0);
        })
    }

    /// Voids the run: whoever works stops at the next item, whoever sleeps leaves.
    pub(super) fn void(&self) {
        self.signal.void_from(0);
    }

    pub(super) fn enter<T>(&self, f: impl FnOnce(&mut State<S, W::Output, W::Error>) -> T) -> T {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.in_stock.store(state.stock.len(), Ordering::Relaxed);
        let wakes = state.wakes();
        drop(state);
        self.signal.wake(&wakes);
        result
    }

    /// Takes apart what is left when the last thread has been joined: the batches nobody took, the panic of the source,
    /// and what is to be dropped.
    #[expect(clippy::type_complexity, reason = "three parts, taken apart at once by the one caller")]
    pub(super) fn into_parts(self) -> (Ring<Done<W::Output, W::Error>>, Option<Payload>, impl Sized) {
        let state = self.state.into_inner().into_inner();
        (state.ring, state.source_panic, (state.stock, state.returned, self.inlet.into_inner().source))
    }
}

impl<S, I, W> Crew<'_, S, I, W>
where
    S: Stock,
    I: Pull<Load = S::Load>,
    W: Stage<S::Item>,
{
    /// The loop of a worker.
    pub(super) fn worker(&self) {
        let crash = CrashGuard { crew: self };
        let work = |claim| self.work(claim, |first, part, offers| self.hand_over(first, part, offers));
        let mut worked = None;
        let mut lingered = false;
        loop {
            let step = self.enter(|state| state.worker_step(worked.take(), lingered));
            lingered = matches!(step, Step::Linger(_));
            match step {
                Step::Work(claim) => worked = Some(work(claim)),
                Step::Linger(wanted) => self.linger(wanted),
                Step::Pull(items) if self.ready => worked = self.pull_batch(items).map(work),
                Step::Pull(items) => self.pull(items),
                Step::Sleep(ticket) => {
                    self.signal.workers.wait(ticket);
                    self.enter(State::worker_awake);
                }
                Step::Output(_) | Step::Leave | Step::Abandon => break,
            }
        }
        std::mem::forget(crash);
    }

    /// The loop of the calling thread. `alone`: there is no worker.
    pub(super) fn caller<E>(
        &self,
        token: &CancellationToken,
        alone: bool,
        sink: &mut impl FnMut(W::Output) -> Result<(), Refused<E>>,
    ) -> Ended<W::Error, E> {
        let mut worked = None;
        let mut taken = None;
        let mut lingered = false;
        loop {
            let step = self.enter(|state| state.caller_step(worked.take(), taken.take(), token, alone, lingered));
            lingered = matches!(step, Step::Linger(_));
            let mut claimed = None;
            match step {
                Step::Output(done) => match self.output(done, token, sink) {
                    Ok(batch) => taken = Some(batch),
                    Err(ended) => return ended,
                },
                Step::Work(claim) => claimed = Some(claim),
                Step::Linger(wanted) => self.linger(wanted),
                Step::Pull(items) if self.ready => claimed = self.pull_batch(items),
                Step::Pull(items) => self.pull(items),
                Step::Sleep(ticket) => self.signal.caller.wait(ticket),
                Step::Leave => return Ended::Complete,
                Step::Abandon if self.signal.is_cancelled_by_sink() => return Ended::CancelledBySink,
                Step::Abandon if token.is_cancelled() => return Ended::Stopped(Stop::Cancelled),
                Step::Abandon => return Ended::Crashed,
            }
            let Some(claim) = claimed else { continue };
            let mut ended = None;
            let done = self.work(claim, |first, part, offers| {
                self.hand_over_at_sink(first, part, offers, token, sink, &mut ended)
            });
            match ended {
                None => worked = Some(done),
                Some(Ok(ended)) => return ended,
                Some(Err(payload)) => {
                    panic::discard(done);
                    panic::resume(payload)
                }
            }
        }
    }

    /// Whoever finds another one pulling a batch waits some microseconds awake: that is what a batch takes, and less than
    /// falling asleep does.
    fn lock_inlet(&self) -> MutexGuard<'_, Pulling<I>> {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if let Some(inlet) = self.inlet.try_lock() {
                return inlet;
            }
            backoff.snooze();
        }
        self.inlet.lock()
    }

    /// Pulls a batch of so many items from a ready inlet, fewer if that ends or takes long, and claims what is next.
    fn pull_batch(&self, items: usize) -> Option<Claim<S::Batch, W::Output>> {
        let mut inlet = self.lock_inlet();
        let Pulling { source: Some(source), ended } = &mut *inlet else { unreachable!("{NO_SOURCE}") };
        let started = Instant::now();
        let mut batch = Vec::with_capacity(items);
        // Between the look at the state and this, somebody else may have come to the end.
        let end = panic::catch(|| {
            while !*ended && batch.len() < items && !self.signal.is_void(0) {
                if !source.pull(1, &mut batch) {
                    return true;
                }
                let looks = matches!(batch.len(), 1 | 4 | 16) || batch.len() % 64 == 0;
                if looks && started.elapsed() > AIM {
                    break;
                }
            }
            *ended
        });
        *ended = !matches!(end, Ok(false));
        let elapsed = started.elapsed();
        // With the inlet still in hand, so that batches come into the stock in the order in which they were pulled.
        self.enter(|state| {
            let pulled = batch.len();
            state.stock_up_batch(batch, items);
            state.pulled(pulled, elapsed, end);
            if state.fills_first() { None } else { state.claim() }
        })
    }

    /// Pulls so many items into the stock, one by one, fewer if the source ends or the run does.
    fn pull(&self, items: usize) {
        let mut inlet = self.lock_inlet();
        let Pulling { source: Some(source), .. } = &mut *inlet else { unreachable!("{NO_SOURCE}") };
        let started = Instant::now();
        let (mut pulled, mut rounds) = (0, 0_u32);
        let mut loads = Vec::new();
        let end = panic::catch(|| {
            while pulled < items {
                if !source.pull(items - pulled, &mut loads) {
                    return true;
                }
                let (more, wanted) = self.enter(|state| state.stock_up(loads.drain(..)));
                pulled += more;
                rounds += 1;
                // Items may have turned costly, and the window narrower, since it was asked for so many. (The window
                // itself, asked for each item, is narrow for a moment whenever a batch happens to take long: to heed that
                // costs 12 ns an item.)
                let is_long = || rounds % 16 == 0 && started.elapsed() > 4 * AIM;
                if !wanted || is_long() {
                    break;
                }
            }
            false
        });
        self.enter(|state| state.pulled(pulled, started.elapsed(), end));
    }

    /// Gives a quick source some microseconds to fill a batch: claiming each item as it comes would cost more than its
    /// work. A slow source is left at once.
    fn linger(&self, wanted: usize) {
        const ROUNDS: usize = 16;
        const SPINS: usize = 16;
        let mut seen = self.in_stock.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            for _ in 0..SPINS {
                hint::spin_loop();
            }
            let now = self.in_stock.load(Ordering::Relaxed);
            if now >= wanted || now <= seen {
                return;
            }
            seen = now;
        }
    }

    /// `hand_over` is given the parts of a batch that has too many outputs, with the index of the first item of each.
    fn work(
        &self,
        claim: Claim<S::Batch, W::Output>,
        mut hand_over: impl FnMut(u64, Done<W::Output, W::Error>, &mut Offers) -> ControlFlow<(), Vec<W::Output>>,
    ) -> Worked<S::Batch, W::Output, W::Error> {
        let Claim { first, mut batch, items, outputs } = claim;
        let signal = &*self.signal;
        let mut offers = Offers::default();
        let is_void = |done| signal.is_void(first + done as u64);
        let hand_over = |part: Done<_, _>| hand_over(first + part.at as u64, part, &mut offers);
        let done = work(self.stage, &mut batch, first, items, outputs, is_void, || signal.is_idle(), hand_over);
        let first = first + done.at as u64;
        match done.end {
            None => {
                let left = items - done.at - done.items;
                let rest = Some((batch, left)).filter(|_| left > 0);
                return Worked { first, done: Some(done), rest };
            }
            // In order, what lies below goes on; in no order, the first to fail ends all.
            Some(End::Error(_) | End::Panic(_)) => {
                signal.void_from(if self.ordered { first + done.items as u64 } else { 0 });
            }
            Some(End::Void) => {}
        }
        // The plain loop would not have met what is left. It goes before the result is made, which a `Drop` that panics
        // after that would leak (rust-lang/rust#47949).
        panic::discard(batch);
        if let Some(End::Void) = done.end {
            panic::discard_all(done.outputs);
            return Worked { first, done: None, rest: None };
        }
        Worked { first, done: Some(done), rest: None }
    }
}

impl<S: Stock, I, W: Stage<S::Item>> Crew<'_, S, I, W> {
    /// Hands a batch to the sink. What the sink does not take, since it fails or the run is cancelled, the plain loop would
    /// not have made.
    pub(super) fn output<E>(
        &self,
        done: Done<W::Output, W::Error>,
        token: &CancellationToken,
        sink: &mut impl FnMut(W::Output) -> Result<(), Refused<E>>,
    ) -> Result<Taken<W::Output>, Ended<W::Error, E>> {
        let Done { mut outputs, items, end, .. } = done;
        let started = Instant::now();
        let mut rest = outputs.drain(..);
        self.signal.set_outputting(true);
        // Caught, since the rest has to be dropped one by one, and not while the panic unwinds.
        let taken = panic::catch(|| {
            for output in rest.by_ref() {
                if token.is_cancelled() {
                    return Err(Refused::Cancelled);
                }
                sink(output)?;
            }
            Ok(())
        });
        self.signal.set_outputting(false);
        panic::discard_all(&mut rest);
        drop(rest);
        match (taken, end) {
            (Err(payload), _) => panic::resume(payload),
            (Ok(Err(Refused::Failed(error))), _) => Err(Ended::Stopped(Stop::Sink(error))),
            (Ok(_), _) if self.signal.is_cancelled_by_sink() => Err(Ended::CancelledBySink),
            (Ok(_), Some(End::Error(error))) => Err(Ended::Stopped(Stop::Stage(error))),
            (Ok(_), Some(End::Panic(payload))) => Err(Ended::Panicked(payload)),
            (Ok(Err(Refused::Cancelled)), _) => Err(Ended::Stopped(Stop::Cancelled)),
            (Ok(Ok(())), None | Some(End::Void)) => Ok(Taken { emptied: outputs, items, elapsed: started.elapsed() }),
        }
    }
}

/// Ends the run should a worker's loop unwind, which only the `Drop` of a user's item can make it do.
struct CrashGuard<'c, 'a, S: Stock, I, W: Stage<S::Item>> {
    crew: &'c Crew<'a, S, I, W>,
}

impl<S: Stock, I, W: Stage<S::Item>> Drop for CrashGuard<'_, '_, S, I, W> {
    fn drop(&mut self) {
        self.crew.state.lock().crashed = true;
        self.crew.void();
    }
}
