//! Every order of the steps of a caller and a worker over three items of data that pass two sections, with a serial
//! stage between them, or nothing, or with workers of the second section's own.
//!
//! It walks as [`walk`](super::walk) does. No item has more than one output here, and no member is asked for parts.

mod member;

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::super::Order;
use super::super::super::source::iter::{Items, Pulled};
use super::super::super::source::{Batch, Chunk, Stock};
use super::super::behind::Behind;
use super::super::below::{Below, Down, Last, OwnStep, Void};
use super::super::credits::Release;
use super::super::crossing::{Crossing, Done, Input, Task};
use super::super::piece::{End, Piece};
use super::super::ring::Ring;
use super::super::roster::{Arrival, Sleep, Workers};
use super::super::signal::Signal;
use super::super::state::State;
use super::super::step::{CallerStep, Effort, Step, Worked};
use super::super::supply::Claim;
use member::{Event, ITEMS, Member, PLAIN, Place, Scene, Shared};

struct Sim<const PASSES: bool> {
    scene: Scene,
    state: Shared<PASSES>,
    signal: std::sync::Arc<Signal>,
    members: Vec<Member<PASSES>>,
    /// How many items have crossed.
    crossed: u64,
    worked: [HashSet<u64>; 2],
    seen: Vec<u64>,
    failed: bool,
    path: Vec<(usize, usize)>,
    at: usize,
}

impl<const PASSES: bool> Sim<PASSES> {
    fn new(scene: Scene, path: Vec<(usize, usize)>) -> Self {
        let plan = scene.plan();
        let mut stock = Pulled::new();
        (0..ITEMS).for_each(|item| _ = stock.put(Chunk::List(vec![item])));
        let last = Last::new(Ring::behind(scene.order, scene.own.unwrap_or(3)));
        let second = Behind::new(&plan, Ring::new(scene.order, 3), scene.own, last);
        Sim {
            scene,
            state: State::new(&plan, stock, second),
            signal: Signal::new(2),
            members: vec![Sim::member(Event::Caller)],
            crossed: 0,
            worked: Default::default(),
            seen: Vec::new(),
            failed: false,
            path,
            at: 0,
        }
    }

    fn member(event: Event) -> Member<PASSES> {
        Member {
            event,
            place: Place::Ticket,
            is_stale: false,
            calls: VecDeque::new(),
            worked: None,
            done: None,
            taken: Vec::new(),
            arrival: (event != Event::Caller).then_some(Arrival::Started),
        }
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

    /// As `Members::enter`.
    fn enter<T>(&mut self, me: usize, f: impl FnOnce(&mut Shared<PASSES>, Void<'_>, &mut Member<PASSES>) -> T) -> T {
        let Sim { state, signal, members, .. } = self;
        let marks = signal.all_marks();
        let result = f(state, Void::new(marks), &mut members[me]);
        state.settle(Void::new(marks), marks);
        let wakes = state.wakes(Void::new(marks));
        let mut calls = vec![(Event::Workers, wakes.workers)];
        if wakes.caller {
            calls.push((Event::Caller, Workers::One));
        }
        calls.extend(state.own_calls(Void::new(marks)).into_iter().map(|(_, workers)| (Event::Own, workers)));
        members[me].calls.extend(calls.into_iter().filter(|(_, workers)| *workers != Workers::None));
        result
    }

    fn notify(&mut self, event: Event, all: bool) {
        let sleepers: Vec<usize> = (0..self.members.len())
            .filter(|at| self.members[*at].event == event && matches!(self.members[*at].place, Place::Sleeps))
            .collect();
        for member in self.members.iter_mut().filter(|member| member.event == event) {
            member.is_stale = true;
        }
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

    fn call(&mut self, me: usize, event: Event, workers: Workers) {
        match workers {
            Workers::None => {}
            Workers::All => self.notify(event, true),
            Workers::One => self.notify(event, false),
            Workers::Start(index) => {
                let most = if event == Event::Own { self.scene.own_started } else { self.scene.workers };
                if index <= most {
                    self.members.push(Sim::member(event));
                } else if event == Event::Own {
                    self.enter(me, |state, _, _| state.down.own_refused(0));
                } else {
                    self.enter(me, |state, _, _| state.roster().start_refused());
                }
            }
        }
    }

    fn can_step(&self, me: usize) -> bool {
        let Member { place, calls, .. } = &self.members[me];
        !calls.is_empty() || !matches!(place, Place::Sleeps | Place::Left)
    }

    fn step(&mut self, me: usize) {
        if let Some((event, workers)) = self.members[me].calls.pop_front() {
            return self.call(me, event, workers);
        }
        match std::mem::replace(&mut self.members[me].place, Place::Ticket) {
            Place::Ticket => {
                self.members[me].is_stale = false;
                self.members[me].place = Place::Enter;
            }
            Place::Enter => self.look(me),
            Place::Work(claim) => {
                let worked = self.work(me, 0, claim);
                self.members[me].worked = Some(worked);
            }
            Place::Behind(Task::Work(claim, _)) => {
                let worked = self.work(me, 1, claim);
                self.members[me].done = Some(Done::Worked(worked));
            }
            Place::Behind(Task::Cross { pieces, ends }) => self.cross(me, pieces, ends),
            Place::Behind(Task::Behind(never)) => match never {},
            Place::Voids(section, item) => {
                self.signal.void_from(section, item);
                for event in [Event::Workers, Event::Caller, Event::Own] {
                    self.members[me].calls.push_back((event, Workers::All));
                }
            }
            Place::Outputs(due) => self.output(me, due),
            Place::Sleeps | Place::Left => unreachable!("it has no step"),
        }
    }

    fn look(&mut self, me: usize) {
        let event = self.members[me].event;
        let mut due = VecDeque::new();
        let place = self.enter(me, |state, void, member| {
            let arrival = member.arrival.take();
            state.commit(member.worked.take());
            if let Some(done) = member.done.take() {
                state.down().commit(done);
            }
            member.taken.drain(..).for_each(|piece| state.close((piece, Duration::ZERO)));
            if event == Event::Own {
                return match state.own_step(1, arrival, void) {
                    OwnStep::Work(task) => Place::Behind(task),
                    OwnStep::Sleep => Place::Sleeps,
                    OwnStep::Leave => Place::Left,
                };
            }
            let step = if event == Event::Caller {
                match state.caller_step(&mut due, void) {
                    CallerStep::Output => return Place::Outputs(VecDeque::new()),
                    CallerStep::As(step) => step,
                    CallerStep::Fail => return Place::Voids(usize::MAX, 0),
                    CallerStep::Abandon => panic!("no worker is gone"),
                }
            } else {
                if let Some(arrival) = arrival {
                    state.roster().worker_arrives(arrival);
                }
                state.worker_step(void)
            };
            match step {
                Step::Work(claim, _) => Place::Work(claim),
                Step::Behind(task) => Place::Behind(task),
                Step::Pull(_) => panic!("data are not pulled"),
                Step::Sleep(_) => Place::Sleeps,
                Step::Leave => Place::Left,
            }
        });
        match place {
            Place::Outputs(_) => self.members[me].place = Place::Outputs(due),
            Place::Left if event == Event::Caller => self.leave(me, false),
            Place::Voids(..) => self.leave(me, true),
            Place::Sleeps => {
                let member = &mut self.members[me];
                member.arrival = (event != Event::Caller).then_some(Arrival::Slept(Sleep::Long));
                if !member.is_stale {
                    member.place = Place::Sleeps;
                }
            }
            place => self.members[me].place = place,
        }
    }

    fn work(&mut self, me: usize, section: usize, claim: Claim<Items<u64>>) -> Worked<Items<u64>, u64, ()> {
        let Claim { first, mut batch, .. } = claim;
        let mut piece = Piece::empty(first, 0, 0);
        let mut items = Vec::new();
        let _ = batch.run(usize::MAX, |item| {
            items.push(item);
            ControlFlow::<()>::Continue(())
        });
        let effort = Effort { items: items.len(), elapsed: Duration::from_micros(30) };
        for item in items {
            if self.signal.marks(section).is_void(first + piece.closes as u64) {
                return Worked { piece: None, effort, rest: None };
            }
            piece.closes += 1;
            assert!(self.worked[section].insert(item), "item {item} is worked twice");
            if self.scene.failing == Some((section, item)) {
                piece.end = Some(End::Error(()));
                self.members[me].place = match self.scene.order {
                    Order::Source => Place::Voids(section, first + piece.closes as u64),
                    Order::Arrival => Place::Voids(section, 0),
                };
                break;
            }
            piece.outputs.0.push(item);
        }
        Worked { piece: Some(piece), effort, rest: None }
    }

    fn cross(&mut self, me: usize, pieces: Vec<Piece<u64, ()>>, ends: bool) {
        let input = if ends { Input::Closed(None) } else { Input::Open };
        let mut crossing = Crossing { items: Vec::new(), closes: Release::default(), input, flush_at: None };
        for Piece { mut outputs, closes, end, .. } in pieces {
            crossing.closes.items += closes;
            for item in std::mem::take(&mut outputs.0) {
                if self.crossed < self.scene.wants {
                    self.crossed += 1;
                    crossing.items.push(item);
                }
                if self.crossed == self.scene.wants {
                    crossing.input = Input::Ended;
                }
            }
            if !matches!(crossing.input, Input::Ended) && end.is_some() {
                crossing.input = Input::Closed(end);
            }
            if !matches!(crossing.input, Input::Open) {
                break;
            }
        }
        if let Input::Ended = crossing.input {
            self.members[me].place = Place::Voids(0, 0);
        }
        self.members[me].done = Some(Done::Crossed(crossing));
    }

    fn output(&mut self, me: usize, mut due: VecDeque<Piece<u64, ()>>) {
        let piece = due.pop_front().expect("a piece is due");
        for output in &piece.outputs.0 {
            assert!(!self.seen.contains(output), "output {output} comes twice");
            self.seen.push(*output);
        }
        if piece.end.is_some() {
            return self.leave(me, true);
        }
        self.members[me].taken.push(piece);
        if !due.is_empty() {
            self.members[me].place = Place::Outputs(due);
        }
    }

    /// The caller leaves its loop, and voids the run.
    fn leave(&mut self, me: usize, failed: bool) {
        self.failed = failed;
        self.signal.void_all();
        for event in [Event::Workers, Event::Own] {
            self.members[me].calls.push_back((event, Workers::All));
        }
        self.members[me].place = Place::Left;
    }

    fn run(&mut self, met: &mut HashSet<u64>) {
        loop {
            let able: Vec<usize> = (0..self.members.len()).filter(|me| self.can_step(*me)).collect();
            if able.is_empty() {
                return self.check();
            }
            if self.at == self.path.len() {
                let Sim { state, signal, members, crossed, worked, seen, .. } = self;
                let marks = [0, 1].map(|section| signal.marks(section).void());
                let worked = worked.each_ref().map(|worked| (0..ITEMS).map(|item| worked.contains(&item)).collect());
                let worked: [Vec<bool>; 2] = worked;
                let mut hasher = DefaultHasher::new();
                format!("{state:?} {marks:?} {members:?} {crossed} {worked:?} {seen:?}").hash(&mut hasher);
                if !met.insert(hasher.finish()) {
                    return;
                }
            }
            let one = self.choose(able.len());
            self.step(able[one]);
        }
    }

    fn check(&self) {
        let Sim { scene, members, seen, path, failed, .. } = self;
        let have_left = members.iter().all(|member| matches!(member.place, Place::Left));
        assert!(have_left, "a wake is lost: {scene:?} {members:#?} {path:?}");
        let all = ITEMS.min(scene.wants);
        match (scene.order, scene.failing) {
            (Order::Source, Some((_, item))) if item < all => {
                assert!(*failed && (0..item).eq(seen.iter().copied()), "{scene:?} {seen:?} {path:?}");
            }
            (Order::Arrival, Some(_)) => assert!(seen.iter().all(|output| *output < ITEMS)),
            (Order::Source, _) => {
                assert!(!*failed && (0..all).eq(seen.iter().copied()), "{scene:?} {seen:?} {path:?}");
            }
            (Order::Arrival, None) => assert!(!*failed && seen.len() as u64 == all, "{scene:?} {seen:?} {path:?}"),
        }
    }
}

fn walk<const PASSES: bool>(scene: Scene) {
    let (mut met, mut path) = (HashSet::new(), Vec::new());
    loop {
        let mut sim = Sim::<PASSES>::new(scene, path);
        sim.run(&mut met);
        path = sim.path;
        while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => break,
        }
    }
    assert!(met.len() > 8, "{}", met.len());
}

#[test]
fn in_every_order_of_steps_two_sections_end_as_the_loop() {
    for order in [Order::Source, Order::Arrival] {
        for workers in [0, 1] {
            for failing in [None, Some((0, 1)), Some((1, 1))] {
                walk::<true>(Scene { order, workers, failing, ..PLAIN });
                walk::<false>(Scene { order, workers, failing, ..PLAIN });
            }
        }
    }
}

#[test]
fn in_every_order_of_steps_a_serial_stage_that_wants_no_more_ends_the_run() {
    for order in [Order::Source, Order::Arrival] {
        for wants in [1, 2] {
            for failing in [None, Some((0, 1)), Some((1, 0))] {
                walk::<false>(Scene { order, failing, wants, ..PLAIN });
            }
        }
    }
}

#[test]
fn in_every_order_of_steps_a_section_with_workers_of_its_own_ends_as_the_loop() {
    for order in [Order::Source, Order::Arrival] {
        for own_started in [0, 1] {
            for failing in [None, Some((0, 1)), Some((1, 1))] {
                walk::<true>(Scene { order, own: Some(2), own_started, failing, ..PLAIN });
            }
        }
    }
}
