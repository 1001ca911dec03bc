//! Outputs as an iterator: lent to a closure by `iter`, owned by `into_iter`.

use std::cell::Cell;
use std::collections::HashSet;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::current;
use std::time::Duration;

use brigade::pipeline::{Chain, OwnedOutputs};
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, States, scope};
use crossbeam::channel::{bounded, unbounded};

use super::{SOME_SETTINGS, at_every_setting, live, set};
use crate::util::{
    Census, Counted, Gate, alone, cpu_time, memory, message_of, reached, sleeps_of_others, threads, until_others_sleep,
    until_threads, watched,
};

const REQUESTED: Cancelled = Cancelled::new(CancelReason::Requested);

/// Calls `$test` with the outputs of the pipeline, lent and owned. A macro, because the iterators have two types.
macro_rules! both {
    ($token:expr, $pipeline:expr, $test:expr) => {{
        reached("iter");
        $pipeline.iter($token, |outputs| $test(outputs));
        reached("into_iter");
        $test(&mut $pipeline.into_iter($token));
    }};
}

/// The outputs up to the end, and the error behind them.
fn all<R, E>(mut outputs: &mut dyn Iterator<Item = Result<R, E>>) -> (Vec<R>, Option<E>) {
    let (mut good, mut error) = (Vec::new(), None);
    for output in &mut outputs {
        assert!(error.is_none(), "nothing comes behind an error");
        match output {
            Ok(output) => good.push(output),
            Err(last) => error = Some(last),
        }
    }
    assert!(outputs.next().is_none() && outputs.next().is_none(), "the end is for good");
    (good, error)
}

#[test]
fn the_outputs_are_those_of_the_loop_at_every_setting() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(5)], |setting| {
            let doubled = || set(Pipeline::from_iter(0..500_u32), setting).map(|item| item * 2).filter(|i| i % 3 > 0);
            both!(&live(), doubled(), |outputs: &mut dyn Iterator<Item = _>| {
                let (mut good, error) = all(outputs);
                if !setting.2 {
                    good.sort_unstable();
                }
                assert!(good.into_iter().eq((0..500).map(|item| item * 2).filter(|item| item % 3 > 0)));
                assert_eq!(error, None);
            });
        });
    });
}

#[test]
fn an_error_comes_behind_the_outputs_before_it_and_then_none() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(20)], |setting| {
            let fails = || {
                let stage = |item: usize| if item == 300 { anyhow::bail!("at {item}") } else { Ok(item) };
                set(Pipeline::from_ready(0..1_000), setting).try_map(stage)
            };
            both!(&live(), fails(), |outputs: &mut dyn Iterator<Item = anyhow::Result<usize>>| {
                let (good, error) = all(outputs);
                assert_eq!(error.unwrap().to_string(), "at 300");
                assert!(!setting.2 || good.into_iter().eq(0..300));
            });
        });
    });
}

#[test]
fn a_panic_is_resumed_in_next_behind_the_outputs_before_it_when_all_threads_are_joined() {
    if !alone!(a_panic_is_resumed_in_next_behind_the_outputs_before_it_when_all_threads_are_joined) {
        return;
    }
    watched(|| {
        let before = threads();
        for setting in SOME_SETTINGS {
            for place in 0..3 {
                reached(&format!("{setting:?}, place {place}"));
                let run = || {
                    let source = (0..1_000_usize).inspect(move |item| assert!(place != 0 || *item != 300, "source"));
                    let stage = move |item: &usize| assert!(place != 1 || *item != 300, "stage");
                    let scan = move |_: &mut (), item| {
                        assert!(place != 2 || item != 300, "scan");
                        Some(item)
                    };
                    set(Pipeline::from_iter(source), setting).inspect(stage).scan((), scan)
                };
                both!(&live(), run(), |outputs: &mut dyn Iterator<Item = Result<usize, Cancelled>>| {
                    let mut good = Vec::new();
                    let message = message_of(|| good.extend((&mut *outputs).map(Result::unwrap)));
                    until_threads(before);
                    assert_eq!(message, ["source", "stage", "scan"][place]);
                    assert!(good.into_iter().eq(0..300));
                    assert!(outputs.next().is_none());
                });
            }
        }
    });
}

#[test]
fn the_value_of_the_body_is_returned_though_the_rest_would_fail() {
    watched(|| {
        for setting in SOME_SETTINGS {
            for place in 0..2 {
                let stage = |item: usize| {
                    assert!(place != 0 || item < 20, "behind the end");
                    if item >= 20 { anyhow::bail!("behind the end") } else { Ok(item) }
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
                    assert_eq!(outputs.take(at).filter(Result::is_ok).count(), at);
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
                    assert_eq!(outputs.take(taken).filter(Result::is_ok).count(), taken);
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

/// A program of its own around an iterator.
struct Reader {
    squares: OwnedOutputs<u64, Cancelled>,
    last: u64,
}

fn reader(token: &CancellationToken) -> Reader {
    Reader { squares: Pipeline::from_iter(0_u64..).threads(3).map(|item| item * item).into_iter(token), last: 0 }
}

impl Reader {
    fn step(&mut self) -> u64 {
        let square = self.squares.next().unwrap().unwrap();
        square - mem::replace(&mut self.last, square)
    }
}

#[test]
fn an_owned_iterator_lives_in_a_struct_and_goes_from_thread_to_thread() {
    watched(|| {
        let mut reader = reader(&live());
        for round in 0..20_u64 {
            reader = scope(&live(), |s| {
                let task = s.spawn(move |_| {
                    for step in round * 100..(round + 1) * 100 {
                        assert_eq!(reader.step(), (2 * step).saturating_sub(1));
                    }
                    Ok::<_, Cancelled>(reader)
                })?;
                Ok(task.join().expect("it ends well"))
            })
            .unwrap();
        }
    });
}

#[test]
fn the_consumer_works_no_items_and_n_threads_do() {
    watched(|| {
        for threads in 1..=3 {
            let consumer = current().id();
            let workers = std::sync::Mutex::new(HashSet::new());
            let barrier = std::sync::Barrier::new(threads);
            let sum = Pipeline::from_data(0..threads).threads(threads).inspect(|_| {
                workers.lock().unwrap().insert(current().id());
                barrier.wait();
            });
            assert_eq!(
                sum.iter(&live(), |outputs| outputs.map(Result::unwrap).sum::<usize>()),
                threads * (threads - 1) / 2
            );
            let workers = workers.into_inner().unwrap();
            assert!(workers.len() == threads && !workers.contains(&consumer));
        }
    });
}

#[test]
fn on_a_rayon_worker_a_lent_iterator_runs_there_item_by_item() {
    watched(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let here = current().id();
            let made = AtomicUsize::new(0);
            let stage = |item: usize| {
                assert_eq!(current().id(), here);
                made.fetch_add(1, Ordering::Relaxed);
                // It would hang if the worker waited for another thread.
                rayon::join(|| item, || item).0
            };
            let pipeline = Pipeline::from_iter(0..).threads(4).map(stage).scan(0, |sum, item| {
                *sum += item;
                Some(*sum)
            });
            pipeline.filter(|sum| sum % 2 == 0).iter(&live(), |outputs| {
                assert_eq!([outputs.next(), outputs.next(), outputs.next()], [0, 6, 10].map(|sum| Some(Ok(sum))));
                assert_eq!(made.load(Ordering::Relaxed), 5);
            });
            assert_eq!(
                Pipeline::from_data(0..9)
                    .try_map(|item| if item < 5 { Ok(item) } else { Err(anyhow::anyhow!("five")) })
                    .iter(&live(), |outputs| all(outputs).0.len()),
                5
            );
        });
    });
}

#[test]
fn a_window_counts_outputs_that_the_consumer_has_not_passed_on() {
    watched(|| {
        for (threads, window) in [(1, 1), (2, 1), (4, 1), (4, 3), (8, 8)] {
            let pulled = std::sync::Arc::new(AtomicUsize::new(0));
            let run = || {
                let pulled = pulled.clone();
                pulled.store(0, Ordering::Relaxed);
                let items = (0..200_usize).inspect(move |_| _ = pulled.fetch_add(1, Ordering::Relaxed));
                Pipeline::from_iter(items).threads(threads).window(window).map(|item| item)
            };
            both!(&live(), run(), |outputs: &mut dyn Iterator<Item = Result<usize, Cancelled>>| {
                for (at, output) in outputs.enumerate() {
                    assert_eq!(output, Ok(at));
                    let ahead = pulled.load(Ordering::Relaxed);
                    assert!(ahead <= at + window, "{ahead} pulled at output {at}, {threads} threads, window {window}");
                }
            });
        }
    });
}

#[test]
fn a_source_that_waits_for_what_the_consumer_makes_of_an_output_goes_on() {
    watched(|| {
        for setting in SOME_SETTINGS {
            for depth in [1, 3] {
                let (sender, answers) = mpsc::channel();
                let run = |answers: mpsc::Receiver<usize>| {
                    let source = (0..100_usize).inspect(move |item| _ = *item < depth || answers.recv().is_ok());
                    set(Pipeline::from_iter(source), setting)
                };
                run(answers).iter(&live(), |outputs| outputs.for_each(|output| _ = sender.send(output.unwrap())));
                let (sender, answers) = mpsc::channel();
                let outputs = run(answers).into_iter(&live());
                outputs.for_each(|output| _ = sender.send(output.unwrap()));
            }
        }
    });
}

#[test]
fn a_scan_and_what_is_behind_it_stay_on_the_calling_thread_and_keep_step_with_a_lent_iterator() {
    watched(|| {
        for threads in 1..=4 {
            let (seen, here) = (Rc::new(Cell::new(0)), current().id());
            let counted = Pipeline::from_ready(0..1_000_usize).threads(threads).scan(Rc::clone(&seen), |seen, item| {
                seen.set(item + 1);
                (item < 500).then_some(item)
            });
            counted.inspect(|_| assert_eq!(current().id(), here)).iter(&live(), |outputs| {
                for (at, output) in outputs.enumerate() {
                    assert_eq!((output, seen.get()), (Ok(at), at + 1));
                }
            });
            assert_eq!(seen.get(), 501);
        }
    });
}

#[test]
fn the_states_of_a_dropped_iterator_are_handed_back() {
    watched(|| {
        for threads in 1..=4 {
            let states = States::new(|| 0_usize);
            let run = Pipeline::from_ready(0_usize..).threads(threads).map_init(&states, |count, item| {
                *count += 1;
                item
            });
            assert_eq!(run.iter(&live(), |outputs| outputs.take(50).filter(Result::is_ok).count()), 50);
            let states = states.into_vec();
            assert!(states.len() <= threads && states.into_iter().sum::<usize>() >= 50);
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
            let state = || Pipeline::from_iter(0..100).threads(threads).scan(Mine("a state"), |_, item| Some(item));
            for taken in [1, 50, 101] {
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

#[test]
fn collect_streams_into_a_small_set() {
    if !alone!(collect_streams_into_a_small_set) {
        return;
    }
    watched(|| {
        let items = 8_000_000_usize;
        let peak = AtomicUsize::new(0);
        let words = Pipeline::from_ready(0..items).threads(2).map(|item| {
            if item % 250_000 == 0 {
                peak.fetch_max(memory(), Ordering::Relaxed);
            }
            (item % 10).to_string()
        });
        let set: HashSet<String> = words.collect(&live()).unwrap();
        assert_eq!(set.len(), 10);
        assert!(peak.into_inner() < 400 << 20);
    });
}
