//! Pulling: from the inlet into the stock.
//!
//! An item of a blocking source lies in the stock before `next()` is called again, and
//! every member that sleeps is told of it. So no thread that is blocked holds an item back.

use std::hint;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam::utils::Backoff;
use parking_lot::MutexGuard;

use super::super::source::{Feed, Kind, Pull, Stock};
use super::super::stage::Stage;
use super::pace::AIM;
use super::section::{Pulled, Section};
use super::supply::Claim;
use crate::panic;

/// A batch that was claimed, and a vector for its outputs.
type Claimed<F, R> = (Claim<<<F as Feed>::Stock as Stock>::Batch>, Vec<R>);

impl<F: Feed, W: Stage<F::Item>> Section<'_, F, W> {
    /// Pulls up to `items` items. From a ready source the member may claim a batch at once, which is returned.
    pub(super) fn pull(&self, items: usize) -> Option<Claimed<F, W::Output>> {
        match F::KIND {
            Kind::Ready => self.pull_batch(items),
            Kind::Blocking | Kind::Data => {
                self.pull_one_by_one(items);
                None
            }
        }
    }

    /// Pulls up to `items` items from a ready source, and claims the next batch.
    ///
    /// The member pulls fewer items if the source ends or takes long.
    fn pull_batch(&self, items: usize) -> Option<Claimed<F, W::Output>> {
        let mut guard = self.lock_inlet();
        let Pulled { inlet, ended } = &mut *guard;
        let started = Instant::now();
        let mut batch = Vec::with_capacity(items);
        // Between the look at the state and this, another member may have come to the end.
        let end = panic::catch(|| {
            while !*ended && batch.len() < items && !self.signal.is_void(0) {
                if !inlet.pull(1, &mut batch) {
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
        // The inlet is still locked, so that batches come into the stock in the order in which they were pulled.
        self.enter(|state, void| {
            let pulled = batch.len();
            state.put_batch(batch, items);
            state.end_pull(pulled, elapsed, end);
            state.claim_pulled(void)
        })
    }

    /// Pulls up to `items` items into the stock, one by one.
    ///
    /// The member pulls fewer items if the source or the run ends.
    fn pull_one_by_one(&self, items: usize) {
        let mut guard = self.lock_inlet();
        let inlet = &mut guard.inlet;
        let started = Instant::now();
        let (mut pulled, mut rounds) = (0, 0_u32);
        let mut loads = Vec::new();
        let end = panic::catch(|| {
            while pulled < items {
                if !inlet.pull(items - pulled, &mut loads) {
                    return true;
                }
                let (more, wanted) = self.enter(|state, void| state.put(loads.drain(..), void));
                pulled += more;
                rounds += 1;
                // The items may have turned costly, and the window narrower, since the pull began. (To ask the window
                // for each item costs 12 ns an item, because one slow batch makes it narrow for a moment.)
                let is_long = || rounds % 16 == 0 && started.elapsed() > 4 * AIM;
                if !wanted || is_long() {
                    break;
                }
            }
            false
        });
        self.enter(|state, _| state.end_pull(pulled, started.elapsed(), end));
    }

    /// A member that finds another one pulling waits some microseconds awake: a batch takes so long, and falling asleep
    /// takes longer.
    fn lock_inlet(&self) -> MutexGuard<'_, Pulled<F::Inlet>> {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if let Some(inlet) = self.inlet.try_lock() {
                return inlet;
            }
            backoff.snooze();
        }
        self.inlet.lock()
    }

    /// Gives a quick source some microseconds to fill a batch of `wanted` items, and leaves a slow one at once.
    ///
    /// Claiming each item as it comes would cost more than its work.
    pub(super) fn linger(&self, wanted: usize) {
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
}
