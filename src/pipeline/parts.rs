//! Parts: what is handed over of a batch before it is done, where an item makes more outputs than should be held.
//!
//! A part goes into the ring, and waits there for its turn as a batch does. What lies there is bounded for the whole
//! run (see [`weight`](super::weight)): a member with a part for which there is no room waits until there is, or its
//! batch is due. Nor does a member claim a new batch then, since each has a last part that goes into the ring as it is.
//!
//! That comes to an end, because the due batch is never refused room that other batches have taken. It is in the hands
//! of a member, which works it, or waits for the sink to take the parts that are in its way, all of them due; or it was
//! handed back, and the member that did so claims what is earliest. The caller does not only wait: it outputs what is
//! due, in the midst of its own item.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::claim::{Pull, Stock};
use super::commit::{Place, Taken};
use super::crew::{Crew, Ended};
use super::run::Refused;
use super::stage::Stage;
use super::state::State;
use super::weight::PARTS;
use super::work::Done;
use crate::event::Ticket;
use crate::token::CancellationToken;

/// The places of the parts of a batch that have not been taken, as far as one knows.
#[derive(Default)]
pub(super) struct Offers(VecDeque<Place>);

/// What follows when a part has been offered.
enum Offered<R, E> {
    /// It is handed over; here is a vector for the next.
    Accepted(Vec<R>),
    /// Hand what is due to the sink first. For the caller only.
    Output(Done<R, E>),
    /// There is no room for it yet.
    Wait(Ticket),
    /// Nothing more is wanted of it.
    Void,
}

impl<S, I, W> Crew<'_, S, I, W>
where
    S: Stock,
    I: Pull<Load = S::Load>,
    W: Stage<S::Item>,
{
    /// For a worker: hands over a part that begins with the item `first`.
    pub(super) fn hand_over(
        &self,
        first: u64,
        part: Done<W::Output, W::Error>,
        offers: &mut Offers,
    ) -> ControlFlow<(), Vec<W::Output>> {
        let mut part = Some(part);
        loop {
            match self.enter(|state| state.worker_offers(first, &mut part, offers)) {
                Offered::Accepted(next) => return ControlFlow::Continue(next),
                Offered::Wait(ticket) => self.signal.parts.wait(ticket),
                Offered::Output(_) | Offered::Void => return ControlFlow::Break(()),
            }
        }
    }

    /// For the caller: the same, and outputs what is due.
    pub(super) fn hand_over_at_sink<E>(
        &self,
        first: u64,
        part: Done<W::Output, W::Error>,
        offers: &mut Offers,
        token: &CancellationToken,
        sink: &mut impl FnMut(W::Output) -> Result<(), Refused<E>>,
        ended: &mut Option<Ended<W::Error, E>>,
    ) -> ControlFlow<(), Vec<W::Output>> {
        let mut part = Some(part);
        let mut taken = None;
        let mut patience = true;
        loop {
            match self.enter(|state| state.caller_offers(first, &mut part, offers, taken.take(), token)) {
                Offered::Accepted(next) => return ControlFlow::Continue(next),
                Offered::Output(done) => match self.output(done, token, sink) {
                    Ok(batch) => (taken, patience) = (Some(batch), true),
                    Err(stopped) => {
                        *ended = Some(stopped);
                        return ControlFlow::Break(());
                    }
                },
                Offered::Wait(ticket) => self.signal.wait_as_caller(ticket, &mut patience),
                Offered::Void => return ControlFlow::Break(()),
            }
        }
    }
}

impl<S: Stock, R, E> State<S, R, E> {
    fn worker_offers(&mut self, first: u64, part: &mut Option<Done<R, E>>, offers: &mut Offers) -> Offered<R, E> {
        let ticket = self.signal.parts.ticket();
        if self.signal.is_void(first) {
            Offered::Void
        } else if self.offer(first, part, offers) {
            Offered::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            self.part_awaited = true;
            Offered::Wait(ticket)
        }
    }

    fn caller_offers(
        &mut self,
        first: u64,
        part: &mut Option<Done<R, E>>,
        offers: &mut Offers,
        taken: Option<Taken<R>>,
        token: &CancellationToken,
    ) -> Offered<R, E> {
        self.taken(taken);
        (self.caller_asleep, self.caller_holds) = (false, false);
        let ticket = self.signal.caller.ticket();
        if token.is_cancelled() || self.signal.is_void(first) {
            return Offered::Void;
        }
        let accepted = self.offer(first, part, offers);
        if let Some(done) = self.take() {
            Offered::Output(done)
        } else if accepted {
            Offered::Accepted(self.spare.pop().unwrap_or_default())
        } else {
            (self.caller_asleep, self.caller_holds) = (true, true);
            Offered::Wait(ticket)
        }
    }

    /// Puts the part into the ring, if it has not been and there is room; returns whether it is there, or has been.
    fn offer(&mut self, first: u64, part: &mut Option<Done<R, E>>, offers: &mut Offers) -> bool {
        while offers.0.front().is_some_and(|place| !self.ring.holds(*place)) {
            offers.0.pop_front();
        }
        let Some(weight) = part.as_ref().map(|part| part.weight) else { return true };
        let earliest = offers.0.front().map_or(first, |(item, _)| *item);
        let has_room = if self.ordered && earliest == self.ring.due() {
            offers.0.len() < PARTS
        } else {
            // One that is heavier than all the room there is goes alone.
            weight == 0 || self.weight == 0 || self.weight + weight <= self.most_weight
        };
        if has_room {
            offers.0.extend(part.take().map(|part| self.put(first, part)));
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::claim::Feed;
    use super::super::pulled::FromIter;
    use super::super::run::Settings;
    use super::super::signal::Signal;
    use super::super::state::Inlet;
    use super::*;
    use crate::panic::Unmet;

    type Endless = FromIter<std::iter::Repeat<()>, false>;

    #[test]
    fn a_part_heavier_than_all_the_room_there_is_waits_for_no_more_than_an_empty_ring() {
        for ordered in [true, false] {
            let settings =
                Settings { threads: Some(NonZeroUsize::MIN), window: None, ordered, name: None, stack: None };
            let (stock, _) = <Endless as Feed>::split(FromIter(std::iter::repeat(())));
            let mut state = State::<_, (), ()>::new(stock, Inlet::Idle, false, &settings, Signal::new());
            let heavy = state.most_weight + 1;
            let part = || Some(Done { at: 0, part: 0, outputs: Unmet(vec![()]), items: 1, weight: heavy, end: None });
            // Of an item that is not due.
            assert!(state.offer(7, &mut part(), &mut Offers::default()));
            let mut second = part();
            assert!(!state.offer(8, &mut second, &mut Offers::default()));
            assert!(second.is_some());
        }
    }
}
