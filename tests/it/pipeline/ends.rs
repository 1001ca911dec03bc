//! The ends that may end well early, take outputs in slices, are told of idleness, send, or reduce in parallel.

use std::io::BufReader;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, scope};
use crossbeam::channel::bounded;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::live;
use crate::util::{Census, Counted, message_of, watched};

#[test]
fn the_sink_is_told_before_the_source_is_waited_for() {
    watched(|| {
        for threads in 1..=4 {
            // The source gives an item once the one before has been flushed.
            let (flushed, wait) = mpsc::channel();
            let source = (0..100).inspect(move |item| {
                if *item > 0 {
                    assert_eq!(wait.recv(), Ok(item - 1));
                }
            });
            let out = Pipeline::from_iter(source)
                .threads(threads)
                .on_idle(Vec::new(), |out| flushed.send(out[out.len() - 1]).map_err(anyhow::Error::from))
                .try_for_each(&live(), |out, item| {
                    out.push(item);
                    Ok(())
                })
                .unwrap();
            assert_eq!(out, (0..100).collect::<Vec<i32>>());
        }
    });
}

#[test]
fn one_thread_tells_the_sink_of_the_first_outputs_before_it_works_on() {
    watched(|| {
        let told = AtomicUsize::new(0);
        // An item, and what a fan-out makes of one, each as the loop meets it.
        let met = |item: usize| {
            assert_eq!(told.load(Ordering::SeqCst), item);
            item
        };
        let sink = |(): &mut ()| {
            told.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Cancelled>(())
        };
        let items = Pipeline::from_data((0..8).collect::<Vec<_>>()).threads(1).map(met);
        items.on_idle((), sink).try_for_each(&live(), |(), _| Ok(())).unwrap();
        told.store(0, Ordering::SeqCst);
        let fanned = Pipeline::from_data(vec![8]).threads(1).flat_map(|outputs| (0..outputs).map(met));
        fanned.on_idle((), sink).try_for_each(&live(), |(), _| Ok(())).unwrap();
        assert_eq!(told.into_inner(), 8);
    });
}

#[test]
fn the_sink_is_not_told_of_each_output_of_a_quick_source() {
    watched(|| {
        let text = "line\n".repeat(100_000);
        for threads in 1..=3 {
            let mut told = 0;
            let out = Pipeline::from_byte_lines(BufReader::with_capacity(1 << 16, text.as_bytes()))
                .threads(threads)
                .on_idle(0, |_| {
                    told += 1;
                    anyhow::Ok(())
                })
                .try_for_each(&live(), |out, line| {
                    *out += usize::from(line?.len() == 4);
                    Ok(())
                })
                .unwrap();
            assert_eq!(out, 100_000);
            assert!(told < 20_000, "told {told} times on {threads} threads");
        }
    });
}

#[test]
fn an_error_and_a_panic_of_a_sink_that_is_told_end_the_run() {
    watched(|| {
        for threads in 1..=4 {
            let census = Census::default();
            let run = |fails: bool| {
                let (items, sink) = (census.clone(), census.make(()));
                let outputs = Pipeline::from_iter(0..).threads(threads).map(move |item: u32| items.make(item));
                outputs
                    .on_idle(sink, move |_| if fails { Err(anyhow::anyhow!("full")) } else { panic!("told") })
                    .try_for_each(&live(), |_, _| Ok(()))
            };
            assert_eq!(run(true).unwrap_err().to_string(), "full");
            assert_eq!(message_of(|| _ = run(false)), "told");
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn slices_are_the_outputs_in_order_and_what_is_left_in_them_is_dropped() {
    watched(|| {
        for threads in 1..=4 {
            let (census, mut first) = (Census::default(), Vec::new());
            let outputs = Pipeline::from_data(0..10_000_usize).threads(threads).map(|item| census.make(item));
            outputs
                .for_each_batch(&live(), |outputs| {
                    // Of each slice the first alone is taken.
                    first.extend(outputs.next().map(|output| output.value));
                    Ok::<_, Cancelled>(())
                })
                .unwrap();
            assert!(first.is_sorted() && first[0] == 0);
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_cancel_is_seen_between_slices_and_an_error_stands_for_its_slice() {
    watched(|| {
        for threads in 1..=4 {
            let census = Census::default();
            let outputs = || Pipeline::from_iter(0..).threads(threads).map(|item: usize| census.make(item));
            let (token, mut slices) = (CancellationToken::new(), 0);
            let ended = outputs().for_each_batch(&token, |_| {
                slices += 1;
                if slices == 3 {
                    token.cancel_with(CancelReason::Other("enough"));
                }
                Ok::<_, Cancelled>(())
            });
            assert_eq!((ended.unwrap_err().reason(), slices), (CancelReason::Other("enough"), 3));
            let mut seen = 0;
            let ended = outputs().for_each_batch(&live(), |outputs: &mut std::vec::Drain<'_, Counted<usize>>| {
                seen += outputs.len();
                anyhow::ensure!(seen < 100, "a hundred");
                Ok(())
            });
            assert_eq!(ended.unwrap_err().to_string(), "a hundred");
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_sender_whose_receivers_are_gone_ends_the_run_well() {
    watched(|| {
        for threads in 1..=4 {
            let census = Census::default();
            let (sender, receiver) = bounded(2);
            let sent = scope(&live(), |s| {
                let census = &census;
                let task = s.spawn(move |s| {
                    Pipeline::from_iter(0..)
                        .threads(threads)
                        .map(|item: u32| census.make(item))
                        .send_to(s.token(), &sender)
                })?;
                (0..5).for_each(|item| assert_eq!(receiver.recv().unwrap().value, item));
                drop(receiver);
                task.join()
            });
            assert!((5..=7).contains(&sent.unwrap()));
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_cancel_wakes_a_run_that_waits_for_room() {
    watched(|| {
        for threads in 1..=4 {
            let (sender, receiver) = bounded(2);
            let token = CancellationToken::new();
            let ended = scope(&live(), |s| {
                let (token, sender) = (&token, sender);
                let task = s.spawn(move |_| Ok(Pipeline::from_iter(0..).threads(threads).send_to(token, &sender)))?;
                crate::util::until(|| receiver.is_full());
                token.cancel();
                task.join()
            });
            assert_eq!(ended, Ok(Err(token.check().unwrap_err())));
        }
    });
}

/// Reduces reciprocals, whose sum depends on its order.
macro_rules! sum {
    ($pipeline:expr, $threads:expr) => {
        $pipeline
            .threads($threads)
            .map(|number: u32| 1.0 / f64::from(number))
            .reduce_by(&live(), 100, |sum, number| sum + number)
            .unwrap()
            .map(f64::to_bits)
    };
}

#[test]
fn reduce_by_has_the_same_bits_at_any_number_of_threads_and_from_any_source() {
    watched(|| {
        for last in [1_u32, 2, 99, 100, 101, 12_345] {
            let expected = sum!(Pipeline::from_data(1..last), 1);
            for threads in 1..=8 {
                assert_eq!(sum!(Pipeline::from_data(1..last), threads), expected);
                assert_eq!(sum!(Pipeline::from_data((1..last).collect::<Vec<_>>()), threads), expected);
                assert_eq!(sum!(Pipeline::from_iter(1..last).window(7), threads), expected);
                assert_eq!(sum!(Pipeline::from_ready(1..last).unordered(), threads), expected);
            }
            for threads in [2, 5] {
                let text = (1..last).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat();
                let lines = Pipeline::from_lines(BufReader::with_capacity(64, text.as_bytes()));
                assert_eq!(sum!(lines.map(|line| line.unwrap().parse().unwrap()), threads), expected);
                let scanned = Pipeline::from_iter(1..last).scan((), |(), number| Some(number));
                assert_eq!(sum!(scanned, threads), expected);
                let blocking = Pipeline::from_iter(1..last).blocking(3, |_, number| number);
                assert_eq!(sum!(blocking, threads), expected);
            }
        }
    });
}

#[test]
fn a_failure_in_a_leaf_is_that_of_the_plain_loop() {
    watched(|| {
        for threads in 1..=4 {
            let census = Census::default();
            let run = |fails: usize, panics: usize, source_panics: usize| {
                let source = (0..1_000_usize).inspect(move |item| assert_ne!(*item, source_panics, "the source's"));
                Pipeline::from_iter(source)
                    .threads(threads)
                    .try_map(|item| {
                        anyhow::ensure!(item != fails, "item {item}");
                        assert_ne!(item, panics, "a stage's");
                        Ok(census.make(item))
                    })
                    .reduce_by(&live(), 64, |sum, item| {
                        let both = sum.value + item.value;
                        census.make(both)
                    })
                    .map(|sum| sum.map(|sum| sum.value))
            };
            // In one leaf, and in two.
            assert_eq!(run(130, 140, 150).unwrap_err().to_string(), "item 130");
            assert_eq!(run(130, 700, 800).unwrap_err().to_string(), "item 130");
            assert!(message_of(|| _ = run(140, 130, 150)).contains("a stage's"));
            assert!(message_of(|| _ = run(150, 140, 130)).contains("the source's"));
            assert_eq!(run(5_000, 5_000, 5_000).unwrap(), Some(499_500));
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_cancel_in_the_midst_of_a_leaf_ends_the_run() {
    watched(|| {
        for threads in 1..=4 {
            let (token, worked) = (CancellationToken::new(), AtomicUsize::new(0));
            let data = (0..100_000_usize).into_par_iter().map(|item| item);
            let ended = Pipeline::from_data(data)
                .threads(threads)
                .inspect(|item| {
                    worked.fetch_add(1, Ordering::Relaxed);
                    if *item == 1_000 {
                        token.cancel();
                    }
                })
                .reduce_by(&token, 100_000, |sum, item| sum + item);
            ended.unwrap_err();
            assert!(worked.into_inner() < 2_000);
        }
    });
}

#[test]
fn the_size_of_a_source_is_known_where_it_says_so() {
    assert_eq!(Pipeline::from_data(vec![1, 2, 3]).map(|item| item + 1).size_hint(), (3, Some(3)));
    assert_eq!(Pipeline::from_iter(0..5).take(2).size_hint(), (5, Some(5)));
    assert_eq!(Pipeline::from_ready((0..5).filter(|item| item % 2 == 0)).size_hint(), (0, Some(5)));
    assert_eq!(Pipeline::from_byte_lines(&b"a\nb"[..]).size_hint(), (0, None));
}
