//! Working: the stages applied to one batch.

use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::claim::Batch;
use super::signal::Signal;
use super::stage::Stage;
use super::weight::{self, PART};
use super::window::AIM;
use crate::panic::{self, Payload, Unmet};

/// A batch that has been worked, or a part of one.
pub(super) struct Done<R, E> {
    /// Where in the batch it begins.
    pub(super) at: usize,
    /// How many parts of the batch came before.
    pub(super) part: usize,
    /// The outputs in order, up to where the batch ended.
    pub(super) outputs: Unmet<R>,
    /// How many items came to an end in it, the failing one included.
    pub(super) items: usize,
    /// How much of it counts as parts; see [`weight`](super::weight).
    pub(super) weight: usize,
    /// Why it ended early, if it did.
    pub(super) end: Option<End<E>>,
}

/// What ends a run at an item.
pub(super) enum End<E> {
    Error(E),
    Panic(Payload),
    /// The item lies behind the one that ended the run, or the run was cancelled: nobody will ask for it.
    Void,
}

/// How much longer than it was meant to a batch may take before its rest is handed back.
const PATIENCE: u32 = 4;

/// How many outputs of a `flat_map` at most go by between two looks at the clock, and how long that should take.
const BETWEEN_LOOKS: usize = 64;
const LOOK: Duration = Duration::from_micros(2);

/// How long outputs are held back that the caller could take.
const HELD: Duration = Duration::from_nanos(12_500);

/// A batch as its worker sees it.
pub(super) struct View<'a> {
    pub(super) signal: &'a Signal,
    /// The index of the first item.
    pub(super) first: u64,
    pub(super) ordered: bool,
}

impl View<'_> {
    // A call costs an item of 10 ns a fifth of its time.
    #[inline]
    fn is_void(&self, item: usize) -> bool {
        self.signal.is_void(self.first + item as u64)
    }

    /// Whether the caller would take what begins at `item` now.
    fn is_due(&self, item: usize) -> bool {
        !self.ordered || self.signal.due() == self.first + item as u64
    }
}

/// What was worked of a batch, for the window to learn from.
pub(super) struct Effort {
    pub(super) items: usize,
    pub(super) elapsed: Duration,
}

/// The outputs of a batch that are held back, and where the batch is.
struct Held<R, H> {
    outputs: Vec<R>,
    hand_over: H,
    /// Where the next part begins, and how many were handed over before.
    at: usize,
    part: usize,
    since: Instant,
    /// How many outputs make a part.
    most: usize,
    /// How long it took to hand parts over.
    waited: Duration,
    /// How many outputs of a `flat_map` have gone by since the last look at the clock, how many may, and when that was.
    asked: usize,
    until_look: usize,
    looked: Instant,
    /// The alarms of the caller that were heard.
    alarms: u64,
    /// No more is wanted.
    broken_off: bool,
}

impl<R, H> Held<R, H> {
    /// Hands over what there is, of the items before `this`, and of `this`, which may come to its end in a later part.
    #[cold]
    fn hand_over<E>(&mut self, this: usize) -> ControlFlow<()>
    where
        H: FnMut(Done<R, E>) -> ControlFlow<(), Vec<R>>,
    {
        let begun = Instant::now();
        let done = self.take(this - self.at, begun, None);
        self.at = this;
        self.part += 1;
        self.outputs = (self.hand_over)(done)?;
        self.since = Instant::now();
        self.looked = self.since;
        self.waited += self.since - begun;
        ControlFlow::Continue(())
    }

    /// What there is, in which `items` items come to their end.
    fn take<E>(&mut self, items: usize, now: Instant, end: Option<End<E>>) -> Done<R, E> {
        let outputs = mem::take(&mut self.outputs);
        // One output an item is what the window counts.
        let more = outputs.len().saturating_sub(items);
        let weight = weight::of_some::<R>(more, outputs.len(), now - self.since);
        Done { at: self.at, part: self.part, outputs: Unmet(outputs), items, weight, end }
    }

    /// Whether to hand over what there is before a stage that makes many items of one is asked for the next, which may
    /// take long. The clock is looked at every 2 µs or so, every 64 outputs at least: so after each where they are
    /// slow.
    #[inline]
    fn is_late(&mut self, view: &View<'_>) -> bool {
        self.asked += 1;
        (self.asked >= self.until_look || self.alarms != view.signal.alarms()) && self.look(view)
    }

    fn look(&mut self, view: &View<'_>) -> bool {
        let alarms = view.signal.alarms();
        let is_awaited = mem::replace(&mut self.alarms, alarms) != alarms;
        let now = Instant::now();
        let outputs = self.outputs.len();
        if outputs > 0 {
            // Nothing is learnt before the first output is there.
            let fit = (self.asked as u128 * LOOK.as_nanos()).checked_div((now - self.looked).as_nanos());
            let fit = fit.map_or(BETWEEN_LOOKS, |fit| usize::try_from(fit).unwrap_or(BETWEEN_LOOKS));
            self.until_look = fit.clamp(1, (self.until_look * 2).min(BETWEEN_LOOKS));
            self.most = PART / weight::of_each::<R>(outputs, now - self.since);
        }
        self.asked = 0;
        self.looked = now;
        outputs > 0 && (is_awaited || outputs >= self.most || now - self.since > AIM * PATIENCE)
    }

    #[cold]
    fn break_off(&mut self) -> ControlFlow<()> {
        self.broken_off = true;
        ControlFlow::Break(())
    }
}

/// Works a batch of `items` items to its end or the first failure.
///
/// Where an item makes very many outputs, or takes long over them, `hand_over` is given those there are, and answers with
/// an empty vector for the next; it breaks off when they are void.
///
/// Now and then, while there is a rest, the clock is looked at, after 1, 3, 7 items and so on up to every eighth
/// part. There what the caller could take is handed over; a batch that turns out to be much more costly than its kind
/// is left, and so is one that has run for a while and a member is idle. The rest is still in `batch` then.
pub(super) fn work<B: Batch, W: Stage<B::Item>>(
    stage: &W,
    batch: &mut B,
    items: usize,
    mut outputs: Vec<W::Output>,
    view: &View<'_>,
    hand_over: impl FnMut(Done<W::Output, W::Error>) -> ControlFlow<(), Vec<W::Output>>,
) -> (Done<W::Output, W::Error>, Effort) {
    let started = Instant::now();
    outputs.reserve(items);
    let mut done = 0;
    let mut held = Held {
        outputs,
        hand_over,
        at: 0,
        part: 0,
        since: started,
        most: PART / weight::of_each::<W::Output>(1, Duration::ZERO),
        waited: Duration::ZERO,
        asked: 0,
        until_look: 1,
        looked: started,
        alarms: view.signal.alarms(),
        broken_off: false,
    };
    let mut last = started;
    // One catch for the whole batch: outputs of the items before the one that panics have been pushed already, and
    // stay.
    let worked = panic::catch(|| {
        let mut next = 1;
        while done < items {
            let until = items.min(done + next);
            let run = batch.run(until - done, |item| {
                if view.is_void(done) {
                    panic::discard(item);
                    return ControlFlow::Break(End::Void);
                }
                done += 1;
                let this = done - 1;
                let fed = stage.feed(view.first + this as u64, item, |output| match output {
                    Some(output) => {
                        if held.outputs.len() >= held.most && held.hand_over(this).is_break() {
                            panic::discard(output);
                            return held.break_off();
                        }
                        held.outputs.push(output);
                        ControlFlow::Continue(())
                    }
                    None if view.is_void(this) => held.break_off(),
                    None if held.is_late(view) && held.hand_over(this).is_break() => held.break_off(),
                    None => ControlFlow::Continue(()),
                });
                match fed {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    Ok(ControlFlow::Break(())) => ControlFlow::Break(End::Void),
                    Err(error) => ControlFlow::Break(End::Error(error)),
                }
            });
            if let ControlFlow::Break(end) = run {
                return Some(end);
            }
            debug_assert_eq!(done, until, "a batch has the items that were claimed, or panics");
            last = Instant::now();
            let elapsed = (last - started).saturating_sub(held.waited);
            if done == items || elapsed > AIM * PATIENCE || elapsed > AIM / 2 && view.signal.is_idle() {
                break;
            }
            if last - held.since > HELD && view.is_due(held.at) && held.hand_over(done).is_break() {
                return Some(End::Void);
            }
            next = (next * 2).min((items / 8).max(1));
        }
        None
    });
    let end = worked.unwrap_or_else(|payload| {
        // What is dropped when an item is left in its midst, the rest of an iterator, the plain loop would not have
        // met.
        if held.broken_off {
            panic::discard(payload);
            return Some(End::Void);
        }
        Some(End::Panic(payload))
    });
    // A source may panic while it makes an item of data: that item has not been counted.
    let failed = usize::from(end.is_some() && done == 0);
    let effort = Effort { items: done, elapsed: (last - started).saturating_sub(held.waited) };
    (held.take(done - held.at + failed, last.max(held.since), end), effort)
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::claim::Batch;
    use super::super::pulled::Items;
    use super::super::signal::Signal;
    use super::super::stage::{FlatMap, Identity, Inspect};
    use super::*;

    /// Works a hundred items, of which `costly` takes longer than a whole batch should; returns how many were done.
    fn done_of_a_hundred(costly: usize, idle: bool) -> usize {
        let stage = Inspect {
            before: Identity(PhantomData::<fn() -> ()>),
            f: |item: &usize| {
                let started = Instant::now();
                while *item == costly && started.elapsed() <= AIM * PATIENCE {}
            },
        };
        let mut batch = Items((0..100_usize).collect::<Vec<_>>().into_iter());
        let signal = Signal::new();
        signal.set_idle(idle);
        // Another batch is due.
        signal.set_due(1_000);
        let view = View { signal: &signal, first: 0, ordered: true };
        let (done, _) = work(&stage, &mut batch, 100, Vec::new(), &view, |_| ControlFlow::Break(()));
        assert!(done.end.is_none());
        assert_eq!((done.outputs.0.len(), done.items + batch.0.len()), (done.items, 100));
        done.items
    }

    #[test]
    fn a_batch_is_left_soon_after_a_costly_item() {
        assert_eq!(done_of_a_hundred(0, false), 1);
        // At most: on a busy machine any item may seem costly. The clock is looked at every twelve items in the end.
        assert!(done_of_a_hundred(1, true) <= 3);
        assert!(done_of_a_hundred(50, false) <= 63);
    }

    #[test]
    fn what_is_due_is_handed_over_every_eighth_of_a_batch() {
        let stage = Inspect {
            before: Identity(PhantomData::<fn() -> ()>),
            f: |_: &usize| {
                let started = Instant::now();
                while started.elapsed() <= HELD {}
            },
        };
        let mut batch = Items((0..100_usize).collect::<Vec<_>>().into_iter());
        let signal = Signal::new();
        let view = View { signal: &signal, first: 0, ordered: true };
        let mut next = 0;
        let hand_over = |part: Done<usize, ()>| {
            assert!(part.outputs.0.len() <= 12 && part.items == part.outputs.0.len());
            assert_eq!(part.at, next);
            next += part.items;
            signal.set_due(next as u64);
            ControlFlow::Continue(Vec::new())
        };
        let (done, effort) = work(&stage, &mut batch, 100, Vec::new(), &view, hand_over);
        assert!(done.outputs.0.len() <= 12 && next > 0);
        assert_eq!((done.at, effort.items), (next, next + done.items));
    }

    #[test]
    fn an_alarm_has_outputs_handed_over_before_the_next_is_asked_for() {
        let signal = Signal::new();
        let handed_over = AtomicUsize::new(0);
        let many = |_: usize| {
            (0..1_000_usize).inspect(|at| {
                assert!(*at != 151 || handed_over.load(Ordering::Relaxed) == 151);
                if *at == 150 {
                    signal.alarm();
                }
            })
        };
        let stage = FlatMap { before: Identity(PhantomData::<fn() -> ()>), f: many };
        let view = View { signal: &signal, first: 0, ordered: true };
        let hand_over = |part: Done<usize, ()>| {
            handed_over.fetch_add(part.outputs.0.len(), Ordering::Relaxed);
            ControlFlow::Continue(Vec::new())
        };
        let mut batch = Items(vec![0].into_iter());
        let (done, _) = work(&stage, &mut batch, 1, Vec::new(), &view, hand_over);
        assert!(done.end.is_none());
        assert_eq!(handed_over.into_inner() + done.outputs.0.len(), 1_000);
    }

    #[test]
    fn the_rest_of_a_batch_can_be_split_again() {
        let mut rest = Items(vec![1, 2, 3, 4, 5].into_iter());
        let front = rest.split(2);
        assert_eq!((front.0.as_slice(), rest.0.as_slice()), (&[1, 2][..], &[3, 4, 5][..]));
    }
}
