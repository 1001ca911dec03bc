//! Random programs of submissions, cancels, waits, drops and closes from several threads, with the account read all
//! along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::pool::{Close, Job, JobError, JobStatus};
use brigade::{CancelReason, CancellationToken, Cancelled, Pool, PoolBuilder, scope};
use proptest::prelude::*;

use super::{HOUR, assert_adds_up};
use crate::model::{Item, throw, try_programs};
use crate::util::{Census, alone, live};

#[derive(Clone, Copy, Debug)]
enum Fate {
    Pass,
    Fail,
    Panic,
    /// It waits for its token.
    Wait,
    /// It submits a job, and waits for it.
    Nest(u8),
    /// It submits a job that no handle waits for.
    Fire,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(Fate),
    TrySubmit(Fate),
    Fire,
    /// These are of one of the handles that the thread has.
    Cancel(usize),
    Wait(usize),
    Drop(usize),
    Look,
    Close(bool),
    CancelPool,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    workers: usize,
    queue: Option<usize>,
    threads: Vec<Vec<Step>>,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Pass),
        1 => Just(Fate::Fail),
        1 => Just(Fate::Panic),
        1 => Just(Fate::Wait),
        1 => (0..4_u8).prop_map(Fate::Nest),
        1 => Just(Fate::Fire),
    ]
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let step = prop_oneof![
        8 => fates().prop_map(Step::Submit),
        3 => fates().prop_map(Step::TrySubmit),
        3 => Just(Step::Fire),
        3 => (0..8_usize).prop_map(Step::Cancel),
        4 => (0..8_usize).prop_map(Step::Wait),
        2 => (0..8_usize).prop_map(Step::Drop),
        1 => Just(Step::Look),
        1 => any::<bool>().prop_map(Step::Close),
        1 => Just(Step::CancelPool),
    ];
    let threads = prop::collection::vec(prop::collection::vec(step, 0..40), 1..4);
    (1..4_usize, prop::option::of(0..4_usize), threads).prop_map(|(workers, queue, threads)| Program {
        workers,
        queue,
        threads,
    })
}

/// What is known of all jobs.
#[derive(Default)]
struct Books {
    submitted: AtomicUsize,
    refused: AtomicUsize,
    started: AtomicUsize,
}

struct World {
    pool: Pool,
    books: Books,
    census: Census,
}

type Handle = Job<Item, Item>;

fn run(world: &Arc<World>, fate: Fate, held: Item, token: &CancellationToken) -> Result<Item, Item> {
    world.books.started.fetch_add(1, Ordering::SeqCst);
    match fate {
        Fate::Pass => Ok(held),
        Fate::Fail => Err(held),
        Fate::Panic => throw(held),
        Fate::Wait => {
            token.wait();
            Err(held)
        }
        Fate::Nest(depth) => {
            let inner = if depth == 0 { Fate::Pass } else { Fate::Nest(depth - 1) };
            if let Some(job) = submit(world, inner, false) {
                match job.wait(token) {
                    Ok(_) | Err(JobError::Failed(_) | JobError::Cancelled(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            Ok(held)
        }
        Fate::Fire => {
            fire(world);
            Ok(held)
        }
    }
}

fn submit(world: &Arc<World>, fate: Fate, tries: bool) -> Option<Handle> {
    world.books.submitted.fetch_add(1, Ordering::SeqCst);
    // A job holds the pool only as long as it runs.
    let (weak, held) = (Arc::downgrade(world), world.census.make(1));
    let job = move |job: &brigade::pool::JobCx<'_>| match weak.upgrade() {
        Some(world) => run(&world, fate, held, job.token()),
        None => Err(held),
    };
    let submitted = if tries { world.pool.try_submit(job) } else { world.pool.submit(&live(), job) };
    submitted.inspect_err(|_| _ = world.books.refused.fetch_add(1, Ordering::SeqCst)).ok()
}

fn fire(world: &Arc<World>) {
    world.books.submitted.fetch_add(1, Ordering::SeqCst);
    let (weak, held) = (Arc::downgrade(world), world.census.make(2));
    let fired = world.pool.fire(&live(), move |_| {
        drop(held);
        if let Some(world) = weak.upgrade() {
            world.books.started.fetch_add(1, Ordering::SeqCst);
        }
    });
    if fired.is_err() {
        world.books.refused.fetch_add(1, Ordering::SeqCst);
    }
}

/// Looks at a job that has ended.
fn check_end(job: &Handle, result: &Result<Item, JobError<Item>>) {
    let expected = match result {
        Ok(_) => &[JobStatus::Completed][..],
        Err(JobError::Failed(failure)) if failure.panic().is_some() => &[JobStatus::Panicked],
        Err(JobError::Failed(failure)) if failure.cancelled().is_some() => &[JobStatus::Skipped],
        Err(JobError::Failed(_)) => &[JobStatus::Failed, JobStatus::Cancelled],
        Err(_) => return,
    };
    assert!(expected.contains(&job.status()), "{job:?}: {result:?}");
}

fn walk(world: &Arc<World>, steps: &[Step], root: &CancellationToken, blocks: &AtomicBool) {
    let mut handles: Vec<Handle> = Vec::new();
    for step in steps {
        match *step {
            Step::Submit(fate) => handles.extend(submit(world, fate, blocks.load(Ordering::SeqCst))),
            Step::TrySubmit(fate) => handles.extend(submit(world, fate, true)),
            Step::Fire if blocks.load(Ordering::SeqCst) => drop(submit(world, Fate::Pass, true)),
            Step::Fire => fire(world),
            Step::Cancel(at) if at < handles.len() => _ = handles[at].cancel(),
            Step::Wait(at) if at < handles.len() => {
                // A job that waits for its token would not end by itself.
                handles[at].cancel();
                let result = handles[at].wait(&live());
                check_end(&handles[at], &result);
                assert!(matches!(handles[at].wait(&live()), Err(JobError::Taken)));
                drop(handles.swap_remove(at));
            }
            Step::Drop(at) if at < handles.len() => drop(handles.swap_remove(at)),
            Step::Look => assert_adds_up(&world.pool.account()),
            Step::Close(drain) => {
                // Drained jobs may wait for their tokens: the grace ends them.
                let how = if drain { Close::Drain } else { Close::Cancel };
                let account = world.pool.close(&live(), how, std::time::Duration::from_millis(1)).unwrap();
                assert_adds_up(&account);
                assert_eq!(account.jobs.ended(), account.accepted);
            }
            Step::CancelPool => _ = root.cancel_with(CancelReason::Other("the program")),
            Step::Cancel(_) | Step::Wait(_) | Step::Drop(_) => {}
        }
    }
}

pub(crate) fn check(program: &Program, census: &Census) {
    let root = live();
    let mut builder = PoolBuilder::new(program.workers);
    if let Some(queue) = program.queue {
        builder = builder.queue(queue);
    }
    let world = Arc::new(World { pool: builder.start(&root), books: Books::default(), census: census.clone() });
    // A job that waits for its token may hold up a submission for ever, so then submissions do not wait.
    let waits = |step: &Step| matches!(step, Step::Submit(Fate::Wait) | Step::TrySubmit(Fate::Wait));
    let blocks = AtomicBool::new(program.threads.iter().flatten().any(waits));
    let ends = AtomicBool::new(false);
    scope(&live(), |s| {
        s.spawn(|_| {
            while !ends.load(Ordering::SeqCst) {
                assert_adds_up(&world.pool.account());
                std::thread::yield_now();
            }
            Ok(())
        })?;
        let walks = program.threads.iter().map(|steps| {
            let (world, root, blocks) = (&world, &root, &blocks);
            s.spawn(move |_| {
                walk(world, steps, root, blocks);
                Ok(())
            })
        });
        let walks = walks.collect::<Result<Vec<_>, _>>()?;
        let walked = s.join_all(walks);
        let account = world.pool.close(&live(), Close::Drain, std::time::Duration::from_millis(1)).unwrap();
        ends.store(true, Ordering::SeqCst);
        walked?;
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst) as u64;
        let Books { submitted, refused, started } = &world.books;
        assert_adds_up(&account);
        assert_eq!(account.accepted + count(refused), count(submitted), "{account:?}");
        assert_eq!(account.jobs.ended() - account.jobs.skipped, count(started), "{account:?}");
        Ok::<_, Cancelled>(())
    })
    .unwrap();
    let pool = Arc::into_inner(world).expect("no job is left").pool;
    assert_eq!(pool.close(&live(), Close::Drain, HOUR).unwrap(), pool.account());
}

#[test]
fn random_programs_lose_no_job_and_add_up() {
    if !alone!(random_programs_lose_no_job_and_add_up) {
        return;
    }
    try_programs(400, programs, |program, census| check(&program, census));
}
