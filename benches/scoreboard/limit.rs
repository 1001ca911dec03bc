//! The limits, against permits in a channel, governor, the clock, and a map behind a mutex.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use brigade::limit::SingleFlight;
use brigade::{CancellationToken, Rate, RateLimiter, Semaphore};
use crossbeam::channel::bounded;

use crate::board::{Board, Target, Times, time};

pub(crate) fn claims(board: &mut Board) {
    if board.skips("limit") {
        return;
    }
    semaphores(board);
    rates(board);
    schedule(board);
    flights(board);
}

fn semaphores(board: &mut Board) {
    const TIMES: u64 = 1_000_000;
    const CONTENDED: u64 = 200_000;
    let token = CancellationToken::new();
    for (permits, threads, items, most, name) in [
        (2, 1, TIMES, 0.7, "acquire + release, alone"),
        (2, 2, CONTENDED, 0.6, "acquire + release, two threads, two permits"),
        (1, 2, CONTENDED, 1.0, "acquire + release, two threads, one permit"),
    ] {
        let semaphore = Semaphore::new(permits);
        // What one would write by hand: a channel that holds the permits.
        let (give, take) = bounded(permits);
        (0..permits).for_each(|_| give.send(()).expect("room for all"));
        let ours = || {
            for _ in 0..items {
                drop(semaphore.acquire(&token, 1).expect("never closed"));
            }
        };
        let peer = || {
            for _ in 0..items {
                take.recv().expect("never disconnected");
                give.send(()).expect("never disconnected");
            }
        };
        let name = format!("{name} / permits in a channel");
        let name = ("limit", name.as_str());
        if threads == 1 {
            board.claim(name, items, Target::Cost(most), ours, peer);
        } else {
            let both = |run: &(dyn Fn() + Sync)| _ = rayon::join(run, run);
            board.claim(name, items, Target::Cost(most), || both(&ours), || both(&peer));
        }
    }
}

fn rates(board: &mut Board) {
    const TIMES: u64 = 1_000_000;
    // So fast that each call is admitted.
    let ours = RateLimiter::new(Rate::per_second(4_000_000_000).burst(4_000_000_000));
    let most = NonZeroU32::new(4_000_000_000).expect("not 0");
    let quota = governor::Quota::per_second(most).allow_burst(most);
    let peer = governor::RateLimiter::direct_with_clock(quota, governor::clock::MonotonicClock);
    let run = || (0..TIMES).for_each(|_| black_box(&ours).try_acquire().expect("admitted"));
    board.claim(
        ("limit", "RateLimiter::try_acquire / governor's check, by the same clock"),
        TIMES,
        Target::Cost(1.2),
        run,
        || (0..TIMES).for_each(|_| black_box(&peer).check().expect("admitted")),
    );
    // Its default reads the processor's counter. The standard library's clock alone takes longer than this check.
    let quick = governor::RateLimiter::direct(quota);
    board.claim(
        ("limit", "RateLimiter::try_acquire / governor's check, by its own clock"),
        TIMES,
        Target::Reported,
        run,
        || (0..TIMES).for_each(|_| black_box(&quick).check().expect("admitted")),
    );
}

/// Eight threads take as many permits as a rate admits in two seconds.
#[expect(clippy::disallowed_methods, reason = "threads that only measure")]
fn schedule(board: &mut Board) {
    const RATE: u64 = 100_000;
    const BURST: u32 = 100;
    const THREADS: u64 = 8;
    const PERMITS: u64 = 2 * RATE;
    let name = ("limit", "RateLimiter::acquire, 8 threads at 100,000 a second / the schedule");
    if board.skips_claim(name) {
        return;
    }
    let token = CancellationToken::new();
    let exact = Duration::from_secs(1) * u32::try_from(PERMITS - u64::from(BURST)).expect("few") / 100_000;
    let turns = (0..3).map(|_| {
        let limiter = RateLimiter::new(Rate::per_second(RATE).burst(BURST));
        let ours = time(|| {
            thread::scope(|s| {
                for _ in 0..THREADS {
                    s.spawn(|| (0..PERMITS / THREADS).for_each(|_| limiter.acquire(&token).expect("never cancelled")));
                }
            });
        });
        assert!(ours.wall >= exact, "more than the rate was admitted");
        (ours, Times { wall: exact, cpu: exact })
    });
    let turns: Vec<_> = turns.collect();
    board.claim_turns(name, PERMITS, Target::Cost(1.01), &turns);
}

fn flights(board: &mut Board) {
    const KEYS: u64 = 200_000;
    let token = CancellationToken::new();
    let flights = SingleFlight::<u64, u64, String>::new();
    let map = Mutex::new(HashMap::new());
    // Who computes, as a number.
    let me = black_box(7_u64);
    board.claim(
        ("limit", "SingleFlight, another key each time / a mutex around a map"),
        KEYS,
        Target::Cost(1.3),
        || {
            for key in 0..KEYS {
                assert_eq!(flights.run(&token, key, || Ok(black_box(key))), Ok(key));
            }
        },
        || {
            for key in 0..KEYS {
                // Looks for a computation of the key, marks its own, and takes the mark away.
                assert!(map.lock().expect("not poisoned").insert(key, me).is_none());
                let value = black_box(key);
                map.lock().expect("not poisoned").remove(&key);
                assert_eq!(value, key);
            }
        },
    );
}
