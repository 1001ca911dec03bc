//! The crew: N workers that claim, work and commit. The calling thread is one of them, and the only one at the sink.
//!
//! Invariants:
//!
//! 1. One lock guards the [`State`]. The inlet has its own, held by the one who pulls, who takes the state's for each
//!    item and never the other way round. Under the state no user code runs and nothing of the user's is dropped.
//! 2. Batches are claimed in the order of their items: all below a batch is in somebody's hands or done. So a failure
//!    only has to void what lies above it, and what lies below arrives by itself.
//! 3. An item that was pulled lies in the stock before `next()` is called again, and whoever sleeps is told of it.
//! 4. The calling thread does not pull while there is a worker: it alone can output what an iterator may wait for.
//! 5. Who changes the state leaves it by [`Crew::leave`], which wakes who can go on. One worker is woken at a time; when
//!    it leaves the state it wakes the next, if there is more.
//! 6. A ticket is taken before the state, the token or the void mark is looked at (see [`Event`]).

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::claim::Stock;
use super::commit::Ring;
use super::run::{Settings, Stop};
use super::window::Window;
use super::work::{Done, End, Stage, work};
use crate::panic::{self, Payload};
use crate::token::{CancellationToken, Event, Ticket, Watch};

/// What the calling thread's part ended with.
pub(super) enum Ended<S, E> {
    /// Every output has been taken. The source may have panicked after its last item.
    Complete,
    Stopped(Stop<S, E>),
    /// A stage panicked.
    Panicked(Payload),
    /// A worker is gone by a panic that belongs to no item; joining it gives the payload.
    Crashed,
}

/// What the members of a crew share.
pub(super) struct Crew<'a, S: Stock, I, W: Stage<S::Item>> {
    stage: &'a W,
    ordered: bool,
    /// How many items in stock are enough for the puller to turn to other work, in batches.
    enough: usize,
    signal: Arc<Signal>,
    state: Mutex<State<S, W::Output, W::Error>>,
    inlet: Mutex<Option<I>>,
    /// The length of the stock, for who lingers.
    in_stock: AtomicUsize,
}

/// What the token's callback touches, which must not borrow.
struct Signal {
    /// Batches from this one on are void: one below them failed, or all are, the run being over.
    void_from: AtomicU64,
    workers: Event,
    caller: Event,
}

impl Signal {
    // Relaxed: the mark carries no data. Who is about to sleep sees it by the ticket.
    #[inline]
    fn is_void(&self, batch: u64) -> bool {
        batch >= self.void_from.load(Ordering::Relaxed)
    }

    fn void_from(&self, batch: u64) {
        self.void_from.fetch_min(batch, Ordering::Relaxed);
        self.workers.notify_all();
        self.caller.notify_all();
    }
}

struct State<S, R, E> {
    stock: S,
    inlet: Inlet,
    ring: Ring<Done<R, E>>,
    window: Window,
    /// Batches claimed; the number of the next one.
    claimed: u64,
    /// Batches committed; where no order is kept, the place of the next one.
    committed: u64,
    /// Batches whose output has been taken.
    output: u64,
    /// Emptied output vectors, for reuse.
    spare: Vec<Vec<R>>,
    /// Workers that sleep or are about to.
    asleep: usize,
    /// One of them has been woken and has not looked yet.
    waking: bool,
    caller_asleep: bool,
    crashed: bool,
    source_panic: Option<Payload>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inlet {
    /// There is more to pull, and nobody does.
    Idle,
    /// Somebody pulls.
    Busy,
    /// There is nothing more to pull.
    Closed,
}

/// What a member does next.
enum Step<B, R, E> {
    Work(Claim<B, R>),
    /// Work on what the stock holds, but a full batch is about to be there.
    Linger(usize),
    Pull,
    /// Hand a batch to the sink; for the calling thread only.
    Output(Done<R, E>),
    Sleep(Ticket),
    /// Nothing will ever be left to do.
    Leave,
}

struct Claim<B, R> {
    number: u64,
    batch: B,
    items: usize,
    outputs: Vec<R>,
}

struct Worked<R, E> {
    number: u64,
    done: Done<R, E>,
}

impl<S: Stock, R, E> State<S, R, E> {
    fn outstanding(&self) -> usize {
        usize::try_from(self.claimed - self.output).unwrap_or(usize::MAX)
    }

    fn room(&self) -> usize {
        self.window.room(self.outstanding(), if S::PULLED { self.stock.len() } else { 0 })
    }

    fn commit(&mut self, worked: Worked<R, E>, ordered: bool) {
        let Worked { number, done } = worked;
        self.window.learn(done.items, done.elapsed);
        let place = if ordered { number } else { self.committed };
        self.committed += 1;
        self.ring.put(place, done);
    }
}

impl<'a, S, I, W> Crew<'a, S, I, W>
where
    S: Stock,
    I: Iterator<Item = S::Item> + Send,
    W: Stage<S::Item, Output: Send, Error: Send> + Sync,
{
    pub(super) fn new(stage: &'a W, settings: Settings, stock: S, inlet: Option<I>) -> Self {
        let threads = settings.threads.get();
        Crew {
            stage,
            ordered: settings.ordered,
            enough: threads.saturating_mul(2),
            signal: Arc::new(Signal {
                void_from: AtomicU64::new(u64::MAX),
                workers: Event::default(),
                caller: Event::default(),
            }),
            state: Mutex::new(State {
                stock,
                inlet: if inlet.is_some() { Inlet::Idle } else { Inlet::Closed },
                ring: Ring::new(),
                window: Window::new(threads, settings.window),
                claimed: 0,
                committed: 0,
                output: 0,
                spare: Vec::new(),
                asleep: 0,
                waking: false,
                caller_asleep: false,
                crashed: false,
                source_panic: None,
            }),
            inlet: Mutex::new(inlet),
            in_stock: AtomicUsize::new(0),
        }
    }

    /// Voids the run when `token` is cancelled, until the watch is dropped.
    pub(super) fn observe(&self, token: &CancellationToken) -> Watch {
        let signal = Arc::clone(&self.signal);
        token.watch(move || signal.void_from(0))
    }

    /// Voids the run: whoever works stops at the next item, whoever sleeps leaves.
    pub(super) fn void(&self) {
        self.signal.void_from(0);
    }

    /// The loop of a worker.
    pub(super) fn worker(&self) {
        let crash = CrashGuard { crew: self };
        let mut worked = None;
        let mut lingered = false;
        loop {
            match self.worker_step(worked.take(), lingered) {
                Step::Work(claim) => worked = self.work(claim),
                Step::Pull => self.pull(false),
                Step::Sleep(ticket) => {
                    self.signal.workers.wait(ticket);
                    let mut state = self.state.lock();
                    state.asleep -= 1;
                    state.waking = false;
                }
                Step::Linger(wanted) => {
                    self.linger(wanted);
                    lingered = true;
                    continue;
                }
                Step::Output(_) | Step::Leave => break,
            }
            lingered = false;
        }
        std::mem::forget(crash);
    }

    /// The loop of the calling thread. `alone`: no worker could be started.
    pub(super) fn caller<E>(
        &self,
        token: &CancellationToken,
        alone: bool,
        sink: &mut impl FnMut(W::Output) -> Result<(), E>,
    ) -> Ended<W::Error, E> {
        let mut worked = None;
        let mut emptied = None;
        let mut lingered = false;
        loop {
            match self.caller_step(worked.take(), emptied.take(), token, alone, lingered) {
                Ok(Step::Output(Done { mut outputs, items, end, .. })) => {
                    for output in outputs.drain(..) {
                        if token.is_cancelled() {
                            return match end {
                                Some(End::Panic(payload)) => Ended::Panicked(payload),
                                _ => Ended::Stopped(Stop::Cancelled),
                            };
                        }
                        if let Err(error) = sink(output) {
                            return Ended::Stopped(Stop::Sink(error));
                        }
                    }
                    match end {
                        None | Some(End::Void) => emptied = Some((outputs, items)),
                        Some(End::Error(error)) => return Ended::Stopped(Stop::Stage(error)),
                        Some(End::Panic(payload)) => return Ended::Panicked(payload),
                    }
                }
                Ok(Step::Work(claim)) => worked = self.work(claim),
                Ok(Step::Pull) => self.pull(true),
                Ok(Step::Sleep(ticket)) => self.signal.caller.wait(ticket),
                Ok(Step::Linger(wanted)) => {
                    self.linger(wanted);
                    lingered = true;
                    continue;
                }
                Ok(Step::Leave) => return Ended::Complete,
                Err(ended) => return ended,
            }
            lingered = false;
        }
    }

    fn worker_step(
        &self,
        worked: Option<Worked<W::Output, W::Error>>,
        lingered: bool,
    ) -> Step<S::Batch, W::Output, W::Error> {
        let mut state = self.state.lock();
        if let Some(worked) = worked {
            state.commit(worked, self.ordered);
        }
        let ticket = self.signal.workers.ticket();
        let step = if self.is_over(&state) {
            Step::Leave
        } else if self.can_pull(&state) {
            state.inlet = Inlet::Busy;
            Step::Pull
        } else if let Some(step) = self.claim(&mut state, lingered) {
            step
        } else {
            state.asleep += 1;
            Step::Sleep(ticket)
        };
        self.leave(state);
        step
    }

    fn caller_step<E>(
        &self,
        worked: Option<Worked<W::Output, W::Error>>,
        emptied: Option<(Vec<W::Output>, usize)>,
        token: &CancellationToken,
        alone: bool,
        lingered: bool,
    ) -> Result<Step<S::Batch, W::Output, W::Error>, Ended<W::Error, E>> {
        let mut state = self.state.lock();
        if let Some(worked) = worked {
            state.commit(worked, self.ordered);
        }
        if let Some((outputs, items)) = emptied {
            state.output += 1;
            state.window.take(items);
            if state.spare.len() < self.enough {
                state.spare.push(outputs);
            }
        }
        state.caller_asleep = false;
        let ticket = self.signal.caller.ticket();
        if token.is_cancelled() {
            return Err(Ended::Stopped(Stop::Cancelled));
        }
        if state.crashed {
            return Err(Ended::Crashed);
        }
        let step = if let Some(done) = state.ring.take() {
            Step::Output(done)
        } else if state.outstanding() == 0 && self.is_over(&state) {
            Step::Leave
        } else if let Some(step) = self.claim(&mut state, lingered) {
            step
        } else if alone && state.inlet == Inlet::Idle && state.outstanding() == 0 {
            state.inlet = Inlet::Busy;
            Step::Pull
        } else {
            state.caller_asleep = true;
            Step::Sleep(ticket)
        };
        self.leave(state);
        Ok(step)
    }

    /// Whether nothing is left to claim, now and later.
    fn is_over(&self, state: &State<S, W::Output, W::Error>) -> bool {
        self.signal.is_void(state.claimed) || state.inlet == Inlet::Closed && state.stock.len() == 0
    }

    fn can_claim(&self, state: &State<S, W::Output, W::Error>) -> bool {
        state.stock.len() > 0 && (S::PULLED || state.room() > 0) && !self.signal.is_void(state.claimed)
    }

    fn can_pull(&self, state: &State<S, W::Output, W::Error>) -> bool {
        state.inlet == Inlet::Idle && self.wants_more(state)
    }

    fn wants_more(&self, state: &State<S, W::Output, W::Error>) -> bool {
        state.stock.len() < self.enough.saturating_mul(state.window.batch())
            && state.room() > 0
            && !self.signal.is_void(state.claimed)
    }

    fn claim(
        &self,
        state: &mut State<S, W::Output, W::Error>,
        lingered: bool,
    ) -> Option<Step<S::Batch, W::Output, W::Error>> {
        if !self.can_claim(state) {
            return None;
        }
        let wanted = state.window.batch();
        if S::PULLED && state.inlet == Inlet::Busy && state.stock.len() < wanted && !lingered {
            return Some(Step::Linger(wanted));
        }
        let most = if S::PULLED { wanted } else { wanted.min(state.room()) };
        let (batch, items) = state.stock.take(most)?;
        if S::PULLED {
            self.in_stock.store(state.stock.len(), Ordering::Relaxed);
        } else {
            state.window.pull(items);
        }
        let number = state.claimed;
        state.claimed += 1;
        Some(Step::Work(Claim { number, batch, items, outputs: state.spare.pop().unwrap_or_default() }))
    }

    /// Releases the state and wakes who can go on.
    fn leave(&self, mut state: MutexGuard<'_, State<S, W::Output, W::Error>>) {
        if state.asleep == 0 && !state.caller_asleep {
            return;
        }
        let over = self.is_over(&state);
        let can_claim = self.can_claim(&state);
        let all_workers = over && state.asleep > 0;
        let a_worker = !over && state.asleep > 0 && !state.waking && (can_claim || self.can_pull(&state));
        if a_worker {
            state.waking = true;
        }
        let the_caller = state.caller_asleep
            && (state.ring.is_ready() || can_claim && state.asleep == 0 || over && state.outstanding() == 0);
        if the_caller {
            state.caller_asleep = false;
        }
        drop(state);
        if all_workers {
            self.signal.workers.notify_all();
        } else if a_worker {
            self.signal.workers.notify_one();
        }
        if the_caller {
            self.signal.caller.notify_one();
        }
    }

    /// Pulls items into the stock until there is enough, or `one`.
    fn pull(&self, one: bool) {
        let mut inlet = self.inlet.lock();
        let source = inlet.as_mut().expect("who found the inlet idle finds a source behind it");
        loop {
            let next = panic::catch(|| source.next());
            let mut state = self.state.lock();
            state.inlet = match next {
                Ok(Some(item)) => {
                    let batch = state.window.batch();
                    state.window.pull(1);
                    state.stock.put(item, batch);
                    self.in_stock.store(state.stock.len(), Ordering::Relaxed);
                    if !one && self.wants_more(&state) { Inlet::Busy } else { Inlet::Idle }
                }
                Ok(None) => Inlet::Closed,
                Err(payload) => {
                    state.source_panic = Some(payload);
                    Inlet::Closed
                }
            };
            let done = state.inlet != Inlet::Busy;
            self.leave(state);
            if done {
                return;
            }
        }
    }

    /// Gives a quick source some microseconds to fill a batch: claiming each item as it comes would cost more than the
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

    fn work(&self, claim: Claim<S::Batch, W::Output>) -> Option<Worked<W::Output, W::Error>> {
        let Claim { number, batch, items, outputs } = claim;
        let done = work(self.stage, batch, items, outputs, || self.signal.is_void(number));
        match done.end {
            None => {}
            // In order, what lies below goes on; in no order, the first to fail ends all.
            Some(End::Error(_) | End::Panic(_)) => self.signal.void_from(if self.ordered { number + 1 } else { 0 }),
            Some(End::Void) => return None,
        }
        Some(Worked { number, done })
    }

    /// Takes apart what is left after the last thread was joined: the batches nobody took, the panic of the source, and
    /// what is to be dropped.
    #[expect(clippy::type_complexity, reason = "three parts, taken apart at once by the one caller")]
    pub(super) fn into_parts(self) -> (Ring<Done<W::Output, W::Error>>, Option<Payload>, (S, Option<I>)) {
        let state = self.state.into_inner();
        (state.ring, state.source_panic, (state.stock, self.inlet.into_inner()))
    }
}

/// Ends the run should a worker's loop unwind, which only the `Drop` of a user's item can make it do.
struct CrashGuard<'c, 'a, S: Stock, I, W: Stage<S::Item>> {
    crew: &'c Crew<'a, S, I, W>,
}

impl<S: Stock, I, W: Stage<S::Item>> Drop for CrashGuard<'_, '_, S, I, W> {
    fn drop(&mut self) {
        self.crew.state.lock().crashed = true;
        self.crew.signal.void_from(0);
    }
}
