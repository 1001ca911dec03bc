//! [`Section`]: the stages between the source and the sink, and all that the members at work there share.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::super::Settings;
use super::super::source::queue::{Filling, Reachable};
use super::super::source::{Chunk, Feed, Kind, Stock};
use super::super::stage::Stage;
use super::pace;
use super::piece::Piece;
use super::signal::Signal;
use super::state::State;
use super::step::{Plan, Worked};
use crate::panic::Payload;
use crate::token::{CancelCallback, CancellationToken};

/// Lies on the stack of the run; its members borrow it.
pub(in super::super) struct Section<'a, F: Feed, W: Stage<F::Item>> {
    pub(super) stage: &'a W,
    pub(super) plan: Plan,
    pub(super) signal: Arc<Signal>,
    // Padded, because the members read the fields before it for each item.
    pub(super) inside: CachePadded<Mutex<Inside<F, W>>>,
    /// The side of the source that is pulled. Its lock is never asked for while the state is locked, but the reverse.
    pub(super) inlet: Mutex<Pulled<F::Inlet, LoadOf<F>>>,
    #[cfg(test)]
    pub(super) counts: Option<Arc<super::counts::Counts>>,
}

/// The part of a section that is locked.
pub(super) struct Inside<F: Feed, W: Stage<F::Item>> {
    pub(super) state: StateOf<F, W>,
    /// The chunk in the hands of the puller of a blocking source. It is taken under this lock, as the puller puts its
    /// chunk into the stock under it: so the items stay in order.
    pub(super) open: Option<Reachable<LoadOf<F>>>,
}

pub(super) type LoadOf<F> = <<F as Feed>::Stock as Stock>::Load;
type OutputOf<F, W> = <W as Stage<<F as Feed>::Item>>::Output;
type ErrorOf<F, W> = <W as Stage<<F as Feed>::Item>>::Error;
pub(super) type StateOf<F, W> = State<<F as Feed>::Stock, OutputOf<F, W>, ErrorOf<F, W>>;
pub(super) type PieceOf<F, W> = Piece<OutputOf<F, W>, ErrorOf<F, W>>;
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
pub(in super::super) struct Remains<P, L> {
    /// The pieces that the sink has not taken, in order.
    pub(in super::super) pieces: P,
    pub(in super::super) source_panic: Option<Payload>,
    /// Values to drop.
    pub(in super::super) leftovers: L,
}

impl<'a, F: Feed, W: Stage<F::Item>> Section<'a, F, W> {
    pub(in super::super) fn new(stage: &'a W, settings: &Settings, feed: F) -> Self {
        let (stock, inlet) = feed.split();
        let threads = settings.threads();
        let is_caller_reserved = settings.is_caller_reserved;
        let most = if is_caller_reserved { threads } else { threads - 1 };
        let workers = match F::KIND {
            // One item needs one thread, and the caller is one.
            Kind::Data if !is_caller_reserved => most.min(stock.len().saturating_sub(1)),
            Kind::Data | Kind::Ready | Kind::Blocking => most,
        };
        let plan = Plan {
            kind: F::KIND,
            order: settings.order,
            threads,
            workers,
            window: settings.window,
            aim: pace::aim(threads.min(Settings::cores())),
            is_caller_reserved,
        };
        let (chunk, open) = (F::KIND == Kind::Blocking).then(Filling::new).unzip();
        Section {
            stage,
            plan,
            signal: Signal::new(),
            inside: CachePadded::new(Mutex::new(Inside { state: State::new(&plan, stock), open })),
            inlet: Mutex::new(Pulled { inlet, ended: false, chunk }),
            #[cfg(test)]
            counts: super::counts::Counts::watched(),
        }
    }

    /// Voids the run when `token` is cancelled, until the handle is dropped.
    pub(in super::super) fn observe(&self, token: &CancellationToken) -> CancelCallback {
        let (signal, caller) = (Arc::clone(&self.signal), std::thread::current().id());
        token.wake_on_cancel(move || {
            if std::thread::current().id() == caller {
                signal.cancelled_by_caller();
            }
            signal.void_from(0);
        })
    }

    /// Voids the run: members at work stop at their next item, those that sleep leave.
    pub(in super::super) fn void(&self) {
        self.signal.void_from(0);
    }

    /// A worker is gone by a panic that belongs to no item. Nothing is woken by this but by the mark that follows.
    pub(super) fn crash(&self) {
        self.inside.lock().state.roster().crashed = true;
        self.void();
    }

    /// Between two steps of the caller, the consumer of the outputs takes over, if the sink has only stored them.
    pub(in super::super) fn enter_consumer(&self) {
        self.signal.enter_sink();
    }

    /// Whether the sink, or the consumer in its place, has cancelled the token.
    pub(in super::super) fn is_cancelled_by_sink(&self) -> bool {
        self.signal.is_cancelled_by_sink()
    }

    /// Takes the failures out of the remains, when the last thread has been joined: the pieces and the panic of the
    /// source. Items stay.
    pub(in super::super) fn take_failures(
        &self,
        due: VecDeque<PieceOf<F, W>>,
    ) -> Remains<impl Iterator<Item = PieceOf<F, W>>, ()> {
        let (pieces, source_panic) = self.inside.lock().state.take_failures();
        Remains { pieces: due.into_iter().chain(pieces), source_panic, leftovers: () }
    }

    /// Takes apart the remains when the last thread has been joined. `due` are the pieces that the caller took and the
    /// sink did not.
    pub(in super::super) fn into_remains(
        self,
        due: impl IntoIterator<Item = PieceOf<F, W>>,
    ) -> Remains<impl Iterator<Item = PieceOf<F, W>>, impl Sized> {
        let Pulled { inlet, chunk, .. } = self.inlet.into_inner();
        let Inside { mut state, open } = self.inside.into_inner().into_inner();
        // Behind all others, as the last chunk that was pulled.
        if let (Some(mut chunk), Some(mut open)) = (chunk, open) {
            let mut queues = open.take_full();
            queues.extend(chunk.last());
            state.take_chunk(Chunk::Queues(chunk.queues(queues)));
        }
        let (pieces, source_panic) = state.take_failures();
        Remains { pieces: due.into_iter().chain(pieces), source_panic, leftovers: (state, inlet) }
    }
}
