//! Tokens in long chains: linked by callbacks, guards and handles, or made one from the other without end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{CancelReason, CancellationToken, Cancelled, scope};

use crate::util::{Census, Gate, alone, memory, message_of, reached, together, watched};

const LINKS: usize = 100_000;
const REASON: CancelReason = CancelReason::Signal(9);

/// Runs `f` on threads with stacks of 2 MiB, as spawned threads have by default, and of a quarter of that.
fn on_small_stacks(f: impl Fn() + Send + Sync + 'static) {
    watched(move || {
        for kib in [2048, 512] {
            reached(if kib == 512 { "a stack of 512 KiB" } else { "a stack of 2 MiB" });
            on_stack(kib << 10, &f);
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a stack of a given size")]
fn on_stack(stack: usize, f: impl FnOnce() + Send) {
    thread::scope(|s| thread::Builder::new().stack_size(stack).spawn_scoped(s, f).unwrap().join().unwrap());
}

/// Something that panics when it is dropped, outside of a panic or in it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a drop: this is meant");
    }
}

/// The ways in which a callback of one token can own the next, from the last token to the first.
type Link = fn(&CancellationToken, CancellationToken, Arc<AtomicUsize>);

const WAYS: [(&str, Link); 4] = [
    ("cancel_with", |token, next, told| {
        token
            .on_cancel(move |reason| {
                told.fetch_add(1, Ordering::Relaxed);
                next.cancel_with(reason);
            })
            .detach();
    }),
    ("a guard", |token, next, told| {
        let guard = next.drop_guard();
        drop(next);
        token
            .on_cancel(move |_| {
                told.fetch_add(1, Ordering::Relaxed);
                drop(guard);
            })
            .detach();
    }),
    ("a handle", |token, next, told| {
        let handle = next.on_cancel(|_| ());
        token
            .on_cancel(move |reason| {
                told.fetch_add(1, Ordering::Relaxed);
                next.cancel_with(reason);
                drop(handle);
            })
            .detach();
    }),
    ("a child", |token, next, told| {
        let child = next.child_token();
        token
            .on_cancel(move |reason| {
                told.fetch_add(1, Ordering::Relaxed);
                next.cancel_with(reason);
                assert!(child.is_cancelled());
            })
            .detach();
    }),
];

fn chain(links: usize, link: Link, told: &Arc<AtomicUsize>) -> (CancellationToken, CancellationToken) {
    let last = CancellationToken::new();
    let first = (0..links).fold(last.clone(), |next, _| {
        let token = CancellationToken::new();
        link(&token, next, Arc::clone(told));
        token
    });
    (first, last)
}

#[test]
fn a_chain_of_100_000_callbacks_is_cancelled_to_its_end_before_cancel_returns() {
    on_small_stacks(|| {
        for (way, link) in WAYS {
            let told = Arc::new(AtomicUsize::new(0));
            let (first, last) = chain(LINKS, link, &told);
            assert!(first.cancel_with(REASON));
            assert_eq!(told.load(Ordering::Relaxed), LINKS, "by {way}");
            assert_eq!(last.reason(), Some(if way == "a guard" { CancelReason::Dropped } else { REASON }));
        }
    });
}

#[test]
fn a_chain_of_100_000_callbacks_is_dropped_before_the_drop_returns() {
    on_small_stacks(|| {
        for (way, link) in WAYS {
            let told = Arc::new(AtomicUsize::new(0));
            let (first, last) = chain(LINKS, link, &told);
            drop(first);
            assert_eq!(Arc::strong_count(&told), 1, "by {way}");
            // The drop of the first guard cancels the second token, and so on.
            let is_guarded = way == "a guard";
            assert_eq!(last.reason(), is_guarded.then_some(CancelReason::Dropped));
            assert_eq!(told.load(Ordering::Relaxed), if is_guarded { LINKS - 1 } else { 0 });
        }
    });
}

#[test]
fn a_chain_of_a_million_callbacks_is_dropped_on_a_small_stack() {
    watched(|| {
        let told = Arc::default();
        let (first, _last) = chain(1_000_000, WAYS[0].1, &told);
        let on_small_stack = || drop(first);
        on_stack(512 << 10, on_small_stack);
        assert_eq!(Arc::strong_count(&told), 1);
    });
}

#[test]
fn a_chain_of_100_000_handles_is_dropped_on_a_small_stack() {
    on_small_stacks(|| {
        let (token, census) = (CancellationToken::new(), Census::default());
        let first = (0..LINKS).fold(token.on_cancel(|_| ()), |next, _| {
            let held = census.make(next);
            token.on_cancel(move |_| drop(held))
        });
        drop(first);
        assert_eq!(census.alive(), 0);
        token.cancel();
    });
}

#[test]
fn a_callback_that_registers_another_100_000_times_runs_them_all_on_a_small_stack() {
    fn again(token: &CancellationToken, left: usize, told: &Arc<AtomicUsize>) {
        told.fetch_add(1, Ordering::Relaxed);
        if left > 1 {
            let (same, told) = (token.clone(), Arc::clone(told));
            token.on_cancel(move |_| again(&same, left - 1, &told)).detach();
        }
    }
    on_small_stacks(|| {
        let (token, told) = (CancellationToken::new(), Arc::default());
        token.cancel();
        again(&token, LINKS, &told);
        assert_eq!(told.load(Ordering::Relaxed), LINKS);
    });
}

#[test]
fn of_panics_in_a_chain_of_callbacks_the_first_is_resumed_and_all_are_told() {
    on_small_stacks(|| {
        for panics in [[10, 20], [10, 70_000], [70_000, 99_999]] {
            let told = Arc::new(AtomicUsize::new(0));
            let last = CancellationToken::new();
            let first = (0..LINKS).rev().fold(last.clone(), |next, at| {
                let (token, told) = (CancellationToken::new(), Arc::clone(&told));
                token
                    .on_cancel(move |reason| {
                        told.fetch_add(1, Ordering::Relaxed);
                        // First of all, the panic of one further down, where it is resumed there, must not stop this.
                        let _next = next.drop_guard();
                        assert!(!panics.contains(&at), "panic at {at}");
                        next.cancel_with(reason);
                    })
                    .detach();
                token
            });
            assert_eq!(message_of(|| _ = first.cancel_with(REASON)), format!("panic at {}", panics[0]));
            assert_eq!(told.load(Ordering::Relaxed), LINKS);
            assert!(last.is_cancelled() && !first.cancel());
        }
    });
}

#[test]
fn drops_that_panic_in_a_chain_of_callbacks_end_in_one_panic_and_all_is_dropped() {
    on_small_stacks(|| {
        let census = Census::default();
        let chain = |bombs: fn(usize) -> bool| {
            (0..LINKS).fold(CancellationToken::new(), |next, at| {
                let (token, held) = (CancellationToken::new(), census.make(next));
                let bomb = bombs(at).then(|| Bomb);
                token.on_cancel(move |_| drop((held, bomb))).detach();
                token.on_cancel(|_| ()).detach();
                token
            })
        };
        let scattered = chain(|at| at % 30_000 == 7);
        assert_eq!(message_of(|| drop(scattered)), "in a drop: this is meant");
        assert_eq!(census.alive(), 0);

        // A panic that is under way stays the one, and the process stays alive.
        let near = chain(|at| at % 30_000 == 7 || at + 5 > LINKS);
        let message = message_of(move || {
            let _near = near;
            panic!("the body's");
        });
        assert_eq!((message.as_str(), census.alive()), ("the body's", 0));
    });
}

#[test]
fn two_callbacks_of_one_token_whose_drops_panic_do_not_abort_the_process() {
    watched(|| {
        let census = Census::default();
        let token = || {
            let token = CancellationToken::new();
            for _ in 0..3 {
                let held = census.make(Bomb);
                token.on_cancel(move |_| drop(held)).detach();
            }
            token
        };
        let of_a_token = token();
        assert_eq!(message_of(|| drop(of_a_token)), "in a drop: this is meant");
        let of_an_ancestor = token().child_token().child_token();
        assert_eq!(message_of(|| drop(of_an_ancestor)), "in a drop: this is meant");
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn a_callback_can_wait_for_the_callbacks_of_a_token_that_it_cancels() {
    watched(|| {
        // Each relies on the next having run when its cancel returns.
        let last = CancellationToken::new();
        let end = Gate::default();
        let opens = end.clone();
        last.on_cancel(move |_| opens.open()).detach();
        let first = (0..62).fold((last, end), |(next, ran), _| {
            let (token, runs) = (CancellationToken::new(), Gate::default());
            let opens = runs.clone();
            token
                .on_cancel(move |reason| {
                    assert!(next.cancel_with(reason) && ran.pass());
                    opens.open();
                })
                .detach();
            (token, runs)
        });
        first.0.cancel();
        first.1.pass();
    });
}

/// Calls `f` in a callback that is nested `depth` deep.
fn nested(depth: usize, f: impl FnOnce() + Send + 'static) {
    let last = CancellationToken::new();
    last.on_cancel(move |_| f()).detach();
    let first = (1..depth).fold(last, |next, _| {
        let token = CancellationToken::new();
        token.on_cancel(move |_| _ = next.cancel()).detach();
        token
    });
    first.cancel();
}

#[test]
fn at_any_depth_a_cancel_sets_flags_and_wakes_waiters_before_it_returns() {
    watched(|| {
        for depth in [1, 63, 64, 65, 66, 200] {
            let told = Gate::default();
            let opens = told.clone();
            nested(depth, move || {
                let token = CancellationToken::new();
                let (child, done) = (token.child_token(), token.done());
                scope(&CancellationToken::never(), |s| {
                    let waiting = s.spawn(|_| Ok::<_, Cancelled>(child.wait()))?;
                    let scoped = s.spawn(|_| scope(&child, |s| Ok::<_, Cancelled>(s.token().wait())))?;
                    token.on_cancel(move |_| opens.open()).detach();
                    assert!(token.cancel_with(REASON) && child.is_cancelled() && done.recv().is_err());
                    assert_eq!(waiting.join()?, REASON);
                    assert!(scoped.join().is_ok_and(|reason| reason == REASON));
                    Ok(())
                })
                .unwrap();
            });
            told.pass();
        }
    });
}

#[test]
fn a_handle_dropped_while_its_callback_is_queued_takes_it_back() {
    watched(|| {
        let (census, ended) = (Census::default(), Arc::new(AtomicUsize::new(0)));
        for depth in [65, 80] {
            let held = census.make(());
            let ended = Arc::clone(&ended);
            nested(depth, move || {
                let token = CancellationToken::new();
                let callback = token.on_cancel(move |_| {
                    drop(held);
                    unreachable!("it was taken back")
                });
                token.cancel();
                drop(callback);
                let at_once = token.on_cancel(|_| unreachable!("it was taken back too"));
                drop(at_once);
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!((ended.load(Ordering::Relaxed), census.alive()), (2, 0));
    });
}

#[test]
fn tokens_in_a_thread_local_are_dropped_and_cancelled_when_the_thread_ends() {
    thread_local!(static KEPT: Mutex<Vec<CancellationToken>> = const { Mutex::new(Vec::new()) });
    on_small_stacks(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let (first, last) = chain(LINKS, WAYS[1].1, &told);
        scope(&CancellationToken::never(), |s| {
            let keep = move |_: &_| {
                KEPT.with(|kept| kept.lock().unwrap().push(first));
                Ok::<_, Cancelled>(())
            };
            s.spawn(keep)?.join()
        })
        .unwrap();
        assert_eq!(last.reason(), Some(CancelReason::Dropped));
    });
}

/// A way to make the next generation, of a token and the root.
type Next = fn(&CancellationToken, &CancellationToken) -> CancellationToken;

#[test]
fn a_million_generations_keep_memory_flat() {
    if !alone!(a_million_generations_keep_memory_flat) {
        return;
    }
    let ways: [(&str, Next); 5] = [
        ("child_token", |token, _| token.child_token()),
        ("any_of", |token, root| CancellationToken::any_of([token, root])),
        ("a child and any_of by turns", |token, root| CancellationToken::any_of([&token.child_token(), root])),
        ("a later deadline", |token, _| token.child_with_timeout(Duration::from_secs(3600))),
        ("an earlier deadline", |token, _| {
            let deadline = token.deadline().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            token.child_with_deadline(deadline.checked_sub(Duration::from_nanos(1)).unwrap())
        }),
    ];
    for (way, next) in ways {
        watched(move || {
            for (held, keeps_root) in [(1, true), (1, false), (2, true), (50, true)] {
                reached(way);
                let root = CancellationToken::new();
                let other = if keeps_root { root.clone() } else { CancellationToken::new() };
                let mut window = VecDeque::from([root.clone()]);
                let kept = keeps_root.then_some(root);
                let mut go_on = |generations| {
                    for _ in 0..generations {
                        window.push_back(next(&window[window.len() - 1], &other));
                        if window.len() > held {
                            window.pop_front();
                        }
                    }
                };
                go_on(10_000);
                let before = memory();
                go_on(if way == "child_token" && held == 1 && keeps_root { 1_000_000 } else { 20_000 });
                let grown = memory().saturating_sub(before);
                assert!(grown < 2 << 20, "{way}, with {held} held, grew by {grown} bytes");
                let last = window.pop_back().unwrap();
                if let Some(root) = kept {
                    root.cancel_with(REASON);
                    assert_eq!(last.reason(), Some(REASON));
                }
            }
        });
    }
}

#[test]
fn a_generation_that_something_depends_on_stays() {
    watched(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let root = CancellationToken::new();
        let go_on = |token: CancellationToken| (0..1_000).fold(token, |token, _| token.child_token());
        let with_callback = go_on(root.child_token());
        let counts = Arc::clone(&told);
        with_callback.on_cancel(move |_| _ = counts.fetch_add(1, Ordering::Relaxed)).detach();
        let with_done = go_on(with_callback);
        let done = with_done.done();
        let with_deadline = go_on(with_done).child_with_timeout(Duration::from_millis(300));
        let held = go_on(with_deadline);
        let handle = held.on_cancel(|_| ());
        let leaf = go_on(held.clone());
        assert!(done.try_recv().is_err_and(|error| error.is_empty()));
        let below_held = go_on(held.child_token());
        assert!(!leaf.is_cancelled());
        held.cancel_with(REASON);
        assert_eq!((leaf.reason(), below_held.reason()), (Some(REASON), Some(REASON)));
        drop(handle);

        let late = go_on(go_on(root.child_with_timeout(Duration::from_millis(5))));
        assert_eq!(late.wait(), CancelReason::Deadline);
        root.cancel_with(REASON);
        assert!(done.recv().is_err());
        assert_eq!(told.load(Ordering::Relaxed), 1);
        drop(go_on(root));
    });
}

#[test]
fn generations_made_while_an_ancestor_is_cancelled_all_end_cancelled() {
    watched(|| {
        for round in 0..60 {
            let roots = [CancellationToken::new(), CancellationToken::new()];
            let start = CancellationToken::any_of(&roots).child_token();
            let made = Mutex::new(Vec::new());
            let started = Gate::default();
            let make = || {
                let mut token = start.child_token();
                let mut kept = Vec::new();
                for at in 0..2_000 {
                    token = match at % 5 {
                        0 => CancellationToken::any_of([&token, &roots[at % 2]]),
                        _ => token.child_token(),
                    };
                    if at % (50 + round) == 0 {
                        kept.push(token.clone());
                    }
                    if at == 300 {
                        started.open();
                    }
                    if at % 700 == 0 {
                        // Two threads that make children of one generation look at the same time.
                        let both = [token.clone(), token.clone()];
                        kept.extend(both.map(|token| token.child_token()));
                    }
                }
                kept.push(token);
                made.lock().unwrap().extend(kept);
            };
            let cancel = || {
                started.pass();
                roots[round % 2].cancel_with(REASON);
            };
            together(vec![Box::new(make), Box::new(cancel), Box::new(make)]);
            assert!(made.lock().unwrap().iter().all(|token| token.reason() == Some(REASON)));
        }
    });
}

#[test]
fn threads_that_make_generations_of_one_line_share_their_fate() {
    watched(|| {
        for _ in 0..60 {
            let root = CancellationToken::new();
            let line = Mutex::new(root.child_token());
            let made = Mutex::new(Vec::new());
            let make = || {
                for at in 0..1_000 {
                    let token = line.lock().unwrap().clone();
                    let next = token.child_token();
                    if at % 100 == 0 {
                        made.lock().unwrap().push(next.child_token());
                    }
                    *line.lock().unwrap() = next;
                    if at == 500 {
                        root.cancel_with(REASON);
                        assert!(made.lock().unwrap().iter().all(CancellationToken::is_cancelled));
                    }
                }
            };
            together(vec![Box::new(make), Box::new(make), Box::new(make)]);
            assert!(made.lock().unwrap().iter().all(|token| token.reason() == Some(REASON)));
            assert!(line.lock().unwrap().is_cancelled());
        }
    });
}
