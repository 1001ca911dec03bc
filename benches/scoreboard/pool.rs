//! Pools, against boxes through a channel, one-shot channels, and pools of other crates.
#![expect(clippy::disallowed_methods, reason = "the peers")]

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use brigade::pool::{Close, Job, Jobs};
use brigade::{CancellationToken, Pool, PoolBuilder};
use crossbeam::channel::{Sender, bounded};

use crate::THREADS;
use crate::board::{Board, Target};

/// How many boxes the peer's channel holds, and how many jobs the queue.
const QUEUE: usize = 1024;

type Task = Box<dyn FnOnce() + Send>;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("pool") {
        return;
    }
    let token = CancellationToken::new();
    fired(board, &token);
    tracked(board, &token);
    one_by_one(board, &token);
}

/// Runs `body` with a pool of two workers, and drains it.
fn with_pool(token: &CancellationToken, body: impl FnOnce(&Pool)) {
    let pool = PoolBuilder::new(THREADS).queue(QUEUE).start(token);
    body(&pool);
    pool.close(token, Close::Drain, Duration::MAX).expect("not in a job");
}

/// Runs `body` with the end of a channel from which two threads take and run boxes.
fn with_channel(body: impl FnOnce(&Sender<Task>)) {
    let (sender, receiver) = bounded::<Task>(QUEUE);
    thread::scope(|s| {
        for _ in 0..THREADS {
            let receiver = receiver.clone();
            s.spawn(move || receiver.into_iter().for_each(|task| task()));
        }
        drop(receiver);
        body(&sender);
        drop(sender);
    });
}

fn send_boxes(tasks: u64) {
    with_channel(|sender| {
        for task in 0..tasks {
            sender.send(Box::new(move || _ = black_box(task))).expect("there are receivers");
        }
    });
}

fn fired(board: &mut Board, token: &CancellationToken) {
    const JOBS: u64 = 1_000_000;
    let ours = || {
        with_pool(token, |pool| {
            for job in 0..JOBS {
                pool.fire(token, move |_| _ = black_box(job)).expect("open");
            }
        });
    };
    board.claim(
        ("pool", "a million trivial jobs, fired / boxes through a channel, 1024"),
        JOBS,
        Target::Cost(1.2),
        ours,
        || send_boxes(JOBS),
    );
    board.claim(
        ("pool", "a million trivial jobs, fired / the threadpool crate"),
        JOBS,
        Target::Cost(0.8),
        ours,
        || {
            let pool = threadpool::ThreadPool::new(THREADS);
            for job in 0..JOBS {
                pool.execute(move || _ = black_box(job));
            }
            pool.join();
        },
    );
    board.claim(("pool", "a million trivial jobs, fired / rusty_pool"), JOBS, Target::Cost(0.8), ours, || {
        let pool = rusty_pool::ThreadPool::new(THREADS, THREADS, Duration::from_secs(60));
        for job in 0..JOBS {
            pool.execute(move || _ = black_box(job));
        }
        pool.shutdown_join();
    });
}

fn tracked(board: &mut Board, token: &CancellationToken) {
    const JOBS: u64 = 1_000_000;
    board.claim(
        ("pool", "a million trivial jobs, results taken / boxes through a channel, 1024"),
        JOBS,
        Target::Cost(1.6),
        || {
            with_pool(token, |pool| {
                let submit = |job| pool.submit(token, move |_| Ok::<_, ()>(black_box(job))).expect("open");
                let jobs: Vec<Job<u64, ()>> = (0..JOBS).map(submit).collect();
                let sum: u64 = jobs.into_iter().map(|job| job.wait(token).expect("a value")).sum();
                assert_eq!(sum, JOBS * (JOBS - 1) / 2);
            });
        },
        || send_boxes(JOBS),
    );
    board.claim(
        ("pool", "a million trivial jobs, times, the last 1,000 kept / boxes, 1024"),
        JOBS,
        Target::Cost(2.5),
        || {
            with_pool(token, |pool| {
                let jobs = Jobs::<u64, ()>::new(1_000);
                for job in 0..JOBS {
                    _ = jobs.submit(pool, token, move |_| Ok(black_box(job))).expect("open");
                }
            });
        },
        || send_boxes(JOBS),
    );
}

fn one_by_one(board: &mut Board, token: &CancellationToken) {
    const JOBS: u64 = 20_000;
    board.claim(
        ("pool", "submit and wait, one by one / a box and a one-shot channel"),
        JOBS,
        Target::Cost(1.2),
        || {
            with_pool(token, |pool| {
                for number in 0..JOBS {
                    let job = pool.submit(token, move |_| Ok::<_, ()>(black_box(number))).expect("open");
                    assert_eq!(job.wait(token).expect("a value"), number);
                }
            });
        },
        || {
            with_channel(|tasks| {
                for number in 0..JOBS {
                    let (sender, receiver) = bounded(1);
                    tasks.send(Box::new(move || _ = sender.send(black_box(number)))).expect("there are receivers");
                    assert_eq!(receiver.recv().expect("it sends"), number);
                }
            });
        },
    );
}
