//! Random pipelines that are cancelled, fail and panic, and a model of the sequential loop over them.

use std::collections::BTreeMap;

use brigade::CancelReason;
use proptest::prelude::*;

use crate::model::End;

pub(super) const REASON: CancelReason = CancelReason::Other("the model");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Source,
    Stage,
    Sink,
}

/// What happens at a place, once it has an item of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
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
pub(super) enum Origin {
    Iter,
    Ready,
    Data,
    Receiver,
    Lines,
}

/// A kind of stage, for the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Map,
    TryMap,
    Filter,
    FilterMap,
    FlatMap,
    Inspect,
    Scan,
}

/// The chains of stages of `Run::staged`, which has the same.
pub(super) const CHAINS: [&[Kind]; 5] = [
    &[Kind::TryMap, Kind::FlatMap, Kind::Filter, Kind::TryMap],
    &[Kind::TryMap, Kind::Scan, Kind::Filter, Kind::FlatMap, Kind::TryMap],
    &[Kind::TryMap],
    &[Kind::Inspect, Kind::FilterMap, Kind::Map, Kind::TryMap],
    &[Kind::FlatMap, Kind::FlatMap, Kind::TryMap, Kind::Filter],
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Last {
    TryForEach,
    Collect,
    Fold,
    Count,
    First,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(super) items: usize,
    /// Of the source by the item's number, of the stages by their input's, of the sink by that of the output.
    pub(super) acts: BTreeMap<(Place, usize), Act>,
    /// The token has a deadline, which has passed.
    pub(super) late: bool,
    /// The input of a `flat_map` that has very many outputs.
    pub(super) large: Option<usize>,
    pub(super) threads: usize,
    pub(super) window: Option<usize>,
    pub(super) ordered: bool,
    pub(super) source: Origin,
    pub(super) chain: usize,
    pub(super) last: Last,
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

pub(super) fn mapped(item: usize) -> usize {
    item * 3 + 1
}

pub(super) fn is_kept(item: usize) -> bool {
    item % 5 != 2
}

pub(super) fn mapped_if_kept(item: usize) -> Option<usize> {
    (item % 7 != 3).then_some(item + 1)
}

/// A running sum, which ends now and then.
pub(super) fn scanned(sum: &mut usize, item: usize) -> Option<usize> {
    *sum += item;
    (*sum % 401 != 400).then_some(*sum)
}

/// How many of a stage's inputs there are, for the acts.
pub(super) const ROUND: usize = 251;

impl Program {
    pub(super) fn stages(&self) -> &'static [Kind] {
        CHAINS[self.chain]
    }

    /// What one item becomes by a `flat_map`.
    pub(super) fn fanned(&self, item: usize) -> std::ops::Range<usize> {
        let parts = if Some(item) == self.large { 130_000 } else { item % 4 };
        item * 4..item * 4 + parts
    }

    /// The number of an act, which its error or panic has.
    pub(super) fn number(place: Place, at: usize) -> usize {
        place as usize * 1_000 + at
    }

    /// Whether another thread cancels.
    pub(crate) fn has_signal(&self) -> bool {
        self.acts.values().any(|act| *act == Act::Signal)
    }

    /// Whether anything but the sink may cancel: then it is chance how far the run has come.
    pub(super) fn is_cancelled_by_chance(&self) -> bool {
        self.acts.iter().any(|((place, _), act)| match act {
            Act::Cancel | Act::CancelParent => *place != Place::Sink,
            Act::Signal => true,
            _ => false,
        })
    }
}

/// A program as the plain loop.
pub(super) struct Model<'a> {
    pub(super) program: &'a Program,
    pub(super) cancelled: Option<CancelReason>,
    pub(super) seen: Vec<usize>,
    /// What a scan has so far.
    pub(super) sum: usize,
    /// Unordered, all that may be output: nothing that happens ends the loop.
    pub(super) goes_on: bool,
}

impl Model<'_> {
    pub(super) fn run(program: &Program, goes_on: bool) -> (Vec<usize>, End) {
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

    pub(super) fn all(&mut self) -> Result<(), End> {
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

    pub(super) fn check(&self) -> Result<(), End> {
        self.cancelled.filter(|_| !self.goes_on).map_or(Ok(()), |reason| Err(End::Cancelled(reason)))
    }

    pub(super) fn act(&mut self, place: Place, at: usize) -> Result<(), End> {
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

    pub(super) fn feed(&mut self, stages: &[Kind], item: usize) -> Result<(), End> {
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

    pub(super) fn sink(&mut self, output: usize) -> Result<(), End> {
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
