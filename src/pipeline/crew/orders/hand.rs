//! A batch in the hands of a simulated member: working it, and offering its parts.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::super::Order;
use super::super::super::source::Batch;
use super::super::super::source::iter::Items;
use super::super::piece::{End, Piece};
use super::super::ring::Offers;
use super::super::step::{Effort, Look, Offer, Worked, offer};
use super::super::supply::Claim;
use super::scene::{Hand, Place};
use super::sim::{CALLER, Sim};

impl Sim {
    pub(super) fn take_in_hand(&mut self, me: usize, claim: Claim<Items<u64>>) {
        let Claim { first, mut batch, items } = claim;
        let worked = if items > 1 && self.choose(2) == 1 { 1 } else { items };
        let mut taken = Vec::new();
        let _ = batch.run(worked, |item| {
            taken.push(item);
            ControlFlow::<()>::Continue(())
        });
        assert_eq!((taken.len(), taken[0]), (worked, first), "a claim has the items it says");
        let rest = (items > worked).then_some((batch, items - worked));
        let piece = Piece::empty(first, 0, 0);
        let offers = Offers::default();
        let hand = Hand { items: taken, done: 0, rest, piece, part: None, is_offering: false, offers };
        self.members[me].hand = Some(hand);
        self.members[me].place = Place::Works;
    }

    /// Works until a part is to be offered, or to the end of the batch.
    pub(super) fn work(&mut self, me: usize) {
        let mut hand = self.members[me].hand.take().expect("a batch");
        while hand.done < hand.items.len() && hand.piece.end.is_none() {
            let item = hand.items[hand.done];
            let is_begun = hand.piece.part > 0 && hand.piece.first == item && hand.piece.outputs.0.is_empty();
            if item >= self.void {
                return self.give_up(me);
            }
            if is_begun {
                hand.piece.outputs.0.push(10 * item + 1);
            } else {
                assert!(self.worked.insert(item), "item {item} is worked twice");
                if self.scene.failing == Some(item) {
                    hand.piece.end = Some(End::Error(()));
                } else {
                    hand.piece.outputs.0.push(10 * item);
                    if self.scene.has_two(item) {
                        let next = Piece { first: item, part: hand.piece.part + 1, ..empty() };
                        let part = std::mem::replace(&mut hand.piece, next);
                        hand.part = Some(Piece { weight: usize::MAX / 4, ..part });
                        hand.is_offering = true;
                        self.members[me].hand = Some(hand);
                        return;
                    }
                }
            }
            hand.piece.closes += 1;
            hand.done += 1;
        }
        let Hand { piece, rest, .. } = hand;
        let effort = Effort { items: piece.closes, elapsed: Duration::from_micros(30) };
        if piece.end.is_some() {
            let behind = if self.scene.order == Order::Source { piece.first + piece.closes as u64 } else { 0 };
            self.members[me].place = Place::Voids(behind);
        }
        let rest = if piece.end.is_some() { None } else { rest };
        self.members[me].worked = Some(Worked { piece: Some(piece), effort, rest });
    }

    fn give_up(&mut self, me: usize) {
        let effort = Effort { items: 0, elapsed: Duration::ZERO };
        self.members[me].worked = Some(Worked { piece: None, effort, rest: None });
    }

    pub(super) fn offer(&mut self, me: usize) {
        let mut hand = self.members[me].hand.take().expect("a batch");
        let first = hand.items[0].max(hand.part.as_ref().map_or(0, |part| part.first));
        let mut due = VecDeque::new();
        let Hand { part, offers, .. } = &mut hand;
        let mut part = Offer { first, part: part.take(), offers };
        let look = self.enter(me, |state, void, member| {
            if me != CALLER {
                return state.worker_offers(|state| offer(&mut state.down, &mut part, void));
            }
            member.taken.drain(..).for_each(|piece| state.close((piece, Duration::ZERO)));
            state.caller_offers(&mut due, |state| offer(&mut state.down, &mut part, void))
        });
        hand.part = part.part;
        match look {
            Look::Void => return self.give_up(me),
            // It looks again afterwards.
            _ if !due.is_empty() => self.members[me].place = Place::Outputs(due),
            Look::Accepted(_) => {
                hand.is_offering = false;
                self.members[me].place = Place::Works;
            }
            Look::Wait(sleep) => self.sleep(me, sleep),
            Look::Again => unreachable!("something was due"),
            Look::Behind(task) => match task {},
        }
        self.members[me].hand = Some(hand);
    }
}

fn empty() -> Piece<u64, ()> {
    Piece::empty(0, 0, 0)
}
