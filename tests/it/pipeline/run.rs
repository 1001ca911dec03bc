//! A run that goes well: sources, order, threads, windows, feedback.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use brigade::{CancelReason, Cancelled, Pipeline};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::live;
use crate::util::{Counter, reached, watched};

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
            // A batch of the size that the free items had would be 4096.
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
