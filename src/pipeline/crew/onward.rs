//! [`Onward`]: what lies behind a section: the sink, or a boundary and the next section. [`Below`] is the part of it
//! that lies under the lock.
//!
//! **A member that waits inside an item works for the sections behind.** Otherwise all members could wait for room for
//! the many outputs of their items in one section, and no member would be left for the next, which makes that room. A
//! member helps strictly downstream: a section behind never waits for one before it, and a member is inside each
//! section once.

use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Instant;

use parking_lot::Mutex;

use super::super::local::MemberLocal;
use super::super::report::{self, Lack};
use super::super::serial::Serial;
use super::super::stage::Stage;
use super::behind::Behind;
use super::below::{Below, Down, Last};
use super::credits::Release;
use super::crossing::{Crossing, Done, Input, Task};
use super::hands::{Deeper, Hands};
use super::piece::{End, Piece, lose};
use super::place::Place;
use super::ring::{Offers, Ring};
use super::step::{Look, Offer, Plan, offer};
use super::work::Work;
use crate::panic::{self, Panics};

/// All that lies behind a section whose outputs are `R`, and whose error is `E`.
pub(in super::super) trait Onward<R, E>: Sync {
    /// Of the last section.
    type Output;
    type Error;
    type State: Below<In = R, InError = E, Out = Self::Output, OutError = Self::Error>;
    /// A member's own part of the stages behind.
    type Local;

    /// Whether a stage behind makes many outputs of an item.
    const FANS: bool;

    fn state(&self, plan: &Plan, ring: Ring<R, E>) -> Self::State;

    fn local(&self) -> Self::Local;

    /// Hands a member's own part back.
    fn retire(&self, local: Self::Local, panics: &mut Panics);

    /// Does what the state has said. `place` is that of the section before.
    fn work<H>(
        &self,
        task: <Self::State as Below>::Task,
        local: &mut Self::Local,
        place: Place<'_>,
        hands: &mut H,
    ) -> <Self::State as Below>::Done
    where
        H: Hands<State: Down<Below = Self::State>>;

    /// Makes an error of the section before one of the last section.
    fn convert(error: E) -> Self::Error;

    /// Takes the remains apart, those behind first: they are earlier. Each failure goes to `ends`, in order. Returns
    /// whether a serial stage wanted no more, so that all before it counts for nothing.
    fn take_apart(state: Self::State, ends: &mut Vec<End<Self::Error>>) -> bool;

    /// Drops the serial stages, with the sink: one may own the other end of a channel that the source waits for.
    fn drop_serials(&self, panics: &mut Panics);

    /// Adds how many workers each section has of its own, `None` if those of all serve it.
    fn count_own(&self, own: &mut Vec<Option<NonZeroUsize>>);

    /// The number of the last section that wants nothing from the start; `section` is the number of the next.
    fn wants_none(&self, section: usize) -> Option<usize>;

    /// How many outputs of the section before are wanted at most, if that is known.
    fn limit(&self) -> Option<u64>;
}

/// Behind the last section is the sink.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ToSink;

impl<R, E> Onward<R, E> for ToSink {
    type Output = R;
    type Error = E;
    type State = Last<R, E>;
    type Local = ();

    const FANS: bool = false;

    fn state(&self, _plan: &Plan, ring: Ring<R, E>) -> Last<R, E> {
        Last::new(ring)
    }

    fn local(&self) {}

    fn retire(&self, _local: (), _panics: &mut Panics) {}

    fn work<H>(
        &self,
        task: <Self::State as Below>::Task,
        _local: &mut (),
        _place: Place<'_>,
        _hands: &mut H,
    ) -> <Self::State as Below>::Done {
        match task {}
    }

    fn convert(error: E) -> E {
        error
    }

    fn take_apart(state: Last<R, E>, ends: &mut Vec<End<E>>) -> bool {
        ends.extend(state.into_ring().into_rest().filter_map(|Piece { outputs, end, .. }| {
            drop(outputs);
            end
        }));
        false
    }

    fn drop_serials(&self, _panics: &mut Panics) {}

    fn count_own(&self, _own: &mut Vec<Option<NonZeroUsize>>) {}

    fn wants_none(&self, _section: usize) -> Option<usize> {
        None
    }

    fn limit(&self) -> Option<u64> {
        None
    }
}

/// A boundary, the section behind it, and what lies behind that.
pub(in super::super) struct ToSection<'a, W, Q, N> {
    stage: &'a W,
    /// Locked by the one member that crosses. Empty once the run has ended.
    serial: Mutex<Option<Q>>,
    /// How many workers the section has of its own.
    own: Option<NonZeroUsize>,
    next: N,
}

impl<'a, W, Q, N> ToSection<'a, W, Q, N> {
    pub(in super::super) fn new(stage: &'a W, serial: Q, own: Option<NonZeroUsize>, next: N) -> Self {
        ToSection { stage, serial: Mutex::new(Some(serial)), own, next }
    }
}

/// For the plain loop.
impl<'a, W, Q, N> ToSection<'a, W, Q, N> {
    pub(in super::super) fn stage(&self) -> &'a W {
        self.stage
    }

    pub(in super::super) fn take_serial(&self) -> Option<Q> {
        self.serial.lock().take()
    }

    pub(in super::super) fn next(&self) -> &N {
        &self.next
    }
}

impl<W, Q, N> fmt::Debug for ToSection<'_, W, Q, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToSection").field("own", &self.own).finish_non_exhaustive()
    }
}

impl<'a, R, E, W, Q, N> Onward<R, E> for ToSection<'a, W, Q, N>
where
    Q: Serial<R, Output: Send> + Send,
    W: Stage<Q::Output, Cause = E>,
    N: Onward<W::Output, W::Error>,
{
    type Output = N::Output;
    type Error = N::Error;
    type State = Behind<R, E, Q, N::State>;
    type Local = (MemberLocal<'a, Q::Output, W>, N::Local);

    const FANS: bool = W::FANS || N::FANS;

    fn state(&self, plan: &Plan, ring: Ring<R, E>) -> Self::State {
        let threads = self.own.map_or(plan.threads, NonZeroUsize::get);
        let down = self.next.state(plan, Ring::behind(plan.order, threads).bounded(self.stage.output_budget()));
        let mut state = Behind::new(plan, ring, self.own.map(NonZeroUsize::get), down);
        if Onward::<R, E>::limit(self) == Some(0) {
            state.end_input();
        }
        state
    }

    fn local(&self) -> Self::Local {
        (MemberLocal::new(self.stage), self.next.local())
    }

    fn retire(&self, (mut local, behind): Self::Local, panics: &mut Panics) {
        local.retire(panics);
        self.next.retire(behind, panics);
    }

    fn work<H>(
        &self,
        task: <Self::State as Below>::Task,
        (local, behind): &mut Self::Local,
        place: Place<'_>,
        hands: &mut H,
    ) -> <Self::State as Below>::Done
    where
        H: Hands<State: Down<Below = Self::State>>,
    {
        let place = place.next();
        let mut hands = Deeper(hands);
        match task {
            Task::Behind(task) => Done::Behind(self.next.work(task, behind, place, &mut hands)),
            Task::Cross { pieces, ends } => {
                let step = report::Step::Serial(place.section);
                Done::Crossed(report::during(place.times, step, || self.cross(pieces, ends, place)))
            }
            Task::Work(claim, outputs) => {
                let work = Work { stage: self.stage, local, place };
                let mut offers = Offers::default();
                Done::Worked(
                    work.run(claim, outputs, |part| {
                        hand_over(part, &mut offers, &self.next, behind, place, &mut hands)
                    }),
                )
            }
        }
    }

    fn convert(error: E) -> N::Error {
        N::convert(W::convert(error))
    }

    fn take_apart(state: Self::State, ends: &mut Vec<End<N::Error>>) -> bool {
        let (ring, end, is_ended, items, down) = state.into_parts();
        let is_behind_ended = N::take_apart(down, ends);
        drop(items);
        let pieces = ring.into_rest().map(|Piece { outputs, end, .. }| {
            drop(outputs);
            end
        });
        for end in [end].into_iter().chain(pieces).flatten() {
            if is_behind_ended || is_ended {
                lose(end);
                continue;
            }
            ends.push(match end {
                End::Panic(payload) => End::Panic(payload),
                End::Error(error) => End::Error(Self::convert(error)),
            });
        }
        is_behind_ended || is_ended
    }

    fn drop_serials(&self, panics: &mut Panics) {
        self.next.drop_serials(panics);
        panics.drop(self.serial.lock().take());
    }

    fn count_own(&self, own: &mut Vec<Option<NonZeroUsize>>) {
        own.push(self.own);
        self.next.count_own(own);
    }

    fn wants_none(&self, section: usize) -> Option<usize> {
        let is_last = Onward::<R, E>::limit(self) == Some(0);
        self.next.wants_none(section + 1).or(is_last.then_some(section))
    }

    fn limit(&self) -> Option<u64> {
        let own = self.serial.lock().as_ref().and_then(Serial::limit);
        let is_one_to_one = (Q::PASSES || Q::FUSES) && W::ONE_TO_ONE;
        let next = self.next.limit().filter(|_| is_one_to_one);
        [own, next].into_iter().flatten().min()
    }
}

impl<W, Q, N> ToSection<'_, W, Q, N> {
    /// Takes pieces through the serial stage. `place` is that of the section behind it.
    fn cross<R, E>(&self, pieces: Vec<Piece<R, E>>, ends: bool, place: Place<'_>) -> Crossing<Q::Output, E>
    where
        Q: Serial<R>,
    {
        let mut crossing =
            Crossing { items: Vec::new(), closes: Release::default(), input: Input::Open, flush_at: None };
        let Crossing { items, closes, input, flush_at } = &mut crossing;
        let mut serial = self.serial.lock();
        let Some(serial) = serial.as_mut() else {
            *input = Input::Closed(None);
            return crossing;
        };
        if ends {
            *input = Input::Closed(None);
        }
        let marks = place.marks();
        for Piece { mut outputs, closes: items_closed, bytes, end, .. } in pieces {
            *closes += Release { items: items_closed, bytes };
            let mut rest = outputs.0.drain(..);
            // The outputs of the items before the one that panics have been made, and stay.
            let taken = panic::catch(|| {
                for item in rest.by_ref() {
                    // Of a run that is over, nothing is wanted.
                    if marks.void() == 0 {
                        lose(item);
                        break;
                    }
                    if serial.take(item, |output| items.push(output)).is_break() {
                        *input = Input::Ended;
                        break;
                    }
                }
            });
            panic::discard_all(&mut rest);
            drop(rest);
            match taken {
                Err(payload) => {
                    lose(end);
                    *input = Input::Closed(Some(End::Panic(payload)));
                }
                Ok(()) if matches!(input, Input::Ended) => lose(end),
                Ok(()) if end.is_some() => *input = Input::Closed(end),
                Ok(()) => continue,
            }
            break;
        }
        if matches!(input, Input::Closed(None | Some(End::Error(_))) | Input::Ended)
            && let Err(payload) = panic::catch(|| serial.finish(|output| items.push(output)))
        {
            lose(mem::replace(input, Input::Closed(Some(End::Panic(payload)))));
        }
        if Q::TIMED && matches!(input, Input::Open) {
            if serial.flush_at().is_some_and(|at| Instant::now() >= at) {
                serial.flush(|output| items.push(output));
            }
            *flush_at = serial.flush_at();
        }
        if let Input::Ended = input {
            place.void_before();
        }
        crossing
    }
}

/// Hands a part of a batch over, and waits until there is room for it. Meanwhile it works for the sections behind,
/// which are `next`. Breaks off when the batch is void.
pub(super) fn hand_over<R, E, N, H>(
    part: Piece<R, E>,
    offers: &mut Offers,
    next: &N,
    local: &mut N::Local,
    place: Place<'_>,
    hands: &mut H,
) -> ControlFlow<(), Vec<R>>
where
    N: Onward<R, E>,
    H: Hands<State: Down<Below = N::State>>,
{
    let mut part = Offer { first: part.first, part: Some(part), offers };
    let mut done = None;
    loop {
        let ticket = hands.ticket();
        let look = hands.look(|state, void| {
            let down = state.down();
            if let Some(done) = done.take() {
                down.commit(done);
            }
            offer(down, &mut part, void)
        });
        match look {
            Look::Accepted(next) => return ControlFlow::Continue(next),
            Look::Behind(task) => done = Some(next.work(task, local, place, hands)),
            Look::Wait(sleep) => {
                let step = report::Step::Wait(place.section, Lack::Output);
                report::during(place.times, step, || hands.sleep(ticket, sleep));
            }
            Look::Again => {}
            Look::Void => return ControlFlow::Break(()),
        }
    }
}
