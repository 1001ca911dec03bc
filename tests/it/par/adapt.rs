//! `until_cancelled` and `or_cancelled`, with rayon's own adaptors before and after them.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancelReason, Cancelled, ParallelIteratorExt};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelBridge, ParallelIterator,
};

use super::{live, pool};
use crate::util::{Census, watched};

fn in_pools(test: impl Fn(usize) + Send + Sync) {
    for threads in [1, 2, 8] {
        pool(threads).install(|| test(threads));
    }
}

#[test]
fn while_the_token_is_live_nothing_changes() {
    watched(|| {
        in_pools(|_| {
            let token = live();
            let items = || (0..1_000_u32).into_par_iter().until_cancelled(&token);
            assert!(items().map(|item| item + 1).collect::<Vec<_>>().into_iter().eq(1..=1_000));
            assert_eq!(items().filter(|item| item % 2 == 0).count(), 500);
            assert_eq!(items().fold(|| 0, |sum, item| sum + item).reduce(|| 0, |a, b| a + b), 499_500);
            assert_eq!(items().flat_map_iter(|item| [item; 2]).count(), 2_000);
            assert_eq!(items().try_for_each(|item| if item < 1_000 { Some(()) } else { None }), Some(()));
            assert_eq!(items().find_first(|item| *item > 10), Some(11));
            assert_eq!((0..1_000).par_bridge().until_cancelled(&token).sum::<i32>(), 499_500);

            let indexed = || (0..1_000_u32).into_par_iter().or_cancelled(&token);
            assert_eq!(indexed().len(), 1_000);
            assert_eq!(indexed().collect::<Result<Vec<_>, _>>().unwrap(), (0..1_000).collect::<Vec<_>>());
            assert!(indexed().zip(0..1_000_u32).all(|(left, right)| left == Ok(right)));
            assert_eq!(indexed().chunks(300).map(|chunk| chunk.len()).collect::<Vec<_>>(), [300, 300, 300, 100]);
            assert!(indexed().rev().enumerate().all(|(at, item)| item.is_ok_and(|item| item as usize == 999 - at)));
            assert_eq!(indexed().skip(10).take(5).filter_map(Result::ok).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
            assert_eq!(indexed().position_first(|item| item == Ok(77)), Some(77));
            assert_eq!(indexed().with_min_len(64).try_for_each(|item| item.map(drop)), Ok(()));
        });
    });
}

#[test]
fn no_further_item_is_started_once_the_token_is_cancelled() {
    watched(|| {
        in_pools(|threads| {
            for form in 0..5 {
                let (token, ran, after) = (live(), AtomicUsize::new(0), AtomicUsize::new(0));
                let item = |_: usize| {
                    if token.is_cancelled() {
                        after.fetch_add(1, Ordering::SeqCst);
                    }
                    if ran.fetch_add(1, Ordering::SeqCst) == 1_000 {
                        token.cancel();
                    }
                };
                let items = (0..1_000_000_usize).into_par_iter();
                match form {
                    0 => items.until_cancelled(&token).for_each(item),
                    1 => items.until_cancelled(&token).map(item).collect::<Vec<_>>().into_iter().for_each(drop),
                    2 => (0..1_000_000).par_bridge().until_cancelled(&token).for_each(item),
                    3 => assert!(
                        items.or_cancelled(&token).map(|at| at.map(item)).collect::<Result<Vec<_>, _>>().is_err()
                    ),
                    _ => assert!(items.or_cancelled(&token).try_for_each(|at| at.map(item)).is_err()),
                }
                let after = after.into_inner();
                assert!(after < threads, "{after} items began after the cancel, form {form}, {threads} threads");
            }
        });
    });
}

#[test]
fn a_cancelled_iterator_is_empty_or_keeps_its_length_and_takes_nothing_from_its_source() {
    watched(|| {
        in_pools(|_| {
            let token = live();
            token.cancel_with(CancelReason::Signal(2));
            let taken = AtomicUsize::new(0);
            let source = || (0..500).into_par_iter().map(|item: i32| (taken.fetch_add(1, Ordering::SeqCst), item).1);
            assert_eq!(source().until_cancelled(&token).count(), 0);
            assert_eq!(source().until_cancelled(&token).max(), None);
            let all = source().or_cancelled(&token).collect::<Vec<_>>();
            assert_eq!(all, vec![Err(Cancelled::new(CancelReason::Signal(2))); 500]);
            assert_eq!(source().or_cancelled(&token).zip(0..500).filter(|(item, _)| item.is_err()).count(), 500);
            assert_eq!(source().or_cancelled(&token).rev().chunks(7).count(), 72);
            assert_eq!(taken.into_inner(), 0);
        });
    });
}

#[test]
fn every_item_is_dropped_once_when_it_is_cancelled_midway() {
    watched(|| {
        in_pools(|_| {
            for indexed in [false, true] {
                let (token, census) = (live(), Census::default());
                let items: Vec<_> = (0..10_000).map(|item| census.make(item)).collect();
                let at = |item: i32| _ = item == 5_000 && token.cancel();
                if indexed {
                    let outputs = items
                        .into_par_iter()
                        .or_cancelled(&token)
                        .map(|item| item.map(|item| (at(item.value), item).1));
                    assert_eq!(outputs.collect::<Vec<_>>().len(), 10_000);
                } else {
                    let outputs = items.into_par_iter().until_cancelled(&token).map(|item| (at(item.value), item).1);
                    assert!(outputs.collect::<Vec<_>>().len() <= 10_000);
                }
                assert_eq!(census.alive(), 0);
            }
        });
    });
}

#[test]
fn a_panic_and_an_error_behind_the_adaptors_are_rayons_own() {
    let token = live();
    let numbers = [1, 2, 3];
    let failed =
        numbers.par_iter().until_cancelled(&token).map(|number| if *number == 2 { Err("two") } else { Ok(()) });
    assert_eq!(failed.collect::<Result<Vec<_>, _>>(), Err("two"));
    let panics = || {
        numbers.par_iter().or_cancelled(&token).for_each(|number| assert_ne!(number, Ok(&2), "two"));
    };
    assert!(crate::util::message_of(panics).contains("two"));
}
