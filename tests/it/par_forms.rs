//! The forms of a parallel map: for each, with states, reduced, folded, limited, counted, with all failures listed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::par::{Progress, par_fold, par_map_init, par_reduce, try_par_fold, try_par_map_init, try_par_reduce};
use brigade::{
    CancelReason, CancellationToken, Cancelled, ParBuilder, Pipeline, par_for_each, par_map, scope, try_par_for_each,
};
use proptest::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::par::{Fate, ending, pool, run};
use crate::util::{Census, Gate, message_of, payload_of, reached, watched};

fn live() -> CancellationToken {
    CancellationToken::new()
}

/// All forms, with a limit or without, as text, in a pool of so many threads.
fn forms(fates: &[Fate], threads: usize, limit: Option<usize>) -> [String; 4] {
    let mut builder = ParBuilder::new();
    if let Some(limit) = limit {
        builder = builder.limit(limit);
    }
    let items = || fates.par_iter().enumerate();
    let f = |(item, fate): (usize, &Fate)| run(item, *fate);
    pool(threads).install(|| {
        [
            ending(|| builder.try_map(&live(), items(), f)),
            ending(|| builder.try_for_each(&live(), items(), |item| f(item).map(drop))),
            ending(|| {
                let (values, states) = builder.try_map_init(
                    &live(),
                    items(),
                    || 0,
                    |count, item| {
                        *count += 1;
                        f(item)
                    },
                )?;
                assert_eq!(states.into_iter().sum::<usize>(), values.len());
                Ok(values)
            }),
            ending(|| {
                let push = |mut values: Vec<usize>, item| {
                    values.push(f(item)?);
                    Ok(values)
                };
                builder.try_fold(&live(), items(), Vec::new, push, |left, right| Ok([left, right].concat()))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_ends_as_the_sequential_loop(
        fates in proptest::collection::vec(
            prop_oneof![600 => Just(Fate::Pass), 1 => Just(Fate::Fail), 1 => Just(Fate::Panic)],
            0..3_000_usize,
        ),
        threads in prop_oneof![Just(1_usize), Just(2), Just(3), Just(8)],
        limit in proptest::option::of(1..5_usize),
    ) {
        let sequential = |fates: &[Fate]| {
            ending(|| fates.iter().enumerate().map(|(item, fate)| run(item, *fate)).collect::<Result<Vec<_>, _>>())
        };
        let values = sequential(&fates);
        let nothing = if values.starts_with('[') { "()".to_owned() } else { values.clone() };
        let seen = watched(move || forms(&fates, threads, limit));
        prop_assert_eq!(seen, [values.clone(), nothing, values.clone(), values]);
    }

    #[test]
    fn a_fold_is_that_of_the_plain_loop_in_order_whatever_the_number_of_threads(
        words in proptest::collection::vec("[a-c]{0,2}", 0..3_000),
        threads in prop_oneof![Just(1_usize), Just(2), Just(8)],
        limit in 1..9_usize,
    ) {
        let expected = words.concat();
        let seen = watched(move || pool(threads).install(|| {
            let builder = ParBuilder::new().limit(limit);
            let fold = builder.fold(&live(), &words, String::new, |text, word| text + word, |left, right| left + &right);
            (fold, builder.reduce(&live(), words.clone(), |left, right| left + &right), words.is_empty())
        }));
        prop_assert_eq!(seen.0, Ok(expected.clone()));
        prop_assert_eq!(seen.1, Ok(if seen.2 { None } else { Some(expected) }));
    }
}

#[test]
fn a_sum_of_floats_has_the_same_bits_in_2000_runs_at_any_number_of_threads_and_any_limit() {
    watched(|| {
        let floats: Vec<f64> = (1..20_000).map(|number| 1.0 / f64::from(number)).collect();
        let mut sums = BTreeSet::new();
        for threads in [1, 2, 4, 8] {
            let pool = pool(threads);
            for round in 0..500 {
                let builder = if round % 2 == 0 { ParBuilder::new() } else { ParBuilder::new().limit(1 + round % 5) };
                let sum = pool.install(|| builder.reduce(&live(), floats.par_iter().copied(), |a, b| a + b));
                sums.insert(sum.unwrap().unwrap().to_bits());
                let sum = pool.install(|| par_fold(&live(), &floats, || 0.0, |a, b| a + b, |a, b| a + b));
                sums.insert(sum.unwrap().to_bits());
            }
        }
        assert_eq!(sums.len(), 1);
    });
}

#[test]
fn nothing_at_all_is_mapped_reduced_and_folded() {
    watched(|| {
        for builder in [ParBuilder::new(), ParBuilder::new().limit(1)] {
            pool(3).install(|| {
                let none: [u8; 0] = [];
                assert_eq!(builder.map(&live(), none, |item| item), Ok(vec![]));
                assert_eq!(builder.for_each(&live(), none, drop), Ok(()));
                assert_eq!(builder.map_init(&live(), none, || 1, |_, item| item), Ok((vec![], vec![])));
                assert_eq!(builder.reduce(&live(), none, |left, _| left), Ok(None));
                assert_eq!(builder.fold(&live(), none, || 7, |sum, _| sum, |left, right| left + right), Ok(7));
                let all = builder.collect_all(&live(), none, Ok::<_, Cancelled>);
                assert_eq!(all.unwrap(), []);
            });
        }
    });
}

#[test]
fn every_form_starts_nothing_once_it_is_cancelled() {
    watched(|| {
        let token = live();
        token.cancel_with(CancelReason::Deadline);
        let cancelled = Cancelled::new(CancelReason::Deadline);
        let started = AtomicUsize::new(0);
        let start = || started.fetch_add(1, Ordering::SeqCst);
        for builder in [ParBuilder::new(), ParBuilder::new().limit(1)] {
            pool(2).install(|| {
                assert_eq!(builder.map(&token, 0..9, |_| start()), Err(cancelled));
                assert_eq!(builder.for_each(&token, 0..9, |_| _ = start()), Err(cancelled));
                assert_eq!(builder.map_init(&token, 0..9, start, |_, _| start()), Err(cancelled));
                assert_eq!(builder.fold(&token, 0..9, || 0, |_, _| start(), |_, _| start()), Err(cancelled));
                let failures = builder.collect_all(&token, 0..9, |_| Ok::<_, Cancelled>(start())).unwrap_err();
                assert_eq!(failures.to_string(), "cancelled: the deadline passed; 9 skipped");
            });
        }
        assert_eq!(started.into_inner(), 0);
    });
}

#[test]
fn a_cancel_in_the_middle_of_ten_million_items_stops_within_the_items_in_hand() {
    const ITEMS: usize = 10_000_000;
    watched(|| {
        for threads in [1, 2, 4] {
            for form in 0..4 {
                reached(&format!("{threads} threads, form {form}"));
                let (token, run, after) = (live(), AtomicUsize::new(0), AtomicUsize::new(0));
                let item = |_| {
                    if token.is_cancelled() {
                        after.fetch_add(1, Ordering::Relaxed);
                    }
                    if run.fetch_add(1, Ordering::Relaxed) == 100_000 {
                        token.cancel();
                    }
                };
                let result = pool(threads).install(|| match form {
                    0 => par_for_each(&token, 0..ITEMS, item),
                    1 => ParBuilder::new().limit(threads.div_ceil(2)).for_each(&token, 0..ITEMS, item),
                    2 => par_fold(&token, 0..ITEMS, || (), |(), at| item(at), |(), ()| ()),
                    _ => par_map_init(&token, 0..ITEMS, || (), |(), at| item(at)).map(drop),
                });
                assert_eq!(result.unwrap_err().reason(), CancelReason::Requested);
                assert!(after.into_inner() < threads);
            }
        }
    });
}

#[test]
fn after_the_first_item_has_failed_only_the_items_in_hand_still_run() {
    watched(|| {
        for threads in [1, 2, 8] {
            for limit in [None, Some(1), Some(3)] {
                let (ran, failed) = (AtomicUsize::new(0), Gate::default());
                let builder = limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit));
                let message = message_of(|| {
                    _ = pool(threads).install(|| {
                        builder.for_each(&live(), 0..10_000_usize, |item| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            if item == 0 {
                                // Without the hook, which takes its time to print.
                                failed.open();
                                std::panic::resume_unwind(Box::new("the first"));
                            }
                            // So that those in hand are as many as there can be; and each takes much longer than it
                            // takes to catch the panic.
                            failed.pass();
                            (0..2_000).for_each(|_| std::thread::yield_now());
                        })
                    });
                });
                assert_eq!(message, "the first");
                let ran = ran.into_inner();
                assert!(ran <= 2 * threads, "{ran} items ran on {threads} threads");
            }
        }
    });
}

#[test]
fn every_value_is_dropped_once_however_a_form_ends() {
    watched(|| {
        for (ends, form, limit) in
            (0..4).flat_map(|ends| (0..4).flat_map(move |form| [None, Some(2)].map(|limit| (ends, form, limit))))
        {
            let (census, token) = (Census::default(), live());
            let items: Vec<_> = (0..5_000).map(|item| census.make(item)).collect();
            let builder = limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit));
            let f = |item: crate::util::Counted<i32>| match (ends, item.value) {
                (1, 2_500) => Err(anyhow::anyhow!("failed")),
                (2, 2_500) => panic!("panicked"),
                (3, 2_500) => Ok((token.cancel(), census.make(0)).1),
                _ => Ok(census.make(item.value)),
            };
            let ended = pool(4).install(|| {
                catch_unwind(AssertUnwindSafe(|| match form {
                    0 => builder.try_map(&token, items, f).map(|values| values.len()),
                    1 => {
                        let init = || census.make(0);
                        builder.try_map_init(&token, items, init, |_, item| f(item)).map(|(values, states)| {
                            assert!(states.len() <= 4);
                            values.len()
                        })
                    }
                    2 => {
                        let keep = |_, item| f(item);
                        builder.try_fold(&token, items, || census.make(0), keep, |left, _| Ok(left)).map(|_| 5_000)
                    }
                    _ => builder
                        .collect_all(&token, items, f)
                        .map(|values| values.len())
                        .map_err(|failures| anyhow::anyhow!("{failures}")),
                }))
            });
            match (ends, ended) {
                (0, Ok(Ok(5_000))) | (1 | 3, Ok(Err(_))) | (2, Err(_)) => {}
                (2, Ok(Err(_))) if form == 3 => {}
                (_, other) => panic!("ending {ends} of form {form} gave {other:?}"),
            }
            assert_eq!(census.alive(), 0, "ending {ends} of form {form}");
        }
    });
}

#[test]
fn no_more_items_run_at_once_than_the_limit_says() {
    watched(|| {
        for limit in [1, 2, 3, 100] {
            let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let task = |item: usize| {
                most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                active.fetch_sub(1, Ordering::SeqCst);
                item
            };
            let values = pool(4).install(|| {
                ParBuilder::new().limit(limit).for_each(&live(), 0..2_000_usize, |item| _ = task(item))?;
                ParBuilder::new().limit(limit).fold(
                    &live(),
                    0..2_000_usize,
                    || 0,
                    |sum, item| sum + task(item),
                    |a, b| a + b,
                )
            });
            assert_eq!(values, Ok(1_999 * 1_000));
            assert!(most.into_inner() <= limit.min(4));
        }
    });
}

#[test]
fn a_limit_takes_whatever_rayon_knows_the_length_of() {
    watched(|| {
        pool(4).install(|| {
            let limited = ParBuilder::new().limit(2);
            let words = vec!["a".to_owned(), "bc".to_owned()];
            assert_eq!(limited.map(&live(), &words, String::len).unwrap(), [1, 2]);
            assert_eq!(limited.map(&live(), words, |word| word + "!").unwrap(), ["a!", "bc!"]);
            let mut numbers = [1, 2, 3];
            limited.for_each(&live(), &mut numbers, |number| *number += 1).unwrap();
            assert_eq!(numbers, [2, 3, 4]);
            let zipped = (0..100).into_par_iter().zip(100..200).with_min_len(7).rev();
            assert!(limited.map(&live(), zipped, |(a, b)| b - a).unwrap().iter().all(|number| *number == 100));
            let chunks = (0..10).into_par_iter().chunks(3);
            assert_eq!(limited.map(&live(), chunks, |chunk: Vec<i32>| chunk.len()).unwrap(), [3, 3, 3, 1]);
        });
    });
}

#[test]
fn a_limit_of_zero_is_refused_where_it_is_set() {
    let message = message_of(|| _ = ParBuilder::new().limit(0));
    assert_eq!(message, "ParBuilder::limit(0): no item could ever run; 1 runs them one after the other");
}

#[test]
fn a_worker_has_one_state_and_all_are_handed_back() {
    watched(|| {
        for threads in [1, 2, 4] {
            for limit in [None, Some(2)] {
                let made = AtomicUsize::new(0);
                let builder = limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit));
                let (values, states) = pool(threads)
                    .install(|| {
                        let init = || (made.fetch_add(1, Ordering::SeqCst), 0_usize);
                        builder.map_init(&live(), 0..20_000_usize, init, |state, item| {
                            state.1 += 1;
                            item
                        })
                    })
                    .unwrap();
                assert!(values.into_iter().eq(0..20_000));
                assert_eq!(states.len(), made.into_inner());
                assert!((1..=threads).contains(&states.len()), "{} states on {threads} threads", states.len());
                assert_eq!(states.iter().map(|(_, count)| count).sum::<usize>(), 20_000);
            }
        }
    });
}

#[test]
fn a_closure_that_calls_rayon_has_a_state_of_its_own_meanwhile() {
    watched(|| {
        for threads in [1, 2] {
            let (_, states) = pool(threads)
                .install(|| {
                    par_map_init(&live(), 0..200_usize, Vec::new, |state: &mut Vec<usize>, item| {
                        state.push(item);
                        // Another part of the outer call may run on this worker now.
                        rayon::join(|| std::hint::black_box(item), || std::hint::black_box(item));
                        assert_eq!(state.pop(), Some(item));
                    })
                })
                .unwrap();
            assert!(states.iter().all(Vec::is_empty));
        }
    });
}

#[test]
fn a_state_that_cannot_be_made_is_a_panic_of_the_lowest_item() {
    watched(|| {
        let message = message_of(|| {
            let init = || -> u8 { panic!("no state") };
            _ = pool(2).install(|| par_map_init(&live(), 0..100, init, |_, item: i32| item));
        });
        assert_eq!(message, "no state");
        let result = pool(1).install(|| {
            try_par_map_init(
                &live(),
                0..100,
                || 0,
                |count, item| {
                    *count += 1;
                    if item == 60 { Err(anyhow::anyhow!("after {count} items")) } else { Ok(()) }
                },
            )
        });
        assert_eq!(result.unwrap_err().to_string(), "after 61 items");
    });
}

#[test]
fn the_lowest_failure_of_a_reduction_counts_also_where_halves_are_combined() {
    watched(|| {
        for threads in [1, 2, 8] {
            pool(threads).install(|| {
                for _ in 0..100 {
                    let add = |a: u32, b: u32| a.checked_add(b).ok_or_else(|| anyhow::anyhow!("{a} + {b}"));
                    let mut numbers = vec![0; 3_000];
                    (numbers[10], numbers[11], numbers[2_000]) = (u32::MAX, 5, 7);
                    let error = try_par_reduce(&live(), numbers, add).unwrap_err();
                    assert_eq!(error.to_string(), format!("{} + 5", u32::MAX));
                    let fold = try_par_fold(
                        &live(),
                        0..3_000,
                        || 0,
                        |_, item| Ok(item),
                        |_, right| {
                            if right < 2_999 { Err(anyhow::anyhow!("combined up to {right}")) } else { Ok(right) }
                        },
                    );
                    // The leaves have two items and three.
                    assert_eq!(fold.unwrap_err().to_string(), "combined up to 4");
                    let payload = payload_of(|| {
                        _ = par_fold(
                            &live(),
                            0..3_000,
                            || 0,
                            |_, item| item,
                            |_, right| {
                                if right < 2_999 { std::panic::panic_any(right) } else { right }
                            },
                        );
                    });
                    assert_eq!(payload.downcast_ref(), Some(&4));
                }
            });
        }
    });
}

#[test]
fn progress_counts_every_item_of_every_form_and_can_be_watched() {
    watched(|| {
        let progress = Progress::new();
        assert_eq!(progress.to_string(), "0 of 0");
        for limit in [None, Some(1)] {
            let builder = limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit)).progress(&progress);
            let before = progress.total();
            pool(3)
                .install(|| {
                    builder.map(&live(), 0..5_000, |item| item)?;
                    builder.for_each(&live(), 0..5_000, drop)?;
                    builder.map_init(&live(), 0..5_000, || (), |(), item| item)?;
                    builder.fold(&live(), 0..5_000, || 0, |a, b| a + b, |a, b| a + b)
                })
                .unwrap();
            assert!(builder.collect_all(&live(), 0..5_000, Ok::<_, Cancelled>).is_ok());
            assert_eq!((progress.total() - before, progress.done()), (25_000, progress.total()));
        }
        // Seen while it runs: the item in hand is not done, those before it are.
        let progress = Progress::new();
        let (reached_it, go_on) = (Gate::default(), Gate::default());
        scope(&live(), |s| {
            s.spawn(|s| {
                pool(1).install(|| {
                    ParBuilder::new().progress(&progress).for_each(s.token(), 0..100, |item| {
                        if item == 30 {
                            reached_it.open();
                            go_on.pass();
                        }
                    })
                })
            })?;
            reached_it.pass();
            assert_eq!(progress.to_string(), "30 of 100");
            go_on.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(format!("{progress:?}"), "Progress { done: 100, total: 100 }");
    });
}

#[test]
fn all_failures_are_listed_in_order_up_to_a_bound_and_a_panic_is_not_lost() {
    watched(|| {
        for limit in [None, Some(1), Some(2)] {
            let mut builder = ParBuilder::new().named("line").failures(3);
            if let Some(limit) = limit {
                builder = builder.limit(limit);
            }
            let failures = pool(4)
                .install(|| {
                    builder.collect_all(&live(), 0..1_000_usize, |item| match item % 100 {
                        50 => Err(anyhow::anyhow!("bad")),
                        99 if item > 900 => panic!("worse"),
                        _ => Ok(item),
                    })
                })
                .unwrap_err();
            assert_eq!(failures.iter().map(brigade::Failure::index).collect::<Vec<_>>(), [50, 150, 250]);
            assert_eq!((failures.count(), failures.omitted()), (11, 8));
            assert_eq!(failures.to_string(), "line#50 failed: bad, and 10 other failures");
            assert_eq!(message_of(|| drop(failures.resume_panic())), "worse");
        }
        let token = live();
        let failures = pool(1).install(|| {
            ParBuilder::new().collect_all(&token, 0..100, |item| {
                if item == 20 {
                    token.cancel();
                    anyhow::bail!("bad");
                }
                Ok(item)
            })
        });
        // The item has cancelled the token before it failed.
        let failures = failures.unwrap_err();
        assert_eq!((failures.count(), failures.cancelled_count(), failures.skipped()), (0, 1, 79));
        assert_eq!(failures.cancelled()[0].to_string(), "item#20 failed: bad");
        assert_eq!(failures.to_string(), "cancelled: requested; 1 cancelled, 79 skipped");
    });
}

#[test]
fn maps_run_within_maps_stages_scopes_and_rayon_jobs_of_one_thread_too() {
    watched(|| {
        for threads in [1, 2] {
            for limit in [1, 2] {
                let inner = |outer: u32| {
                    ParBuilder::new().limit(limit).reduce(&live(), 0..outer, |a, b| a + b).unwrap().unwrap_or(0)
                };
                let expected: Vec<u32> = (0..20).map(|outer| (0..outer).sum()).collect();
                pool(threads).install(|| {
                    assert_eq!(par_map(&live(), 0..20, inner).unwrap(), expected);
                    assert_eq!(ParBuilder::new().limit(1).map(&live(), 0..20, inner).unwrap(), expected);
                    assert_eq!(Pipeline::from_iter(0..20).map(inner).collect::<Vec<_>>(&live()).unwrap(), expected);
                    rayon::scope(|s| s.spawn(|_| assert_eq!(par_map(&live(), 0..20, inner).unwrap(), expected)));
                });
                let piped = Pipeline::from_iter(0..20).threads(3).map(inner).collect::<Vec<_>>(&live());
                assert_eq!(piped.unwrap(), expected);
                let scoped = scope(&live(), |s| {
                    let tasks =
                        (0..20).map(|outer| s.spawn(move |_| Ok(inner(outer)))).collect::<Result<Vec<_>, _>>()?;
                    s.join_all(tasks)
                });
                assert_eq!(scoped.unwrap(), expected);
            }
        }
    });
}

#[test]
fn errors_of_for_each_are_those_of_the_loop() {
    let seen = Mutex::new(BTreeSet::new());
    let error = try_par_for_each(&live(), 0..1_000, |item| {
        seen.lock().unwrap().insert(item);
        if item >= 500 { Err(anyhow::anyhow!("{item}")) } else { Ok(()) }
    });
    assert_eq!(error.unwrap_err().to_string(), "500");
    assert!(seen.into_inner().unwrap().range(..=500).count() == 501, "all below the failure have run");
    assert_eq!(par_reduce(&live(), vec![3, 1, 2], i32::max), Ok(Some(3)));
}

#[test]
fn a_limit_holds_also_where_workers_take_up_other_jobs_while_they_wait() {
    watched(|| {
        for (threads, limit) in [(1, 1), (2, 2), (4, 4), (4, 2), (2, 100)] {
            let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool(threads).install(|| {
                let builder = ParBuilder::new().limit(limit);
                let result = builder.for_each(&live(), 0..500, |_| {
                    most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    rayon::yield_now();
                    rayon::join(std::thread::yield_now, std::thread::yield_now);
                    active.fetch_sub(1, Ordering::SeqCst);
                });
                assert_eq!(result, Ok(()));
            });
            assert!(most.into_inner() <= limit.min(threads), "{threads} threads, a limit of {limit}");
        }
    });
}

#[test]
fn a_limit_changes_no_error_of_a_fold() {
    watched(|| {
        let mut numbers = vec![0_u16; 4_096];
        // The halves from 1024 on cannot be added to those before, and within the last leaf there is another overflow.
        (numbers[0], numbers[1_024], numbers[4_092], numbers[4_093]) = (60_000, 10_000, 50_000, 20_000);
        let add = |a: u16, b: u16| a.checked_add(b).ok_or_else(|| anyhow::anyhow!("{a} + {b}"));
        for threads in [1, 2, 8] {
            for limit in [None, Some(1), Some(2), Some(5)] {
                let builder = limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit));
                for _ in 0..20 {
                    let sum = pool(threads).install(|| builder.try_reduce(&live(), numbers.par_iter().copied(), add));
                    assert_eq!(sum.unwrap_err().to_string(), "60000 + 10000", "{threads} threads, {builder:?}");
                }
            }
        }
    });
}

#[test]
fn a_limited_fold_keeps_its_bits_and_a_map_its_parts_whatever_lengths_the_items_ask_for() {
    watched(|| {
        let floats: Vec<f64> = (1..30_000).map(|number| 1.0 / f64::from(number)).collect();
        let sum = |least, most, limit| {
            let items = floats.par_iter().copied().with_min_len(least).with_max_len(most);
            pool(4).install(|| ParBuilder::new().limit(limit).reduce(&live(), items, |a, b| a + b)).unwrap().unwrap()
        };
        let plain = par_reduce(&live(), floats.par_iter().copied(), |a, b| a + b).unwrap().unwrap();
        for (least, most) in [(1, 1), (1, 7), (500, 1_000), (10_000, usize::MAX)] {
            assert_eq!(sum(least, most, 2).to_bits(), plain.to_bits());
        }
        // Items that wait for each other would for ever, if two were in one part.
        let both = std::sync::Barrier::new(2);
        let meets = (0..2).into_par_iter().with_max_len(1);
        let leaders = pool(4).install(|| ParBuilder::new().limit(2).map(&live(), meets, |_| both.wait().is_leader()));
        assert_eq!(leaders.unwrap().into_iter().filter(|is| *is).count(), 1);
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the bomb went off");
    }
}

#[test]
fn with_a_limit_no_output_whose_drop_panics_ends_the_process() {
    watched(|| {
        pool(3).install(|| {
            let limited = ParBuilder::new().limit(2);
            let fail = |item: i32| if item == 80 { Err(anyhow::anyhow!("the error")) } else { Ok(Bomb) };
            assert_eq!(message_of(|| _ = limited.try_map(&live(), 0..100, fail)), "the bomb went off");
            let states = |token: &CancellationToken| {
                limited.map_init(token, 0..100, || Bomb, |_, item| item == 50 && token.cancel())
            };
            assert_eq!(message_of(|| _ = states(&live())), "the bomb went off");
        });
    });
}

/// Panics whenever it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("the grenade went off");
    }
}

#[test]
fn with_a_limit_a_panic_among_outputs_whose_drop_panics_is_resumed_and_an_error_is_not() {
    watched(|| {
        for (threads, limit) in [(1, 1), (3, 1), (3, 2)] {
            pool(threads).install(|| {
                let limited = ParBuilder::new().limit(limit);
                let panics = |item: i32| if item == 80 { panic!("the item") } else { Grenade };
                assert_eq!(message_of(|| std::mem::forget(limited.map(&live(), 0..100, panics))), "the item");
                let fail = |item: i32| if item == 80 { Err(anyhow::anyhow!("the error")) } else { Ok(Grenade) };
                let ended = message_of(|| std::mem::forget(limited.try_map(&live(), 0..100, fail)));
                assert_eq!(ended, "the grenade went off");
            });
        }
    });
}

#[test]
fn progress_counts_an_item_that_failed() {
    let progress = Progress::new();
    for limit in [1, 2] {
        let builder = ParBuilder::new().progress(&progress).limit(limit);
        let fails = |item| if item == 4 { Err(anyhow::anyhow!("no")) } else { Ok(()) };
        assert!(pool(1).install(|| builder.try_map(&live(), 0..10, fails)).is_err());
    }
    assert_eq!(progress.to_string(), "10 of 20");
}
