//! A run of simulated members, one step at a time.

mod check;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::super::source::iter::{Items, Pulled};
use super::super::super::source::{Batch, Kind, Stock};
use super::super::super::{Order, Settings};
use super::super::piece::{End, Piece};
use super::super::ring::Offers;
use super::super::roster::{Wakes, Workers};
use super::super::state::{Answer, CallerAnswer, CallerStep, Effort, Haste, State, Step, Worked};
use super::super::supply::Claim;
use crate::panic::Unmet;

use super::scene::{Event, Hand, ITEMS, Member, Place, Scene};

const CALLER: usize = 0;

/// The index behind the last item.
const LAST: u64 = ITEMS as u64;

/// The situations that a walk has met.
#[derive(Default)]
pub(super) struct Met {
    /// Their hashes.
    pub(super) situations: HashSet<u64>,
    /// In how many of them a worker slept until a part is taken.
    pub(super) part_waits: usize,
}

/// A run under way.
pub(super) struct Sim {
    scene: Scene,
    state: State<Pulled<u64>, u64, ()>,
    void: u64,
    members: Vec<Member>,
    pulled: u64,
    /// The source has told the crew that it has no more items.
    ended: bool,
    worked: HashSet<u64>,
    seen: Vec<u64>,
    failed: bool,
    /// The choices that the walk makes, and how many there were at each.
    pub(super) path: Vec<(usize, usize)>,
    at: usize,
}

impl Sim {
    pub(super) fn new(scene: Scene, path: Vec<(usize, usize)>) -> Self {
        let settings = Settings {
            threads: NonZeroUsize::new(3),
            window: scene.window.and_then(NonZeroUsize::new),
            order: scene.order,
            name: None,
            stack: None,
        };
        let mut stock = Pulled::new();
        if scene.kind == Kind::Data {
            (0..LAST).for_each(|item| _ = stock.put(item, 1));
        }
        let mut state = State::new(scene.kind, stock, &settings);
        state.roster().set_started(scene.workers);
        let member = || Member {
            place: Place::Ticket,
            is_stale: false,
            ticket: Event::Caller,
            wakes: Wakes::NONE,
            hand: None,
            worked: None,
            taken: None,
        };
        let members = (0..=scene.workers).map(|_| member()).collect();
        let ended = scene.kind == Kind::Data;
        let (worked, seen) = (HashSet::new(), Vec::new());
        Sim { scene, state, void: u64::MAX, members, pulled: 0, ended, worked, seen, failed: false, path, at: 0 }
    }

    fn choose(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        if self.at == self.path.len() {
            self.path.push((0, of));
        }
        self.at += 1;
        self.path[self.at - 1].0
    }

    fn enter<T>(&mut self, me: usize, f: impl FnOnce(&mut State<Pulled<u64>, u64, ()>, u64, &mut Member) -> T) -> T {
        let result = f(&mut self.state, self.void, &mut self.members[me]);
        self.members[me].wakes = self.state.wakes(self.void);
        result
    }

    fn notify(&mut self, event: Event, all: bool) {
        for member in &mut self.members {
            member.is_stale |= member.ticket == event;
        }
        let sleepers: Vec<usize> = (0..self.members.len())
            .filter(|at| matches!(self.members[*at].place, Place::Sleeps(sleeps) if sleeps == event))
            .collect();
        let woken = if all || sleepers.is_empty() {
            sleepers
        } else {
            let one = self.choose(sleepers.len());
            vec![sleepers[one]]
        };
        for at in woken {
            self.members[at].place = if event == Event::Workers { Place::Wakes } else { Place::Ticket };
        }
    }

    fn can_step(&self, me: usize) -> bool {
        let Member { place, wakes, .. } = &self.members[me];
        *wakes != Wakes::NONE
            || match place {
                Place::Sleeps(_) | Place::Left => false,
                Place::Pulls(items) => *items == 0 || self.can_pull(),
                _ => true,
            }
    }

    fn can_pull(&self) -> bool {
        let before = (10 * self.pulled).checked_sub(10);
        !self.scene.has_feedback || before.is_none_or(|output| self.seen.contains(&output))
    }

    fn step(&mut self, me: usize) {
        let wakes = std::mem::replace(&mut self.members[me].wakes, Wakes::NONE);
        if wakes != Wakes::NONE {
            match wakes.workers {
                Workers::All => self.notify(Event::Workers, true),
                Workers::One => self.notify(Event::Workers, false),
                Workers::None => {}
            }
            if wakes.for_parts {
                self.notify(Event::Parts, true);
            }
            if wakes.caller {
                self.notify(Event::Caller, false);
            }
            return;
        }
        match std::mem::replace(&mut self.members[me].place, Place::Ticket) {
            Place::Ticket => {
                let is_offering = self.members[me].hand.as_ref().is_some_and(|hand| hand.is_offering);
                self.members[me].ticket = match is_offering {
                    _ if me == CALLER => Event::Caller,
                    true => Event::Parts,
                    false => Event::Workers,
                };
                self.members[me].is_stale = false;
                self.members[me].place = Place::Enter;
            }
            Place::Enter if self.members[me].hand.as_ref().is_some_and(|hand| hand.is_offering) => self.offer(me),
            Place::Enter if me == CALLER => self.caller_step(),
            Place::Enter => {
                let step = self.enter(me, |state, void, member| {
                    state.commit(member.worked.take());
                    state.worker_step(Haste::HasLingered, void)
                });
                self.start(me, step);
            }
            Place::Works => self.work(me),
            Place::Voids(item) => {
                self.void = self.void.min(item);
                // Other members may step between the mark and the events.
                self.members[me].wakes = Wakes { workers: Workers::All, caller: true, for_parts: true };
            }
            Place::Pulls(items) => self.pull(me, items),
            Place::Outputs(piece) => {
                for output in &piece.outputs.0 {
                    assert!(!self.seen.contains(output), "output {output} comes twice");
                    self.seen.push(*output);
                }
                if self.scene.order == Order::Arrival {
                    self.seen.sort_unstable();
                }
                if piece.end.is_some() {
                    self.failed = true;
                    self.leave();
                } else {
                    self.members[me].taken = Some(piece);
                }
            }
            Place::Wakes => self.enter(me, |state, _, _| state.roster().worker_awake()),
            Place::Sleeps(_) | Place::Left => unreachable!("it has no step"),
        }
    }

    fn start(&mut self, me: usize, step: Step<Items<u64>, u64>) {
        match step {
            Step::Work(claim, _) => self.take_in_hand(me, claim),
            Step::Linger(_) => panic!("it has just lingered"),
            Step::Pull(items) => self.members[me].place = Place::Pulls(items),
            Step::Sleep => self.sleep(me),
            Step::Leave if me == CALLER => self.leave(),
            Step::Leave => self.members[me].place = Place::Left,
        }
    }

    fn sleep(&mut self, me: usize) {
        let member = &mut self.members[me];
        member.place = match (member.is_stale, member.ticket) {
            (false, event) => Place::Sleeps(event),
            (true, Event::Workers) => Place::Wakes,
            (true, Event::Caller | Event::Parts) => Place::Ticket,
        };
    }

    fn caller_step(&mut self) {
        let step = self.enter(CALLER, |state, void, member| {
            state.commit(member.worked.take());
            state.close(member.taken.take().map(|piece| (piece, Duration::ZERO)));
            state.caller_step(Haste::HasLingered, void)
        });
        match step {
            CallerStep::Output(piece) => self.members[CALLER].place = Place::Outputs(piece),
            CallerStep::As(step) => self.start(CALLER, step),
            CallerStep::Abandon => panic!("no worker is gone"),
        }
    }

    /// The caller leaves its loop, and voids the run.
    fn leave(&mut self) {
        self.void = 0;
        let others = self.members[CALLER].wakes;
        assert!(others == Wakes::NONE || self.scene.workers > 0, "a caller that is alone has woken others");
        self.members[CALLER].wakes = Wakes { workers: Workers::All, caller: true, for_parts: true };
        self.members[CALLER].place = Place::Left;
    }

    fn take_in_hand(&mut self, me: usize, claim: Claim<Items<u64>>) {
        let Claim { first, mut batch, items } = claim;
        let worked = if items > 1 && self.choose(2) == 1 { 1 } else { items };
        let mut taken = Vec::new();
        let _ = batch.run(worked, |item| {
            taken.push(item);
            ControlFlow::<()>::Continue(())
        });
        assert_eq!((taken.len(), taken[0]), (worked, first), "a claim has the items it says");
        let rest = (items > worked).then_some((batch, items - worked));
        let piece = Piece { first, part: 0, outputs: Unmet(Vec::new()), closes: 0, weight: 0, end: None };
        let offers = Offers::default();
        let hand = Hand { items: taken, done: 0, rest, piece, part: None, is_offering: false, offers };
        self.members[me].hand = Some(hand);
        self.members[me].place = Place::Works;
    }

    /// Works until a part is to be offered, or to the end of the batch.
    fn work(&mut self, me: usize) {
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

    fn offer(&mut self, me: usize) {
        let mut hand = self.members[me].hand.take().expect("a batch");
        let first = hand.items[0].max(hand.part.as_ref().map_or(0, |part| part.first));
        let answer = if me == CALLER {
            self.enter(me, |state, void, member| {
                state.close(member.taken.take().map(|piece| (piece, Duration::ZERO)));
                state.caller_offers(first, &mut hand.part, &mut hand.offers, void)
            })
        } else {
            CallerAnswer::As(
                self.enter(me, |state, void, _| state.worker_offers(first, &mut hand.part, &mut hand.offers, void)),
            )
        };
        match answer {
            CallerAnswer::Output(piece) => self.members[me].place = Place::Outputs(piece),
            CallerAnswer::As(Answer::Accepted(_)) => {
                hand.is_offering = false;
                self.members[me].place = Place::Works;
            }
            CallerAnswer::As(Answer::Wait) => self.sleep(me),
            CallerAnswer::As(Answer::Void) => return self.give_up(me),
        }
        self.members[me].hand = Some(hand);
    }

    fn pull(&mut self, me: usize, items: usize) {
        if self.scene.kind == Kind::Ready {
            let batch: Vec<u64> = (self.pulled..LAST).take(items).collect();
            let pulled = batch.len();
            self.pulled += pulled as u64;
            self.ended |= pulled < items;
            let claimed = self.enter(me, |state, void, _| {
                state.put_batch(batch, items);
                state.end_pull(pulled, Duration::ZERO, Ok(pulled < items));
                state.claim_pulled(void)
            });
            if let Some((claim, _)) = claimed {
                self.take_in_hand(me, claim);
            }
            return;
        }
        let ended = self.pulled == LAST;
        if items == 0 || ended {
            self.ended |= items > 0;
            self.enter(me, |state, _, _| state.end_pull(0, Duration::ZERO, Ok(items > 0)));
            return;
        }
        let item = self.pulled;
        self.pulled += 1;
        let (_, wanted) = self.enter(me, |state, void, _| state.put([item].into_iter(), void));
        self.members[me].place = Place::Pulls(if wanted { items - 1 } else { 0 });
    }

    /// Runs on until the end or a situation that was met before.
    pub(super) fn run(&mut self, met: &mut Met) {
        loop {
            let able: Vec<usize> = (0..self.members.len()).filter(|me| self.can_step(*me)).collect();
            if able.is_empty() {
                return self.check_end();
            }
            self.check_sink(&able);
            if self.at == self.path.len() {
                let mut hasher = DefaultHasher::new();
                let worked: Vec<bool> = (0..LAST).map(|item| self.worked.contains(&item)).collect();
                let Sim { state, void, members, pulled, seen, .. } = self;
                format!("{state:?} {void} {members:?} {pulled} {worked:?} {seen:?}").hash(&mut hasher);
                if !met.situations.insert(hasher.finish()) {
                    return;
                }
                let waits = members.iter().any(|member| matches!(member.place, Place::Sleeps(Event::Parts)));
                met.part_waits += usize::from(waits);
            }
            let one = self.choose(able.len());
            self.step(able[one]);
        }
    }
}

fn empty() -> Piece<u64, ()> {
    Piece { first: 0, part: 0, outputs: Unmet(Vec::new()), closes: 0, weight: 0, end: None }
}
