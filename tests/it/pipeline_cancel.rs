//! Random pipelines that are cancelled, fail and panic, against a model of the sequential loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::sync::Mutex;
use std::time::Instant;

use brigade::{CancelReason, CancellationToken, Cancelled, Chain, Pipeline, scope};
use crossbeam::channel::unbounded;
use proptest::prelude::*;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::model::{End, Error, Item, ending, throw, try_programs};
use crate::util::{Census, Gate, alone};

const REASON: CancelReason = CancelReason::Other("the model");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Source,
    Stage,
    Sink,
}

/// What happens at a place, once it has an item of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// Takes long enough for others to overtake it.
    Slow,
    Fail,
    Panic,
    Cancel,
    CancelParent,
    /// Has another thread cancel.
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Iter,
    Ready,
    Data,
    Receiver,
    Lines,
}

/// A kind of stage, for the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Map,
    TryMap,
    Filter,
    FilterMap,
    FlatMap,
    Inspect,
    Scan,
}

/// The chains of stages of `Run::staged`, which has the same.
const CHAINS: [&[Kind]; 5] = [
    &[Kind::TryMap, Kind::FlatMap, Kind::Filter, Kind::TryMap],
    &[Kind::TryMap, Kind::Scan, Kind::Filter, Kind::FlatMap, Kind::TryMap],
    &[Kind::TryMap],
    &[Kind::Inspect, Kind::FilterMap, Kind::Map, Kind::TryMap],
    &[Kind::FlatMap, Kind::FlatMap, Kind::TryMap, Kind::Filter],
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Last {
    TryForEach,
    Collect,
    Fold,
    Count,
    First,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    items: usize,
    /// Of the source by the item's number, of the stages by their input's, of the sink by that of the output.
    acts: BTreeMap<(Place, usize), Act>,
    /// The token has a deadline, which has passed.
    late: bool,
    /// The input of a `flat_map` that has very many outputs.
    large: Option<usize>,
    threads: usize,
    window: Option<usize>,
    ordered: bool,
    source: Origin,
    chain: usize,
    last: Last,
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let place = prop_oneof![Just(Place::Source), Just(Place::Stage), Just(Place::Sink)];
    let act = prop_oneof![
        4 => Just(Act::Slow),
        2 => Just(Act::Fail),
        2 => Just(Act::Panic),
        2 => Just(Act::Cancel),
        1 => Just(Act::CancelParent),
        2 => Just(Act::Signal),
    ];
    let acts = proptest::collection::btree_map((place, 0..150_usize), act, 0..4);
    let source = prop_oneof![
        3 => Just(Origin::Iter),
        1 => Just(Origin::Ready),
        1 => Just(Origin::Data),
        1 => Just(Origin::Receiver),
        1 => Just(Origin::Lines),
    ];
    let last = prop_oneof![
        12 => Just(Last::TryForEach),
        1 => Just(Last::Collect),
        1 => Just(Last::Fold),
        1 => Just(Last::Count),
        1 => Just(Last::First),
    ];
    let shape = (0..160_usize, acts, proptest::bool::weighted(0.03), proptest::option::weighted(0.05, 0..100_usize));
    let settings = (1..=8_usize, proptest::option::of(1..=64_usize), any::<bool>());
    (shape, settings, source, 0..CHAINS.len(), last).prop_map(
        |((items, acts, late, large), (threads, window, ordered), source, chain, last)| {
            // Only some of the combinations are compiled.
            let chain = if source == Origin::Iter && last == Last::TryForEach { chain } else { chain % 2 };
            let source = if last == Last::TryForEach || source == Origin::Data { source } else { Origin::Iter };
            let chain = if last == Last::TryForEach { chain } else { 0 };
            let mut program = Program { items, acts, late, large, threads, window, ordered, source, chain, last };
            // A scan takes the outputs in order.
            program.ordered |= program.stages().contains(&Kind::Scan);
            program.acts.retain(|(place, _), act| match place {
                Place::Source => source != Origin::Receiver && (source == Origin::Lines || *act != Act::Fail),
                Place::Stage => true,
                Place::Sink => last == Last::TryForEach || (last == Last::Fold && *act != Act::Fail),
            });
            program
        },
    )
}

// The stages. What each makes of a number depends on that alone.

fn mapped(item: usize) -> usize {
    item * 3 + 1
}

fn is_kept(item: usize) -> bool {
    item % 5 != 2
}

fn mapped_if_kept(item: usize) -> Option<usize> {
    (item % 7 != 3).then_some(item + 1)
}

/// A running sum, which ends now and then.
fn scanned(sum: &mut usize, item: usize) -> Option<usize> {
    *sum += item;
    (*sum % 401 != 400).then_some(*sum)
}

/// How many of a stage's inputs there are, for the acts.
const ROUND: usize = 251;

impl Program {
    fn stages(&self) -> &'static [Kind] {
        CHAINS[self.chain]
    }

    /// What one item becomes by a `flat_map`.
    fn fanned(&self, item: usize) -> std::ops::Range<usize> {
        let parts = if Some(item) == self.large { 130_000 } else { item % 4 };
        item * 4..item * 4 + parts
    }

    /// The number of an act, which its error or panic has.
    fn number(place: Place, at: usize) -> usize {
        place as usize * 1_000 + at
    }

    /// Whether another thread cancels.
    pub(crate) fn has_signal(&self) -> bool {
        self.acts.values().any(|act| *act == Act::Signal)
    }

    /// Whether anything but the sink may cancel: then it is chance how far the run has come.
    fn is_cancelled_by_chance(&self) -> bool {
        self.acts.iter().any(|((place, _), act)| match act {
            Act::Cancel | Act::CancelParent => *place != Place::Sink,
            Act::Signal => true,
            _ => false,
        })
    }
}

/// A program as the plain loop.
struct Model<'a> {
    program: &'a Program,
    cancelled: Option<CancelReason>,
    seen: Vec<usize>,
    /// What a scan has so far.
    sum: usize,
    /// Unordered, all that may be output: nothing that happens ends the loop.
    goes_on: bool,
}

impl Model<'_> {
    fn run(program: &Program, goes_on: bool) -> (Vec<usize>, End) {
        let cancelled = program.late.then_some(CancelReason::Deadline);
        let mut model = Model { program, cancelled, seen: Vec::new(), sum: 0, goes_on };
        let end = model.all().err().unwrap_or(End::Done);
        let seen = model.seen;
        let seen = match (program.last, &end) {
            (Last::Count, End::Done) if !goes_on => vec![seen.len()],
            (Last::Collect | Last::Fold | Last::Count, end) if *end != End::Done => Vec::new(),
            _ => seen,
        };
        (seen, end)
    }

    fn all(&mut self) -> Result<(), End> {
        self.check()?;
        for item in 0..self.program.items {
            let fed = self.act(Place::Source, item).and_then(|()| self.check()).and_then(|()| {
                self.feed(self.program.stages(), item)?;
                self.check()
            });
            if !self.goes_on {
                fed?;
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), End> {
        self.cancelled.filter(|_| !self.goes_on).map_or(Ok(()), |reason| Err(End::Cancelled(reason)))
    }

    fn act(&mut self, place: Place, at: usize) -> Result<(), End> {
        match self.program.acts.get(&(place, at)) {
            Some(Act::Fail) => Err(End::Failed(Program::number(place, at))),
            Some(Act::Panic) => Err(End::Panicked(Program::number(place, at))),
            Some(Act::Cancel | Act::CancelParent) => {
                self.cancelled.get_or_insert(REASON);
                Ok(())
            }
            Some(Act::Slow | Act::Signal) | None => Ok(()),
        }
    }

    fn feed(&mut self, stages: &[Kind], item: usize) -> Result<(), End> {
        let Some((kind, rest)) = stages.split_first() else { return self.sink(item) };
        match kind {
            Kind::Map => self.feed(rest, mapped(item)),
            Kind::TryMap => {
                self.act(Place::Stage, item % ROUND)?;
                self.feed(rest, item)
            }
            Kind::Filter if !is_kept(item) => Ok(()),
            Kind::Filter | Kind::Inspect => self.feed(rest, item),
            Kind::FilterMap => mapped_if_kept(item).map_or(Ok(()), |item| self.feed(rest, item)),
            Kind::FlatMap => self.program.fanned(item).try_for_each(|item| {
                self.check()?;
                self.feed(rest, item)
            }),
            Kind::Scan => {
                self.check()?;
                match scanned(&mut self.sum, item) {
                    Some(item) => self.feed(rest, item),
                    // A scan that cancelled would end as cancelled; this one never does.
                    None => Err(End::Done),
                }
            }
        }
    }

    fn sink(&mut self, output: usize) -> Result<(), End> {
        self.check()?;
        if self.goes_on {
            self.seen.push(output);
            return Ok(());
        }
        match self.program.last {
            Last::First => {
                self.seen.push(output);
                Err(End::Done)
            }
            _ => {
                self.act(Place::Sink, self.seen.len())?;
                self.seen.push(output);
                Ok(())
            }
        }
    }
}

/// A program as a pipeline.
struct Run<'a> {
    program: &'a Program,
    census: &'a Census,
    parent: CancellationToken,
    token: CancellationToken,
    signal: Gate,
    /// The failures and panics that happened.
    happened: Mutex<Vec<End>>,
}

type OfItem<'a, R> = Box<dyn Fn(Item) -> R + Sync + 'a>;
type Looks<'a, R> = Box<dyn Fn(&Item) -> R + Sync + 'a>;

impl Run<'_> {
    fn act(&self, place: Place, at: usize) -> Result<(), Error> {
        let number = Program::number(place, at);
        match self.program.acts.get(&(place, at)) {
            None => {}
            Some(Act::Slow) => (0..200).for_each(|_| std::thread::yield_now()),
            Some(Act::Fail) => {
                self.happened.lock().unwrap().push(End::Failed(number));
                return Err(Error::Failed(self.census.make(number)));
            }
            Some(Act::Panic) => {
                self.happened.lock().unwrap().push(End::Panicked(number));
                throw(self.census.make(number));
            }
            Some(Act::Cancel) => _ = self.token.cancel_with(REASON),
            Some(Act::CancelParent) => _ = self.parent.cancel_with(REASON),
            Some(Act::Signal) => self.signal.open(),
        }
        Ok(())
    }

    fn made(&self, item: usize) -> Item {
        self.census.make(item)
    }

    fn pull(&self, item: usize) -> Item {
        self.act(Place::Source, item).unwrap_or_else(|_| unreachable!("only lines can fail"));
        self.made(item)
    }

    /// Runs it beside the thread that cancels.
    fn run(&self) -> (Vec<usize>, End) {
        if !self.program.has_signal() {
            return self.sourced();
        }
        let ended = scope(&CancellationToken::never(), |s| {
            s.spawn(|_| {
                self.signal.pass();
                (0..50).for_each(|_| std::hint::spin_loop());
                // After the run this changes nothing.
                Ok(self.token.cancel_with(REASON))
            })?;
            let ended = self.sourced();
            self.signal.open();
            Ok::<_, Cancelled>(ended)
        });
        ended.expect("nothing fails in the scope itself")
    }

    fn sourced(&self) -> (Vec<usize>, End) {
        let items = 0..self.program.items;
        match self.program.source {
            Origin::Iter => {
                let items: Box<dyn Iterator<Item = Item> + Send> = Box::new(items.map(|item| self.pull(item)));
                let pipeline = self.set(Pipeline::from_iter(items)).try_map(Ok::<_, Error>);
                match (self.program.last, self.program.chain) {
                    (Last::TryForEach, 2) => self.each(pipeline.try_map(self.tries())),
                    (Last::TryForEach, 3) => {
                        let looks: Looks<'_, ()> = Box::new(|_| ());
                        let kept = pipeline.inspect(looks).filter_map(self.maps_if_kept());
                        self.each(kept.map(self.maps()).try_map(self.tries()))
                    }
                    (Last::TryForEach, 4) => {
                        let fanned = pipeline.flat_map(self.fans()).flat_map(self.fans());
                        self.each(fanned.try_map(self.tries()).filter(keeps()))
                    }
                    (Last::TryForEach, _) => self.staged(pipeline),
                    _ => self.collected(pipeline),
                }
            }
            Origin::Ready => {
                let items: Box<dyn Iterator<Item = Item> + Send> = Box::new(items.map(|item| self.pull(item)));
                self.staged(self.set(Pipeline::from_ready(items)).try_map(Ok::<_, Error>))
            }
            Origin::Data => {
                let items: Vec<Item> = items.map(|item| self.made(item)).collect();
                let act = |item: Item| {
                    self.act(Place::Source, item.value).unwrap_or_else(|_| unreachable!("only lines can fail"));
                    item
                };
                let pipeline = self.set(Pipeline::from_data(items.into_par_iter().map(act))).try_map(Ok::<_, Error>);
                match self.program.last {
                    Last::TryForEach => self.staged(pipeline),
                    _ => self.collected(pipeline),
                }
            }
            Origin::Receiver => {
                let (sender, receiver) = unbounded();
                items.for_each(|item| sender.send(self.made(item)).unwrap_or_else(|_| unreachable!("it is open")));
                drop(sender);
                self.staged(self.set(Pipeline::from_receiver(receiver)).try_map(Ok::<_, Error>))
            }
            Origin::Lines => {
                let reader = BufReader::with_capacity(16, Numbers { run: self, next: 0 });
                let parse = |line: io::Result<String>| match line {
                    Ok(line) => Ok(self.made(line.parse().expect("a number"))),
                    Err(error) => Err(Error::Failed(self.made(error.to_string().parse().expect("a number")))),
                };
                self.staged(self.set(Pipeline::from_lines(reader)).try_map(parse))
            }
        }
    }

    fn staged<C>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, End)
    where
        C: Chain<Output = Item, Error = Error>,
    {
        let pipeline = pipeline.try_map(self.tries());
        match self.program.chain {
            0 => self.each(pipeline.flat_map(self.fans()).filter(keeps()).try_map(self.tries())),
            1 => {
                let scanned = pipeline.scan(self.made(0), |sum, item| scanned(&mut sum.value, item.value));
                let made: Box<dyn Fn(usize) -> Item + Sync + '_> = Box::new(|item| self.made(item));
                self.each(scanned.map(made).filter(keeps()).flat_map(self.fans()).try_map(self.tries()))
            }
            _ => unreachable!("there are two for every source"),
        }
    }

    fn set<C>(&self, pipeline: Pipeline<C>) -> Pipeline<C> {
        let pipeline = pipeline.threads(self.program.threads);
        let pipeline = if let Some(items) = self.program.window { pipeline.window(items) } else { pipeline };
        if self.program.ordered { pipeline.ordered() } else { pipeline.unordered() }
    }

    fn tries(&self) -> OfItem<'_, Result<Item, Error>> {
        Box::new(|item| self.act(Place::Stage, item.value % ROUND).map(|()| item))
    }

    fn maps(&self) -> OfItem<'_, Item> {
        Box::new(|item| self.made(mapped(item.value)))
    }

    fn maps_if_kept(&self) -> OfItem<'_, Option<Item>> {
        Box::new(|item| mapped_if_kept(item.value).map(|item| self.made(item)))
    }

    fn fans(&self) -> OfItem<'_, Box<dyn Iterator<Item = Item> + '_>> {
        Box::new(move |item| {
            let parts = self.program.fanned(item.value);
            Box::new(parts.map(move |part| {
                // The iterator holds the item that it is made of.
                _ = &item;
                self.made(part)
            }))
        })
    }

    fn each<C>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, End)
    where
        C: Chain<Output = Item, Error = Error>,
    {
        let seen = RefCell::new(Vec::new());
        let held = self.made(0);
        let sink: Box<dyn FnMut(Item) -> Result<(), Error> + '_> = Box::new(|output| {
            _ = &held;
            self.act(Place::Sink, seen.borrow().len())?;
            seen.borrow_mut().push(output.value);
            Ok(())
        });
        let end = ending(|| pipeline.try_for_each(&self.token, sink)).err().unwrap_or(End::Done);
        (seen.into_inner(), end)
    }

    /// The other ends, of one chain.
    fn collected<C>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, End)
    where
        C: Chain<Output = Item, Error = Error>,
    {
        let pipeline = pipeline.try_map(self.tries()).flat_map(self.fans()).filter(keeps()).try_map(self.tries());
        let numbers = |items: Vec<Item>| items.into_iter().map(|item| item.value).collect();
        let ended = ending(|| match self.program.last {
            Last::Collect => pipeline.collect(&self.token).map(numbers),
            Last::Count => pipeline.count(&self.token).map(|count| vec![count]),
            Last::First => pipeline.first(&self.token).map(|first| numbers(first.into_iter().collect())),
            Last::Fold | Last::TryForEach => {
                let fold = |mut all: Vec<Item>, output| {
                    self.act(Place::Sink, all.len()).unwrap_or_else(|_| unreachable!("a fold cannot fail"));
                    all.push(output);
                    all
                };
                pipeline.fold(&self.token, Vec::new(), fold).map(numbers)
            }
        });
        match ended {
            Ok(seen) => (seen, End::Done),
            Err(end) => (Vec::new(), end),
        }
    }
}

fn keeps() -> Looks<'static, bool> {
    Box::new(|item| is_kept(item.value))
}

/// The lines of a program's source, one a read.
struct Numbers<'a> {
    run: &'a Run<'a>,
    next: usize,
}

impl Read for Numbers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.next == self.run.program.items {
            return Ok(0);
        }
        let item = self.next;
        self.next += 1;
        match self.run.act(Place::Source, item) {
            Ok(()) => format!("{item}\n").as_bytes().read(buffer),
            Err(Error::Failed(number)) => Err(io::Error::other(number.value.to_string())),
            Err(Error::Cancelled(cancelled)) => Err(cancelled.into()),
        }
    }
}

/// Checks what a pipeline did against the model.
pub(crate) fn check(program: &Program, census: &Census) {
    let parent = CancellationToken::new();
    let token = if program.late { parent.child_with_deadline(Instant::now()) } else { parent.child_token() };
    let (signal, happened) = (Gate::default(), Mutex::default());
    let run = Run { program, census, parent, token, signal, happened };
    let (seen, end) = run.run();
    let happened = run.happened.into_inner().unwrap();
    let (expected, loops_end) = Model::run(program, false);
    let is_exact = program.late || program.ordered && !program.is_cancelled_by_chance();
    if program.threads == 1 && !program.has_signal() || is_exact {
        assert!(seen == expected, "{} outputs, {} expected, {end:?} {loops_end:?}", seen.len(), expected.len());
        assert_eq!(end, loops_end);
        assert!(!program.late || happened.is_empty(), "it started");
        return;
    }
    if program.ordered {
        assert!(expected.starts_with(&seen), "{} outputs are no prefix of {}", seen.len(), expected.len());
    } else {
        let (all, _) = Model::run(program, true);
        if program.last == Last::Count {
            assert!(seen.iter().all(|count| *count == all.len()));
        } else {
            let mut counts = BTreeMap::<usize, isize>::new();
            all.iter().for_each(|output| *counts.entry(*output).or_default() += 1);
            seen.iter().for_each(|output| *counts.entry(*output).or_default() -= 1);
            assert!(counts.values().all(|count| *count >= 0), "an output was made up, or came twice");
            if end == End::Done && program.last != Last::First {
                assert_eq!(seen.len(), all.len(), "an output was lost");
            }
        }
    }
    match &end {
        End::Done if program.ordered => assert_eq!((&seen, &loops_end), (&expected, &End::Done)),
        // What is behind the first output may have failed already.
        End::Done => assert!(happened.is_empty() || program.last == Last::First),
        End::Cancelled(reason) => {
            assert_eq!(*reason, REASON);
            let cancels = |act: &Act| matches!(act, Act::Cancel | Act::CancelParent | Act::Signal);
            assert!(program.acts.values().any(cancels), "nothing cancels");
        }
        End::Failed(_) | End::Panicked(_) => assert!(happened.contains(&end), "{end:?} did not happen"),
    }
}

#[test]
fn cancelled_pipelines_end_as_the_loop_or_as_cancelled_within_its_outputs() {
    if !alone!(cancelled_pipelines_end_as_the_loop_or_as_cancelled_within_its_outputs) {
        return;
    }
    try_programs(300, programs, |program, census| check(&program, census));
}
