//! The sources that wait, the stages and the ends, each by itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline};

use super::live;
use crate::util::{Census, Gate, message_of, reached, watched};

#[test]
fn fold_takes_the_outputs_in_order() {
    watched(|| {
        for threads in 1..=4 {
            let folded =
                Pipeline::from_iter(0..2_000_u32).threads(threads).fold(&live(), Vec::new(), |mut so_far, item| {
                    so_far.push(item);
                    so_far
                });
            assert_eq!(folded, Ok((0..2_000).collect()));
        }
        assert_eq!(Pipeline::from_data([1; 0]).fold(&live(), 7, |so_far, item: i32| so_far + item), Ok(7));
    });
}

#[test]
fn a_panic_in_a_fold_is_resumed_and_what_there_was_is_dropped_once() {
    watched(|| {
        let census = Census::default();
        let message = message_of(|| {
            let _ = Pipeline::from_iter(0..100).threads(2).fold(&live(), census.make(0), |mut sum, item| {
                assert!(item < 50, "at fifty");
                sum.value += item;
                sum
            });
        });
        assert_eq!((message.as_str(), census.alive()), ("at fifty", 0));
    });
}

#[test]
fn count_counts_outputs_not_items() {
    watched(|| {
        let tens = |pipeline: Pipeline<_>| pipeline.threads(3).filter(|item| item % 10 == 0).count(&live());
        assert_eq!(tens(Pipeline::from_iter(0..1_000_u32)), Ok(100));
        let pairs = Pipeline::from_data(vec![1; 1_000]).flat_map(|item| [item, item]);
        assert_eq!(pairs.unordered().count(&live()), Ok(2_000));
    });
}

#[test]
fn first_ends_an_endless_source() {
    watched(|| {
        for threads in 1..=4 {
            let past = |least: u64| move |item: &u64| *item > least;
            let pipeline = Pipeline::from_iter(0_u64..).threads(threads);
            assert_eq!(pipeline.filter(past(5_000)).first(&live()), Ok(Some(5_001)));
            let pipeline = Pipeline::from_ready(0_u64..).threads(threads);
            assert_eq!(pipeline.filter(past(5_000)).first(&live()), Ok(Some(5_001)));
            let any = Pipeline::from_ready(0_u64..).threads(threads).unordered().filter(past(5_000)).first(&live());
            assert!(any.unwrap().unwrap() > 5_000);
        }
        assert_eq!(Pipeline::from_data(0..1_000).filter(|_| false).first(&live()), Ok(None));
    });
}

#[test]
fn first_is_not_disturbed_by_what_fails_above_it_and_is_by_what_fails_below() {
    watched(|| {
        for threads in 1..=4 {
            let stage = |fails_at: usize| {
                move |item: usize| if item == fails_at { Err(anyhow::anyhow!("item {item}")) } else { Ok(item) }
            };
            let first = |fails_at| {
                let pipeline = Pipeline::from_iter(0..1_000).threads(threads).try_map(stage(fails_at));
                pipeline.filter(|item| *item >= 100).first(&live())
            };
            assert_eq!(first(101).unwrap(), Some(100));
            assert_eq!(first(99).unwrap_err().to_string(), "item 99");
        }
    });
}

#[test]
fn ends_return_the_cancellation() {
    watched(|| {
        let token = live();
        token.cancel_with(CancelReason::Signal(2));
        let cancelled = Cancelled::new(CancelReason::Signal(2));
        assert_eq!(Pipeline::from_iter(0..9).first(&token), Err(cancelled));
        assert_eq!(Pipeline::from_iter(0..9).count(&token), Err(cancelled));
        assert_eq!(Pipeline::from_iter(0..9).fold(&token, (), |(), _| ()), Err(cancelled));
        assert_eq!(Pipeline::from_iter(0..9).collect::<Vec<_>>(&token), Err(cancelled));
    });
}

#[test]
fn an_endless_flat_map_ends_with_a_failure_below_and_with_a_cancel() {
    watched(|| {
        for threads in 2..=4 {
            reached("a failure below");
            let begun = Gate::default();
            let result = Pipeline::from_iter(0..10_usize)
                .threads(threads)
                .try_map(|item| {
                    if item == 0 {
                        begun.pass();
                        anyhow::bail!("the first");
                    }
                    Ok(item)
                })
                .flat_map(|item| std::iter::repeat(item).inspect(|_| begun.open()))
                .count(&live());
            assert_eq!(result.unwrap_err().to_string(), "the first");

            reached("a failure below, and all outputs filtered out");
            let begun = Gate::default();
            let result = Pipeline::from_iter(0..10_usize)
                .threads(threads)
                .try_map(|item| {
                    if item == 0 {
                        begun.pass();
                        anyhow::bail!("the first");
                    }
                    Ok(item)
                })
                .flat_map(|item| std::iter::repeat(item).inspect(|_| begun.open()))
                .filter(|_| false)
                .count(&live());
            assert_eq!(result.unwrap_err().to_string(), "the first");

            reached("a cancel");
            let token = live();
            let result = Pipeline::from_iter(0..10_usize)
                .threads(threads)
                .flat_map(|item| std::iter::repeat(item).enumerate())
                .inspect(|(at, _)| {
                    if *at == 1_000 {
                        token.cancel();
                    }
                })
                .count(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        }
        for threads in 1..=2 {
            let token = live();
            let endless = Pipeline::from_iter([()]).threads(threads).flat_map(|()| 0..);
            let cancels = |item: &i32| {
                if *item == 1_000 {
                    token.cancel();
                }
            };
            let result = endless.inspect(cancels).filter(|_| false).count(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        }
        let token = live();
        let result = Pipeline::from_iter([()]).threads(1).flat_map(|()| 0..).for_each(&token, |item| {
            if item == 1_000 {
                token.cancel();
            }
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
    });
}

#[test]
fn a_scan_takes_the_items_in_order_or_unordered_as_they_arrive_and_one_at_a_time() {
    watched(|| {
        for threads in 1..=4 {
            let run = |pipeline: Pipeline<_>| -> Vec<(u32, u32)> {
                pipeline
                    .threads(threads)
                    .filter(|item| item % 2 == 0)
                    .scan(0, |next, item| {
                        *next += 1;
                        Some((*next - 1, item))
                    })
                    .collect(&live())
                    .unwrap()
            };
            let numbered = run(Pipeline::from_ready(0..1_000_u32));
            assert!(numbered.iter().map(|(at, item)| (*at, *item)).eq((0..500).map(|at| (at, 2 * at))));
            let mut numbered = run(Pipeline::from_ready(0..1_000_u32).unordered());
            numbered.sort_unstable();
            assert!(numbered.iter().map(|(at, _)| *at).eq(0..500));
            numbered.sort_unstable_by_key(|(_, item)| *item);
            assert!(numbered.iter().map(|(_, item)| *item).eq((0..500).map(|at| 2 * at)));
        }
    });
}

#[test]
fn a_scan_that_ends_ends_an_endless_source() {
    watched(|| {
        for threads in 1..=4 {
            let sum = Pipeline::from_iter(0_u64..)
                .threads(threads)
                .scan((), |(), item| (item < 100).then_some(item))
                .map(|item| item + 1)
                .fold(&live(), 0, |sum, item| sum + item);
            assert_eq!(sum, Ok(5_050));
        }
    });
}

#[test]
fn errors_before_and_behind_a_scan_convert_to_that_of_the_end() {
    #[derive(Debug, PartialEq)]
    enum Early {
        Cancelled(Cancelled),
        Odd(u32),
    }
    impl From<Cancelled> for Early {
        fn from(cancelled: Cancelled) -> Self {
            Early::Cancelled(cancelled)
        }
    }
    #[derive(Debug, PartialEq)]
    enum Late {
        Early(Early),
        Big(u32),
    }
    impl From<Early> for Late {
        fn from(early: Early) -> Self {
            Late::Early(early)
        }
    }
    impl From<Cancelled> for Late {
        fn from(cancelled: Cancelled) -> Self {
            Late::Early(cancelled.into())
        }
    }
    watched(|| {
        let run = |items: &[u32], token: &CancellationToken| {
            Pipeline::from_iter(items.to_vec())
                .threads(2)
                .try_map(|item| if item % 2 == 0 { Ok(item) } else { Err(Early::Odd(item)) })
                .scan(0, |sum, item| {
                    *sum += item;
                    Some(*sum)
                })
                .try_map(|sum| if sum < 10 { Ok(sum) } else { Err(Late::Big(sum)) })
                .collect::<Vec<_>>(token)
        };
        assert_eq!(run(&[2, 4], &live()), Ok(vec![2, 6]));
        assert_eq!(run(&[2, 3, 100], &live()), Err(Late::Early(Early::Odd(3))));
        assert_eq!(run(&[2, 100, 3], &live()), Err(Late::Big(102)));
        let token = live();
        token.cancel();
        let cancelled = Cancelled::new(CancelReason::Requested);
        assert_eq!(run(&[2], &token), Err(Late::Early(Early::Cancelled(cancelled))));
    });
}

#[test]
fn panics_before_in_and_behind_a_scan_are_resumed() {
    watched(|| {
        for place in 0..3 {
            let panics = |at: usize, item: usize| assert!(at != place || item != 50, "place {at}");
            let message = message_of(|| {
                let _ = Pipeline::from_iter(0..1_000_usize)
                    .threads(2)
                    .inspect(|item| panics(0, *item))
                    .scan((), |(), item| {
                        panics(1, item);
                        Some(item)
                    })
                    .inspect(|item| panics(2, *item))
                    .count(&live());
            });
            assert_eq!(message, format!("place {place}"));
        }
    });
}

#[test]
fn stages_may_borrow_and_a_flat_map_may_be_made_of_what_is_not_send() {
    watched(|| {
        let seen = AtomicUsize::new(0);
        let sum: usize = Pipeline::from_data(0..100_usize)
            .threads(3)
            .flat_map(|item| std::rc::Rc::new(item).checked_add(1))
            .inspect(|_| _ = seen.fetch_add(1, Ordering::Relaxed))
            .fold(&live(), 0, |sum, item| sum + item)
            .unwrap();
        assert_eq!((sum, seen.into_inner()), (5_050, 100));
    });
}
