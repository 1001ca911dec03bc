//! Which item failed, and how many: located errors, labels, and a stop after some failures.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::par::Progress;
use brigade::{CancelReason, Cancelled, Failure, ParBuilder};
use proptest::prelude::*;

use super::{builders, limited, live, pool};
use crate::util::{Census, message_of, watched};

#[derive(Debug, PartialEq, Eq)]
struct Bad(usize);

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bad {}", self.0)
    }
}

#[test]
fn every_fallible_form_says_which_item_failed_first() {
    let even = |item: usize| if item % 1_000 < 700 { Ok(item) } else { Err(Bad(item)) };
    let label = |index: usize| format!("file {index}");
    for builder in builders([1, 3]) {
        let located = builder.named("line").labelled(&label).located();
        let shown = pool(3).install(|| {
            [
                located.try_map(&live(), 0..5_000, even).map(drop),
                located.try_for_each(&live(), 0..5_000, |item| even(item).map(drop)),
                located.try_map_init(&live(), 0..5_000, || (), |(), item| even(item)).map(drop),
                located
                    .try_fold(&live(), 0..5_000, || 0, |sum, item| Ok(sum + even(item)?), |a, b| Ok(a + b))
                    .map(drop),
                located.try_reduce(&live(), 0..5_000, |_, item| even(item)).map(drop),
            ]
        });
        for ended in shown {
            let failure = ended.unwrap_err();
            assert_eq!((failure.name(), failure.index(), failure.label()), ("line", 700, Some("file 700")));
            assert_eq!(failure.to_string(), "line#700 (file 700) failed: bad 700");
            assert_eq!(failure.into_error(), Some(Bad(700)));
        }
    }
}

#[test]
fn a_located_form_says_that_it_was_cancelled_and_resumes_panics() {
    let token = live();
    token.cancel_with(CancelReason::Signal(2));
    for builder in builders([1, 3]) {
        let located = builder.located();
        // An error that knows nothing of cancellation.
        let failure = located.try_map(&token, 0..9_usize, |item| Err::<(), _>(Bad(item))).unwrap_err();
        assert_eq!(failure.cancelled(), Some(Cancelled::new(CancelReason::Signal(2))));
        assert_eq!((failure.to_string().as_str(), failure.error()), ("run#0 cancelled: signal 2", None));
        let message = message_of(|| {
            _ = located.try_for_each(&live(), 0..9_usize, |item| -> Result<(), Bad> { panic!("item {item}") });
        });
        assert_eq!(message, "item 0");
    }
}

#[test]
fn a_list_of_failures_has_the_labels_of_errors_and_of_panics() {
    let names = ["a", "b", "c", "d"];
    let asked = AtomicUsize::new(0);
    let label = |index: usize| {
        asked.fetch_add(1, Ordering::SeqCst);
        names[index].to_owned()
    };
    for builder in builders([1, 3]) {
        let failures = builder.labelled(&label).collect_all(&live(), 0..4_usize, |item| match item {
            1 => Err(Bad(item)),
            3 => panic!("a bug"),
            _ => Ok(()),
        });
        let shown: Vec<String> = failures.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["item#1 (b) failed: bad 1", "item#3 (d) panicked: a bug"]);
    }
    assert_eq!(asked.into_inner(), 6, "of the failures alone");
}

#[test]
fn a_label_that_panics_ends_the_call_by_that_panic_and_loses_no_output() {
    let census = Census::default();
    let label = |_: usize| -> String { panic!("no label") };
    for builder in builders([1, 3]) {
        let builder = builder.labelled(&label);
        let fails = |item: usize| if item == 50 { Err(census.make(item)) } else { Ok(census.make(item)) };
        assert_eq!(message_of(|| drop(builder.collect_all(&live(), 0..100, fails).map_err(|_| ()))), "no label");
        let located = builder.clone().located();
        assert_eq!(message_of(|| drop(located.try_map(&live(), 0..100, fails).map_err(|_| ()))), "no label");
    }
    assert_eq!(census.alive(), 0);
}

#[test]
#[should_panic(expected = "ParBuilder::fail_after(0): no item could ever run; 1 stops at the first failure")]
fn to_fail_after_no_failure_is_refused_where_it_is_set() {
    drop(ParBuilder::new().fail_after(0));
}

#[test]
fn of_a_cancelled_map_what_failed_was_cancelled_and_was_skipped_adds_up() {
    watched(|| {
        for threads in [1, 2, 4] {
            for builder in builders([1, 3]) {
                let (token, progress, good) = (live(), Progress::new(), AtomicUsize::new(0));
                let result = pool(threads).install(|| {
                    builder.fail_after(1_000).progress(&progress).collect_all(&token, 0..5_000_usize, |item| {
                        if item == 2_000 {
                            token.cancel();
                        }
                        if item % 10 == 0 {
                            return Err(Bad(item));
                        }
                        good.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                });
                let failures = result.unwrap_err();
                let ended = good.into_inner() + failures.count() + failures.cancelled_count();
                assert_eq!((ended, ended + failures.skipped()), (progress.done(), 5_000));
                assert!(failures.cancelled_count() >= 1, "{failures}");
                assert_eq!(failures.cancel_reason(), Some(CancelReason::Requested));
            }
        }
    });
}

#[test]
fn all_failures_are_listed_in_order_up_to_a_bound_and_a_panic_is_not_lost() {
    watched(|| {
        for limit in [None, Some(1), Some(2)] {
            let builder = limited(limit).named("line").failures(3);
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
fn an_item_behind_the_last_failure_counts_as_skipped_though_it_ended_after_the_cancel() {
    watched(|| {
        for most in [1_000, 0] {
            let (token, builder) = (live(), ParBuilder::new().limit(2).fail_after(1).failures(most));
            let result = pool(2).install(|| {
                builder.collect_all(&token, 0..2_usize, |item| {
                    if item == 0 {
                        token.wait();
                        panic!("a panic counts after the cancel too");
                    }
                    token.cancel();
                    Err::<(), _>(Bad(item))
                })
            });
            let failures = result.unwrap_err();
            assert_eq!((failures.count(), failures.cancelled_count(), failures.skipped()), (1, 0, 1), "{failures}");
            assert!(failures.cancelled().is_empty());
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_map_that_stops_after_some_failures_stops_where_the_loop_would(
        bad in prop::collection::btree_set(0_usize..400, 0..30),
        most in 1_usize..12,
        kept in 1_usize..12,
        limit in prop::option::of(1_usize..4),
        threads in 1_usize..4,
    ) {
        // The failures that the plain loop would have met.
        let met: Vec<usize> = bad.iter().copied().take(most).collect();
        let skipped = if bad.len() >= most { 399 - met[most - 1] } else { 0 };
        let census = Census::default();
        let builder = limited(limit).fail_after(most).failures(kept);
        let result = pool(threads).install(|| {
            builder.collect_all(&live(), 0..400_usize, |item| match bad.contains(&item) {
                true if item % 3 == 0 => std::panic::resume_unwind(Box::new(census.make("a panic"))),
                true => Err(census.make("an error")),
                false => Ok(census.make("a value")),
            })
        });
        match &result {
            Ok(values) => prop_assert_eq!((values.len(), met.len()), (400, 0)),
            Err(failures) => {
                let listed: Vec<usize> = failures.iter().map(Failure::index).collect();
                prop_assert_eq!(&listed[..], &met[..met.len().min(kept)]);
                prop_assert_eq!((failures.count(), failures.skipped()), (met.len(), skipped));
                prop_assert_eq!(failures.cancelled_count(), 0);
            }
        }
        drop(result);
        prop_assert_eq!(census.alive(), 0);
    }
}
