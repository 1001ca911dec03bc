//! Random programs with values whose `Drop` panics, one beside the other. A value that panics while another panic
//! unwinds would end the process, and no program may do that. So each test runs in a process of its own.
//!
//! The programs' closures defuse what they hold before they fail, because a plain loop would end the process there too.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::{
    CancellationToken, Cancelled, FailFast, Failure, Failures, KeepGoing, ParBuilder, Pipeline, Scope, ScopeBuilder,
    ScopedTask, try_join, try_join_all, try_join3, try_join4,
};
use crossbeam::channel::unbounded;
use proptest::prelude::*;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::model::try_programs;
use crate::util::{Census, Counted, alone};

/// Which of the values panic, by the order in which they are made.
#[derive(Clone, Debug)]
enum Armed {
    Some(Vec<usize>),
    All,
}

fn armed(values: usize) -> impl Strategy<Value = Armed> {
    prop_oneof![
        proptest::collection::vec(0..values, 2..4).prop_map(Armed::Some),
        (0..values).prop_map(|first| Armed::Some(vec![first, first + 1, first + 2])),
        Just(Armed::All),
    ]
}

/// Makes the values, and knows how many went off.
struct Arsenal {
    census: Census,
    armed: Armed,
    made: AtomicUsize,
    went_off: Arc<AtomicUsize>,
}

impl Arsenal {
    fn new(armed: &Armed, census: &Census) -> Self {
        Arsenal { census: census.clone(), armed: armed.clone(), made: AtomicUsize::new(0), went_off: Arc::default() }
    }

    /// Makes a value of the item or task of this number.
    fn make(&self, at: usize) -> Bomb {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let armed = match &self.armed {
            Armed::Some(numbers) => numbers.contains(&made),
            Armed::All => true,
        };
        let (armed, went_off) = (AtomicBool::new(armed), Arc::clone(&self.went_off));
        Bomb { at, armed, went_off, _counted: self.census.make(()) }
    }

    /// Does what a closure's `act` says; it owns nothing.
    fn act(&self, act: Act, at: usize, token: &CancellationToken) -> Result<(), Error> {
        match act {
            Act::Nothing => {}
            Act::Fail => return Err(Error::Failed(self.make(at))),
            // Without a message on the standard error.
            Act::Panic => resume_unwind(Box::new(self.make(at))),
            Act::Cancel => _ = token.cancel(),
        }
        Ok(())
    }
}

struct Bomb {
    at: usize,
    /// False in a dud.
    armed: AtomicBool,
    went_off: Arc<AtomicUsize>,
    _counted: Counted<()>,
}

impl Bomb {
    fn snuff(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }
}

/// What a bomb panics with.
struct Bang;

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.went_off.fetch_add(1, Ordering::SeqCst);
            resume_unwind(Box::new(Bang));
        }
    }
}

enum Error {
    Cancelled,
    Failed(Bomb),
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Error::Cancelled
    }
}

/// What a program hands back, to be taken apart with care.
trait Defuse {
    fn defuse(self);
}

impl Defuse for () {
    fn defuse(self) {}
}

impl Defuse for Cancelled {
    fn defuse(self) {}
}

impl Defuse for Bomb {
    fn defuse(self) {
        self.snuff();
    }
}

impl Defuse for Error {
    fn defuse(self) {
        if let Error::Failed(bomb) = self {
            bomb.defuse();
        }
    }
}

impl Defuse for Failure<Error> {
    fn defuse(self) {
        match self {
            Failure::Error { error, .. } => error.defuse(),
            Failure::Panic(panic) => panic.into_payload().defuse(),
            _ => {}
        }
    }
}

/// The errors that came after the cancel are only lent, so they are defused in their place. A list that omits some
/// failures may hold a panic beside them, which only `resume_panic` hands out.
impl Defuse for Failures<Error> {
    fn defuse(self) {
        for failure in self.cancelled() {
            if let Some(Error::Failed(bomb)) = failure.error() {
                bomb.snuff();
            }
        }
        if self.omitted() == 0 {
            return self.into_iter().for_each(Defuse::defuse);
        }
        match catch_unwind(AssertUnwindSafe(|| self.resume_panic())) {
            Ok(errors) => errors.into_iter().for_each(Defuse::defuse),
            Err(payload) => payload.defuse(),
        }
    }
}

impl Defuse for Box<dyn Any + Send> {
    fn defuse(self) {
        match self.downcast::<Bomb>() {
            Ok(bomb) => bomb.defuse(),
            Err(other) if other.is::<Bang>() => {}
            // An assertion of a test, or of the library.
            Err(other) => resume_unwind(other),
        }
    }
}

impl<T: Defuse> Defuse for Vec<T> {
    fn defuse(self) {
        self.into_iter().for_each(Defuse::defuse);
    }
}

impl<T: Defuse, E: Defuse> Defuse for Result<T, E> {
    fn defuse(self) {
        match self {
            Ok(value) => value.defuse(),
            Err(error) => error.defuse(),
        }
    }
}

/// Runs a program and takes apart what it hands back. Returns whether it ended well.
fn ends_well<T: Defuse>(run: impl FnOnce() -> Result<T, Error>) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(run));
    let is_well = matches!(ended, Ok(Ok(_)));
    ended.defuse();
    is_well
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Nothing,
    Fail,
    Panic,
    Cancel,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![2 => Just(Act::Nothing), 2 => Just(Act::Fail), 2 => Just(Act::Panic), 1 => Just(Act::Cancel)]
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Iter,
    Ready,
    Data,
    Receiver,
}

#[derive(Clone, Copy, Debug)]
enum Chain {
    Plain,
    Fans,
    Drops,
    Scans,
    Collects,
}

#[derive(Clone, Debug)]
struct Flow {
    items: usize,
    armed: Armed,
    in_source: (usize, Act),
    in_stage: (usize, Act),
    in_sink: (usize, Act),
    /// Of how many outputs the sink lets one go off, if it has to.
    sink_drops: Option<usize>,
    /// The item that has very many outputs.
    large: usize,
    threads: usize,
    window: Option<usize>,
    ordered: bool,
    source: Origin,
    chain: Chain,
}

fn flows() -> impl Strategy<Value = Flow> {
    let source = prop_oneof![
        3 => Just(Origin::Iter),
        1 => Just(Origin::Ready),
        1 => Just(Origin::Data),
        1 => Just(Origin::Receiver),
    ];
    let chain = prop_oneof![
        3 => Just(Chain::Plain),
        3 => Just(Chain::Fans),
        1 => Just(Chain::Drops),
        1 => Just(Chain::Scans),
        1 => Just(Chain::Collects),
    ];
    let at = || (0..120_usize, acts());
    let settings = (1..=6_usize, proptest::option::of(1..=64_usize), any::<bool>());
    let sink_drops = proptest::option::weighted(0.3, 1..100_usize);
    (0..150_usize, armed(200), at(), at(), at(), sink_drops, 0..1_000_usize, settings, source, chain).prop_map(
        |(items, armed, in_source, in_stage, in_sink, sink_drops, large, (threads, window, ordered), source, chain)| {
            // Only some of the combinations are compiled.
            let chain = if matches!(source, Origin::Iter) { chain } else { Chain::Fans };
            // An iterator cannot fail.
            let in_source = (in_source.0, if in_source.1 == Act::Fail { Act::Nothing } else { in_source.1 });
            Flow {
                items,
                armed,
                in_source,
                in_stage,
                in_sink,
                sink_drops,
                large,
                threads,
                window,
                ordered,
                source,
                chain,
            }
        },
    )
}

struct Run<'a> {
    flow: &'a Flow,
    arsenal: Arsenal,
    token: CancellationToken,
}

type Stages<'a, R> = Box<dyn Fn(Bomb) -> R + Sync + 'a>;

impl Run<'_> {
    fn act(&self, at: usize, (when, act): (usize, Act)) -> Result<(), Error> {
        if at == when { self.arsenal.act(act, at, &self.token) } else { Ok(()) }
    }

    fn pull(&self, item: usize) -> Bomb {
        self.act(item, self.flow.in_source).unwrap_or_else(|_| unreachable!("it cannot fail"));
        self.arsenal.make(item)
    }

    /// A stage that makes a new value of every second item.
    fn stage(&self) -> Stages<'_, Result<Bomb, Error>> {
        Box::new(|item| {
            let at = item.at;
            if at == self.flow.in_stage.0 || at % 2 == 0 {
                item.defuse();
                self.act(at, self.flow.in_stage)?;
                return Ok(self.arsenal.make(at));
            }
            Ok(item)
        })
    }

    fn fan(&self) -> Stages<'_, Box<dyn Iterator<Item = Bomb> + '_>> {
        Box::new(move |item| {
            let at = item.at;
            item.defuse();
            let parts = if at == self.flow.large { 20_000 } else { at % 4 };
            Box::new((0..parts).map(move |_| self.arsenal.make(at)))
        })
    }

    fn run(&self) -> bool {
        let items = 0..self.flow.items;
        match self.flow.source {
            Origin::Iter => {
                let items: Box<dyn Iterator<Item = Bomb> + Send> = Box::new(items.map(|item| self.pull(item)));
                let pipeline = self.set(Pipeline::from_iter(items)).try_map(self.stage());
                match self.flow.chain {
                    Chain::Plain => self.end(pipeline),
                    Chain::Fans => self.end(pipeline.flat_map(self.fan())),
                    Chain::Drops => self.end(pipeline.filter(|item| item.at % 7 != 3)),
                    Chain::Scans => self.end(pipeline.scan((), |(), item| Some(item))),
                    Chain::Collects => ends_well(|| pipeline.collect::<Vec<_>>(&self.token)),
                }
            }
            Origin::Ready => {
                let items: Box<dyn Iterator<Item = Bomb> + Send> = Box::new(items.map(|item| self.pull(item)));
                self.end(self.set(Pipeline::from_ready(items)).try_map(self.stage()).flat_map(self.fan()))
            }
            Origin::Data => {
                let data = items.into_par_iter().map(|item| self.pull(item));
                self.end(self.set(Pipeline::from_data(data)).try_map(self.stage()).flat_map(self.fan()))
            }
            Origin::Receiver => {
                let (sender, receiver) = unbounded();
                items.for_each(|item| sender.send(self.arsenal.make(item)).unwrap_or_else(|_| unreachable!("open")));
                drop(sender);
                let pipeline = self.set(Pipeline::from_receiver(receiver.clone())).try_map(self.stage());
                let ended = self.end(pipeline.flat_map(self.fan()));
                // The channel would drop the messages that were not taken all at once.
                receiver.try_iter().for_each(Defuse::defuse);
                ended
            }
        }
    }

    fn set<C>(&self, pipeline: Pipeline<C>) -> Pipeline<C> {
        let pipeline = pipeline.threads(self.flow.threads);
        let pipeline = if let Some(items) = self.flow.window { pipeline.window(items) } else { pipeline };
        if self.flow.ordered { pipeline.ordered() } else { pipeline.unordered() }
    }

    fn end<C>(&self, pipeline: Pipeline<C>) -> bool
    where
        C: brigade::Chain<Output = Bomb, Error = Error>,
    {
        let mut outputs = 0;
        let sink: Box<dyn FnMut(Bomb) -> Result<(), Error> + '_> = Box::new(|output| {
            outputs += 1;
            if self.flow.sink_drops.is_some_and(|every| outputs % every == 0) {
                drop(output);
            } else {
                output.defuse();
            }
            self.act(outputs - 1, self.flow.in_sink)
        });
        ends_well(|| pipeline.try_for_each(&self.token, sink))
    }
}

#[test]
fn pipelines_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if !alone!(pipelines_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        return;
    }
    try_programs(300, flows, |flow, census| {
        // What ends the process has no other way to say which program it was.
        eprintln!("{flow:?}");
        let run = Run { flow: &flow, arsenal: Arsenal::new(&flow.armed, census), token: CancellationToken::new() };
        let ended_well = run.run();
        assert!(!ended_well || run.arsenal.went_off.load(Ordering::SeqCst) == 0, "a panic was lost");
    });
}

#[derive(Clone, Debug)]
struct Tasks {
    armed: Armed,
    acts: Vec<(Act, Handle)>,
    limit: Option<(usize, Option<usize>)>,
    policy: Policy,
    body: Act,
    /// How many failures are listed.
    kept: usize,
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Run,
    CollectAll,
    Supervise,
}

/// What the body does with a task's handle.
#[derive(Clone, Copy, Debug)]
enum Handle {
    Drop,
    Join,
    /// Joins it, and lets go what it gets.
    JoinAndDrop,
    KeepToTheEnd,
}

fn tasks() -> impl Strategy<Value = Tasks> {
    let handle = prop_oneof![
        2 => Just(Handle::Drop),
        2 => Just(Handle::Join),
        1 => Just(Handle::JoinAndDrop),
        1 => Just(Handle::KeepToTheEnd),
    ];
    let act = prop_oneof![3 => Just(Act::Nothing), 1 => Just(Act::Fail), 1 => Just(Act::Panic), 1 => Just(Act::Cancel)];
    let policy = prop_oneof![Just(Policy::Run), Just(Policy::CollectAll), Just(Policy::Supervise)];
    let limit = proptest::option::of((1..=4_usize, proptest::option::of(0..4_usize)));
    (armed(24), proptest::collection::vec((act, handle), 0..12), limit, policy, acts(), 0..5_usize)
        .prop_map(|(armed, acts, limit, policy, body, kept)| Tasks { armed, acts, limit, policy, body, kept })
}

impl Tasks {
    fn builder(&self) -> ScopeBuilder<'_> {
        let builder = ScopeBuilder::new().failures(self.kept);
        match self.limit {
            None => builder,
            Some((limit, None)) => builder.limit(limit),
            Some((limit, Some(queue))) => builder.limit(limit).queue(queue),
        }
    }

    /// The body, for each kind of scope. `join` joins a task.
    fn body<'scope, 'env, P: 'scope, J: Defuse>(
        &'env self,
        s: &Scope<'scope, 'env, Error, P>,
        arsenal: &'env Arsenal,
        join: impl Fn(ScopedTask<'scope, Bomb, Error, P>) -> Result<Bomb, J>,
    ) -> Result<Bomb, Error> {
        let mut kept = Vec::new();
        for (at, (act, handle)) in self.acts.iter().enumerate() {
            let held = arsenal.make(at);
            let task = s.spawn(move |s| {
                held.defuse();
                arsenal.act(*act, at, s.token())?;
                Ok(arsenal.make(at))
            })?;
            match handle {
                Handle::Drop => drop(task),
                Handle::Join => {
                    let joined = join(task);
                    let is_its_own = joined.as_ref().map_or(true, |value| value.at == at);
                    joined.defuse();
                    assert!(is_its_own, "the value of another task");
                }
                Handle::JoinAndDrop => drop(join(task)),
                Handle::KeepToTheEnd => kept.push(task),
            }
        }
        arsenal.act(self.body, 1_000, s.token())?;
        // Two values of a vector would be the body's own to drop.
        kept.into_iter().for_each(drop);
        Ok(arsenal.make(1_000))
    }
}

#[test]
fn scopes_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if !alone!(scopes_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        return;
    }
    try_programs(300, tasks, |tasks, census| {
        eprintln!("{tasks:?}");
        let (arsenal, token) = (Arsenal::new(&tasks.armed, census), CancellationToken::new());
        let ended_well = match tasks.policy {
            Policy::Run => ends_well(|| {
                tasks.builder().run(&token, |s| tasks.body(s, &arsenal, ScopedTask::<_, _, FailFast>::join))
            }),
            Policy::CollectAll => ends_well(|| {
                let result = tasks
                    .builder()
                    .collect_all(&token, |s| tasks.body(s, &arsenal, ScopedTask::<_, _, KeepGoing>::join));
                result.map_err(|failures| {
                    failures.defuse();
                    Error::Cancelled
                })
            }),
            Policy::Supervise => ends_well(|| {
                let (result, failures) =
                    tasks.builder().supervise(&token, |s| tasks.body(s, &arsenal, ScopedTask::<_, _, KeepGoing>::join));
                let is_well = result.is_ok() && failures.is_empty();
                result.defuse();
                failures.defuse();
                if is_well { Ok(()) } else { Err(Error::Cancelled) }
            }),
        };
        // The value or the failure of a task that the body joined, and let go, is a panic of the body's own.
        assert!(!ended_well || arsenal.went_off.load(Ordering::SeqCst) == 0, "a panic was lost");
    });
}

#[derive(Clone, Debug)]
struct Closures {
    armed: Armed,
    acts: Vec<Act>,
    limit: Option<usize>,
    /// Not all are joined: the first to succeed counts.
    first: bool,
    /// The token is cancelled before.
    late: bool,
}

fn closures() -> impl Strategy<Value = Closures> {
    let act = prop_oneof![3 => Just(Act::Nothing), 2 => Just(Act::Fail), 1 => Just(Act::Panic), 1 => Just(Act::Cancel)];
    let acts = proptest::collection::vec(act, 0..7);
    (armed(14), acts, proptest::option::of(1..=3_usize), any::<bool>(), proptest::bool::weighted(0.1))
        .prop_map(|(armed, acts, limit, first, late)| Closures { armed, acts, limit, first, late })
}

#[test]
fn joins_whose_values_panic_when_they_are_dropped_end_no_process() {
    if !alone!(joins_whose_values_panic_when_they_are_dropped_end_no_process) {
        return;
    }
    try_programs(400, closures, |closures, census| {
        eprintln!("{closures:?}");
        let (arsenal, token) = (&Arsenal::new(&closures.armed, census), CancellationToken::new());
        if closures.late {
            token.cancel();
        }
        let f = |at: usize| {
            let act = closures.acts[at];
            let held = arsenal.make(at);
            move |token: &CancellationToken| {
                held.defuse();
                arsenal.act(act, at, token)?;
                Ok::<_, Error>(arsenal.make(at))
            }
        };
        let builder = closures.limit.map_or_else(ScopeBuilder::new, |limit| ScopeBuilder::new().limit(limit));
        let all = 0..closures.acts.len();
        ends_well(|| match (closures.acts.len(), closures.limit) {
            _ if closures.first => builder.first_ok(&token, all.map(f)).map(|first| vec![first]).map_err(|failures| {
                failures.defuse();
                Error::Cancelled
            }),
            (2, None) => try_join(&token, f(0), f(1)).map(|(a, b)| vec![a, b]),
            (3, None) => try_join3(&token, f(0), f(1), f(2)).map(|(a, b, c)| vec![a, b, c]),
            (4, None) => try_join4(&token, f(0), f(1), f(2), f(3)).map(|(a, b, c, d)| vec![a, b, c, d]),
            (_, None) => try_join_all(&token, all.map(f)),
            (_, Some(_)) => builder.try_join_all(&token, all.map(f)),
        });
    });
}

/// Maps with a limit. Without one, outputs are dropped by unwinding, as the docs of [`par_map`](brigade::par_map) say.
fn try_maps(states: bool) {
    let programs = || (armed(150), 0..150_usize, (0..150_usize, acts()), (0..150_usize, acts()), 1..=3_usize);
    try_programs(200, programs, move |program, census| {
        eprintln!("{program:?}");
        let (armed, items, in_source, in_map, limit) = program;
        let (arsenal, token) = (Arsenal::new(&armed, census), CancellationToken::new());
        let source = (0..items).into_par_iter().map(|at| {
            if in_source == (at, Act::Panic) {
                resume_unwind(Box::new(arsenal.make(at)));
            }
            arsenal.make(at)
        });
        let map = |item: Bomb| {
            let at = item.at;
            if at % 2 == 0 || at == in_map.0 {
                item.defuse();
                if at == in_map.0 {
                    arsenal.act(in_map.1, at, &token)?;
                }
                return Ok(arsenal.make(at));
            }
            Ok(item)
        };
        let builder = ParBuilder::new().limit(limit);
        let ended_well = ends_well(|| {
            if states {
                let mapped = builder.try_map_init(&token, source, || arsenal.make(1_000), |_, item| map(item));
                let (outputs, states) = mapped?;
                states.defuse();
                Ok(outputs)
            } else {
                builder.try_map(&token, source, map)
            }
        });
        assert!(!ended_well || arsenal.went_off.load(Ordering::SeqCst) == 0, "a panic was lost");
    });
}

#[test]
fn limited_maps_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if alone!(limited_maps_whose_values_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        try_maps(false);
    }
}

#[test]
fn limited_maps_whose_states_panic_when_they_are_dropped_end_no_process_and_lose_no_panic() {
    if alone!(limited_maps_whose_states_panic_when_they_are_dropped_end_no_process_and_lose_no_panic) {
        try_maps(true);
    }
}
