//! [`Section`]: the stages between the source and the sink, and all that the members at work there share.

use std::sync::Arc;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::super::Settings;
use super::super::report::{Recording, Times};
use super::super::source::queue::{Filling, Reachable};
use super::super::source::{Chunk, Feed, Kind, Stock};
use super::super::stage::Stage;
use super::below::Below;
use super::onward::Onward;
use super::pace;
use super::piece::{End, Piece, lose};
use super::place::Place;
use super::ring::Ring;
use super::signal::Signal;
use super::state::State;
use super::step::{Plan, Worked};
use super::work::{HELD, HELD_FROM_SLEEPER};
use crate::error::CancelReason;
use crate::item_tokens::ItemTokens;
use crate::panic::{Panics, Payload};
use crate::token::{CancelCallback, CancellationToken};

/// Lies on the stack of the run; its members borrow it.
pub(in super::super) struct Section<'a, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> {
    pub(super) stage: &'a W,
    pub(super) next: N,
    pub(super) plan: Plan,
    pub(super) signal: Arc<Signal>,
    tokens: ItemTokens,
    pub(super) recording: Recording,
    // Padded, because the members read the fields before it for each item.
    pub(super) inside: CachePadded<Mutex<Inside<F, W, N>>>,
    /// The side of the source that is pulled. Its lock is never asked for while the state is locked, but the reverse.
    pub(super) inlet: Mutex<Pulled<F::Inlet, LoadOf<F>>>,
    #[cfg(test)]
    pub(super) counts: Option<Arc<super::counts::Counts>>,
}

/// The part of a section that is locked.
pub(super) struct Inside<F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> {
    pub(super) state: StateOf<F, W, N>,
    /// The chunk in the hands of the puller of a blocking source. It is taken under this lock, as the puller puts its
    /// chunk into the stock under it: so the items stay in order.
    pub(super) open: Option<Reachable<LoadOf<F>>>,
}

pub(super) type LoadOf<F> = <<F as Feed>::Stock as Stock>::Load;
type OutputOf<F, W> = <W as Stage<<F as Feed>::Item>>::Output;
type ErrorOf<F, W> = <W as Stage<<F as Feed>::Item>>::Error;
/// The rings and the sections behind the first.
pub(super) type BelowOf<F, W, N> = <N as Onward<OutputOf<F, W>, ErrorOf<F, W>>>::State;
pub(super) type StateOf<F, W, N> = State<<F as Feed>::Stock, BelowOf<F, W, N>>;
pub(super) type LocalOf<F, W, N> = <N as Onward<OutputOf<F, W>, ErrorOf<F, W>>>::Local;
pub(super) type TaskOf<F, W, N> = <BelowOf<F, W, N> as Below>::Task;
pub(super) type DoneOf<F, W, N> = <BelowOf<F, W, N> as Below>::Done;
/// A piece that the sink takes.
pub(super) type PieceOf<F, W, N> = Piece<<BelowOf<F, W, N> as Below>::Out, <BelowOf<F, W, N> as Below>::OutError>;
pub(super) type BatchOf<F> = <<F as Feed>::Stock as Stock>::Batch;
pub(super) type WorkedOf<F, W> = Worked<BatchOf<F>, OutputOf<F, W>, ErrorOf<F, W>>;

/// The inlet, in the hands of the member that pulls.
pub(super) struct Pulled<I, L> {
    pub(super) inlet: I,
    /// A ready source has come to its end, or panicked: `next()` is not called again.
    pub(super) ended: bool,
    /// Of a blocking source: the chunk that is being filled.
    pub(super) chunk: Option<Filling<L>>,
}

/// The remains of a run.
pub(in super::super) struct Remains<E, L> {
    /// The failures that the sink has not met, in order.
    pub(in super::super) ends: Vec<End<E>>,
    pub(in super::super) source_panic: Option<Payload>,
    /// Values to drop.
    pub(in super::super) leftovers: L,
}

impl<'a, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> Section<'a, F, W, N> {
    pub(in super::super) fn new(
        stage: &'a W,
        next: N,
        settings: &Settings,
        token: &CancellationToken,
        feed: F,
    ) -> Self {
        let gate = feed.gate();
        let (stock, inlet) = feed.split();
        let threads = settings.threads();
        let mut own = vec![None];
        next.count_own(&mut own);
        let is_caller_reserved = settings.is_caller_reserved;
        // With one thread the run is here because a section has workers of its own. A worker then pulls, because a
        // caller that is alone would pull an item at a time; the two work in turns.
        let beside = Plan::workers_beside_caller(F::KIND, threads);
        let most = if is_caller_reserved { beside } else { (threads - 1).max(1) };
        let workers = match F::KIND {
            // One item needs one thread, and the caller is one.
            Kind::Data if !is_caller_reserved && own.len() == 1 => most.min(stock.len().saturating_sub(1)),
            Kind::Data | Kind::Ready | Kind::Blocking => most,
        };
        let plan = Plan {
            kind: F::KIND,
            order: settings.order,
            threads,
            workers,
            window: settings.window,
            limit: next.limit().filter(|_| W::ONE_TO_ONE),
            aim: pace::aim(threads.min(Settings::cores())),
            is_caller_reserved,
            blocking: own.iter().flatten().map(|threads| threads.get()).sum(),
        };
        let (chunk, open) = (F::KIND == Kind::Blocking).then(Filling::new).unzip();
        let signal = Signal::new(own.len());
        if let Some(section) = next.wants_none(1) {
            signal.void_before(section);
        }
        let budget = gate.as_ref().map(|gate| gate.budget()).or(stage.output_budget());
        let ring = Ring::new(plan.order, threads).bounded(stage.output_budget());
        let mut state = State::new(&plan, stock, next.state(&plan, ring));
        state.gate = gate;
        Section {
            stage,
            next,
            plan,
            signal,
            tokens: ItemTokens::new(token),
            recording: settings.recording(threads, &own, budget, plan.expected(settings.expected)),
            inside: CachePadded::new(Mutex::new(Inside { state, open })),
            inlet: Mutex::new(Pulled { inlet, ended: false, chunk }),
            #[cfg(test)]
            counts: super::counts::Counts::watched(),
        }
    }

    /// The place of the first section, for a member with these times.
    pub(super) fn place<'w>(&'w self, times: Option<&'w Times>) -> Place<'w> {
        Place {
            signal: &self.signal,
            tokens: &self.tokens,
            section: 0,
            order: self.plan.order,
            aim: self.plan.aim,
            held: if self.plan.is_caller_reserved { HELD_FROM_SLEEPER } else { HELD },
            recording: &self.recording,
            times,
            #[cfg(test)]
            counts: self.counts.as_deref(),
        }
    }

    /// Voids the run when `token` is cancelled, until the handle is dropped.
    pub(in super::super) fn observe(&self, token: &CancellationToken) -> CancelCallback {
        let (signal, caller) = (Arc::clone(&self.signal), std::thread::current().id());
        token.wake_on_cancel(move || {
            if std::thread::current().id() == caller {
                signal.cancelled_by_caller();
            }
            signal.void_all();
        })
    }

    /// Voids the run: members at work stop at their next item, those that sleep leave.
    pub(in super::super) fn void(&self) {
        self.signal.void_all();
        self.tokens.cancel_from(usize::MAX, 0, CancelReason::Finished);
    }

    /// A worker is gone by a panic that belongs to no item. Nothing is woken by this but by the mark that follows.
    pub(super) fn crash(&self) {
        self.inside.lock().state.roster().crashed = true;
        self.void();
    }

    /// Drops the serial stages.
    pub(in super::super) fn drop_serials(&self, panics: &mut Panics) {
        self.next.drop_serials(panics);
    }

    /// Between two steps of the caller, the consumer of the outputs takes over, if the sink has only stored them.
    pub(in super::super) fn enter_consumer(&self) {
        self.signal.enter_sink();
    }

    /// Whether the sink, or the consumer in its place, has cancelled the token.
    pub(in super::super) fn is_cancelled_by_sink(&self) -> bool {
        self.signal.is_cancelled_by_sink()
    }

    /// Takes the failures out of the remains, when the last thread has been joined. `due` are the pieces that the
    /// caller took and the sink did not. The items of the source stay.
    pub(in super::super) fn take_failures(
        &self,
        due: impl IntoIterator<Item = PieceOf<F, W, N>>,
    ) -> Remains<N::Error, ()> {
        let mut ends = Vec::new();
        for Piece { outputs, end, .. } in due {
            drop(outputs);
            ends.extend(end);
        }
        // Taken apart outside of the lock, because the user's code converts errors and drops outputs.
        let empty = self.next.state(&self.plan, Ring::new(self.plan.order, self.plan.threads));
        let (down, mut source_panic) = self.inside.lock().state.take_remains(empty);
        if N::take_apart(down, &mut ends) {
            lose(source_panic.take());
        }
        Remains { ends, source_panic, leftovers: () }
    }

    /// Takes apart the remains, as [`take_failures`](Self::take_failures) does, and the items.
    pub(in super::super) fn into_remains(
        self,
        due: impl IntoIterator<Item = PieceOf<F, W, N>>,
    ) -> Remains<N::Error, impl Sized> {
        let Remains { ends, source_panic, leftovers: () } = self.take_failures(due);
        let Pulled { inlet, chunk, .. } = self.inlet.into_inner();
        let Inside { mut state, open } = self.inside.into_inner().into_inner();
        // Behind all others, as the last chunk that was pulled.
        if let (Some(mut chunk), Some(mut open)) = (chunk, open) {
            let mut queues = open.take_full();
            queues.extend(chunk.last());
            state.take_chunk(Chunk::Queues(chunk.queues(queues)));
        }
        Remains { ends, source_panic, leftovers: (state, inlet) }
    }
}
