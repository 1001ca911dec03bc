//! The token and the channels, against atomics, tokio-util and bare crossbeam.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{CancellationToken, Until};
use crossbeam::channel::{Receiver, Sender, bounded, select};
use tokio_util::sync::CancellationToken as TokioToken;

use crate::board::{Board, TURNS, Target, Times, process_cpu, time};

pub(crate) fn claims(board: &mut Board) {
    if board.skips("cancel") {
        return;
    }
    polls(board);
    children(board);
    channels(board);
    wakes(board);
    deadlines(board);
}

fn polls(board: &mut Board) {
    const POLLS: u64 = 10_000_000;
    const TOKIO_POLLS: u64 = 1_000_000;
    // What one would write by hand: a flag that several hold.
    let flag = Arc::new(AtomicBool::new(false));
    for (depth, name) in [(0, "poll of a root token"), (64, "poll of a token 64 deep")] {
        let token = (0..depth).fold(CancellationToken::new(), |token, _| token.child_token());
        board.claim(
            ("cancel", &format!("{name} / load of an Arc<AtomicBool>")),
            POLLS,
            Target::Cost(1.1),
            || poll_often(POLLS, || black_box(&token).is_cancelled()),
            || poll_often(POLLS, || black_box(&flag).load(Ordering::Acquire)),
        );
    }
    let (token, peer) = (CancellationToken::new(), TokioToken::new());
    let ours = || poll_often(TOKIO_POLLS, || black_box(&token).is_cancelled());
    let tokio = || poll_often(TOKIO_POLLS, || black_box(&peer).is_cancelled());
    let target = Target::Cost(1.0 / 30.0);
    board.claim(("cancel", "poll, one thread / tokio-util's"), TOKIO_POLLS, target, ours, tokio);
    board.claim(
        ("cancel", "poll, two threads / tokio-util's"),
        TOKIO_POLLS,
        target,
        || _ = rayon::join(ours, ours),
        || _ = rayon::join(tokio, tokio),
    );
}

// Not inlined: side by side in one function, chance aligns the loops, and in some builds one was slower than the other
// by 14 %.
#[inline(never)]
fn poll_often(times: u64, poll: impl Fn() -> bool) {
    for _ in 0..times {
        assert!(!poll());
    }
}

fn children(board: &mut Board) {
    const CHILDREN: u64 = 200_000;
    let (token, peer) = (CancellationToken::new(), TokioToken::new());
    let ours = || (0..CHILDREN).for_each(|_| drop(black_box(black_box(&token).child_token())));
    board.claim(("cancel", "child_token, made and dropped / tokio-util's"), CHILDREN, Target::Cost(0.7), ours, || {
        (0..CHILDREN).for_each(|_| drop(black_box(black_box(&peer).child_token())));
    });
    let (mut line, mut peers) = (token.clone(), peer.clone());
    board.claim(
        ("cancel", "token = token.child_token() / tokio-util's"),
        CHILDREN,
        Target::Reported,
        || (0..CHILDREN).for_each(|_| line = black_box(line.child_token())),
        || (0..CHILDREN).for_each(|_| peers = black_box(peers.child_token())),
    );
    board.claim(
        ("cancel", "deadline, armed and disarmed / child_token"),
        CHILDREN,
        Target::Reported,
        || {
            let minute = Duration::from_secs(60);
            (0..CHILDREN).for_each(|_| drop(black_box(black_box(&token).child_with_timeout(minute))));
        },
        ours,
    );
    for (shape, wide) in [("wide", true), ("deep", false)] {
        let cancel = |count: usize| {
            move || {
                let root = CancellationToken::new();
                let mut tokens = vec![root.clone()];
                for _ in 0..count {
                    let child = if wide { root.child_token() } else { tokens[tokens.len() - 1].child_token() };
                    tokens.push(child);
                }
                let Times { wall, cpu } = time(|| _ = root.cancel());
                let times = u32::try_from(100_000 / count).expect("small");
                Times { wall: wall * times, cpu: cpu * times }
            }
        };
        board.claim_measured(
            TURNS,
            ("cancel", &format!("cancel of 100,000 tokens, {shape} / of 100 of them")),
            100_000,
            // Linear, but for the caches: they hold the small tree.
            Target::Cost(6.0),
            cancel(100_000),
            cancel(100),
        );
    }
}

fn channels(board: &mut Board) {
    const MESSAGES: u64 = 400_000;
    for (capacity, most) in [(1024, 1.1), (64, 1.2)] {
        let token = CancellationToken::new();
        let ours = || {
            pass(
                capacity,
                |sender| _ = sender.until(&token).send_all(0..MESSAGES).expect("never cancelled"),
                |receiver| assert_eq!(receiver.until(&token).iter().count() as u64, MESSAGES),
            );
        };
        board.claim(
            ("cancel", &format!("send + recv, capacity {capacity} / crossbeam's own")),
            MESSAGES,
            Target::Cost(most),
            ours,
            || {
                pass(
                    capacity,
                    |sender| (0..MESSAGES).for_each(|value| sender.send(value).expect("received")),
                    |receiver| assert_eq!(receiver.iter().count() as u64, MESSAGES),
                );
            },
        );
        let done = token.done();
        board.claim(
            ("cancel", &format!("send + recv, capacity {capacity} / select! on both sides")),
            MESSAGES,
            Target::Cost(0.5),
            ours,
            || {
                pass(
                    capacity,
                    |sender| {
                        for value in 0..MESSAGES {
                            select! {
                                send(sender, value) -> sent => sent.expect("received"),
                                recv(done) -> _ => unreachable!("never cancelled"),
                            }
                        }
                    },
                    |receiver| {
                        for _ in 0..MESSAGES {
                            select! {
                                recv(receiver) -> value => assert!(value.is_ok()),
                                recv(done) -> _ => unreachable!("never cancelled"),
                            }
                        }
                    },
                );
            },
        );
    }
}

/// Sends on another thread, receives on this one.
#[expect(clippy::disallowed_methods, reason = "the same for ours and the peers")]
fn pass(capacity: usize, send: impl Fn(&Sender<u64>) + Send, receive: impl Fn(&Receiver<u64>)) {
    let (sender, receiver) = bounded(capacity);
    thread::scope(|s| {
        s.spawn(move || send(&sender));
        receive(&receiver);
    });
}

fn wakes(board: &mut Board) {
    for (waiters, rounds) in [(1, 40), (8, 20), (64, 5)] {
        let (_sender, receiver) = bounded::<u64>(1);
        board.claim_measured(
            TURNS,
            ("cancel", &format!("cancel to the last of {waiters} receivers awake / a sender dropped")),
            u64::from(rounds),
            Target::Cost(1.15),
            || {
                sum(rounds, || {
                    let token = CancellationToken::new();
                    until_last_awake(waiters, || _ = receiver.until(&token).recv(), || _ = token.cancel())
                })
            },
            || {
                sum(rounds, || {
                    let (open, closed) = bounded::<u64>(0);
                    let wait = || {
                        select! {
                            recv(receiver) -> _ => {}
                            recv(closed) -> _ => {}
                        }
                    };
                    until_last_awake(waiters, wait, || drop(open))
                })
            },
        );
    }
}

fn sum(rounds: u32, mut round: impl FnMut() -> Duration) -> Times {
    let cpu = process_cpu();
    let wall = (0..rounds).map(|_| round()).sum();
    Times { wall, cpu: process_cpu().saturating_sub(cpu) }
}

/// How long after the call of `wake` the last of those who sleep in `wait` is awake.
#[expect(clippy::disallowed_methods, reason = "the same for ours and the peer")]
fn until_last_awake(waiters: usize, wait: impl Fn() + Sync, wake: impl FnOnce()) -> Duration {
    thread::scope(|s| {
        let wait = &wait;
        let waiting: Vec<_> = (0..waiters)
            .map(|_| {
                s.spawn(move || {
                    wait();
                    Instant::now()
                })
            })
            .collect();
        // Long enough for all of them to fall asleep.
        thread::sleep(Duration::from_millis(2) + Duration::from_micros(100) * u32::try_from(waiters).expect("few"));
        let start = Instant::now();
        wake();
        let awake = waiting.into_iter().map(|thread| thread.join().expect("it does not panic"));
        awake.max().expect("one at least").duration_since(start)
    })
}

fn deadlines(board: &mut Board) {
    const TIMES: u32 = 20;
    let pause = Duration::from_millis(2);
    let token = CancellationToken::new();
    let late = |until: &dyn Fn(Instant)| {
        sum(TIMES, || {
            let deadline = Instant::now() + pause;
            until(deadline);
            Instant::now().checked_duration_since(deadline).expect("never early")
        })
    };
    board.claim_measured(
        TURNS,
        ("cancel", "a deadline is late by / a timed wait is late by"),
        u64::from(TIMES),
        Target::Time(1e6),
        || late(&|deadline| _ = token.child_with_deadline(deadline).wait()),
        || late(&|deadline| assert!(token.wait_deadline(deadline).is_none())),
    );
}
