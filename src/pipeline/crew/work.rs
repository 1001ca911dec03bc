//! [`Work`]: the stages applied to a batch.
//!
//! **The rest of a batch can be handed back.** The batch size rests on the past, and the past can be wrong: after
//! 100,000 free items a batch of 4096 meets items of 10 ms. So the worker looks at the clock after 1, 3, 7 items and so
//! on, up to every eighth part of the batch, and every 128 items. It hands the rest back when it has taken four times
//! the time that a batch should take, or half of that time while a member is idle. Looking at each item would cost 23
//! ns. If its batch is due, it also hands its outputs over, every 25 µs at most. (Every 12 µs, each batch costs 2.6
//! entries of the state in place of 2.3.) When items turn costly, it still holds back the outputs of the last 25 µs,
//! which is a quarter of a batch, all outputs of a batch whose items cost next to nothing, and up to an eighth of a
//! batch of costly items, or 128.

use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::super::Order;
use super::super::local::MemberLocal;
use super::super::report::Step;
use super::super::source::Batch;
use super::super::stage::{At, Stage};
use super::held::Held;
use super::piece::{End, Piece, lose};
use super::place::{BatchRun, Place};
use super::step::{Effort, Worked};
use super::supply::Claim;
use crate::panic::{self, Unmet};

/// How many times the aim a batch may take before its rest is handed back.
const PATIENCE: u32 = 4;

/// How many items a member works without a look at the clock, at most.
const UNSEEN: usize = 128;

/// How long outputs are held back that the caller could take.
pub(super) const HELD: Duration = Duration::from_micros(25);

/// The same if the caller only outputs. It sleeps when it has taken the last, so each part costs a wake: with items of
/// 1.6 µs on two cores, parts of 25 µs cost 6 % of the run.
pub(super) const HELD_FROM_SLEEPER: Duration = Duration::from_micros(100);

/// The stages of a section, applied to the items `T` by a member.
pub(in super::super) struct Work<'w, 'a, T, W: Stage<T>> {
    pub(super) stage: &'w W,
    pub(super) local: &'w mut MemberLocal<'a, T, W>,
    pub(super) place: Place<'w>,
}

/// Why a batch is left at an item.
enum Cut<E> {
    /// Nothing more is wanted of it.
    Void,
    Failed(End<E>),
}

impl<E> Cut<E> {
    /// Drops a failure that may be the echo of another.
    ///
    /// Without order, a failure voids all items, and cancels their tokens, before it lies in the ring. The failure of
    /// an item whose wait that ended would arrive there first.
    fn without_echo(self, place: Place<'_>) -> Self {
        match self {
            Cut::Failed(end) if place.order == Order::Arrival && place.marks().void() == 0 => {
                lose(end);
                Cut::Void
            }
            cut => cut,
        }
    }
}

impl<T, W: Stage<T>> Work<'_, '_, T, W> {
    /// Works a batch to its end or its first failure, and voids the items behind a failure.
    ///
    /// Where an item makes very many outputs, or takes long over them, `hand_over` is given the outputs there are, and
    /// answers with an empty vector for the next. It breaks off when the batch is void.
    pub(super) fn run<B: Batch<Item = T>>(
        self,
        claim: Claim<B>,
        mut outputs: Vec<W::Output>,
        hand_over: impl FnMut(Piece<W::Output, W::Error>) -> ControlFlow<(), Vec<W::Output>>,
    ) -> Worked<B, W::Output, W::Error> {
        let Work { stage, local, place } = self;
        let (signal, marks, order, aim) = (place.signal, place.marks(), place.order, place.aim);
        #[cfg(test)]
        if let Some(counts) = place.counts {
            super::counts::add(&counts.batches);
        }
        let Claim { first, mut batch, items } = claim;
        let run = BatchRun::new(place, first);
        outputs.reserve(items);
        let mut held = Held::new(first, outputs, hand_over, signal, run.weighed());
        let started = held.since;
        if let Some(times) = place.times {
            times.begin(Step::Stages(place.section), started);
        }
        let (mut done, mut last) = (0, started);
        let local = local.get_mut();
        // One catch for the whole batch: outputs of the items before the one that panics have been pushed already, and
        // stay.
        let worked = panic::catch(|| {
            let mut next = 1;
            while done < items {
                let until = items.min(done + next);
                let run = batch.run(until - done, |item| {
                    let index = first + done as u64;
                    if marks.is_void(index) {
                        lose(item);
                        return ControlFlow::Break(Cut::Void);
                    }
                    done += 1;
                    let fed = stage.feed(local, At::new(index, &run), item, |output| match output {
                        Some(output) => {
                            if W::FANS && held.is_full() && held.hand_over(index).is_break() {
                                lose(output);
                                return held.break_off();
                            }
                            held.outputs.push(output);
                            ControlFlow::Continue(())
                        }
                        None if marks.is_void(index) => held.break_off(),
                        None if held.is_late() && held.hand_over(index).is_break() => held.break_off(),
                        None => ControlFlow::Continue(()),
                    });
                    match fed {
                        Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                        Ok(ControlFlow::Break(())) => ControlFlow::Break(Cut::Void),
                        Err(error) => ControlFlow::Break(Cut::Failed(End::Error(error))),
                    }
                });
                held.bytes += batch.take_weight();
                if let ControlFlow::Break(cut) = run {
                    return Some(cut);
                }
                debug_assert_eq!(done, until, "a batch has the items that were claimed, or panics");
                last = Instant::now();
                let elapsed = (last - started).saturating_sub(held.waited);
                if done == items || elapsed > aim * PATIENCE || elapsed > aim / 2 && signal.is_idle() {
                    break;
                }
                let is_due = order == Order::Arrival || marks.due() == held.first;
                if is_due && last - held.since > place.held && held.hand_over(first + done as u64).is_break() {
                    return Some(Cut::Void);
                }
                next = (next * 2).min((items / 8).clamp(1, UNSEEN));
            }
            None
        });
        held.bytes += batch.take_weight();
        let cut = worked.unwrap_or_else(|payload| {
            // The plain loop would not have met a panic of values that are dropped when an item is left in its midst,
            // such as the rest of an iterator.
            if held.broken_off {
                panic::discard(payload);
                return Some(Cut::Void);
            }
            Some(Cut::Failed(End::Panic(payload)))
        });
        let cut = cut.map(|cut| cut.without_echo(place));
        let effort = Effort { items: done, elapsed: (last - started).saturating_sub(held.waited) };
        if let Some(times) = place.times {
            let spent = if cut.is_some() { started.elapsed().saturating_sub(held.waited) } else { effort.elapsed };
            times.end(Step::Stages(place.section), spent);
            times.count(place.section, done);
        }
        let end = match cut {
            Some(Cut::Void) => {
                drop(batch);
                drop(Unmet(mem::take(&mut held.outputs)));
                return Worked { piece: None, effort, rest: None };
            }
            Some(Cut::Failed(end)) => Some(end),
            None => None,
        };
        // A source may panic while it makes an item of data: that item has not been counted.
        let ended = if end.is_some() { done.max(1) } else { done };
        let behind = first + ended as u64;
        let piece = held.take(held.items_before(behind), last.max(held.since), end);
        if piece.end.is_some() {
            place.void_behind(behind);
            // The plain loop would not have met the items that are left.
            drop(batch);
            return Worked { piece: Some(piece), effort, rest: None };
        }
        let left = items - done;
        Worked { piece: Some(piece), effort, rest: Some((batch, left)).filter(|_| left > 0) }
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::super::report::Recording;
    use super::super::super::source::iter::Items;
    use super::super::super::stage::{FlatMap, Identity, Inspect};
    use super::super::roster::Mode;
    use super::super::signal::Signal;
    use super::*;
    use crate::item_tokens::ItemTokens;
    use crate::token::CancellationToken;

    const AIM: Duration = Duration::from_micros(100);

    /// A claim of the first items.
    fn claim(items: usize) -> Claim<Items<usize>> {
        Claim { first: 0, batch: Items::List((0..items).collect::<Vec<_>>().into_iter()), items }
    }

    /// Works a batch of the only section.
    fn work<W: Stage<usize>>(
        stage: &W,
        signal: &Signal,
        claim: Claim<Items<usize>>,
        hand_over: impl FnMut(Piece<W::Output, W::Error>) -> ControlFlow<(), Vec<W::Output>>,
    ) -> Worked<Items<usize>, W::Output, W::Error> {
        let place = Place {
            signal,
            tokens: &ItemTokens::new(&CancellationToken::never()),
            section: 0,
            order: Order::Source,
            aim: AIM,
            held: HELD,
            recording: &Recording::default(),
            times: None,
            counts: None,
        };
        Work { stage, local: &mut MemberLocal::new(stage), place }.run(claim, Vec::new(), hand_over)
    }

    /// Works a hundred items, of which `costly` takes longer than a whole batch should; returns how many were done.
    fn done_of_a_hundred(costly: usize, caller: Mode) -> usize {
        let stage = Inspect {
            before: Identity(PhantomData::<fn() -> ()>),
            f: |item: &usize| {
                let started = Instant::now();
                while *item == costly && started.elapsed() <= AIM * PATIENCE {}
            },
        };
        let signal = Signal::new(1);
        signal.set_idle(caller == Mode::Asleep);
        // Another batch is due.
        signal.marks(0).set_due(1_000);
        let worked = work(&stage, &signal, claim(100), |_| ControlFlow::Break(()));
        let piece = worked.piece.expect("not void");
        assert!(piece.end.is_none());
        assert_eq!((piece.outputs.0.len(), piece.closes + worked.rest.map_or(0, |rest| rest.1)), (piece.closes, 100));
        piece.closes
    }

    #[test]
    fn a_batch_is_left_soon_after_a_costly_item() {
        assert_eq!(done_of_a_hundred(0, Mode::Awake), 1);
        // At most: on a busy machine any item may seem costly. The clock is looked at every twelve items in the end.
        assert!(done_of_a_hundred(1, Mode::Asleep) <= 3);
        assert!(done_of_a_hundred(50, Mode::Awake) <= 63);
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
        let signal = Signal::new(1);
        let mut next = 0;
        let hand_over = |part: Piece<usize, ()>| {
            assert!(part.outputs.0.len() <= 12 && part.closes == part.outputs.0.len());
            assert_eq!(part.first, next);
            next += part.closes as u64;
            signal.marks(0).set_due(next);
            ControlFlow::Continue(Vec::new())
        };
        let worked = work(&stage, &signal, claim(100), hand_over);
        let piece = worked.piece.expect("not void");
        assert!(piece.outputs.0.len() <= 12 && next > 0);
        assert_eq!((piece.first, worked.effort.items as u64), (next, next + piece.closes as u64));
    }

    #[test]
    fn an_alarm_has_outputs_handed_over_before_the_next_is_asked_for() {
        let signal = Signal::new(1);
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
        let hand_over = |part: Piece<usize, ()>| {
            handed_over.fetch_add(part.outputs.0.len(), Ordering::Relaxed);
            ControlFlow::Continue(Vec::new())
        };
        let worked = work(&stage, &signal, claim(1), hand_over);
        let piece = worked.piece.expect("not void");
        assert!(piece.end.is_none());
        assert_eq!(handed_over.into_inner() + piece.outputs.0.len(), 1_000);
    }

    #[test]
    fn the_rest_of_a_batch_can_be_split_again() {
        let mut rest = Items::List(vec![1, 2, 3, 4, 5].into_iter());
        let front = rest.split(2);
        let items = |mut batch: Items<u8>| {
            let mut items = Vec::new();
            let _ = batch.run(9, |item| {
                items.push(item);
                ControlFlow::<()>::Continue(())
            });
            items
        };
        assert_eq!((items(front), items(rest)), (vec![1, 2], vec![3, 4, 5]));
    }
}
