use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, scope};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::util::{
    Census, Counted, Counter, Gate, alone, cpu_time, memory, message_of, payload_of, reached, threads,
    until_others_sleep, until_threads, watched,
};

fn live() -> CancellationToken {
    CancellationToken::new()
}

#[test]
fn an_empty_source_ends_at_once() {
    for threads in [1, 2, 8] {
        let none: Vec<u32> = Pipeline::from_iter([]).threads(threads).collect(&live()).unwrap();
        assert_eq!(none, []);
        let none: Vec<u32> = Pipeline::from_data(Vec::new()).threads(threads).collect(&live()).unwrap();
        assert_eq!(none, []);
    }
}

#[test]
fn vectors_slices_arrays_and_ranges_are_data() {
    let words = vec!["a".to_owned(), "b".to_owned()];
    let by_reference: Vec<&String> = Pipeline::from_data(&words).collect(&live()).unwrap();
    assert_eq!(by_reference, ["a", "b"]);
    let mut numbers = [1, 2, 3];
    Pipeline::from_data(&mut numbers).map(|number| *number *= 10).for_each(&live(), |()| ()).unwrap();
    assert_eq!(numbers, [10, 20, 30]);
    let pairs: Vec<(usize, &String)> = Pipeline::from_data(words.par_iter().enumerate()).collect(&live()).unwrap();
    assert_eq!(pairs[1], (1, &words[1]));
    let by_value: Vec<String> = Pipeline::from_data(words).collect(&live()).unwrap();
    assert_eq!(by_value, ["a", "b"]);
    let squares: Vec<i32> = Pipeline::from_data(-2..3).map(|number| number * number).collect(&live()).unwrap();
    assert_eq!(squares, [4, 1, 0, 1, 4]);
}

#[test]
fn long_runs_keep_their_order_at_every_setting() {
    watched(|| {
        for threads in 1..=8 {
            for window in [None, Some(1), Some(7), Some(1_000)] {
                reached(&format!("threads({threads}), window {window:?}"));
                let mut next = 0;
                let set = |pipeline| match window {
                    Some(items) => Pipeline::window(pipeline, items),
                    None => pipeline,
                };
                set(Pipeline::from_iter(0..3_000_u64))
                    .threads(threads)
                    .map(|item| item)
                    .for_each(&live(), |item| {
                        assert_eq!(item, next);
                        next += 1;
                    })
                    .unwrap();
                assert_eq!(next, 3_000);
            }
            let mut next = 0;
            Pipeline::from_ready(0..200_000_u64)
                .threads(threads)
                .for_each(&live(), |item| {
                    assert_eq!(item, next);
                    next += 1;
                })
                .unwrap();
            assert_eq!(next, 200_000);
            let mut next = 0;
            Pipeline::from_data(0..200_000_usize)
                .threads(threads)
                .for_each(&live(), |item| {
                    assert_eq!(item, next);
                    next += 1;
                })
                .unwrap();
            assert_eq!(next, 200_000);
        }
    });
}

#[test]
fn the_sink_need_not_be_send_and_everything_may_borrow() {
    let base = 10;
    let items = vec![1, 2, 3];
    let sum = Rc::new(Cell::new(0));
    Pipeline::from_iter(&items)
        .threads(3)
        .map(|item| item + base)
        .for_each(&live(), |item| sum.set(sum.get() + item))
        .unwrap();
    assert_eq!(sum.get(), 36);
}

#[test]
fn the_sink_runs_on_the_calling_thread() {
    let here = std::thread::current().id();
    Pipeline::from_iter(0..100)
        .threads(4)
        .for_each(&live(), |_| assert_eq!(std::thread::current().id(), here))
        .unwrap();
}

#[test]
fn threads_bounds_the_stages_that_run_at_once() {
    watched(|| {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Pipeline::from_iter(0..500)
            .threads(3)
            .map(|_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
            .for_each(&live(), |()| ())
            .unwrap();
        assert!(most.into_inner() <= 3);
    });
}

#[test]
fn costly_items_are_not_queued_behind_each_other() {
    watched(|| {
        // Both items must be in hand at once for either to end.
        let meeting = std::sync::Barrier::new(2);
        for _ in 0..100 {
            Pipeline::from_iter(0..2).threads(2).map(|_| meeting.wait()).for_each(&live(), |_| ()).unwrap();
            Pipeline::from_data(0..2).threads(2).map(|_| meeting.wait()).for_each(&live(), |_| ()).unwrap();
        }
    });
}

#[test]
fn window_bounds_how_far_pulls_run_ahead_of_outputs() {
    fn check<C>(threads: usize, window: usize, make: impl Fn(Pulls) -> Pipeline<C>, end: impl Fn(Pipeline<C>, &Pulls)) {
        reached(&format!("threads({threads}).window({window})"));
        let pulls = Pulls { taken: Arc::default(), pulled: Arc::default(), window };
        end(make(pulls.clone()).threads(threads).window(window), &pulls);
        assert_eq!(pulls.pulled.load(Ordering::SeqCst), 500);
    }
    let slow = |item: usize| {
        if item == 50 {
            (0..1_000).for_each(|_| std::thread::yield_now());
        }
    };
    let taken = |pulls: &Pulls| _ = pulls.taken.fetch_add(1, Ordering::SeqCst);
    watched(move || {
        for (threads, window) in [(1, 1), (2, 1), (2, 2), (3, 5), (8, 3), (4, 64)] {
            check(
                threads,
                window,
                |pulls| Pipeline::from_iter(pulls.source()).map(slow),
                |pipeline, pulls| {
                    pipeline.for_each(&live(), |()| taken(pulls)).unwrap();
                },
            );
            check(
                threads,
                window,
                |pulls| Pipeline::from_ready(pulls.source()).map(slow),
                |pipeline, pulls| {
                    pipeline.for_each(&live(), |()| taken(pulls)).unwrap();
                },
            );
            check(
                threads,
                window,
                |pulls| Pipeline::from_data(pulls.data()).map(slow),
                |pipeline, pulls| {
                    pipeline.for_each(&live(), |()| taken(pulls)).unwrap();
                },
            );
        }
    });
}

/// A source that checks each pull against the window.
#[derive(Clone)]
struct Pulls {
    taken: Arc<AtomicUsize>,
    pulled: Arc<AtomicUsize>,
    window: usize,
}

impl Pulls {
    fn pull(&self, item: usize) -> usize {
        assert!(item < self.taken.load(Ordering::SeqCst) + self.window, "input {item} was pulled too early");
        self.pulled.fetch_add(1, Ordering::SeqCst);
        item
    }

    fn source(self) -> impl Iterator<Item = usize> + Send {
        (0..500_usize).map(move |item| self.pull(item))
    }

    fn data(self) -> impl IndexedParallelIterator<Item = usize> {
        (0..500_usize).into_par_iter().map(move |item| self.pull(item))
    }
}

#[test]
fn a_costly_item_does_not_stop_the_others_within_the_window() {
    watched(|| {
        for threads in 2..=4 {
            reached(&format!("threads({threads})"));
            for _ in 0..20 {
                // The first item, a batch of its own, ends only when all the others have been worked.
                let others = Counter::default();
                let stage = |item| if item == 0 { others.wait_for(300) } else { others.add() };
                let pipeline = Pipeline::from_ready(0..=300).threads(threads).window(301);
                pipeline.map(stage).for_each(&live(), |()| ()).unwrap();
            }
        }
    });
}

#[test]
fn a_source_may_wait_for_the_output_of_an_earlier_item() {
    watched(|| {
        for threads in 1..=8 {
            for window in [1, 6, 64] {
                // On one thread the plain loop runs, in which item j is output before item j + 1 is asked for.
                for lag in [1_u32, 5] {
                    if window <= lag as usize && lag > 1 {
                        continue;
                    }
                    for ordered in [true, false] {
                        reached(&format!("threads({threads}).window({window}), lag {lag}, ordered: {ordered}"));
                        let (sender, outputs) = mpsc::channel();
                        let source = (0..200_u32).inspect(move |item| {
                            if *item >= lag {
                                outputs.recv().expect("an earlier item is output meanwhile");
                            }
                        });
                        let pipeline = Pipeline::from_iter(source).threads(threads).window(window).map(|item| item);
                        let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                        // The source may have ended before the last outputs.
                        pipeline.for_each(&live(), |item| _ = sender.send(item)).unwrap();
                    }
                }
            }
        }
    });
}

/// A source that waits for the sink's word of each item before it gives the next, and ends when the sink is gone.
fn waits_for_the_sink(word: mpsc::Receiver<u32>) -> impl Iterator<Item = u32> + Send {
    (0..).map_while(move |item: u32| if item > 0 { word.recv().ok().map(|_| item) } else { Some(item) })
}

#[test]
fn a_feedback_loop_ends_when_its_sink_or_a_stage_fails() {
    watched(|| {
        for threads in 1..=4 {
            for failing in ["sink", "stage", "panic"] {
                reached(&format!("threads({threads}), {failing}"));
                let (sender, word) = mpsc::channel();
                let run = || {
                    Pipeline::from_iter(waits_for_the_sink(word))
                        .threads(threads)
                        .try_map(move |item| match (item, failing) {
                            (3, "stage") => Err(anyhow::anyhow!("stage")),
                            (3, "panic") => panic!("panic"),
                            _ => Ok(item),
                        })
                        .try_for_each(&live(), move |item| {
                            anyhow::ensure!(item != 3 || failing != "sink", "sink");
                            Ok(sender.send(item)?)
                        })
                };
                match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(ended) => assert_eq!(ended.unwrap_err().to_string(), failing),
                    Err(_) => assert_eq!(failing, "panic"),
                }
            }
        }
    });
}

#[test]
fn a_batch_of_items_that_turn_out_costly_is_not_output_as_one() {
    watched(|| {
        for threads in [2, 4] {
            let worked = AtomicUsize::new(0);
            let mut most_behind = 0;
            Pipeline::from_data(0..40_000_usize)
                .threads(threads)
                .map(|item| {
                    if item >= 38_000 {
                        (0..30_000).for_each(|_| std::hint::spin_loop());
                        worked.fetch_add(1, Ordering::Relaxed);
                    }
                    item
                })
                .for_each(&live(), |item| {
                    if item >= 38_000 {
                        most_behind = most_behind.max(worked.load(Ordering::Relaxed).saturating_sub(item - 38_000));
                    }
                })
                .unwrap();
            // A batch of the size that the free items had would be 1024.
            assert!(most_behind < 600, "{most_behind} items were worked before the first of them was output");
        }
    });
}

#[test]
fn the_real_error_is_not_lost_to_a_cancellation() {
    watched(|| {
        for threads in [1, 2, 3] {
            let token = live();
            let result = Pipeline::from_data(0..100)
                .threads(threads)
                .try_map(|item| {
                    if item == 50 {
                        token.cancel();
                        anyhow::bail!("the real error");
                    }
                    Ok(())
                })
                .for_each(&token, |()| ());
            assert_eq!(result.unwrap_err().to_string(), "the real error");
        }
    });
}

#[test]
fn a_source_that_ends_because_it_was_cancelled_is_not_taken_for_complete() {
    watched(|| {
        for threads in [1, 2, 3] {
            let token = live();
            let source = (0..).map_while(|item| {
                if item == 5 {
                    token.cancel();
                }
                token.check().ok().map(|()| item)
            });
            let result = Pipeline::from_iter(source).threads(threads).collect::<Vec<u32>>(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        }
    });
}

#[test]
fn more_threads_than_can_be_counted_are_as_good_as_some() {
    watched(|| {
        let items: Vec<u32> = Pipeline::from_data(0..3).threads(usize::MAX).collect(&live()).unwrap();
        assert_eq!(items, [0, 1, 2]);
    });
}

#[test]
fn the_error_of_the_lowest_item_wins_and_what_lies_below_is_output() {
    watched(|| {
        for _ in 0..300 {
            let mut seen = Vec::new();
            let error = Pipeline::from_data(0..1_000_usize)
                .threads(4)
                .try_map(|item| if item % 100 == 70 { Err(anyhow::anyhow!("{item}")) } else { Ok(item) })
                .for_each(&live(), |item| seen.push(item))
                .unwrap_err();
            assert_eq!((error.to_string().as_str(), seen.len()), ("70", 70));
        }
    });
}

#[test]
fn after_a_failure_the_source_is_left_soon() {
    watched(|| {
        let pulled = AtomicUsize::new(0);
        let endless = (0_u64..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
        let result = Pipeline::from_iter(endless)
            .threads(3)
            .window(32)
            .try_map(|item| if item == 1_000 { Err(anyhow::anyhow!("enough")) } else { Ok(item) })
            .for_each(&live(), |_| ());
        assert_eq!(result.unwrap_err().to_string(), "enough");
        assert!(pulled.into_inner() <= 1_000 + 32);
    });
}

#[test]
fn panics_keep_their_payload_wherever_they_start() {
    struct Parcel(u32);
    fn parcel(run: impl FnOnce() -> Result<(), Cancelled>) -> u32 {
        payload_of(|| _ = run()).downcast::<Parcel>().expect("the payload as it was thrown").0
    }
    watched(|| {
        let thrown = |item: u32| if item == 40 { std::panic::panic_any(Parcel(item)) } else { item };
        for threads in [1, 2, 5] {
            reached(&format!("threads({threads})"));
            let token = live();
            assert_eq!(parcel(|| Pipeline::from_iter((0..).map(thrown)).threads(threads).for_each(&token, |_| ())), 40);
            assert_eq!(
                parcel(|| Pipeline::from_ready((0..).map(thrown)).threads(threads).for_each(&token, |_| ())),
                40
            );
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).map(thrown).for_each(&token, |_| ())), 40);
            let data = 0..100_u32;
            assert_eq!(parcel(|| Pipeline::from_data(data).threads(threads).map(thrown).for_each(&token, |_| ())), 40);
            let sink = |item| _ = thrown(item);
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).for_each(&token, sink)), 40);
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).unordered().for_each(&token, sink)), 40);
        }
    });
}

#[test]
fn a_panic_in_the_drop_of_an_item_ends_the_run_and_is_resumed() {
    struct Mine(u32);
    impl Drop for Mine {
        fn drop(&mut self) {
            assert!(self.0 != 40 || std::thread::panicking(), "mine");
        }
    }
    watched(|| {
        for threads in [1, 2, 5] {
            let run = || Pipeline::from_iter((0..200).map(Mine)).threads(threads).map(drop).for_each(&live(), |()| ());
            assert_eq!(message_of(|| _ = run()), "mine");
            let run = || Pipeline::from_iter((0..200).map(Mine)).threads(threads).for_each(&live(), drop);
            assert_eq!(message_of(|| _ = run()), "mine");
        }
    });
}

#[test]
fn every_item_is_dropped_once_however_the_run_ends() {
    watched(|| {
        for threads in [1, 2, 4] {
            for (ending, ordered, ready) in
                (0..6).flat_map(|ending| [(ending, true, true), (ending, true, false), (ending, false, false)])
            {
                reached(&format!("threads({threads}), ending {ending}, ordered: {ordered}, ready: {ready}"));
                let census = Census::default();
                let token = live();
                let run = || -> Result<(), anyhow::Error> {
                    let source = (0..2_000).map(|item| {
                        assert!(ending != 1 || item != 500);
                        census.make(item)
                    });
                    let stage = |item: Counted<i32>| {
                        assert!(ending != 2 || item.value != 500);
                        anyhow::ensure!(ending != 3 || item.value != 500);
                        Ok(census.make(item.value))
                    };
                    let sink = |item: Counted<i32>| {
                        assert!(ending != 4 || item.value != 500);
                        if ending == 5 && item.value == 500 {
                            token.cancel();
                        }
                        Ok(())
                    };
                    if ready {
                        return Pipeline::from_ready(source).threads(threads).try_map(stage).try_for_each(&token, sink);
                    }
                    let pipeline = Pipeline::from_iter(source).threads(threads).try_map(stage);
                    let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                    pipeline.try_for_each(&token, sink)
                };
                let ended = catch_unwind(AssertUnwindSafe(run));
                assert_eq!(ended.is_err(), [1, 2, 4].contains(&ending));
                if let Ok(result) = ended {
                    assert_eq!(result.is_err(), [3, 5].contains(&ending));
                }
                assert_eq!(census.alive(), 0, "ending {ending}, ordered: {ordered}");
            }
        }
    });
}

#[test]
fn a_cancelled_token_starts_nothing() {
    watched(|| {
        for threads in [1, 2] {
            let token = live();
            token.cancel_with(CancelReason::Deadline);
            let started = AtomicBool::new(false);
            let result = Pipeline::from_data(0..10)
                .threads(threads)
                .map(|_| started.store(true, Ordering::Relaxed))
                .collect::<Vec<()>>(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Deadline)));
            assert!(!started.into_inner());
        }
    });
}

#[test]
fn once_cancelled_the_sink_is_not_called_again() {
    watched(|| {
        for threads in [1, 2, 4] {
            for cancel_in_stage in [true, false] {
                reached(&format!("threads({threads}), cancel in stage: {cancel_in_stage}"));
                let token = live();
                let mut late = 0;
                let cancel_at = |item, at_stage| {
                    if item == 100 && at_stage == cancel_in_stage {
                        token.cancel();
                    }
                };
                let result = Pipeline::from_iter(0..)
                    .threads(threads)
                    .map(|item| {
                        cancel_at(item, true);
                        item
                    })
                    .for_each(&token, |item| {
                        late += usize::from(token.is_cancelled());
                        cancel_at(item, false);
                    });
                assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
                // A cancel by another thread may come between the look at the token and the call.
                assert!(late <= usize::from(cancel_in_stage && threads > 1), "{late} calls came late");
            }
        }
    });
}

#[test]
fn a_cancel_at_any_moment_is_never_taken_for_completion() {
    watched(|| {
        for round in 0..1_000_u32 {
            let token = live();
            let begun = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    begun.pass();
                    (0..round % 300).for_each(|_| std::hint::spin_loop());
                    Ok::<_, Cancelled>(token.cancel())
                })?;
                let endless = Pipeline::from_iter(std::iter::repeat(())).threads(2).window(1);
                let result = endless.for_each(&token, |()| begun.open());
                assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_run_that_waits_for_its_source_or_its_stages_wakes_when_cancelled() {
    watched(|| {
        for threads in [2, 4] {
            let token = live();
            let blocked = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    blocked.pass();
                    token.cancel();
                    Ok::<_, Cancelled>(())
                })?;
                reached("a source that waits with the token observed");
                let source = std::iter::from_fn(|| {
                    blocked.open();
                    token.wait();
                    None::<u32>
                });
                let result = Pipeline::from_iter(source).threads(threads).for_each(&token, |_| ());
                assert!(result.is_err());
                Ok(())
            })
            .unwrap();

            let token = live();
            let blocked = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    blocked.pass();
                    token.cancel();
                    Ok::<_, Cancelled>(())
                })?;
                reached("a stage that waits with the token observed, and a full window");
                let stage = |item| {
                    if item == 0 {
                        blocked.open();
                        token.wait();
                    }
                };
                let result = Pipeline::from_iter(0..).threads(threads).window(4).map(stage).for_each(&token, |()| ());
                assert!(result.is_err());
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_panic_is_not_lost_to_a_cancellation() {
    watched(|| {
        let token = live();
        let result = payload_of(|| {
            let _ = Pipeline::from_data(0..100)
                .threads(2)
                .map(|item| {
                    if item == 50 {
                        token.cancel();
                        std::panic::panic_any("at the last moment");
                    }
                })
                .for_each(&token, |()| ());
        });
        assert_eq!(result.downcast_ref(), Some(&"at the last moment"));
    });
}

#[test]
fn zero_threads_and_zero_windows_are_refused_where_they_are_said() {
    assert!(message_of(|| drop(Pipeline::from_iter([1]).threads(0))).contains("threads(0)"));
    assert!(message_of(|| drop(Pipeline::from_iter([1]).window(0))).contains("window(0)"));
}

#[test]
fn errors_convert_along_the_stages() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Mine {
        #[error("{0}")]
        Io(String),
        #[error(transparent)]
        Cancelled(#[from] Cancelled),
    }
    impl From<std::io::Error> for Mine {
        fn from(error: std::io::Error) -> Self {
            Mine::Io(error.to_string())
        }
    }
    let run = |bad: u32| {
        Pipeline::from_iter(0..10_u32)
            .try_map(move |item| if item == bad { Err(std::io::Error::other("first")) } else { Ok(item) })
            .try_map(|item| if item == 5 { Err(Mine::Io("second".to_owned())) } else { Ok(item) })
            .collect::<Vec<_>>(&live())
    };
    assert_eq!(run(3), Err(Mine::Io("first".to_owned())));
    assert_eq!(run(7), Err(Mine::Io("second".to_owned())));
}

#[test]
fn inside_a_rayon_job_it_is_the_plain_loop() {
    watched(|| {
        for workers in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
            let sums: Vec<u64> = pool.install(|| {
                (0..4_u64)
                    .into_par_iter()
                    .map(|_| {
                        let here = std::thread::current().id();
                        let mut sum = 0;
                        Pipeline::from_iter(0..100_u64)
                            .threads(4)
                            .map(|item| {
                                assert_eq!(std::thread::current().id(), here);
                                (0..=item).into_par_iter().map(|_| 1).sum::<u64>()
                            })
                            .for_each(&live(), |item| sum += item)
                            .unwrap();
                        sum
                    })
                    .collect()
            });
            assert_eq!(sums, [5_050; 4]);
        }
    });
}

#[test]
fn stages_may_call_rayon_and_other_pipelines() {
    watched(|| {
        let inner = |item: u32| -> u32 {
            let squares = Pipeline::from_iter(0..item).threads(2).map(|x| x * x).collect::<Vec<_>>(&live()).unwrap();
            squares.par_iter().sum()
        };
        let outer = Pipeline::from_iter(0..50).threads(3).map(inner).collect::<Vec<_>>(&live()).unwrap();
        assert_eq!(outer, (0..50).map(|item| (0..item).map(|x| x * x).sum()).collect::<Vec<u32>>());
    });
}

#[test]
fn threads_are_gone_when_the_end_returns() {
    if !alone!(threads_are_gone_when_the_end_returns) {
        return;
    }
    watched(|| {
        let before = threads();
        for ending in 0..4 {
            let token = live();
            let run = || {
                Pipeline::from_iter(0..1_000)
                    .threads(8)
                    .try_map(|item| match (ending, item) {
                        (1, 500) => Err(anyhow::anyhow!("failed")),
                        (2, 500) => panic!("panicked"),
                        (3, 500) => {
                            token.cancel();
                            Ok(())
                        }
                        _ => Ok(()),
                    })
                    .for_each(&token, |()| ())
            };
            let ended = catch_unwind(AssertUnwindSafe(run));
            assert_eq!(matches!(ended, Ok(Ok(()))), ending == 0);
            until_threads(before);
        }
    });
}

#[test]
fn waiting_for_a_blocked_source_burns_no_cpu_time() {
    if !alone!(waiting_for_a_blocked_source_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        let (token, opened) = (live(), Gate::default());
        scope(&live(), |s| {
            s.spawn(|_| {
                let source = (0..4).inspect(|item| {
                    if *item == 3 {
                        opened.pass();
                    }
                });
                Pipeline::from_iter(source).threads(4).for_each(&token, |_| ())
            })?;
            until_others_sleep();
            let before = cpu_time();
            assert_eq!(token.wait_timeout(Duration::from_secs(1)), None);
            let burnt = cpu_time().saturating_sub(before);
            assert!(burnt < Duration::from_millis(5), "a second of waiting burnt {burnt:?}");
            opened.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn memory_does_not_grow_with_the_input() {
    if !alone!(memory_does_not_grow_with_the_input) {
        return;
    }
    watched(|| {
        let run = |items: usize| {
            Pipeline::from_data(0..items).threads(2).for_each(&live(), |_| ()).unwrap();
            Pipeline::from_iter(0..items).threads(2).for_each(&live(), |_| ()).unwrap();
            Pipeline::from_ready(0..items).threads(2).filter(|item| item % 3 == 0).count(&live()).unwrap();
            Pipeline::from_data(0..items / 10).threads(2).flat_map(|item| 0..item % 20).count(&live()).unwrap();
        };
        run(100_000);
        let before = memory();
        // Optimized, this takes seconds.
        run(if cfg!(debug_assertions) { 1_000_000 } else { 100_000_000 });
        let grown = memory().saturating_sub(before);
        assert!(grown < 8 << 20, "grew by {grown} bytes");
    });
}

#[test]
fn threads_that_cannot_be_started_are_done_without() {
    // With an address space of 1.5 GB and stacks of 256 MB, only a few threads can be had.
    if !alone!(threads_that_cannot_be_started_are_done_without, "-v 1500000 && export RUST_MIN_STACK=268435456") {
        return;
    }
    watched(|| {
        let names = std::sync::Mutex::new(std::collections::BTreeSet::new());
        let meeting = RefCell::new(0);
        Pipeline::from_iter(0..10_000)
            .threads(64)
            .map(|item: u32| {
                names.lock().unwrap().insert(std::thread::current().name().map(ToOwned::to_owned));
                item
            })
            .for_each(&live(), |item| {
                assert_eq!(item, meeting.replace_with(|next| *next + 1));
            })
            .unwrap();
        assert_eq!(meeting.into_inner(), 10_000);
        assert!(!names.into_inner().unwrap().contains(&Some("pipeline#63".to_owned())));
    });
}
