//! Pipelines.

use std::sync::atomic::Ordering;

use brigade::{CancellationToken, Cancelled, Pipeline, States};
use crossbeam::channel::unbounded;
use proptest::prelude::*;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{Act, Armed, Arsenal, Bomb, Defuse, Error, acts, armed, ends_well};
use crate::model::try_programs;
use crate::util::alone;

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
    HasStates,
    KeepsGoing,
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
        2 => Just(Chain::HasStates),
        2 => Just(Chain::KeepsGoing),
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
                    Chain::HasStates => self.end_with_states(pipeline),
                    Chain::KeepsGoing => self.end(self.keep_going(pipeline)),
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

    /// Ends it behind stages whose states are values too.
    fn end_with_states<C>(&self, pipeline: Pipeline<C>) -> bool
    where
        C: brigade::pipeline::Chain<Output = Bomb, Error = Error>,
    {
        let states = States::new(|| self.arsenal.make(0));
        let with_states = pipeline.map_init(|| self.arsenal.make(0), |_, item| item);
        let ended = self.end(with_states.map_init(&states, |_, item| item));
        states.into_vec().defuse();
        ended
    }

    /// Goes on past the failures of the stages so far, for each of which it makes a value.
    fn keep_going<C>(
        &self,
        pipeline: Pipeline<C>,
    ) -> Pipeline<impl brigade::pipeline::Chain<Output = Bomb, Error = Error>>
    where
        C: brigade::pipeline::Chain<Output = Bomb, Error = Error, Cause = Cancelled>,
    {
        let kept = pipeline.map_init(|| self.arsenal.make(0), |_, item| item).keep_going();
        kept.try_map(|result| {
            Ok(result.unwrap_or_else(|failure| {
                failure.defuse();
                self.arsenal.make(0)
            }))
        })
    }

    fn end<C>(&self, pipeline: Pipeline<C>) -> bool
    where
        C: brigade::pipeline::Chain<Output = Bomb, Error = Error>,
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
        // A program that ends the process can be known by this line only.
        eprintln!("{flow:?}");
        let run = Run { flow: &flow, arsenal: Arsenal::new(&flow.armed, census), token: CancellationToken::new() };
        let ended_well = run.run();
        assert!(!ended_well || run.arsenal.went_off.load(Ordering::SeqCst) == 0, "a panic was lost");
    });
}
