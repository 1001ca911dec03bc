//! Every form of a parallel map: the ends of the sequential loop, cancellation, nesting.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::par::{par_fold, par_map_init, par_reduce};
use brigade::{CancelReason, Cancelled, ParBuilder, Pipeline, par_for_each, par_map, scope, try_par_for_each};
use proptest::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator};

use super::{Fate, builders, ending, limited, live, pool, run};
use crate::util::{Gate, message_of, reached, watched};

/// The ends of all forms as text, with a limit or without, in a pool of `threads` threads.
fn forms(fates: &[Fate], threads: usize, limit: Option<usize>) -> [String; 4] {
    let builder = limited(limit);
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
fn nothing_at_all_is_mapped_reduced_and_folded() {
    watched(|| {
        for builder in builders([1]) {
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
        for builder in builders([1]) {
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
                let builder = limited(limit);
                let message = message_of(|| {
                    _ = pool(threads).install(|| {
                        builder.for_each(&live(), 0..10_000_usize, |item| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            if item == 0 {
                                // The hook does not run, because printing would take its time.
                                failed.open();
                                std::panic::resume_unwind(Box::new("the first"));
                            }
                            // So as many items are in hand as there can be, and each takes much longer than the catch.
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
