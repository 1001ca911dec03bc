//! Random pipelines that are cancelled, fail and panic, against a model of the sequential loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::sync::Mutex;
use std::time::Instant;

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Pipeline, scope};
use crossbeam::channel::unbounded;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::cancel_program::*;
use crate::model::{End, Error, Item, ending, throw, try_programs};
use crate::util::{Census, Gate, alone};

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
