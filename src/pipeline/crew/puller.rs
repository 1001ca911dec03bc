//! Pulling: from the inlet into the stock.
//!
//! **The puller of a blocking source keeps its items where others can reach them.** It pushes each item into a queue
//! that any member can take it from, and puts the queues into the stock as a chunk, when they hold a batch or were open
//! for some 100 µs. No member is woken for a single item. Should `next()` block while they hold items, the alarm of a
//! sleeping member puts these into the stock after a millisecond, or two.
//!
//! A push into crossbeam's deque costs 3 ns, because only its owner pushes, and taking an item out again costs one
//! atomic operation. A mutex around a vector costs two on the side of the puller, which bounds a run of cheap items: 32
//! ns an item against 12 with the deque. A lock of the state for each item, with a look at the members to wake, cost
//! 45, and kept a second thread busy with single items. (Measured where an atomic operation takes 9 ns.)

use std::time::{Duration, Instant};

use crossbeam::deque;
use crossbeam::utils::Backoff;
use parking_lot::MutexGuard;

use super::super::report::{self, Lack};
use super::super::source::{Chunk, Feed, Kind, Pull};
use super::super::stage::Stage;
use super::members::Members;
use super::onward::Onward;
use super::section::{BatchOf, Inside, LoadOf, Pulled, Section};
use super::step::Quota;
use super::supply::Claimed;
use crate::panic;

/// How long the puller of a blocking source fills a chunk. It looks at the clock seldom, but after the first item,
/// because a source that has made it wait once may do so again.
const FILLING: Duration = Duration::from_micros(300);
const FIRST: Duration = Duration::from_micros(100);

/// The number of chunks with one item each after an alarm: a source that has waited for an earlier output may do so
/// again.
const CAUTIOUS: u32 = 32;

/// How long a member pulls a batch of a ready source.
const BATCH: Duration = Duration::from_micros(100);

impl<F, W, N> Members<'_, '_, F, W, N>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
{
    /// Pulls. From a ready source the member may claim a batch at once, which is returned.
    pub(super) fn pull(&self, quota: Quota) -> Option<Claimed<BatchOf<F>, W::Output>> {
        match F::KIND {
            Kind::Ready => self.pull_batch(quota.items),
            Kind::Blocking | Kind::Data => {
                self.pull_chunks(quota);
                None
            }
        }
    }

    /// Pulls up to `items` items from a ready source, and claims the next batch.
    ///
    /// The member pulls fewer items if the source ends or takes long.
    fn pull_batch(&self, items: usize) -> Option<Claimed<BatchOf<F>, W::Output>> {
        let mut guard = self.lock_inlet();
        let Pulled { inlet, ended, .. } = &mut *guard;
        let started = Instant::now();
        self.begin_pull(started);
        let mut batch = Vec::with_capacity(items);
        // Between the look at the state and this, another member may have come to the end.
        let end = panic::catch(|| {
            while !*ended && batch.len() < items && !self.section.signal.void() == 0 {
                match inlet.pull(1, |item| batch.push(item)) {
                    None => return true,
                    // The next one waits at the gate.
                    Some(0) => break,
                    Some(_) => {}
                }
                let looks = matches!(batch.len(), 1 | 4 | 16) || batch.len() % 64 == 0;
                if looks && started.elapsed() > BATCH {
                    break;
                }
            }
            *ended
        });
        *ended = !matches!(end, Ok(false));
        let elapsed = started.elapsed();
        self.end_pull(elapsed);
        // The inlet is still locked, so that batches come into the stock in the order in which they were pulled.
        self.enter(|state, void| {
            state.put_batch(batch, items, elapsed);
            state.end_pull(end);
            state.claim_pulled(void)
        })
    }

    /// Pulls from a blocking source, chunk by chunk.
    ///
    /// The member pulls fewer items than its quota if the source or the run ends.
    fn pull_chunks(&self, mut quota: Quota) {
        let mut guard = self.lock_inlet();
        let mut cautious = 0;
        loop {
            if cautious > 0 {
                cautious -= 1;
                quota.chunk = 1;
            }
            let started = Instant::now();
            self.begin_pull(started);
            let filled = self.fill(&mut guard, quota, started);
            let elapsed = started.elapsed();
            self.end_pull(elapsed);
            if self.section.signal.rung() == quota.number {
                cautious = CAUTIOUS;
            }
            let Pulled { chunk: Some(chunk), .. } = &mut *guard else { return };
            let last = chunk.last();
            let more = self.enter_inside(|Inside { state, open }, void| {
                let more = open.as_mut().and_then(|open| {
                    let mut queues = open.take_full();
                    queues.extend(last);
                    open.set_last(chunk.stealer());
                    state.put(Chunk::Queues(chunk.queues(queues)), elapsed, void)
                });
                if !matches!((&filled, more), (Ok(false), Some(_))) {
                    state.end_pull(filled);
                    return None;
                }
                more
            });
            match more {
                Some(more) => quota = more,
                None => return,
            }
        }
    }

    fn begin_pull(&self, at: Instant) {
        if let Some(times) = self.times() {
            times.begin(report::Step::Source, at);
        }
    }

    fn end_pull(&self, elapsed: Duration) {
        if let Some(times) = self.times() {
            times.end(report::Step::Source, elapsed);
        }
    }

    fn lock_inlet(&self) -> MutexGuard<'_, Pulled<F::Inlet, LoadOf<F>>> {
        let section = self.section;
        if let Some(inlet) = section.inlet.try_lock() {
            return inlet;
        }
        report::during(self.times(), report::Step::Wait(0, Lack::Input), || section.lock_inlet())
    }

    /// Fills a chunk; returns whether the source has ended.
    fn fill(
        &self,
        pulled: &mut Pulled<F::Inlet, LoadOf<F>>,
        quota: Quota,
        started: Instant,
    ) -> Result<bool, panic::Payload> {
        let signal = &self.section.signal;
        let Pulled { inlet, chunk: Some(chunk), .. } = pulled else { return Ok(true) };
        let (mut items, mut look) = (0, 1);
        panic::catch(|| {
            while items < quota.chunk {
                let push = |load| chunk.push(load, |full, next| self.section.reach(full, next));
                match inlet.pull(quota.chunk - items, push) {
                    None => return true,
                    Some(0) => break,
                    Some(pulled) => items += pulled,
                }
                if signal.rung() == quota.number || signal.is_any_void() {
                    break;
                }
                if items >= look {
                    let longest = if look == 1 { FIRST } else { FILLING };
                    if started.elapsed() > longest {
                        break;
                    }
                    look = items + items.min(64);
                }
            }
            false
        })
    }
}

impl<F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> Section<'_, F, W, N> {
    /// Lets the other members reach a queue that is full, and the next one. It wakes none.
    fn reach(&self, full: deque::Worker<LoadOf<F>>, next: deque::Stealer<LoadOf<F>>) {
        if let Some(open) = &mut self.inside.lock().open {
            open.add(full, next);
        }
    }

    /// A member that finds another one pulling waits some microseconds awake: a batch takes so long, and falling asleep
    /// takes longer.
    fn lock_inlet(&self) -> MutexGuard<'_, Pulled<F::Inlet, LoadOf<F>>> {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if let Some(inlet) = self.inlet.try_lock() {
                return inlet;
            }
            backoff.snooze();
        }
        self.inlet.lock()
    }
}
