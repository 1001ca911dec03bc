//! Random pipelines whose source waits for the outputs of earlier items, and pipelines in a ring: none ever hangs.

use std::io::{self, BufReader, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};

use brigade::pipeline::Chain;
use brigade::{CancelReason, CancellationToken, Pipeline, scope};
use crossbeam::channel::{bounded, unbounded};
use proptest::prelude::*;

use crate::model::{End, Error, Item, ending, throw, try_programs};
use crate::util::{Census, alone};

const REASON: CancelReason = CancelReason::Other("the model");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Nothing,
    Fail,
    Panic,
    Cancel,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Each item: how many outputs it has, and for how many of those of earlier items the source does not wait.
    items: Vec<(usize, usize)>,
    /// What happens, in a stage by the item's number and in the sink by that of the output.
    in_stage: (usize, Act),
    in_sink: (usize, Act),
    threads: usize,
    window: Option<usize>,
    ordered: bool,
    /// The source is a reader of lines, not an iterator.
    lines: bool,
    scanned: bool,
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let fan = prop_oneof![6 => Just(1_usize), 1 => Just(0), 1 => Just(3), 1 => Just(40)];
    let unawaited = prop_oneof![4 => Just(0_usize), 2 => 0..10_usize, 1 => Just(1_000)];
    let act = || {
        let act =
            prop_oneof![6 => Just(Act::Nothing), 1 => Just(Act::Fail), 1 => Just(Act::Panic), 1 => Just(Act::Cancel)];
        (0..80_usize, act)
    };
    let items = proptest::collection::vec((fan, unawaited), 0..100);
    let settings = (1..=8_usize, proptest::option::of(1..=64_usize), any::<bool>(), any::<bool>(), any::<bool>());
    (items, act(), act(), settings).prop_map(
        |(items, in_stage, in_sink, (threads, window, ordered, lines, scanned))| Program {
            items,
            in_stage,
            in_sink,
            threads,
            window,
            ordered,
            lines,
            scanned,
        },
    )
}

/// The source: before each item it waits until enough outputs of the earlier ones have been taken, or the sink is gone.
struct Waits<'a> {
    program: &'a Program,
    census: &'a Census,
    word: Receiver<()>,
    next: usize,
    /// How many outputs the earlier items have, and of how many it has had word.
    outputs: usize,
    heard: usize,
}

impl Iterator for Waits<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (fan, unawaited) = *self.program.items.get(self.next)?;
        while self.heard + unawaited < self.outputs {
            self.word.recv().ok()?;
            self.heard += 1;
        }
        self.outputs += fan;
        self.next += 1;
        Some(self.census.make(self.next - 1))
    }
}

impl Read for Waits<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next().map_or(Ok(0), |item| format!("{}\n", item.value).as_bytes().read(buffer))
    }
}

struct Run<'a> {
    program: &'a Program,
    census: &'a Census,
    token: CancellationToken,
    happened: Mutex<Vec<End>>,
}

impl Run<'_> {
    fn act(&self, place: usize, at: usize, (when, act): (usize, Act)) -> Result<(), Error> {
        if at != when {
            return Ok(());
        }
        let number = place * 1_000 + at;
        match act {
            Act::Nothing => {}
            Act::Fail => {
                self.happened.lock().unwrap().push(End::Failed(number));
                return Err(Error::Failed(self.census.make(number)));
            }
            Act::Panic => {
                self.happened.lock().unwrap().push(End::Panicked(number));
                throw(self.census.make(number));
            }
            Act::Cancel => {
                self.happened.lock().unwrap().push(End::Cancelled(REASON));
                self.token.cancel_with(REASON);
            }
        }
        Ok(())
    }

    fn run(&self) -> (usize, End) {
        let (sender, word) = mpsc::channel();
        let source = Waits { program: self.program, census: self.census, word, next: 0, outputs: 0, heard: 0 };
        if self.program.lines {
            let lines = Pipeline::from_lines(BufReader::with_capacity(16, source));
            let parse = |line: io::Result<String>| -> Result<Item, Error> {
                Ok(self.census.make(line.expect("text").parse().expect("a number")))
            };
            self.staged(lines.try_map(parse), sender)
        } else {
            self.staged(Pipeline::from_iter(source).try_map(Ok::<_, Error>), sender)
        }
    }

    fn staged<C>(&self, pipeline: Pipeline<C>, sender: mpsc::Sender<()>) -> (usize, End)
    where
        C: Chain<Output = Item, Error = Error>,
    {
        let pipeline = pipeline.threads(self.program.threads);
        let pipeline = if let Some(items) = self.program.window { pipeline.window(items) } else { pipeline };
        let pipeline = if self.program.ordered { pipeline.ordered() } else { pipeline.unordered() };
        let pipeline = pipeline.try_map(|item| self.act(0, item.value, self.program.in_stage).map(|()| item));
        let fanned = pipeline
            .flat_map(|item: Item| (0..self.program.items[item.value].0).map(move |_| self.census.make(item.value)));
        if self.program.scanned {
            self.end(fanned.scan(self.census.make(0), |_, item| Some(item)), sender)
        } else {
            self.end(fanned, sender)
        }
    }

    fn end<C>(&self, pipeline: Pipeline<C>, sender: mpsc::Sender<()>) -> (usize, End)
    where
        C: Chain<Output = Item, Error = Error>,
    {
        let mut outputs = 0;
        let mut last = 0;
        let taken = &mut outputs;
        // The sink owns the sender, so that the source is let go when the sink is.
        let end = ending(|| {
            pipeline.try_for_each(&self.token, move |item| {
                self.act(1, *taken, self.program.in_sink)?;
                *taken += 1;
                assert!(!self.program.ordered || last <= item.value, "out of order");
                last = item.value;
                // The source may have ended before the last outputs.
                _ = sender.send(());
                Ok(())
            })
        });
        (outputs, end.err().unwrap_or(End::Done))
    }
}

/// Checks that the run ends, and as what happened says.
pub(crate) fn check(program: &Program, census: &Census) {
    let run = Run { program, census, token: CancellationToken::new(), happened: Mutex::default() };
    let (outputs, end) = run.run();
    let happened = run.happened.into_inner().unwrap();
    let all = program.items.iter().map(|(fan, _)| fan).sum::<usize>();
    if happened.is_empty() {
        assert_eq!((outputs, end), (all, End::Done));
    } else {
        assert!(outputs <= all && happened.contains(&end), "{end:?} is none of {happened:?}");
    }
}

#[test]
fn a_source_that_waits_for_earlier_outputs_never_hangs_however_the_run_ends() {
    if !alone!(a_source_that_waits_for_earlier_outputs_never_hangs_however_the_run_ends) {
        return;
    }
    try_programs(300, programs, |program, census| check(&program, census));
}

#[derive(Clone, Debug)]
struct Ring {
    /// Threads, window and order of each pipeline.
    pipelines: Vec<(usize, Option<usize>, bool)>,
    /// For how many steps each token of the ring goes round.
    tokens: Vec<usize>,
    /// The channels have room for all tokens and no more.
    bounded: bool,
    /// A stage fails, panics or cancels at so many steps to go.
    act: (usize, Act),
}

fn rings() -> impl Strategy<Value = Ring> {
    let pipeline = (1..=4_usize, proptest::option::of(1..=8_usize), any::<bool>());
    let act = prop_oneof![4 => Just(Act::Nothing), 1 => Just(Act::Fail), 1 => Just(Act::Panic), 1 => Just(Act::Cancel)];
    let pipelines = proptest::collection::vec(pipeline, 1..4);
    let tokens = proptest::collection::vec(0..60_usize, 1..12);
    (pipelines, tokens, any::<bool>(), (0..60_usize, act)).prop_map(|(pipelines, tokens, bounded, act)| Ring {
        pipelines,
        tokens,
        bounded,
        act,
    })
}

#[test]
fn pipelines_that_feed_each_other_in_a_ring_never_hang() {
    if !alone!(pipelines_that_feed_each_other_in_a_ring_never_hang) {
        return;
    }
    try_programs(200, rings, |ring, census| {
        let (count, steps) = (ring.pipelines.len(), AtomicUsize::new(0));
        let channels: Vec<_> =
            (0..count).map(|_| if ring.bounded { bounded(ring.tokens.len()) } else { unbounded::<Item>() }).collect();
        for steps in &ring.tokens {
            channels[0].0.send(census.make(*steps)).unwrap_or_else(|_| unreachable!("it is open"));
        }
        let left = AtomicUsize::new(ring.tokens.len());
        let token = CancellationToken::new();
        let end = ending(|| {
            scope(&token, |s| {
                for (at, (threads, window, ordered)) in ring.pipelines.iter().enumerate() {
                    let (receiver, sender) = (channels[at].1.clone(), channels[(at + 1) % count].0.clone());
                    let (steps, left, token, ring) = (&steps, &left, &token, &ring);
                    s.spawn(move |s| {
                        let pipeline = Pipeline::from_receiver(receiver).threads(*threads);
                        let pipeline = if let Some(items) = window { pipeline.window(*items) } else { pipeline };
                        let pipeline = if *ordered { pipeline.ordered() } else { pipeline.unordered() };
                        let stage = |mut item: Item| {
                            match ring.act {
                                (when, act) if when != item.value || act == Act::Nothing => {}
                                (when, Act::Fail) => return Err(Error::Failed(census.make(when))),
                                (when, Act::Panic) => throw(census.make(when)),
                                (_, _) => _ = token.cancel_with(REASON),
                            }
                            steps.fetch_add(1, Ordering::Relaxed);
                            let goes_on = item.value > 0;
                            item.value = item.value.saturating_sub(1);
                            Ok((item, goes_on))
                        };
                        let done = s.token().child_token();
                        let ended = pipeline.try_map(stage).try_for_each(&done, |(item, goes_on)| {
                            if goes_on {
                                // The next pipeline may have ended early.
                                _ = sender.send(item);
                            } else if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                                // The last token has arrived: no pipeline sends any more, and the scope may end.
                                s.token().cancel_with(CancelReason::Other("all arrived"));
                            }
                            Ok(())
                        });
                        match ended {
                            Err(Error::Cancelled(cancelled)) if cancelled.reason() != REASON => Ok(()),
                            ended => ended,
                        }
                    })?;
                }
                Ok(())
            })
        });
        // A scope whose token is cancelled may refuse a task that is late.
        let end = end.err().unwrap_or(End::Done);
        drop(channels);
        let reached = ring.tokens.iter().any(|steps| ring.act.0 <= *steps) && ring.act.1 != Act::Nothing;
        match end {
            End::Done | End::Cancelled(CancelReason::Other("all arrived")) if !reached => {
                assert_eq!(steps.into_inner(), ring.tokens.iter().map(|steps| steps + 1).sum::<usize>());
            }
            End::Failed(when) => assert!(reached && ring.act == (when, Act::Fail)),
            End::Panicked(when) => assert!(reached && ring.act == (when, Act::Panic)),
            End::Cancelled(REASON) => assert!(reached && ring.act.1 == Act::Cancel),
            end => panic!("{end:?}"),
        }
    });
}
