//! `par_map` and `try_par_map`, and the promises of every map.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::{CancelReason, CancellationToken, Cancelled, par_map, scope, try_par_map};
use proptest::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator};

use super::{Fate, ending, live, pool, run};
use crate::util::{Census, alone, message_of, payload_of, watched};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_errors_and_panics_are_those_of_the_sequential_loop(
        fates in proptest::collection::vec(
            prop_oneof![40 => Just(Fate::Pass), 1 => Just(Fate::Fail), 1 => Just(Fate::Panic)],
            0..300,
        ),
        threads in prop_oneof![Just(1_usize), Just(2), Just(3), Just(8)],
    ) {
        let expected = ending(|| fates.iter().enumerate().map(|(item, fate)| run(item, *fate)).collect::<Result<Vec<_>, _>>());
        let seen = watched(move || {
            pool(threads).install(|| {
                ending(|| try_par_map(&live(), fates.par_iter().enumerate(), |(item, fate)| run(item, *fate)))
            })
        });
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn whatever_rayon_knows_the_length_of_can_be_mapped() {
    let words = vec!["a".to_owned(), "bc".to_owned()];
    assert_eq!(par_map(&live(), &words, String::len).unwrap(), [1, 2]);
    assert_eq!(par_map(&live(), words, |word| word + "!").unwrap(), ["a!", "bc!"]);
    let mut numbers = [1, 2];
    par_map(&live(), &mut numbers, |number| *number += 1).unwrap();
    assert_eq!(numbers, [2, 3]);
    let sums = par_map(&live(), (0..3).into_par_iter().zip(10..13), |(a, b)| a + b);
    assert_eq!(sums.unwrap(), [10, 12, 14]);
    assert_eq!(par_map(&live(), 0..0, |item: i32| item).unwrap(), []);
}

#[test]
fn of_ten_failing_items_the_lowest_is_reported_500_times_in_500() {
    watched(|| {
        for _ in 0..500 {
            let fail = |item| if item % 100 == 99 { Err(anyhow::anyhow!("{item}")) } else { Ok(()) };
            assert_eq!(try_par_map(&live(), 0..1_000, fail).unwrap_err().to_string(), "99");
        }
    });
}

#[test]
fn a_panic_keeps_its_payload() {
    watched(|| {
        for threads in [1, 2, 4] {
            let payload = payload_of(|| {
                let throw = |item| if item == 500 { std::panic::panic_any(vec![item]) } else { item };
                drop(pool(threads).install(|| par_map(&live(), 0..10_000, throw)));
            });
            assert_eq!(payload.downcast_ref(), Some(&vec![500]));
        }
    });
}

#[test]
fn items_above_a_failure_are_skipped() {
    watched(|| {
        let run = AtomicUsize::new(0);
        pool(1).install(|| {
            try_par_map(&live(), 0..10_000, |item| {
                run.fetch_add(1, Ordering::Relaxed);
                if item == 10 { Err(anyhow::anyhow!("failed")) } else { Ok(()) }
            })
            .unwrap_err()
        });
        assert_eq!(run.into_inner(), 11);
    });
}

#[test]
fn a_cancelled_token_starts_nothing() {
    let token = live();
    token.cancel_with(CancelReason::Deadline);
    let started = AtomicBool::new(false);
    let result = par_map(&token, 0..100, |_| started.store(true, Ordering::Relaxed));
    assert_eq!(result.unwrap_err(), Cancelled::new(CancelReason::Deadline));
    assert!(!started.into_inner());
}

#[test]
fn a_cancel_in_the_middle_stops_within_the_items_in_hand() {
    watched(|| {
        for threads in [1, 2, 4] {
            let (token, run) = (live(), AtomicUsize::new(0));
            let after = AtomicUsize::new(0);
            let result = pool(threads).install(|| {
                par_map(&token, 0..1_000_000, |_| {
                    if token.is_cancelled() {
                        after.fetch_add(1, Ordering::Relaxed);
                    }
                    if run.fetch_add(1, Ordering::Relaxed) == 1_000 {
                        token.cancel();
                    }
                })
            });
            assert_eq!(result.unwrap_err().reason(), CancelReason::Requested);
            assert!(after.into_inner() < threads);
        }
    });
}

#[test]
fn an_error_is_not_lost_to_a_cancellation() {
    let token = live();
    let result = try_par_map(&token, 0..10, |item| {
        if item == 5 {
            token.cancel();
            anyhow::bail!("the real error");
        }
        Ok(())
    });
    assert_eq!(result.unwrap_err().to_string(), "the real error");
}

#[test]
fn an_item_that_fails_because_the_program_cancels_the_callers_token_counts_if_it_is_the_earliest() {
    watched(|| {
        let wait_or_fail = |item: i32, token: &CancellationToken, cancels: bool| -> Result<(), anyhow::Error> {
            if item == 0 {
                token.wait();
                Ok(token.check()?)
            } else {
                _ = cancels && token.cancel();
                Err(anyhow::anyhow!("the real error"))
            }
        };
        let token = live();
        let meets = [0, 1].into_par_iter().with_max_len(1);
        let ended = pool(2).install(|| try_par_map(&token, meets, |item| wait_or_fail(item, &token, true)));
        assert_eq!(ended.unwrap_err().to_string(), "cancelled: requested");
        // The documentation recommends this instead.
        let ended = scope(&live(), |s| {
            for item in 0..2 {
                s.spawn(move |s| wait_or_fail(item, s.token(), false))?;
            }
            Ok(())
        });
        assert_eq!(ended.unwrap_err().to_string(), "the real error");
    });
}

#[test]
fn neither_an_error_nor_a_panic_is_lost_to_a_cancellation_and_the_lower_counts() {
    watched(|| {
        for fails in [5, 50] {
            let (token, both) = (live(), std::sync::Barrier::new(2));
            let ended = ending(|| {
                pool(2).install(|| {
                    try_par_map(&token, [5_usize, 50], |item| {
                        both.wait();
                        token.cancel();
                        run(item, if item == fails { Fate::Fail } else { Fate::Panic })
                    })
                })
            });
            assert_eq!(ended, if fails == 5 { "item 5 failed" } else { "item 5 panicked" });
        }
    });
}

static HOOKED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn no_panic_hook_runs_on_a_cancel_or_an_error() {
    if !alone!(no_panic_hook_runs_on_a_cancel_or_an_error) {
        return;
    }
    std::panic::set_hook(Box::new(|_| _ = HOOKED.fetch_add(1, Ordering::Relaxed)));
    let token = live();
    par_map(&token, 0..10_000, |item| {
        if item == 5_000 {
            token.cancel();
        }
    })
    .unwrap_err();
    try_par_map(&live(), 0..10_000, |item| if item == 5_000 { Err(anyhow::anyhow!("no")) } else { Ok(()) })
        .unwrap_err();
    let hooked = HOOKED.load(Ordering::Relaxed);
    drop(std::panic::take_hook());
    assert_eq!(hooked, 0);
}

#[test]
fn every_value_is_dropped_once_however_the_map_ends() {
    watched(|| {
        for ending in 0..4 {
            let (census, token) = (Census::default(), live());
            let items: Vec<_> = (0..5_000).map(|item| census.make(item)).collect();
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                try_par_map(&token, items, |item| match (ending, item.value) {
                    (1, 2_500) => Err(anyhow::anyhow!("failed")),
                    (2, 2_500) => panic!("panicked"),
                    (3, 2_500) => Ok((token.cancel(), census.make(0)).1),
                    _ => Ok(census.make(item.value)),
                })
                .map(|values| values.len())
            }));
            match (ending, ended) {
                (0, Ok(Ok(5_000))) | (1 | 3, Ok(Err(_))) | (2, Err(_)) => {}
                (_, other) => panic!("ending {ending} gave {other:?}"),
            }
            assert_eq!(census.alive(), 0, "ending {ending}");
        }
    });
}

#[test]
fn nested_maps_end_in_a_pool_of_one_thread() {
    watched(|| {
        let sums = pool(1).install(|| {
            par_map(&live(), 0..10_u32, |outer| {
                par_map(&live(), 0..outer, |inner| inner).unwrap().into_iter().sum::<u32>()
            })
        });
        assert_eq!(sums.unwrap()[9], 36);
    });
}

#[test]
fn a_nested_cancel_stays_with_its_own_call() {
    watched(|| {
        let inner = |item: u32| {
            let token = live();
            par_map(&token, 0..100, |at| {
                if item % 2 == 0 && at == 50 {
                    token.cancel();
                }
            })
            .is_err()
        };
        let cancelled = par_map(&live(), 0..20, inner).unwrap();
        assert_eq!(cancelled, (0..20).map(|item| item % 2 == 0).collect::<Vec<_>>());
    });
}

#[test]
fn a_source_that_panics_is_not_taken_for_a_cancellation() {
    use rayon::iter::ParallelIterator;
    let source = (0..100).into_par_iter().map(|item| if item == 50 { panic!("source") } else { item });
    assert_eq!(message_of(|| drop(par_map(&live(), source, |item: i32| item))), "source");
}
