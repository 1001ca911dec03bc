//! Random trees of tasks in scopes with a limit and without: the accounts of hooks, handles and lists agree.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::scope::{FailFast, KeepGoing, Scope, ScopedTask};
use brigade::{CancelReason, CancellationToken, Failure, Failures, ScopeBuilder};
use proptest::prelude::*;

use crate::model::{End, Error, Item, ending, throw, try_programs};
use crate::util::{Census, alone};

const REASON: CancelReason = CancelReason::Other("the model");
const REFUSED: CancelReason = CancelReason::Other("the system refused to start a thread");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Pass,
    Slow,
    Fail,
    Panic,
    /// Cancels the caller's token.
    Cancel,
    /// Ends the scope early and well.
    Finish,
    /// Waits for the scope's token, which has a deadline then, and fails with its cancellation, or not.
    Wait {
        fails: bool,
    },
}

/// The use that a spawner makes of a task's handle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Handle {
    Drop,
    JoinAtOnce,
    JoinLast,
    /// The task that is spawned next joins it.
    HandOn,
}

#[derive(Clone, Debug)]
struct Node {
    id: usize,
    act: Act,
    handle: Handle,
    /// It goes on if a child cannot be spawned.
    lenient: bool,
    children: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Run,
    CollectAll,
    Supervise,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The body, which has no handle.
    body: Node,
    limit: Option<(usize, Option<usize>)>,
    policy: Policy,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        14 => Just(Act::Pass),
        3 => Just(Act::Slow),
        2 => Just(Act::Fail),
        1 => Just(Act::Panic),
        1 => Just(Act::Cancel),
        1 => Just(Act::Finish),
        1 => any::<bool>().prop_map(|fails| Act::Wait { fails }),
    ]
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let handle =
        prop_oneof![Just(Handle::Drop), Just(Handle::JoinAtOnce), Just(Handle::JoinLast), Just(Handle::HandOn)];
    let leaf = (acts(), handle.clone(), any::<bool>()).prop_map(|(act, handle, lenient)| Node {
        id: 0,
        act,
        handle,
        lenient,
        children: Vec::new(),
    });
    let tree = leaf.prop_recursive(3, 24, 6, move |node| {
        (acts(), handle.clone(), any::<bool>(), proptest::collection::vec(node, 0..6))
            .prop_map(|(act, handle, lenient, children)| Node { id: 0, act, handle, lenient, children })
    });
    let body = (acts(), any::<bool>(), proptest::collection::vec(tree, 0..12)).prop_map(|(act, lenient, children)| {
        let mut body = Node { id: 0, act, handle: Handle::Drop, lenient, children };
        body.number(&mut 0);
        body
    });
    let limit = proptest::option::weighted(0.8, (1..=4_usize, proptest::option::of(0..=3_usize)));
    let policy = prop_oneof![Just(Policy::Run), Just(Policy::CollectAll), Just(Policy::Supervise)];
    (body, limit, policy).prop_map(|(body, limit, policy)| Program { body, limit, policy })
}

impl Node {
    fn number(&mut self, next: &mut usize) {
        self.id = *next;
        *next += 1;
        self.children.iter_mut().for_each(|child| child.number(next));
    }

    fn any(&self, is: &impl Fn(Act) -> bool) -> bool {
        is(self.act) || self.children.iter().any(|child| child.any(is))
    }
}

/// How a task was left, or the answer that its handle got.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Well,
    Failed,
    /// With a cancellation as its error.
    Cancelled,
    Panicked,
    /// Nothing was got of it.
    GaveUp,
}

/// The knowledge of one task, from all sides.
#[derive(Default)]
struct Known {
    refused: Option<CancelReason>,
    ran: usize,
    started: usize,
    left: Option<Left>,
    ended: Vec<Outcome>,
    joined: Option<Left>,
}

struct Run<'a> {
    census: &'a Census,
    token: CancellationToken,
    known: Mutex<BTreeMap<usize, Known>>,
    is_over: AtomicBool,
}

impl Hooks for Run<'_> {
    fn started(&self, task: Task<'_>) {
        self.note(id_of(task.name), |known| known.started += 1);
    }

    fn ended(&self, task: Task<'_>, outcome: Outcome, _: Duration) {
        self.note(id_of(task.name), |known| known.ended.push(outcome));
    }
}

fn id_of(name: &str) -> usize {
    name.parse().expect("tasks are named by their number")
}

/// How each kind of scope returns the result of a task.
trait Joins: Sized {
    fn join(task: ScopedTask<'_, Item, Error, Self>) -> Result<Item, Left>;
}

impl Joins for FailFast {
    fn join(task: ScopedTask<'_, Item, Error, Self>) -> Result<Item, Left> {
        task.join().map_err(|_| Left::GaveUp)
    }
}

impl Joins for KeepGoing {
    fn join(task: ScopedTask<'_, Item, Error, Self>) -> Result<Item, Left> {
        let id = id_of(task.name());
        task.join().map_err(|failure| {
            assert_eq!(id_of(failure.name()), id);
            left_of(&failure)
        })
    }
}

fn left_of(failure: &Failure<Error>) -> Left {
    match failure {
        Failure::Error { error: Error::Failed(_), .. } => Left::Failed,
        Failure::Error { error: Error::Cancelled(_), .. } => Left::Cancelled,
        Failure::Panic(_) => Left::Panicked,
        _ => Left::GaveUp,
    }
}

impl Run<'_> {
    fn note(&self, id: usize, note: impl FnOnce(&mut Known)) {
        assert!(!self.is_over.load(Ordering::SeqCst), "something goes on after the scope has returned");
        note(self.known.lock().unwrap().entry(id).or_default());
    }

    /// The body's part of a node, or the task's.
    fn node<'scope, 'env, P: Joins + 'scope>(
        &'env self,
        s: &Scope<'scope, 'env, Error, P>,
        node: &'env Node,
    ) -> Result<Item, Error> {
        let mut handed_on = None;
        let mut joined_last = Vec::new();
        for child in &node.children {
            let earlier = handed_on.take();
            let held = self.census.make(child.id);
            let spawned = s.named(child.id.to_string()).spawn(move |s| {
                self.note(child.id, |known| known.ran += 1);
                if let Some(earlier) = earlier {
                    self.join(earlier);
                }
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.node(s, child)));
                drop(held);
                let left = match &result {
                    Ok(Ok(_)) => Left::Well,
                    Ok(Err(Error::Failed(_))) => Left::Failed,
                    Ok(Err(Error::Cancelled(_))) => Left::Cancelled,
                    Err(_) => Left::Panicked,
                };
                self.note(child.id, |known| known.left = Some(left));
                result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
            });
            let task = match spawned {
                Ok(task) => task,
                Err(cancelled) => {
                    self.note(child.id, |known| known.refused = Some(cancelled.reason()));
                    if node.lenient {
                        continue;
                    }
                    return Err(cancelled.into());
                }
            };
            match child.handle {
                Handle::Drop => drop(task),
                Handle::JoinAtOnce => self.join(task),
                Handle::JoinLast => joined_last.push(task),
                Handle::HandOn => handed_on = Some(task),
            }
        }
        joined_last.into_iter().for_each(|task| self.join(task));
        match node.act {
            Act::Pass => {}
            Act::Slow => (0..100).for_each(|_| std::thread::yield_now()),
            Act::Fail => return Err(Error::Failed(self.census.make(node.id))),
            Act::Panic => throw(self.census.make(node.id)),
            Act::Cancel => _ = self.token.cancel_with(REASON),
            Act::Finish => _ = s.finish(),
            Act::Wait { fails } => {
                s.token().wait();
                if fails {
                    s.token().check()?;
                }
            }
        }
        Ok(self.census.make(node.id))
    }

    fn join<P: Joins>(&self, task: ScopedTask<'_, Item, Error, P>) {
        let id = id_of(task.name());
        let joined = P::join(task);
        let left = joined.map_or_else(
            |left| left,
            |item| {
                assert_eq!(item.value, id, "the value of another task");
                Left::Well
            },
        );
        self.note(id, |known| known.joined = Some(left));
    }
}

/// The accounts of a list of failures, without the body's own.
#[derive(Default)]
struct Accounts {
    /// How many failed, ended with an error after the scope was cancelled, were skipped.
    counts: [usize; 3],
    /// Those of which it has the failure, by their numbers.
    listed: BTreeMap<usize, Left>,
}

/// The column in which a task that ended so is counted. A task that ended after the scope finished is not counted.
fn column(outcome: Outcome) -> Option<usize> {
    match outcome {
        Outcome::Failed | Outcome::Panicked => Some(0),
        Outcome::Cancelled(CancelReason::Finished) | Outcome::Skipped(CancelReason::Finished) => None,
        Outcome::Cancelled(_) => Some(1),
        Outcome::Skipped(_) => Some(2),
        outcome => unreachable!("{outcome}"),
    }
}

/// The one place that knows how to read a list.
fn accounts(failures: &Failures<Error>) -> Accounts {
    let counts = [failures.count(), failures.cancelled_count(), failures.skipped()];
    let mut accounts = Accounts { counts, listed: BTreeMap::new() };
    for (column, kept) in [failures.as_slice(), failures.cancelled()].into_iter().enumerate() {
        for failure in kept {
            if failure.name() == "body" {
                accounts.counts[column] -= 1;
                continue;
            }
            let id = id_of(failure.name());
            assert!(accounts.listed.insert(id, left_of(failure)).is_none(), "task {id} is listed twice");
        }
    }
    assert_eq!(accounts.listed.len(), accounts.counts[0] + accounts.counts[1], "there is room for all");
    accounts
}

/// Checks the accounts of the tasks against each other.
fn check_tasks(known: &BTreeMap<usize, Known>, accounts: Option<&Accounts>) {
    let (mut started, mut skipped, mut ended) = (0, 0, 0);
    // The tasks that count. A task that was refused a thread is open: it counts as skipped if the scope was
    // cancelled first.
    let (mut counted, mut open) = ([0; 3], 0);
    for (id, task) in known {
        if task.refused.is_some() {
            assert_eq!(
                (task.ran, task.started, task.ended.len(), task.joined),
                (0, 0, 0, None),
                "task {id} was refused"
            );
            if task.refused == Some(REFUSED) {
                open += 1;
            } else {
                counted[2] += 1;
            }
            continue;
        }
        assert!(task.ran <= 1 && task.started == task.ran, "task {id} ran {} times", task.ran);
        let [outcome] = task.ended[..] else { panic!("task {id} ended {} times", task.ended.len()) };
        started += task.started;
        ended += task.ended.len();
        let is_skipped = matches!(outcome, Outcome::Skipped(_));
        skipped += usize::from(is_skipped);
        assert_eq!(is_skipped, task.left.is_none(), "task {id}");
        match task.left {
            None => {}
            Some(Left::Well) => assert_eq!(outcome, Outcome::Completed, "task {id}"),
            Some(Left::Panicked) => assert_eq!(outcome, Outcome::Panicked, "task {id}"),
            Some(Left::Failed | Left::Cancelled | Left::GaveUp) => {
                assert!(!matches!(outcome, Outcome::Completed | Outcome::Panicked), "task {id}: {outcome}");
            }
        }
        let Some(Accounts { listed, .. }) = accounts else { continue };
        let is_counted = match (task.left, task.joined) {
            // A value may be had though the scope is cancelled, or not.
            (Some(Left::Well), None | Some(Left::Well | Left::GaveUp)) => false,
            (Some(left), Some(joined)) if left == joined => false,
            // The scope does not count a task if its join gave up; but a panic is never lost.
            (left, Some(Left::GaveUp)) => left == Some(Left::Panicked),
            (_, None) => true,
            (left, joined) => panic!("task {id} ended as {left:?} and was joined as {joined:?}"),
        };
        let column = Some(outcome).filter(|_| is_counted).and_then(column);
        if let Some(column) = column {
            counted[column] += 1;
        }
        let expected = task.left.filter(|_| column.is_some());
        assert_eq!(listed.get(id).copied(), expected, "task {id}");
    }
    assert_eq!(started + skipped, ended);
    let Some(Accounts { counts, .. }) = accounts else { return };
    assert_eq!(counts.iter().sum::<usize>(), counted.iter().sum::<usize>() + open, "{counts:?}, {counted:?} expected");
    assert!(counts.iter().zip(counted).all(|(count, least)| *count >= least), "{counts:?}, {counted:?} expected");
}

/// Checks a program. `refusal` is the reason with which a scope ends if the system refuses it a thread.
pub(crate) fn check(program: &Program, census: &Census, refusal: Option<CancelReason>) {
    let root = CancellationToken::new();
    let waits = program.body.any(&|act| matches!(act, Act::Wait { .. }));
    let token = if waits { root.child_with_timeout(Duration::from_millis(3)) } else { root.child_token() };
    let run = Run { census, token: token.clone(), known: Mutex::default(), is_over: AtomicBool::new(false) };
    let builder = ScopeBuilder::new().hooks(&run);
    let builder = match program.limit {
        None => builder,
        Some((limit, None)) => builder.limit(limit),
        Some((limit, Some(queue))) => builder.limit(limit).queue(queue),
    };
    let mut listed = None;
    let end = match program.policy {
        Policy::Run => ending(|| builder.run(&token, |s| run.node(s, &program.body).map(drop))),
        Policy::CollectAll => ending(|| {
            let collected = builder.collect_all(&token, |s| run.node(s, &program.body).map(drop));
            if let Err(failures) = &collected {
                assert!(!failures.is_empty());
            }
            listed = Some(collected.err());
            Ok(())
        }),
        Policy::Supervise => ending(|| {
            let (result, failures) = builder.supervise(&token, |s| run.node(s, &program.body).map(drop));
            listed = Some(Some(failures));
            result
        }),
    };
    run.is_over.store(true, Ordering::SeqCst);
    assert!(!root.is_cancelled(), "a child cancelled its parent");
    let known = std::mem::take(&mut *run.known.lock().unwrap());
    let accounts = match &listed {
        None => None,
        Some(None) => Some(Accounts::default()),
        Some(Some(failures)) => Some(accounts(failures)),
    };
    check_tasks(&known, accounts.as_ref());
    let is_cancelled = waits || program.body.any(&|act| act == Act::Cancel);
    let left = |left: Left| known.iter().filter(move |(_, task)| task.left == Some(left)).map(|(id, _)| *id);
    let body = program.body.act;
    match (program.policy, end) {
        (Policy::CollectAll, end) => assert_eq!(end, Ok(())),
        (Policy::Supervise, Ok(())) => assert!(!matches!(body, Act::Fail | Act::Panic)),
        // The tasks do not matter to the body, but for a spawn that is refused.
        (Policy::Supervise, Err(End::Failed(0))) => assert_eq!(body, Act::Fail),
        (Policy::Supervise, Err(End::Panicked(0))) => assert_eq!(body, Act::Panic),
        (Policy::Run, Ok(())) => {
            assert!(!matches!(body, Act::Fail | Act::Panic));
            // An error after the scope has finished is no failure, and is dropped.
            let is_well = |task: &Known| match task.ended.first() {
                Some(Outcome::Completed) => true,
                Some(outcome) => column(*outcome).is_none(),
                None => false,
            };
            assert!(known.values().all(is_well), "a failure was lost");
        }
        // A panic counts more than an error, the body's more than a task's.
        (Policy::Run, Err(End::Panicked(id))) => {
            let tasks: Vec<usize> = left(Left::Panicked).collect();
            assert!(id == 0 && body == Act::Panic || tasks.contains(&id), "{id} did not panic");
        }
        (Policy::Run, Err(end)) if left(Left::Panicked).next().is_some() => panic!("{end:?}, and a panic was lost"),
        (Policy::Run, Err(End::Failed(id))) => {
            assert!(id == 0 && body == Act::Fail || left(Left::Failed).any(|failed| failed == id), "{id} did not fail");
        }
        (_, Err(End::Cancelled(reason))) => {
            let is_bodys = reason == CancelReason::Finished && body == Act::Wait { fails: true };
            assert!(
                is_cancelled && reason != CancelReason::Finished || is_bodys || Some(reason) == refusal,
                "an echo: {reason}"
            );
        }
        (policy, end) => panic!("{policy:?} ended as {end:?}"),
    }
}

#[test]
fn of_every_task_of_a_scope_all_that_is_told_agrees() {
    if !alone!(of_every_task_of_a_scope_all_that_is_told_agrees) {
        return;
    }
    try_programs(400, programs, |program, census| check(&program, census, None));
}
