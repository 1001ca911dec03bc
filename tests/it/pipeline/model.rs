//! Random pipelines against a model of the sequential loop.

use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Failure, Failures, Pipeline, States};
use crossbeam::channel::unbounded;
use proptest::prelude::*;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::util::watched;

/// What an item of a random program does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Pass,
    /// Takes long enough for others to overtake it.
    Slow,
    Fail,
    Panic,
}

/// Where a random program is broken off, besides its items.
#[derive(Clone, Copy, Debug)]
enum Break {
    Nowhere,
    SourcePanics(usize),
    SinkFails(usize),
    SinkPanics(usize),
}

#[derive(Clone, Debug)]
struct Program {
    fates: Vec<Fate>,
    broken: Break,
    threads: usize,
    window: Option<usize>,
    source: Origin,
    /// Which of [`CHAINS`].
    chain: usize,
    end: End,
}

/// How the outputs reach the sink, for some of the chains: each end of each takes the compiler seconds.
#[derive(Clone, Copy, Debug)]
enum End {
    ForEach,
    Iter,
    IntoIter,
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
#[derive(Clone, Copy, Debug)]
enum Kind {
    Map,
    TryMap,
    Filter,
    FilterMap,
    FlatMap,
    Inspect,
    Scan,
    KeepGoing,
    FailAfter,
}

/// The chains of stages of `Program::staged`, which has the same.
///
/// The last four have stages with states, which the model does not see. Where it keeps going, and behind
/// that, an item that failed is a number of its own, [`failed`].
const CHAINS: [&[Kind]; 12] = [
    &[Kind::TryMap],
    &[Kind::Map, Kind::Filter, Kind::TryMap],
    &[Kind::TryMap, Kind::FilterMap, Kind::TryMap],
    &[Kind::FlatMap, Kind::TryMap],
    &[Kind::TryMap, Kind::FlatMap, Kind::Inspect, Kind::Filter],
    &[Kind::Inspect, Kind::Filter, Kind::FlatMap, Kind::FlatMap, Kind::TryMap, Kind::FilterMap],
    &[Kind::TryMap, Kind::Scan, Kind::Filter, Kind::TryMap],
    &[Kind::FlatMap, Kind::Scan, Kind::FlatMap, Kind::Scan, Kind::TryMap],
    &[Kind::TryMap, Kind::FlatMap, Kind::FilterMap, Kind::TryMap, Kind::Map],
    &[Kind::FlatMap, Kind::TryMap, Kind::KeepGoing, Kind::Filter, Kind::TryMap],
    &[Kind::Map, Kind::TryMap, Kind::FlatMap, Kind::KeepGoing, Kind::FailAfter, Kind::Scan, Kind::TryMap],
    &[Kind::FilterMap, Kind::FlatMap, Kind::TryMap, Kind::KeepGoing, Kind::FlatMap, Kind::TryMap],
];

/// How many failures end a run at [`Kind::FailAfter`].
const MOST: usize = 2;

fn programs() -> impl Strategy<Value = Program> {
    let fate = prop_oneof![
        60 => Just(Fate::Pass),
        4 => Just(Fate::Slow),
        1 => Just(Fate::Fail),
        1 => Just(Fate::Panic),
    ];
    let broken = prop_oneof![
        4 => Just(Break::Nowhere),
        1 => (0..150_usize).prop_map(Break::SourcePanics),
        1 => (0..150_usize).prop_map(Break::SinkFails),
        1 => (0..150_usize).prop_map(Break::SinkPanics),
    ];
    let source = prop_oneof![
        Just(Origin::Iter),
        Just(Origin::Ready),
        Just(Origin::Data),
        Just(Origin::Receiver),
        Just(Origin::Lines)
    ];
    (
        proptest::collection::vec(fate, 0..150),
        broken,
        1..=8_usize,
        proptest::option::of(1..=64_usize),
        source,
        0..CHAINS.len(),
        prop_oneof![2 => Just(End::ForEach), 1 => Just(End::Iter), 1 => Just(End::IntoIter)],
    )
        .prop_map(|(fates, broken, threads, window, source, chain, end)| {
            // Nothing of the user's runs in the source of a channel.
            let broken = match broken {
                Break::SourcePanics(_) if source == Origin::Receiver => Break::Nowhere,
                other => other,
            };
            Program { fates, broken, threads, window, source, chain, end }
        })
}

/// How a program ended, as its caller sees it.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Failed(String),
    Panicked(String),
}

type Result<T> = std::result::Result<T, anyhow::Error>;

// The stages. Each item is a number; what a stage makes of it depends on that alone.

fn mapped(item: usize) -> usize {
    item * 3 + 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as a filter takes it")]
fn is_kept(item: &usize) -> bool {
    item % 5 != 2
}

fn mapped_if_kept(item: usize) -> Option<usize> {
    (item % 7 != 3).then_some(item + 1)
}

fn fanned(item: usize) -> impl Iterator<Item = usize> {
    // Now and then more than is handed over at once.
    let parts = if item == 100 { 5_000 } else { item % 4 };
    (0..parts).map(move |part| item * 4 + part)
}

/// A running sum, which ends now and then.
fn scanned(sum: &mut usize, item: usize) -> Option<usize> {
    *sum += item;
    (*sum % 401 != 400).then_some(*sum)
}

/// A state that a closure changes and restores, unless it panics in between.
#[derive(Default)]
struct Scratch {
    is_in_use: bool,
}

impl Scratch {
    fn lent<R>(&mut self, work: impl FnOnce() -> R) -> R {
        assert!(!std::mem::replace(&mut self.is_in_use, true), "a spoiled state was lent");
        let result = work();
        self.is_in_use = false;
        result
    }
}

/// The number of an item that failed, behind [`Kind::KeepGoing`].
fn failed(index: usize, is_panic: bool) -> usize {
    1_000_000 + index * 2 + usize::from(is_panic)
}

fn kept(result: std::result::Result<usize, Failure<anyhow::Error>>) -> usize {
    result.unwrap_or_else(|failure| failed(failure.index(), failure.panic().is_some()))
}

impl Program {
    fn tried(&self, item: usize) -> Result<usize> {
        match self.fates[item % self.fates.len()] {
            Fate::Pass => {}
            Fate::Slow => (0..200).for_each(|_| std::thread::yield_now()),
            Fate::Fail => anyhow::bail!("item {item} failed"),
            Fate::Panic => std::panic::panic_any(format!("item {item} panicked")),
        }
        Ok(item)
    }

    fn pull(&self, item: usize) -> usize {
        if matches!(self.broken, Break::SourcePanics(at) if at == item) {
            std::panic::panic_any(format!("source panicked at {item}"));
        }
        item
    }

    fn sink(&self, seen: &mut Vec<usize>, output: usize) -> Result<()> {
        match self.broken {
            Break::SinkFails(at) if at == seen.len() => anyhow::bail!("sink failed at {at}"),
            Break::SinkPanics(at) if at == seen.len() => std::panic::panic_any(format!("sink panicked at {at}")),
            _ => seen.push(output),
        }
        Ok(())
    }

    /// Hands the outputs of an item to `emit` one by one. Each has a sum, which a scan uses. Returns whether the loop
    /// goes on.
    fn feed(
        &self,
        stages: &mut [(Kind, usize)],
        item: usize,
        emit: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<bool> {
        if let Some(at) = stages.iter().position(|(kind, _)| matches!(kind, Kind::KeepGoing)) {
            let (before, rest) = stages.split_at_mut(at);
            return self.keep_going(before, &mut rest[1..], item, emit);
        }
        let Some(((kind, sum), rest)) = stages.split_first_mut() else { return emit(item).map(|()| true) };
        match kind {
            Kind::Map => self.feed(rest, mapped(item), emit),
            Kind::TryMap => self.feed(rest, self.tried(item)?, emit),
            Kind::Filter if !is_kept(&item) => Ok(true),
            Kind::Filter | Kind::Inspect => self.feed(rest, item, emit),
            Kind::FilterMap => mapped_if_kept(item).map_or(Ok(true), |item| self.feed(rest, item, emit)),
            Kind::FlatMap => {
                for item in fanned(item) {
                    if !self.feed(rest, item, emit)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Kind::Scan => scanned(sum, item).map_or(Ok(false), |item| self.feed(rest, item, emit)),
            Kind::KeepGoing => unreachable!("it has been split off"),
            Kind::FailAfter => {
                *sum += usize::from(item >= failed(0, false));
                anyhow::ensure!(item < failed(0, false) || *sum < MOST, "failure {sum}: {item}");
                self.feed(rest, item, emit)
            }
        }
    }

    /// Feeds an item of the source to stages whose failures are values for the `rest`.
    fn keep_going(
        &self,
        before: &mut [(Kind, usize)],
        rest: &mut [(Kind, usize)],
        index: usize,
        emit: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<bool> {
        // How the stages behind have answered; none while they have control.
        let mut behind = Some(Ok(true));
        let fed = catch_unwind(AssertUnwindSafe(|| {
            self.feed(before, index, &mut |item| {
                behind = None;
                let answer = self.feed(rest, item, emit);
                let goes_on = matches!(answer, Ok(true));
                behind = Some(answer);
                anyhow::ensure!(goes_on, "broken off");
                Ok(())
            })
        }));
        let is_panic = match (fed, behind) {
            (Err(payload), None) => resume_unwind(payload),
            (_, None) => unreachable!("they have answered, or panicked"),
            (Ok(Ok(_)), Some(Ok(true))) => return Ok(true),
            (fed, Some(Ok(true))) => fed.is_err(),
            (_, Some(ended)) => return ended,
        };
        self.feed(rest, failed(index, is_panic), emit)
    }

    /// The loop that the pipeline promises to equal.
    fn sequential(&self) -> (Vec<usize>, Outcome) {
        outcome(|seen| {
            let mut stages: Vec<_> = CHAINS[self.chain].iter().map(|kind| (*kind, 0)).collect();
            for item in (0..self.fates.len()).map(|item| self.pull(item)) {
                if !self.feed(&mut stages, item, &mut |output| self.sink(seen, output))? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn parallel(self, ordered: bool) -> (Vec<usize>, Outcome) {
        // An iterator that owns its run borrows nothing that ends.
        let program: &'static Program = Box::leak(Box::new(self));
        let items = 0..program.fates.len();
        match program.source {
            Origin::Data => {
                let data = items.into_par_iter().map(|item| program.pull(item));
                program.staged(Pipeline::from_data(data).try_map(Ok::<_, anyhow::Error>), ordered)
            }
            Origin::Iter => {
                let items = Pipeline::from_iter(items.map(|item| program.pull(item)));
                program.staged(items.try_map(Ok::<_, anyhow::Error>), ordered)
            }
            Origin::Ready => {
                let items = Pipeline::from_ready(items.map(|item| program.pull(item)));
                program.staged(items.try_map(Ok::<_, anyhow::Error>), ordered)
            }
            Origin::Receiver => {
                let (sender, receiver) = unbounded();
                items.for_each(|item| sender.send(item).unwrap());
                drop(sender);
                program.staged(Pipeline::from_receiver(receiver).try_map(Ok::<_, anyhow::Error>), ordered)
            }
            Origin::Lines => {
                let reader = BufReader::with_capacity(16, Numbers { program, next: 0 });
                program.staged(
                    Pipeline::from_lines(reader).try_map(|line| Ok::<_, anyhow::Error>(line?.parse()?)),
                    ordered,
                )
            }
        }
    }

    fn staged<C>(&'static self, pipeline: Pipeline<C>, ordered: bool) -> (Vec<usize>, Outcome)
    where
        C: Chain<Output = usize, Error = anyhow::Error, Cause = Cancelled> + 'static,
        C::Source: Send + 'static,
        C::Stage: Send + 'static,
    {
        let pipeline = self.set(pipeline, ordered);
        let tried = |item| self.tried(item);
        let scratches: &'static _ = Box::leak(Box::new(States::new(Scratch::default)));
        let lent = |scratch: &mut Scratch, item| scratch.lent(|| self.tried(item));
        match self.chain {
            0 => self.run(pipeline.try_map(tried)),
            1 => self.push(pipeline.map(mapped).filter(is_kept).try_map(tried)),
            2 => self.push(pipeline.try_map(tried).filter_map(mapped_if_kept).try_map(tried)),
            3 => self.push(pipeline.flat_map(fanned).try_map(tried)),
            4 => self.run(pipeline.try_map(tried).flat_map(fanned).inspect(|_| ()).filter(is_kept)),
            5 => {
                let fanned_twice = pipeline.inspect(|_| ()).filter(is_kept).flat_map(fanned).flat_map(fanned);
                self.push(fanned_twice.try_map(tried).filter_map(mapped_if_kept))
            }
            6 => self.push(pipeline.try_map(tried).scan(0, scanned).filter(is_kept).try_map(tried)),
            7 => {
                let scanned_once = pipeline.flat_map(fanned).scan(0, scanned).flat_map(fanned);
                self.run(scanned_once.scan(0, scanned).try_map(tried))
            }
            8 => {
                let fanned =
                    pipeline.try_map_init(scratches, lent).flat_map_init(Scratch::default, |_, item| fanned(item));
                let tried = fanned.filter_map_init(scratches, |_, item| mapped_if_kept(item)).try_map(tried);
                self.push(tried.map_init(scratches, |scratch, item| scratch.lent(|| mapped(item))))
            }
            9 => {
                let going_on = pipeline.flat_map(fanned).try_map_init(Scratch::default, lent).keep_going();
                self.push(going_on.map(kept).filter(is_kept).try_map(tried))
            }
            10 => {
                let mapped = pipeline.map_init(scratches, |scratch, item| scratch.lent(|| mapped(item)));
                let going_on = mapped.try_map_init(scratches, lent).flat_map(fanned).keep_going().fail_after(MOST);
                let ended = going_on.try_map(|result| Ok::<_, anyhow::Error>(kept(result)));
                let scanned = ended.scan(0, scanned);
                self.lend(scanned.try_map(tried))
            }
            11 => {
                let fanned_once = pipeline.filter_map(mapped_if_kept).flat_map_init(scratches, |_, item| fanned(item));
                self.run(
                    fanned_once.try_map_init(scratches, lent).keep_going().map(kept).flat_map(fanned).try_map(tried),
                )
            }
            _ => unreachable!("there are twelve"),
        }
    }

    fn push<C: Chain<Output = usize, Error = anyhow::Error>>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, Outcome) {
        outcome(|seen| pipeline.try_for_each(&CancellationToken::new(), |output| self.sink(seen, output)))
    }

    fn lend<C: Chain<Output = usize, Error = anyhow::Error>>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, Outcome) {
        let (End::Iter | End::IntoIter) = self.end else { return self.push(pipeline) };
        let token = CancellationToken::new();
        outcome(|seen| pipeline.iter(&token, |outputs| outputs.try_for_each(|output| self.sink(seen, output?))))
    }

    fn run<C>(&self, pipeline: Pipeline<C>) -> (Vec<usize>, Outcome)
    where
        C: Chain<Output = usize, Error = anyhow::Error> + Send + 'static,
    {
        let End::IntoIter = self.end else { return self.lend(pipeline) };
        let mut outputs = pipeline.into_iter(&CancellationToken::new());
        outcome(|seen| outputs.try_for_each(|output| self.sink(seen, output?)))
    }

    fn set<C>(&self, pipeline: Pipeline<C>, ordered: bool) -> Pipeline<C> {
        let pipeline = pipeline.threads(self.threads);
        let pipeline = if let Some(items) = self.window { pipeline.window(items) } else { pipeline };
        if ordered { pipeline.ordered() } else { pipeline.unordered() }
    }
}

/// The lines of a program's source, one a read.
struct Numbers<'a> {
    program: &'a Program,
    next: usize,
}

impl Read for Numbers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.next == self.program.fates.len() {
            return Ok(0);
        }
        let line = format!("{}\n", self.program.pull(self.next));
        self.next += 1;
        line.as_bytes().read(buffer)
    }
}

fn outcome(run: impl FnOnce(&mut Vec<usize>) -> Result<()>) -> (Vec<usize>, Outcome) {
    let mut seen = Vec::new();
    let outcome = match catch_unwind(AssertUnwindSafe(|| run(&mut seen))) {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::Failed(match error.downcast_ref::<Failures<anyhow::Error>>() {
            Some(failures) => {
                let last = &failures.as_slice()[0];
                format!("failure {}: {}", failures.count(), failed(last.index(), last.panic().is_some()))
            }
            None => error.to_string(),
        }),
        Err(payload) => Outcome::Panicked(*payload.downcast().expect("these panics carry strings")),
    };
    (seen, outcome)
}

/// The ordinary run tries a few hundred programs; `BRIGADE_CASES` sets another number.
fn cases() -> ProptestConfig {
    let cases = std::env::var("BRIGADE_CASES").map_or(300, |cases| cases.parse().expect("BRIGADE_CASES is a number"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn ordered_equals_the_sequential_loop(program in programs()) {
        let expected = program.sequential();
        let program = program.clone();
        prop_assert_eq!(watched(move || program.parallel(true)), expected);
    }

    #[test]
    fn unordered_gives_the_same_outputs_in_any_order(mut program in programs()) {
        // Without order a scan takes the items as they arrive.
        prop_assume!(!CHAINS[program.chain].iter().any(|kind| matches!(kind, Kind::Scan)));
        program.broken = Break::Nowhere;
        program.fates.retain(|fate| matches!(fate, Fate::Pass | Fate::Slow));
        let (mut expected, _) = program.sequential();
        let (mut seen, outcome) = watched(move || program.parallel(false));
        expected.sort_unstable();
        seen.sort_unstable();
        prop_assert_eq!((seen, outcome), (expected, Outcome::Done));
    }

    #[test]
    fn unordered_ends_with_a_failure_that_happened(program in programs()) {
        let (_, first) = program.sequential();
        // Without order a scan may end the run elsewhere.
        prop_assume!(!CHAINS[program.chain].iter().any(|kind| matches!(kind, Kind::Scan)));
        let failed = program.fates.contains(&Fate::Fail) || program.fates.contains(&Fate::Panic);
        let (_, outcome) = watched(move || program.parallel(false));
        prop_assert!(first == Outcome::Done || outcome != Outcome::Done);
        prop_assert!(failed || first != Outcome::Done || outcome == Outcome::Done);
    }

    #[test]
    fn lines_are_those_of_std(text in "[a\n\r\u{e9}]{0,300}", capacity in 1..40_usize, threads in 1..5_usize, window in 1..9_usize) {
        let expected: Vec<String> = text.as_bytes().lines().map(std::result::Result::unwrap).collect();
        let lines = watched(move || {
            let pipeline = Pipeline::from_lines(BufReader::with_capacity(capacity, text.as_bytes()));
            pipeline.threads(threads).window(window).try_map(|line| line).collect::<Vec<_>>(&CancellationToken::new()).unwrap()
        });
        prop_assert_eq!(lines, expected);
    }
}
