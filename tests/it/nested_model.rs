//! Random programs that nest: pipelines, scopes, maps and joins within each other's stages, tasks and closures.

use std::sync::atomic::{AtomicBool, Ordering};

use brigade::scope::{try_join_all, try_join3, try_join4};
use brigade::{CancelReason, CancellationToken, ParBuilder, Pipeline, ScopeBuilder, try_join};
use proptest::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator};

use crate::model::{End, Error, Item, ending, throw, try_programs};
use crate::util::{Census, alone};

const REASON: CancelReason = CancelReason::Other("the model");

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Pass,
    Slow,
    Fail,
    Panic,
    /// Cancels the token of the part that is so many levels further out, at most that of the whole program.
    Cancel(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Pipeline { threads: usize, ordered: bool },
    Scope { limit: Option<usize> },
    Map { limit: Option<usize> },
    Joined,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Leaf { number: usize, act: Act },
    Parts { kind: Kind, parts: Vec<Part> },
}

pub(crate) fn parts() -> impl Strategy<Value = Part> {
    let act = prop_oneof![
        16 => Just(Act::Pass),
        4 => Just(Act::Slow),
        2 => Just(Act::Fail),
        2 => Just(Act::Panic),
        1 => (0..4_usize).prop_map(Act::Cancel),
    ];
    let kind = prop_oneof![
        3 => (1..=4_usize, any::<bool>()).prop_map(|(threads, ordered)| Kind::Pipeline { threads, ordered }),
        3 => proptest::option::of(1..=2_usize).prop_map(|limit| Kind::Scope { limit }),
        2 => proptest::option::of(1..=2_usize).prop_map(|limit| Kind::Map { limit }),
        1 => Just(Kind::Joined),
    ];
    let leaf = act.prop_map(|act| Part::Leaf { number: 0, act });
    let nested = leaf.prop_recursive(3, 40, 5, move |part| {
        (kind.clone(), proptest::collection::vec(part, 0..6)).prop_map(|(kind, parts)| Part::Parts { kind, parts })
    });
    nested.prop_map(|mut part| {
        part.number(&mut 0);
        part.keep_rayon_out(false, false);
        part
    })
}

/// What a part can end with, where nothing is cancelled.
enum Expected {
    Sum(usize),
    OneOf(Vec<End>),
}

impl Part {
    fn number(&mut self, next: &mut usize) {
        match self {
            Part::Leaf { number, .. } => {
                *number = *next;
                *next += 1;
            }
            Part::Parts { parts, .. } => parts.iter_mut().for_each(|part| part.number(next)),
        }
    }

    /// Takes the maps out of a scope's tasks where that scope keeps a worker of rayon's waiting, because they could
    /// wait for that worker.
    fn keep_rayon_out(&mut self, in_map: bool, in_scope_in_map: bool) {
        let Part::Parts { kind, parts } = self else { return };
        if in_scope_in_map && matches!(kind, Kind::Map { .. }) {
            *kind = Kind::Pipeline { threads: 2, ordered: true };
        }
        let is_map = matches!(kind, Kind::Map { .. });
        let is_scope = matches!(kind, Kind::Scope { .. } | Kind::Joined);
        parts.iter_mut().for_each(|part| part.keep_rayon_out(in_map || is_map, in_scope_in_map || in_map && is_scope));
    }

    fn any(&self, is: &impl Fn(usize, Act) -> bool) -> bool {
        match self {
            Part::Leaf { number, act } => is(*number, *act),
            Part::Parts { parts, .. } => parts.iter().any(|part| part.any(is)),
        }
    }

    fn sum(&self) -> usize {
        match self {
            Part::Leaf { number, .. } => *number,
            Part::Parts { parts, .. } => parts.iter().map(Part::sum).sum(),
        }
    }

    /// What the loops in each other would end with: of parts in order the first failure, else any of them.
    fn expected(&self) -> Expected {
        let (kind, parts) = match self {
            Part::Leaf { number, act: Act::Fail } => return Expected::OneOf(vec![End::Failed(*number)]),
            Part::Leaf { number, act: Act::Panic } => return Expected::OneOf(vec![End::Panicked(*number)]),
            Part::Leaf { number, .. } => return Expected::Sum(*number),
            Part::Parts { kind, parts } => (kind, parts),
        };
        let mut failures = parts.iter().filter_map(|part| match part.expected() {
            Expected::Sum(_) => None,
            Expected::OneOf(ends) => Some(ends),
        });
        let ends: Vec<End> = match kind {
            Kind::Pipeline { ordered: true, .. } | Kind::Map { .. } => failures.next().unwrap_or_default(),
            _ => failures.flatten().collect(),
        };
        if ends.is_empty() { Expected::Sum(self.sum()) } else { Expected::OneOf(ends) }
    }
}

/// The tokens from a part outwards.
struct Tokens<'a> {
    token: &'a CancellationToken,
    outer: Option<&'a Tokens<'a>>,
}

impl<'a> Tokens<'a> {
    fn within(&'a self, token: &'a CancellationToken) -> Tokens<'a> {
        Tokens { token, outer: Some(self) }
    }
}

struct Run<'a> {
    census: &'a Census,
    cancelled_all: AtomicBool,
}

impl Run<'_> {
    fn run(&self, part: &Part, tokens: &Tokens<'_>) -> Result<Item, Error> {
        let (kind, parts) = match part {
            Part::Leaf { number, act } => return self.act(*number, *act, tokens),
            Part::Parts { kind, parts } => (*kind, parts),
        };
        let token = tokens.token.child_token();
        let inner = tokens.within(&token);
        let add = |mut sum: Item, item: Item| {
            sum.value += item.value;
            sum
        };
        let add_all = |items: Vec<Item>| items.into_iter().fold(self.census.make(0), add);
        match kind {
            Kind::Pipeline { threads, ordered } => {
                let pipeline = Pipeline::from_iter(parts).threads(threads);
                let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                pipeline.try_map(|part| self.run(part, &inner)).fold(&token, self.census.make(0), add)
            }
            Kind::Scope { limit } => {
                let builder = limit.map_or_else(ScopeBuilder::new, |limit| ScopeBuilder::new().limit(limit));
                builder.run(&token, |s| {
                    let inner = &inner;
                    let spawn = |part| s.spawn(move |s| self.run(part, &inner.within(s.token())));
                    let tasks = parts.iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
                    Ok(add_all(s.join_all(tasks)?))
                })
            }
            Kind::Map { limit } => {
                let builder = limit.map_or_else(ParBuilder::new, |limit| ParBuilder::new().limit(limit));
                let parts = parts.par_iter().with_max_len(1);
                builder.try_map(&token, parts, |part| self.run(part, &inner)).map(add_all)
            }
            Kind::Joined => {
                let f = |at: usize| {
                    let inner = &inner;
                    move |token: &CancellationToken| self.run(&parts[at], &inner.within(token))
                };
                match parts.len() {
                    2 => try_join(&token, f(0), f(1)).map(|(a, b)| add_all(vec![a, b])),
                    3 => try_join3(&token, f(0), f(1), f(2)).map(|(a, b, c)| add_all(vec![a, b, c])),
                    4 => try_join4(&token, f(0), f(1), f(2), f(3)).map(|(a, b, c, d)| add_all(vec![a, b, c, d])),
                    count => try_join_all(&token, (0..count).map(f)).map(add_all),
                }
            }
        }
    }

    fn act(&self, number: usize, act: Act, tokens: &Tokens<'_>) -> Result<Item, Error> {
        match act {
            Act::Pass => {}
            Act::Slow => (0..100).for_each(|_| std::thread::yield_now()),
            Act::Fail => return Err(Error::Failed(self.census.make(number))),
            Act::Panic => throw(self.census.make(number)),
            Act::Cancel(levels) => {
                let mut at = tokens;
                for _ in 0..levels {
                    at = at.outer.unwrap_or(at);
                }
                if at.outer.is_none() {
                    self.cancelled_all.store(true, Ordering::SeqCst);
                }
                at.token.cancel_with(REASON);
            }
        }
        Ok(self.census.make(number))
    }
}

/// Checks a program against the loops. `refusal`: what a scope ends with if the system refuses it a thread.
pub(crate) fn check(program: &Part, census: &Census, refusal: Option<CancelReason>) {
    let token = CancellationToken::new();
    let run = Run { census, cancelled_all: AtomicBool::new(false) };
    let result = ending(|| run.run(program, &Tokens { token: &token, outer: None }).map(|sum| sum.value));
    // A child never cancels its parent.
    assert_eq!(token.is_cancelled(), run.cancelled_all.into_inner());
    let cancels = program.any(&|_, act| matches!(act, Act::Cancel(_)));
    match (program.expected(), result) {
        (_, Err(End::Cancelled(reason))) if Some(reason) == refusal => {}
        (Expected::Sum(sum), Ok(seen)) => assert_eq!(seen, sum),
        (_, Err(End::Cancelled(reason))) => assert!(cancels && reason == REASON, "an echo: {reason}"),
        (Expected::OneOf(ends), Err(end)) if !cancels && refusal.is_none() => {
            assert!(ends.contains(&end), "{end:?} is none of {ends:?}");
        }
        (Expected::OneOf(_), Err(end)) => {
            let is_it = |number, act| match act {
                Act::Fail => end == End::Failed(number),
                Act::Panic => end == End::Panicked(number),
                _ => false,
            };
            assert!(program.any(&is_it), "{end:?} cannot happen");
        }
        (Expected::Sum(sum), Err(end)) => panic!("{end:?} where {sum} was expected"),
        (Expected::OneOf(ends), Ok(sum)) => panic!("{sum} where one of {ends:?} was expected"),
    }
}

#[test]
fn nested_programs_end_as_the_loops_in_each_other() {
    if !alone!(nested_programs_end_as_the_loops_in_each_other) {
        return;
    }
    try_programs(250, parts, |program, census| check(&program, census, None));
}
