//! Outputs as an iterator whose run stops early: cancelled, dropped, leaked.

use std::mem;
use std::time::Duration;

use brigade::pipeline::Chain;
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, scope};
use crossbeam::channel::{bounded, unbounded};

use super::outputs::{REQUESTED, all, both};
use super::{SOME_SETTINGS, live, set};
use crate::util::{
    Census, Counted, Gate, alone, cpu_time, message_of, reached, sleeps_of_others, threads, until_others_sleep,
    until_threads, watched,
};

#[test]
fn the_value_of_the_body_is_returned_though_the_rest_would_fail() {
    watched(|| {
        for setting in SOME_SETTINGS {
            for place in 0..2 {
                let stage = |item: usize| {
                    assert!(place != 0 || item < 20, "behind the end");
                    anyhow::ensure!(item < 20, "behind the end");
                    Ok(item)
                };
                let run = set(Pipeline::from_ready(0..), setting).try_map(stage);
                let taken = run.iter(&live(), |outputs| outputs.next().is_some_and(|first| first.is_ok()));
                assert!(taken || !setting.2);
            }
        }
    });
}

#[test]
fn a_panic_of_the_body_ends_the_run() {
    watched(|| {
        for threads in 1..4 {
            let census = Census::default();
            let message = message_of(|| {
                Pipeline::from_iter(0..).threads(threads).map(|item| census.make(item)).iter(&live(), |outputs| {
                    let _first = outputs.next();
                    assert!(outputs.next().is_none(), "the body");
                });
            });
            assert_eq!(message, "the body");
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_cancel_gives_an_error_and_then_none_wherever_the_outputs_are() {
    watched(|| {
        for setting in SOME_SETTINGS {
            for at in [0, 1, 7, 3_000] {
                let cancel = |outputs: &mut dyn Iterator<Item = Result<u32, Cancelled>>, token: &CancellationToken| {
                    assert_eq!(outputs.take(at).flatten().count(), at);
                    token.cancel();
                    assert_eq!(all(outputs), (vec![], Some(REQUESTED)));
                };
                let token = live();
                set(Pipeline::from_ready(0..), setting).iter(&token, |outputs| cancel(outputs, &token));
                let token = live();
                cancel(&mut set(Pipeline::from_ready(0..), setting).into_iter(&token), &token);
            }
        }
    });
}

#[test]
fn a_run_that_has_made_all_its_outputs_says_that_it_was_cancelled() {
    watched(|| {
        for setting in SOME_SETTINGS {
            let token = live();
            let mut outputs = set(Pipeline::from_data([1, 2]), setting).into_iter(&token);
            assert!(outputs.next().is_some() && outputs.next().is_some());
            token.cancel();
            assert_eq!(all(&mut outputs), (vec![], Some(REQUESTED)));
            let token = live();
            set(Pipeline::from_data([1, 2]), setting).iter(&token, |outputs| {
                assert!(outputs.next().is_some() && outputs.next().is_some());
                token.cancel();
                assert_eq!(all(outputs), (vec![], Some(REQUESTED)));
            });
        }
    });
}

#[test]
fn a_failure_that_was_met_does_not_count_if_the_consumer_cancels_before_it() {
    watched(|| {
        for (threads, panics) in [(1, false), (1, true), (2, false), (2, true), (4, false), (4, true)] {
            let fails = |failed: Gate| {
                // The run is over when its source is dropped.
                struct Opens(Gate);
                impl Drop for Opens {
                    fn drop(&mut self) {
                        self.0.open();
                    }
                }
                let opens = Opens(failed.clone());
                let stage = move |item: usize| {
                    if item == 1 {
                        failed.open();
                        assert!(!panics, "met");
                        anyhow::bail!("met");
                    }
                    Ok(item)
                };
                Pipeline::from_iter((0..2_usize).inspect(move |_| _ = &opens)).threads(threads).try_map(stage)
            };
            let check = |outputs: &mut dyn Iterator<Item = Result<usize, anyhow::Error>>,
                         token: &CancellationToken,
                         failed: &Gate| {
                failed.pass();
                token.cancel();
                assert!(outputs.next().unwrap().unwrap_err().is::<Cancelled>());
                assert!(outputs.next().is_none());
            };
            let (token, failed) = (live(), Gate::default());
            check(&mut fails(failed.clone()).into_iter(&token), &token, &failed);
            let (token, failed) = (live(), Gate::default());
            fails(failed.clone()).iter(&token, |outputs| {
                outputs.next().unwrap().unwrap();
                check(outputs, &token, &failed);
            });
        }
    });
}

/// Checks that a cancel from another thread ends the wait in `next()`, and a drop the run of an owned iterator. Each
/// pipeline gives 0 and then nothing.
fn waits_end<C>(what: &str, pipeline: impl Fn(&CancellationToken) -> Pipeline<C>)
where
    C: Chain<Output = usize, Error = Cancelled> + Send + 'static,
{
    let before = threads();
    for setting in SOME_SETTINGS {
        let wait = |outputs: &mut dyn Iterator<Item = Result<usize, Cancelled>>, token: &CancellationToken| {
            assert_eq!(outputs.next(), Some(Ok(0)));
            let (begun, go) = bounded(0);
            scope(&live(), |s| {
                s.spawn(move |_| {
                    go.recv().unwrap();
                    assert_eq!(live().wait_timeout(Duration::from_millis(2)), None);
                    token.cancel();
                    Ok(())
                })?;
                begun.send(()).unwrap();
                assert_eq!(all(outputs), (vec![], Some(REQUESTED)));
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        };
        reached(&format!("{what}, a cancel of an iterator that is lent, {setting:?}"));
        let token = live();
        set(pipeline(&token), setting).iter(&token, |outputs| wait(outputs, &token));
        reached(&format!("{what}, a cancel of one that is owned, {setting:?}"));
        let token = live();
        wait(&mut set(pipeline(&token), setting).into_iter(&token), &token);
        reached(&format!("{what}, a cancel of one that nobody asks, {setting:?}"));
        let token = live();
        let outputs = set(pipeline(&token), setting).into_iter(&token);
        token.cancel();
        drop(outputs);
        until_threads(before);
    }
}

#[test]
fn a_cancel_ends_each_wait() {
    if !alone!(a_cancel_ends_each_wait) {
        return;
    }
    watched(|| {
        let held = |token: &CancellationToken| {
            let token = token.clone();
            move |item: &usize| _ = *item > 0 && token.wait() == CancelReason::Requested
        };
        waits_end("in the source", |token| Pipeline::from_iter((0..2).inspect(held(token))));
        waits_end("in a stage", |token| Pipeline::from_iter(0..4).window(1).inspect(held(token)));
        waits_end("in the outputs of an item", |token| {
            let held = held(token);
            Pipeline::from_iter(0..2).window(1).flat_map(move |item| (item..item + 9).step_by(9).inspect(held.clone()))
        });
        waits_end("for what is filtered out", |_| Pipeline::from_ready(0..).filter(|item| *item == 0));
        waits_end("for what is filtered out of an item", |_| {
            Pipeline::from_iter([0]).flat_map(|item| item..).filter(|item| *item == 0)
        });
        waits_end("behind a scan", |_| {
            Pipeline::from_ready(0..).scan((), |(), item| Some(item)).filter(|item| *item == 0)
        });
        let (sender, receiver) = unbounded();
        waits_end("for a channel", move |_| {
            while receiver.try_recv().is_ok() {}
            sender.send(0).unwrap();
            Pipeline::from_receiver(receiver.clone())
        });
    });
}

#[test]
fn a_dropped_iterator_ends_its_run_and_drops_each_item_once() {
    if !alone!(a_dropped_iterator_ends_its_run_and_drops_each_item_once) {
        return;
    }
    watched(|| {
        let before = threads();
        for setting in SOME_SETTINGS {
            for taken in [0, 1, 30, 2_000] {
                let census = Census::default();
                let run = || {
                    let (made, mapped) = (census.clone(), census.clone());
                    let items = (0..3_000_usize).map(move |item| made.make(item));
                    set(Pipeline::from_iter(items), setting).map(move |item| mapped.make(item.value))
                };
                both!(&live(), run(), |outputs: &mut dyn Iterator<Item = Result<Counted<usize>, Cancelled>>| {
                    assert_eq!(outputs.take(taken).flatten().count(), taken);
                });
                until_threads(before);
                census.assert_all_dropped_once();
            }
        }
    });
}

#[test]
fn a_drop_ends_an_endless_run_whose_outputs_are_all_filtered_out() {
    watched(|| {
        for threads in 1..4 {
            let nothing = || Pipeline::from_ready(0_u64..).threads(threads).filter(|_| false);
            drop(nothing().into_iter(&live()));
            drop(nothing().flat_map(|item| item..).into_iter(&live()));
            drop(Pipeline::from_iter([0_u64]).threads(threads).flat_map(|item| item..).into_iter(&live()));
        }
    });
}

#[test]
fn a_leaked_iterator_keeps_its_threads_asleep_until_a_cancel() {
    if !alone!(a_leaked_iterator_keeps_its_threads_asleep_until_a_cancel) {
        return;
    }
    watched(|| {
        let before = threads();
        for (threads, window) in [(1, None), (2, None), (4, None), (4, Some(3))] {
            let (token, census) = (live(), Census::default());
            let made = census.clone();
            let pipeline = set(Pipeline::from_ready(0..), (threads, window, true));
            let mut outputs = pipeline.map(move |item: u64| made.make(item)).into_iter(&token);
            assert_eq!(outputs.next().unwrap().unwrap().value, 0);
            mem::forget(outputs);
            until_others_sleep();
            let (sleeps, burnt) = (sleeps_of_others(), cpu_time());
            assert_eq!(live().wait_timeout(Duration::from_millis(100)), None);
            assert!(cpu_time().saturating_sub(burnt) < Duration::from_millis(5));
            assert!(sleeps_of_others() - sleeps <= 2);
            token.cancel();
            until_threads(before);
        }
    });
}

/// Panics when it is dropped.
struct Mine(&'static str);

impl Drop for Mine {
    fn drop(&mut self) {
        std::panic::panic_any(self.0.to_owned());
    }
}

#[test]
fn a_panic_of_the_drop_of_source_or_state_is_resumed_by_next_by_iter_or_by_drop() {
    watched(|| {
        for threads in 1..=3 {
            let source = || {
                let mine = Mine("the source");
                Pipeline::from_iter((0..100).inspect(move |_| _ = &mine)).threads(threads)
            };
            for taken in [1, 50, 101] {
                // A scan drops its state at the end of its items: the consumer meets that end, or there is none.
                let items = 0..if taken > 100 { 100 } else { usize::MAX };
                let state =
                    || Pipeline::from_iter(items.clone()).threads(threads).scan(Mine("a state"), |_, item| Some(item));
                reached(&format!("{threads} threads, {taken} taken"));
                assert_eq!(
                    message_of(|| _ = source().iter(&live(), |outputs| outputs.take(taken).count())),
                    "the source"
                );
                assert_eq!(message_of(|| _ = source().into_iter(&live()).take(taken).count()), "the source");
                let mut owned = source().into_iter(&live());
                let met = message_of(|| {
                    assert_eq!(owned.by_ref().take(taken).count(), taken);
                    drop(owned);
                });
                assert_eq!(met, "the source");
                assert_eq!(message_of(|| _ = state().iter(&live(), |outputs| outputs.take(taken).count())), "a state");
            }
        }
    });
}
