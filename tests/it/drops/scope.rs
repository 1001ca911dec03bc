//! Scopes and joins.

use std::sync::atomic::Ordering;

use brigade::scope::{FailFast, KeepGoing, Scope, ScopedTask, try_join_all, try_join3, try_join4};
use brigade::{CancellationToken, ScopeBuilder, try_join};
use proptest::prelude::*;

use super::{Act, Armed, Arsenal, Bomb, Defuse, Error, acts, armed, ends_well};
use crate::model::try_programs;
use crate::util::alone;

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

/// The body's use of a task's handle.
#[derive(Clone, Copy, Debug)]
enum Handle {
    Drop,
    Join,
    /// Joins it, and drops the result.
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
