//! Scopes against std's, rayon's, and pools.
#![expect(clippy::disallowed_methods, reason = "the peers, and the wait until all sleep, which is not timed")]

use std::hint::black_box;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use brigade::{CancelReason, CancellationToken, Cancelled, ScopeBuilder, scope};
use crossbeam::channel::{bounded, select};

use crate::THREADS;
use crate::board::{Board, TURNS, Target, Times, time};
use crate::work::Work;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("scope") {
        return;
    }
    let token = CancellationToken::new();
    own_threads(board, &token);
    trivial_tasks(board, &token);
    many_threads(board, &token);
    failure(board, &token);
}

fn own_threads(board: &mut Board, token: &CancellationToken) {
    const TASKS: u64 = 8;
    let work = Work::of("1 ms", Duration::from_millis(1));
    board.claim(
        ("scope", "eight tasks of 1 ms / std::thread::scope"),
        TASKS,
        Target::Cost(1.05),
        || {
            scope(token, |s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move |_| Ok::<_, Cancelled>(black_box(work.run(task))))?;
                }
                Ok(())
            })
            .expect("never fails");
        },
        || {
            thread::scope(|s| {
                for task in 0..TASKS {
                    let work = &work;
                    s.spawn(move || black_box(work.run(task)));
                }
            });
        },
    );
}

/// A million tasks of no work.
fn trivial_tasks(board: &mut Board, token: &CancellationToken) {
    const TASKS: u64 = 1_000_000;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().expect("two threads");
    board.claim(
        ("scope", "a million trivial tasks, limit 2, joined / rayon's scope, not joined"),
        TASKS,
        Target::Cost(1.0),
        || {
            let sum = ScopeBuilder::new().limit(THREADS).run(token, |s| {
                let spawn = |task| s.spawn(move |_| Ok(black_box(task)));
                let tasks = (0..TASKS).map(spawn).collect::<Result<Vec<_>, _>>()?;
                Ok::<u64, Cancelled>(s.join_all(tasks)?.into_iter().sum())
            });
            black_box(sum.expect("never fails"));
        },
        || {
            pool.scope(|s| {
                for task in 0..TASKS {
                    s.spawn(move |_| _ = black_box(task));
                }
            });
        },
    );
    let ours = || run_each(token, THREADS, TASKS, black_box);
    board.claim(
        ("scope", "a million trivial tasks, limit 2 / boxes through a channel, 1024"),
        TASKS,
        Target::Cost(1.0),
        ours,
        || {
            let (sender, receiver) = bounded::<Box<dyn FnOnce() + Send>>(1024);
            thread::scope(|s| {
                for _ in 0..THREADS {
                    let receiver = receiver.clone();
                    s.spawn(move || receiver.into_iter().for_each(|task| task()));
                }
                drop(receiver);
                for task in 0..TASKS {
                    sender.send(Box::new(move || _ = black_box(task))).expect("there are receivers");
                }
                drop(sender);
            });
        },
    );
    board.claim(
        ("scope", "a million trivial tasks, limit 2 / the threadpool crate"),
        TASKS,
        Target::Cost(1.0),
        ours,
        || {
            let pool = threadpool::ThreadPool::new(THREADS);
            for task in 0..TASKS {
                pool.execute(move || _ = black_box(task));
            }
            pool.join();
        },
    );
}

/// Runs `work` of each number as a task that no caller joins.
fn run_each(token: &CancellationToken, threads: usize, tasks: u64, work: impl Fn(u64) -> u64 + Sync) {
    let ended = ScopeBuilder::new().limit(threads).run(token, |s| {
        for task in 0..tasks {
            let work = &work;
            s.spawn(move |_| Ok(work(task)))?;
        }
        Ok::<_, Cancelled>(())
    });
    ended.expect("never fails");
}

/// A limit of 64 threads beside one of 2, in wall time and in CPU time.
fn many_threads(board: &mut Board, token: &CancellationToken) {
    const TRIVIAL: u64 = 500_000;
    const SHORT: u64 = 10_000;
    let work = Work::of("20 µs", Duration::from_micros(20));
    let trivial = |threads| time(|| run_each(token, threads, TRIVIAL, black_box));
    let short = |threads| time(|| run_each(token, threads, SHORT, |task| black_box(work.run(task))));
    let cpu = |times: Times| Times { wall: times.cpu, ..times };
    let mut claim = |claim, tasks, target, run: &dyn Fn(usize) -> Times| {
        board.claim_measured(TURNS, ("scope", claim), tasks, Target::Cost(target), || run(64), || run(THREADS));
    };
    claim("500,000 trivial tasks, limit 64 / limit 2", TRIVIAL, 1.15, &trivial);
    claim("500,000 trivial tasks, limit 64 / limit 2, cpu time", TRIVIAL, 1.3, &|threads| cpu(trivial(threads)));
    claim("10,000 tasks of 20 µs, limit 64 / limit 2", SHORT, 1.15, &short);
    claim("10,000 tasks of 20 µs, limit 64 / limit 2, cpu time", SHORT, 1.3, &|threads| cpu(short(threads)));
}

/// From the error of one task to the end of 64 others, which wait.
fn failure(board: &mut Board, token: &CancellationToken) {
    const SIBLINGS: usize = 64;
    let fail_when_all_sleep = |failed: &Mutex<Option<Instant>>| {
        thread::sleep(Duration::from_millis(8));
        *failed.lock().expect("not poisoned") = Some(Instant::now());
    };
    let since = |failed: &Mutex<Option<Instant>>| {
        let wall = failed.lock().expect("not poisoned").expect("it has failed").elapsed();
        Times { wall, cpu: wall }
    };
    board.claim_measured(
        2 * TURNS,
        ("scope", "a task's error to the end of 64 blocked siblings / select! by hand"),
        1,
        Target::Cost(1.15),
        || {
            let failed = Mutex::new(None);
            let ended = scope(token, |s| {
                for _ in 0..SIBLINGS {
                    s.spawn(|s| Ok(s.token().wait()))?;
                }
                s.spawn(|_| {
                    fail_when_all_sleep(&failed);
                    Err::<(), _>(Cancelled::new(CancelReason::Other("failed")))
                })?;
                Ok(())
            });
            let times = since(&failed);
            assert!(ended.is_err());
            times
        },
        || {
            let failed = Mutex::new(None);
            let (_sender, receiver) = bounded::<()>(1);
            let (open, closed) = bounded::<()>(0);
            thread::scope(|s| {
                let siblings = [(); SIBLINGS].map(|()| {
                    s.spawn(|| {
                        select! {
                            recv(receiver) -> _ => {}
                            recv(closed) -> _ => {}
                        }
                    })
                });
                fail_when_all_sleep(&failed);
                drop(open);
                siblings.into_iter().for_each(|sibling| sibling.join().expect("it does not panic"));
            });
            since(&failed)
        },
    );
}
