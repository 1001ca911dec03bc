//! [`Section`]: the stages between the source and the sink, and all that the members at work there share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::super::source::{Feed, Kind, Stock};
use super::super::stage::Stage;
use super::super::{Order, Settings};
use super::piece::Piece;
use super::signal::Signal;
use super::state::{State, Worked};
use crate::panic::Payload;
use crate::token::{CancelCallback, CancellationToken};

/// Lies on the stack of the run; its members borrow it.
pub(in super::super) struct Section<'a, F: Feed, W: Stage<F::Item>> {
    pub(super) stage: &'a W,
    pub(super) order: Order,
    pub(super) signal: Arc<Signal>,
    // Padded, because the members read the fields before it for each item, while the puller takes this lock for each.
    state: CachePadded<Mutex<StateOf<F, W>>>,
    /// The side of the source that is pulled. Its lock is never asked for while the state is locked, but the reverse.
    pub(super) inlet: Mutex<Pulled<F::Inlet>>,
    /// The length of the stock, for members that linger.
    pub(super) in_stock: CachePadded<AtomicUsize>,
}

type OutputOf<F, W> = <W as Stage<<F as Feed>::Item>>::Output;
type ErrorOf<F, W> = <W as Stage<<F as Feed>::Item>>::Error;
type StateOf<F, W> = State<<F as Feed>::Stock, OutputOf<F, W>, ErrorOf<F, W>>;
pub(super) type PieceOf<F, W> = Piece<OutputOf<F, W>, ErrorOf<F, W>>;
pub(super) type WorkedOf<F, W> = Worked<<<F as Feed>::Stock as Stock>::Batch, OutputOf<F, W>, ErrorOf<F, W>>;

/// The inlet, in the hands of the member that pulls.
pub(super) struct Pulled<I> {
    pub(super) inlet: I,
    /// A ready source has come to its end, or panicked: `next()` is not called again.
    pub(super) ended: bool,
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
    /// Returns how many worker threads the run can use, too.
    pub(in super::super) fn new(stage: &'a W, settings: &Settings, feed: F) -> (Self, usize) {
        let (stock, inlet) = feed.split();
        let workers = match F::KIND {
            // One item needs one thread, and the caller is one.
            Kind::Data => (settings.threads() - 1).min(stock.len().saturating_sub(1)),
            Kind::Ready | Kind::Blocking => settings.threads() - 1,
        };
        let section = Section {
            stage,
            order: settings.order,
            signal: Signal::new(),
            state: CachePadded::new(Mutex::new(State::new(F::KIND, stock, settings))),
            inlet: Mutex::new(Pulled { inlet, ended: false }),
            in_stock: CachePadded::new(AtomicUsize::new(0)),
        };
        (section, workers)
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

    /// Enters the state, which nothing else does, and on leaving wakes the members that can go on.
    ///
    /// The second argument of `f` is the void mark. A member that may sleep afterwards has taken its ticket before.
    pub(super) fn enter<T>(&self, f: impl FnOnce(&mut StateOf<F, W>, u64) -> T) -> T {
        let mut state = self.state.lock();
        let result = f(&mut state, self.signal.void());
        self.in_stock.store(state.in_stock(), Ordering::Relaxed);
        self.signal.set_idle(state.is_idle());
        let wakes = state.wakes(self.signal.void());
        drop(state);
        self.signal.wake(wakes);
        result
    }

    /// A worker is gone by a panic that belongs to no item. Nothing is woken by this but by the mark that follows.
    pub(super) fn crash(&self) {
        self.state.lock().roster().crashed = true;
        self.void();
    }

    /// Takes apart the remains when the last thread has been joined.
    pub(in super::super) fn into_remains(
        self,
    ) -> Remains<impl Iterator<Item = Piece<W::Output, W::Error>>, impl Sized> {
        let (pieces, source_panic, stock) = self.state.into_inner().into_inner().into_rest();
        Remains { pieces, source_panic, leftovers: (stock, self.inlet.into_inner().inlet) }
    }
}
