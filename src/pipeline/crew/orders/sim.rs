//! A run of simulated members, one step at a time.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::super::Order;
use super::super::super::source::iter::{Items, Pulled};
use super::super::super::source::{Chunk, Kind, Stock};
use super::super::below::{Last, Void};
use super::super::piece::Piece;
use super::super::ring::Ring;
use super::super::roster::{Arrival, Sleep, Wakes, Workers};
use super::super::state::State;
use super::super::step::{CallerStep, Plan, Quota, Step};

use super::scene::{Event, Member, Place, Scene};

pub(super) const CALLER: usize = 0;

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
    pub(super) scene: Scene,
    state: State<Pulled<u64>, Last<u64, ()>>,
    pub(super) void: u64,
    pub(super) members: Vec<Member>,
    pulled: u64,
    /// The items in the hands of the puller of a blocking source, and whether it has to put them into the stock.
    open: Vec<u64>,
    is_rung: bool,
    /// The source has told the crew that it has no more items.
    ended: bool,
    pub(super) worked: HashSet<u64>,
    seen: Vec<u64>,
    failed: bool,
    /// The choices that the walk makes, and how many there were at each.
    pub(super) path: Vec<(usize, usize)>,
    at: usize,
}

impl Sim {
    pub(super) fn new(scene: Scene, path: Vec<(usize, usize)>) -> Self {
        let plan = Plan {
            kind: scene.kind,
            order: scene.order,
            threads: 3,
            workers: 2,
            window: scene.window.and_then(NonZeroUsize::new),
            aim: Duration::from_micros(100),
            is_caller_reserved: scene.is_caller_reserved,
            blocking: 0,
            limit: None,
        };
        let mut stock = Pulled::new();
        if scene.kind == Kind::Data {
            (0..scene.items).for_each(|item| _ = stock.put(Chunk::List(vec![item])));
        }
        Sim {
            scene,
            state: State::new(&plan, stock, Last::new(Ring::new(scene.order, 3))),
            void: u64::MAX,
            members: vec![Sim::member()],
            pulled: 0,
            open: Vec::new(),
            is_rung: false,
            ended: scene.kind == Kind::Data,
            worked: HashSet::new(),
            seen: Vec::new(),
            failed: false,
            path,
            at: 0,
        }
    }

    fn member() -> Member {
        Member {
            place: Place::Ticket,
            is_stale: false,
            ticket: Event::Caller,
            wakes: Wakes::NONE,
            hand: None,
            worked: None,
            taken: Vec::new(),
            arrival: None,
        }
    }

    pub(super) fn choose(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        if self.at == self.path.len() {
            self.path.push((0, of));
        }
        self.at += 1;
        self.path[self.at - 1].0
    }

    pub(super) fn enter<T>(
        &mut self,
        me: usize,
        f: impl FnOnce(&mut State<Pulled<u64>, Last<u64, ()>>, Void<'_>, &mut Member) -> T,
    ) -> T {
        let result = f(&mut self.state, Void::of(self.void), &mut self.members[me]);
        self.members[me].wakes = self.state.wakes(Void::of(self.void));
        result
    }

    fn notify(&mut self, event: Event, all: bool) {
        for member in &mut self.members {
            member.is_stale |= member.ticket == event;
        }
        let sleepers: Vec<usize> = (0..self.members.len())
            .filter(|at| matches!(self.members[*at].place, Place::Sleeps(sleeps, _) if sleeps == event))
            .collect();
        let woken = if all || sleepers.is_empty() {
            sleepers
        } else {
            let one = self.choose(sleepers.len());
            vec![sleepers[one]]
        };
        for at in woken {
            self.members[at].place = Place::Ticket;
        }
    }

    fn can_step(&self, me: usize) -> bool {
        let Member { place, wakes, .. } = &self.members[me];
        *wakes != Wakes::NONE
            || match place {
                // The alarm may ring at any time.
                Place::Sleeps(_, sleep) => *sleep != Sleep::Long,
                Place::Left => false,
                Place::Pulls(_) => self.can_pull(),
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
                Workers::Start(index) if index <= self.scene.workers => {
                    assert_eq!(index, self.members.len(), "workers are started once each");
                    self.members.push(Member { arrival: Some(Arrival::Started), ..Sim::member() });
                }
                Workers::Start(_) | Workers::None => {}
            }
            if wakes.for_parts {
                self.notify(Event::Parts, true);
            }
            if wakes.caller {
                self.notify(Event::Caller, false);
            }
            if matches!(wakes.workers, Workers::Start(index) if index > self.scene.workers) {
                self.enter(me, |state, _, _| state.roster().start_refused());
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
                    if let Some(arrival) = member.arrival.take() {
                        state.roster().worker_arrives(arrival);
                    }
                    state.commit(member.worked.take());
                    state.worker_step(void)
                });
                self.start(me, step);
            }
            Place::Works => self.work(me),
            Place::Voids(item) => {
                self.void = self.void.min(item);
                // Other members may step between the mark and the events.
                self.members[me].wakes = Wakes { workers: Workers::All, caller: true, for_parts: true };
            }
            Place::Pulls(quota) => self.pull(me, quota),
            Place::Outputs(due) => self.output(due),
            Place::Sleeps(_, sleep) => self.ring(me, sleep),
            Place::Left => unreachable!("it has no step"),
        }
    }

    /// The sink takes the first of the due pieces.
    fn output(&mut self, mut due: VecDeque<Piece<u64, ()>>) {
        let piece = due.pop_front().expect("a piece is due");
        for output in &piece.outputs.0 {
            assert!(!self.seen.contains(output), "output {output} comes twice");
            self.seen.push(*output);
        }
        if self.scene.order == Order::Arrival {
            self.seen.sort_unstable();
        }
        if piece.end.is_some() {
            self.failed = true;
            return self.leave();
        }
        let caller = &mut self.members[CALLER];
        caller.taken.push(piece);
        if !due.is_empty() {
            caller.place = Place::Outputs(due);
        }
    }

    /// The alarm of a sleeping member rings.
    fn ring(&mut self, me: usize, sleep: Sleep) {
        let open = std::mem::take(&mut self.open);
        let (open, is_rung) = self.enter(me, |state, _, _| match state.ring_alarm(sleep) {
            None => (open, false),
            Some(_) => {
                state.take_chunk(Chunk::List(open));
                (Vec::new(), true)
            }
        });
        self.open = open;
        self.is_rung |= is_rung;
        self.members[me].place = Place::Ticket;
    }

    fn start(&mut self, me: usize, step: Step<Items<u64>, u64, Infallible>) {
        match step {
            Step::Work(claim, _) => self.take_in_hand(me, claim),
            Step::Behind(task) => match task {},
            Step::Pull(quota) => self.open_chunk(me, quota),
            Step::Sleep(sleep) => {
                self.members[me].arrival = (me != CALLER).then_some(Arrival::Slept(sleep));
                self.sleep(me, sleep);
            }
            Step::Leave if me == CALLER => self.leave(),
            Step::Leave => self.members[me].place = Place::Left,
        }
    }

    fn open_chunk(&mut self, me: usize, quota: Quota) {
        self.is_rung = false;
        // One chunk is open at a time, and the walk is shorter if situations do not differ by its number.
        self.members[me].place = Place::Pulls(Quota { number: 0, ..quota });
    }

    pub(super) fn sleep(&mut self, me: usize, sleep: Sleep) {
        let member = &mut self.members[me];
        if !member.is_stale {
            member.place = Place::Sleeps(member.ticket, sleep);
        }
    }

    fn caller_step(&mut self) {
        let mut due = VecDeque::new();
        let step = self.enter(CALLER, |state, void, member| {
            state.commit(member.worked.take());
            member.taken.drain(..).for_each(|piece| state.close((piece, Duration::ZERO)));
            state.caller_step(&mut due, void)
        });
        match step {
            CallerStep::Output => self.members[CALLER].place = Place::Outputs(due),
            CallerStep::As(step) => self.start(CALLER, step),
            CallerStep::Fail => panic!("there is one section"),
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

    fn pull(&mut self, me: usize, quota: Quota) {
        if self.scene.kind == Kind::Ready {
            return self.pull_batch(me, quota.items);
        }
        self.ended = self.pulled == self.scene.items;
        if !self.ended {
            self.open.push(self.pulled);
            self.pulled += 1;
        }
        // The puller may miss an alarm once, and may find that it has taken long.
        let must_put = self.ended || self.open.len() >= quota.chunk || self.is_rung || self.void < u64::MAX;
        if !must_put && self.choose(2) == 1 {
            self.members[me].place = Place::Pulls(quota);
            return;
        }
        let (open, ended) = (std::mem::take(&mut self.open), self.ended);
        let more = self.enter(me, |state, void, _| {
            let more = state.put(Chunk::List(open), Duration::ZERO, void).filter(|_| !ended);
            if more.is_none() {
                state.end_pull(Ok(ended));
            }
            more
        });
        if let Some(quota) = more {
            self.open_chunk(me, quota);
        }
    }

    fn pull_batch(&mut self, me: usize, items: usize) {
        let batch: Vec<u64> = (self.pulled..self.scene.items).take(items).collect();
        let pulled = batch.len();
        self.pulled += pulled as u64;
        self.ended |= pulled < items;
        let claimed = self.enter(me, |state, void, _| {
            state.put_batch(batch, items, Duration::ZERO);
            state.end_pull(Ok(pulled < items));
            state.claim_pulled(void)
        });
        if let Some((claim, _)) = claimed {
            self.take_in_hand(me, claim);
        }
    }

    /// Runs on until the end or a situation that was met before.
    pub(super) fn run(&mut self, met: &mut Met) {
        loop {
            let able: Vec<usize> = (0..self.members.len()).filter(|me| self.can_step(*me)).collect();
            if able.is_empty() {
                return self.check();
            }
            self.check_sink(&able);
            if self.at == self.path.len() {
                let mut hasher = DefaultHasher::new();
                let worked: Vec<bool> = (0..self.scene.items).map(|item| self.worked.contains(&item)).collect();
                let Sim { state, void, members, pulled, open, is_rung, seen, .. } = self;
                format!("{state:?} {void} {members:?} {pulled} {open:?} {is_rung} {worked:?} {seen:?}")
                    .hash(&mut hasher);
                if !met.situations.insert(hasher.finish()) {
                    return;
                }
                let waits = members.iter().any(|member| matches!(member.place, Place::Sleeps(Event::Parts, _)));
                met.part_waits += usize::from(waits);
            }
            let one = self.choose(able.len());
            self.step(able[one]);
        }
    }

    /// The sink may take long. If only outputs are left then, no worker sleeps on, but has left.
    fn check_sink(&self, able: &[usize]) {
        let Sim { scene, members, worked, path, .. } = self;
        let is_in_sink = matches!(members[CALLER].place, Place::Outputs(_)) && members[CALLER].wakes == Wakes::NONE;
        if !is_in_sink || able != [CALLER] || !self.ended || (worked.len() as u64) < scene.items {
            return;
        }
        let in_hand = members.iter().any(|member| member.hand.is_some() || member.worked.is_some());
        let have_left = members[1..].iter().all(|member| matches!(member.place, Place::Left));
        assert!(in_hand || have_left, "a worker waits for the sink alone: {scene:?} {members:#?} {path:?}");
    }

    fn check(&self) {
        let Sim { scene, members, seen, path, failed, .. } = self;
        let have_left = members.iter().all(|member| matches!(member.place, Place::Left));
        assert!(have_left, "a wake is lost: {scene:?} {members:#?} {path:?}");
        assert_eq!(*failed, scene.failing.is_some());
        match (scene.order, scene.failing) {
            (Order::Source, Some(item)) => assert_eq!(*seen, scene.outputs(0..item)),
            (Order::Arrival, Some(_)) => {
                assert!(seen.iter().all(|output| scene.outputs(0..scene.items).contains(output)));
            }
            (_, None) => assert_eq!(*seen, scene.outputs(0..scene.items)),
        }
    }
}
