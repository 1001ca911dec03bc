//! [`Bucket`]: the mechanism of a rate limiter, which decides when each caller is admitted.
//!
//! It is a token bucket in the form of the generic cell rate algorithm. The bucket is one number, `full_at`: when it
//! would be full again if no caller came. A caller that takes n tokens moves `full_at` by n intervals, and is admitted
//! as soon as `full_at` is no more than a full bucket's time ahead. So the time at which a caller is admitted is known
//! when it comes: it reserves its place, sleeps until then, and no other thread has to wake it.
//!
//! A caller that gives up leaves a gap. The callers behind it move up, and are told, because each sleeps until a time
//! of its own. If the gap were given to newcomers instead, more than the rate would pass in the window around it.
//!
//! Invariants:
//!
//! 1. `full_at` changes under the lock of the queue only, except that a caller that is admitted at once may move it.
//! 2. If a caller waits whose time has not come, no other is admitted at once, because `full_at` is ahead of that
//!    caller's share.
//! 3. The callers that wait are in the order in which they came, and of their times.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::pace::{Epoch, Pace, duration};
use crate::error::Cancelled;
use crate::event::Event;
use crate::sync::{AtomicU64, Mutex};
use crate::token::CancellationToken;

#[derive(Default)]
pub(super) struct Bucket {
    full_at: AtomicU64,
    waiting: Mutex<VecDeque<Place>>,
}

/// The place of a caller that waits.
struct Place {
    /// When the bucket would be full again if no caller came after this one.
    full_at: u64,
    cost: u64,
    event: Arc<Event>,
}

/// A caller has no tokens yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBefore(u64);

impl NotBefore {
    /// How long that is from `now`.
    pub(super) fn after(self, now: u64) -> Duration {
        duration(self.0.saturating_sub(now))
    }
}

impl Bucket {
    /// Takes tokens if the bucket has them now.
    // The bucket guards no data of others, so the order of its one number is enough: relaxed.
    #[inline]
    pub(super) fn try_take(&self, pace: Pace, now: u64, tokens: u32) -> Result<(), NotBefore> {
        let cost = pace.interval * u64::from(tokens);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(cost);
            if after > now + pace.span {
                return Err(NotBefore(after - pace.span));
            }
            match self.full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full_at = changed,
            }
        }
    }

    /// Takes tokens now, or reserves a place in the queue and returns its event.
    pub(super) fn take_or_queue(&self, pace: Pace, now: u64, tokens: u32) -> Option<Arc<Event>> {
        if self.try_take(pace, now, tokens).is_ok() {
            return None;
        }
        let mut waiting = self.waiting.lock();
        let cost = pace.interval * u64::from(tokens);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(cost);
            match self.full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                // It may be admitted at once now, and finds that out where it waits.
                Ok(_) => {
                    let event = Arc::new(Event::default());
                    waiting.push_back(Place { full_at: after, cost, event: Arc::clone(&event) });
                    return Some(event);
                }
                Err(changed) => full_at = changed,
            }
        }
    }

    /// Waits until the place of `event` is admitted.
    pub(super) fn wait(
        &self,
        token: &CancellationToken,
        pace: Pace,
        epoch: Epoch,
        event: &Arc<Event>,
    ) -> Result<(), Cancelled> {
        let mut place = Waits { of: self, pace, epoch, event, has_left: false };
        let _watch = event.observe(token);
        loop {
            let ticket = event.ticket();
            // Looked at outside of the lock, because a token whose deadline has no clock may run callbacks here, which
            // may panic.
            let cancelled = token.check();
            let Some(at) = self.look(pace, || epoch.now(), event, cancelled.is_err()) else {
                place.has_left = true;
                return cancelled;
            };
            let times = [Some(epoch.instant(at)), token.look_at()];
            event.sleep_until(ticket, times.into_iter().flatten().min());
        }
    }

    /// Returns when the place of `event` is admitted, or takes it out of the queue if that is now, or if its caller
    /// gives up.
    fn look(&self, pace: Pace, now: impl FnOnce() -> u64, event: &Arc<Event>, gives_up: bool) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        // Read under the lock: with an earlier time, a caller could give up as the first of others who have been
        // admitted since, and `move_up` would give their share away once more.
        let now = now();
        let index = waiting.iter().position(|place| Arc::ptr_eq(&place.event, event));
        let index = index.expect("a place leaves the queue by its own caller");
        let at = waiting[index].full_at.saturating_sub(pace.span);
        if at > now && !gives_up {
            return Some(at);
        }
        let left = waiting.remove(index).expect("found");
        if at > now {
            self.move_up(&mut waiting, now, index, &left);
        }
        None
    }

    /// Moves the places from `index` on up, after a caller before them has given up.
    fn move_up(&self, waiting: &mut VecDeque<Place>, now: u64, index: usize, left: &Place) {
        // No caller is admitted at once meanwhile (invariant 2), unless it read the clock later than this one. Then
        // the gap is left, which is always correct.
        let last = waiting.range(index..).last().map_or(left.full_at, |place| place.full_at);
        let mut full_at = left.full_at - left.cost;
        let moved = waiting.range(index..).fold(full_at, |full_at, place| full_at.max(now).saturating_add(place.cost));
        if self.full_at.compare_exchange(last, moved, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        for place in waiting.range_mut(index..) {
            full_at = full_at.max(now).saturating_add(place.cost);
            place.full_at = full_at;
            place.event.notify_one();
        }
    }

    /// Returns when the bucket is full, if no caller comes.
    pub(super) fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Relaxed)
    }
}

/// A caller that waits: a panic in its thread gives its place up.
struct Waits<'a> {
    of: &'a Bucket,
    pace: Pace,
    epoch: Epoch,
    event: &'a Arc<Event>,
    has_left: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            self.of.look(self.pace, || self.epoch.now(), self.event, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pace::LONGEST;
    use super::*;

    /// A step at a time of a virtual clock, which first goes on.
    #[derive(Clone, Debug)]
    enum Step {
        Try(u32),
        Acquire(u32),
        /// The caller that waits in this place gives up.
        GiveUp(usize),
        /// Callers whose time has come are awake.
        Awake,
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            3 => (0..4_u32).prop_map(Step::Try),
            4 => (0..4_u32).prop_map(Step::Acquire),
            2 => (0..6_usize).prop_map(Step::GiveUp),
            2 => Just(Step::Awake),
        ];
        prop::collection::vec((prop_oneof![Just(0), 0..40_u64, 0..1000_u64], step), 0..60)
    }

    /// A bucket as one would describe it: it fills, and serves callers in their order.
    struct Model {
        pace: Pace,
        now: u64,
        /// What it holds, in units of time.
        level: u64,
        /// The numbers and costs of those who wait.
        waiting: VecDeque<(usize, u64)>,
        /// The times and costs of those who were admitted.
        admitted: Vec<(u64, u64)>,
    }

    impl Model {
        fn fill(&mut self, until: u64) {
            self.level = (self.level + (until - self.now)).min(self.pace.span);
            self.now = until;
        }

        fn advance(&mut self, until: u64) {
            while let Some(&(_, cost)) = self.waiting.front() {
                let at = self.now + cost.saturating_sub(self.level);
                if at > until {
                    break;
                }
                self.fill(at);
                self.waiting.pop_front();
                self.admit(cost);
            }
            self.fill(until);
        }

        fn admit(&mut self, cost: u64) {
            self.level -= cost;
            self.admitted.push((self.now, cost));
        }

        fn has(&self, cost: u64) -> bool {
            self.waiting.is_empty() && self.level >= cost
        }

        /// When each of those who wait will be admitted, if no other gives up.
        fn times(&self) -> Vec<u64> {
            let (mut now, mut level) = (self.now, self.level);
            let mut admit = |cost: u64| {
                let at = now + cost.saturating_sub(level);
                level = level + (at - now) - cost;
                now = at;
                at
            };
            self.waiting.iter().map(|(_, cost)| admit(*cost)).collect()
        }
    }

    proptest! {
        #[test]
        fn callers_are_admitted_exactly_when_the_model_admits_them(
            interval in 1..50_u64,
            burst in 3..6_u32,
            steps in steps(),
        ) {
            let pace = Pace { interval, span: interval * u64::from(burst) };
            let bucket = Bucket::default();
            let mut model =
                Model { pace, now: 0, level: pace.span, waiting: VecDeque::new(), admitted: Vec::new() };
            let (mut events, mut now) = (Vec::<Option<Arc<Event>>>::new(), 0);
            for (later, step) in steps {
                now += later;
                model.advance(now);
                match step {
                    Step::Try(tokens) => {
                        let cost = interval * u64::from(tokens);
                        let taken = bucket.try_take(pace, now, tokens);
                        prop_assert_eq!(taken.is_ok(), model.has(cost));
                        if taken.is_ok() {
                            model.admit(cost);
                        }
                    }
                    Step::Acquire(tokens) => {
                        let cost = interval * u64::from(tokens);
                        let event = bucket.take_or_queue(pace, now, tokens);
                        prop_assert_eq!(event.is_none(), model.has(cost));
                        if event.is_none() {
                            model.admit(cost);
                        } else {
                            model.waiting.push_back((events.len(), cost));
                            events.push(event);
                        }
                    }
                    Step::GiveUp(place) => {
                        if let Some((number, _)) = model.waiting.get(place).copied() {
                            let event = events[number].take().unwrap();
                            prop_assert_eq!(bucket.look(pace, || now, &event, true), None);
                            model.waiting.remove(place);
                            // If it was the first, the next may be admitted now.
                            model.advance(now);
                        }
                    }
                    Step::Awake => {
                        for (number, event) in events.iter_mut().enumerate() {
                            let waits = model.waiting.iter().any(|(waiting, _)| *waiting == number);
                            if let Some(known) = event.take_if(|_| !waits) {
                                prop_assert_eq!(bucket.look(pace, || now, &known, false), None);
                            }
                        }
                    }
                }
                let times = model.waiting.iter().map(|(number, _)| {
                    bucket.look(pace, || now, events[*number].as_ref().unwrap(), false).unwrap()
                });
                prop_assert_eq!(times.collect::<Vec<_>>(), model.times());
            }
            // Never more than the rate in any window, plus the burst.
            for (first, (from, _)) in model.admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &model.admitted[first..] {
                    sum += cost;
                    prop_assert!(sum <= at - from + pace.span);
                }
            }
        }
    }

    #[test]
    fn times_without_end_do_not_overflow() {
        let pace = Pace { interval: LONGEST, span: LONGEST };
        let bucket = Bucket::default();
        assert_eq!(bucket.try_take(pace, 1, 1), Ok(()));
        let waiting: Vec<_> = (0..9).map(|_| bucket.take_or_queue(pace, 1, 1).unwrap()).collect();
        assert_eq!(bucket.try_take(pace, 1, 1), Err(NotBefore(u64::MAX - LONGEST)));
        for event in waiting {
            assert_eq!(bucket.look(pace, || 2, &event, true), None);
        }
        assert!(bucket.waiting.lock().is_empty());
    }
}
