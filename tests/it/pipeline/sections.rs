//! Pipelines of several sections.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Pipeline};

use super::{at_every_setting, live, set};
use crate::util::{Counter, Gate, alone, reached, threads, until, watched};

/// The items 0 to 300 of which every third comes twice.
fn items() -> Pipeline<impl Chain<Output = usize, Error = anyhow::Error>> {
    let fanned = Pipeline::from_iter(0..300_usize).flat_map(|item| vec![item; 1 + usize::from(item % 3 == 0)]);
    fanned.try_map(Ok::<_, anyhow::Error>)
}

fn plain_items() -> impl Iterator<Item = usize> {
    (0..300).flat_map(|item| vec![item; 1 + usize::from(item % 3 == 0)])
}

#[test]
fn serial_stages_equal_those_of_iterators_at_every_setting() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(20)], |setting| {
            if !setting.2 {
                return;
            }
            let taken: Vec<usize> = set(items(), setting).take(57).map(|item| item * 2).collect(&live()).unwrap();
            assert!(taken.into_iter().eq(plain_items().take(57).map(|item| item * 2)));
            let taken: Vec<usize> = set(items(), setting).take_while(|item| *item < 50).collect(&live()).unwrap();
            assert!(taken.into_iter().eq(plain_items().take_while(|item| *item < 50)));
            let rest: Vec<usize> = set(items(), setting).skip_while(|item| *item < 50).collect(&live()).unwrap();
            assert!(rest.into_iter().eq(plain_items().skip_while(|item| *item < 50)));
            let numbered: Vec<_> =
                set(items(), setting).enumerate().filter(|(at, _)| at % 2 == 0).collect(&live()).unwrap();
            assert!(numbered.into_iter().eq(plain_items().enumerate().filter(|(at, _)| at % 2 == 0)));
            let numbered: Vec<_> =
                set(Pipeline::from_iter(0..300), setting).map(|item| item + 7).enumerate().collect(&live()).unwrap();
            assert!(numbered.into_iter().eq((0..300).map(|item| item + 7).enumerate()));
            let batches: Vec<Vec<usize>> = set(items(), setting).batch(7).map(|batch| batch).collect(&live()).unwrap();
            assert!(batches.iter().all(|batch| batch.len() <= 7) && batches.len() == 400_usize.div_ceil(7));
            assert!(batches.into_iter().flatten().eq(plain_items()));
            let blocks: Vec<Vec<usize>> = set(items(), setting).batch_by(100, |item| *item).collect(&live()).unwrap();
            let last = blocks.len() - 1;
            let weighs = |block: &[usize]| block.iter().sum::<usize>();
            assert!(blocks[..last].iter().all(|block| weighs(block) >= 100 && weighs(&block[..block.len() - 1]) < 100));
            assert!(blocks.into_iter().flatten().eq(plain_items()));
            let runs: Vec<Vec<usize>> =
                set(items(), setting).chunk_by(|item, next| item / 10 == next / 10).collect(&live()).unwrap();
            assert!(
                runs.iter()
                    .map(Vec::as_slice)
                    .eq(plain_items().collect::<Vec<_>>().chunk_by(|item, next| item / 10 == next / 10))
            );
            let different: Vec<usize> = set(items(), setting).dedup().collect(&live()).unwrap();
            assert!(different.into_iter().eq(0..300));
            let sums = set(items(), setting).scan_with_end(
                0,
                |sum, item| {
                    *sum += item;
                    Some(*sum)
                },
                |sum| Some(sum + 1),
            );
            let sums: Vec<usize> = sums.map(|sum| sum).collect(&live()).unwrap();
            let total = plain_items().sum::<usize>();
            assert_eq!((sums.len(), sums[399], sums[400]), (401, total, total + 1));
        });
    });
}

#[test]
fn take_never_asks_for_more_items_than_it_takes_and_take_0_for_none() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            for most in [0, 1, 5, 100] {
                let pulled = AtomicUsize::new(0);
                let source = || std::iter::from_fn(|| Some(pulled.fetch_add(1, SeqCst)));
                let taken = set(Pipeline::from_iter(source()), setting).map(|item| item).take(most).count(&live());
                assert_eq!((taken, pulled.swap(0, SeqCst)), (Ok(most), most));
                let taken = set(Pipeline::from_ready(source()), setting).take(most).map(|item| item).count(&live());
                assert_eq!((taken, pulled.swap(0, SeqCst)), (Ok(most), most));
            }
        });
    });
}

#[test]
fn a_failure_in_any_section_lets_the_outputs_before_it_arrive() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(50)], |setting| {
            if !setting.2 {
                return;
            }
            for failing in 0..4 {
                for panics in [false, true] {
                    reached(&format!("{setting:?}, section {failing}, panics: {panics}"));
                    let stage = |section: usize| {
                        move |item: usize| {
                            if (section, item) == (failing, 300) {
                                assert!(!panics, "item 300");
                                anyhow::bail!("item 300");
                            }
                            Ok(item)
                        }
                    };
                    let mut seen = Vec::new();
                    let run = || {
                        set(Pipeline::from_iter(0..600_usize), setting)
                            .try_map(stage(0))
                            .try_blocking(3, move |_, item| stage(1)(item))
                            .try_map(stage(2))
                            .scan(0, |_, item| Some(item))
                            .try_map(stage(3))
                            .for_each(&live(), |item| seen.push(item))
                    };
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                    match ended {
                        Ok(ended) => assert!(!panics && ended.unwrap_err().to_string() == "item 300"),
                        Err(payload) => assert!(panics && *payload.downcast_ref::<&str>().unwrap() == "item 300"),
                    }
                    assert!(seen.into_iter().eq(0..300));
                }
            }
        });
    });
}

#[test]
fn what_a_batch_holds_is_flushed_at_an_error_and_not_at_a_cancel_or_a_panic() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            let token = CancellationToken::new();
            for end in ["error", "cancel", "panic"] {
                let mut seen = Vec::new();
                let failing = |item: usize| {
                    if item == 25 {
                        match end {
                            "error" => anyhow::bail!("item 25"),
                            "cancel" => _ = token.cancel(),
                            _ => panic!("item 25"),
                        }
                    }
                    Ok(item)
                };
                let run = || {
                    let batches = set(Pipeline::from_iter(0..100_usize), setting).try_map(failing).batch(10);
                    batches.for_each(&token.child_token(), |batch| seen.push(batch.len()))
                };
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                assert!(!matches!(ended, Ok(Ok(()))));
                if setting.2 && end == "error" {
                    assert_eq!(seen, [10, 10, 5]);
                }
                if end != "error" {
                    assert!(seen.iter().all(|items| *items == 10), "{seen:?}");
                }
                if end == "cancel" {
                    return;
                }
            }
        });
    });
}

#[test]
fn as_many_items_wait_at_once_as_the_stage_has_threads_beside_those_at_work() {
    if !alone!(as_many_items_wait_at_once_as_the_stage_has_threads_beside_those_at_work) {
        return;
    }
    watched(|| {
        let before = threads();
        for (workers, waiting) in [(1, 1), (1, 6), (2, 16), (8, 3)] {
            let (gate, begun) = (Gate::default(), Counter::default());
            let most = AtomicUsize::new(0);
            let now = AtomicUsize::new(0);
            let waits = |_: &CancellationToken, item: usize| {
                most.fetch_max(1 + now.fetch_add(1, SeqCst), SeqCst);
                begun.add();
                gate.pass();
                now.fetch_sub(1, SeqCst);
                item
            };
            brigade::scope(&live(), |s| {
                s.spawn(|_| {
                    begun.wait_for(waiting);
                    gate.open();
                    Ok(())
                })?;
                let sum = Pipeline::from_iter(0..100).threads(workers).map(|item| item + 1).blocking(waiting, waits);
                assert_eq!(sum.map(|item| item).fold(&live(), 0, |sum, item| sum + item), Ok(5050));
                Ok::<_, Cancelled>(())
            })
            .unwrap();
            assert_eq!(most.into_inner(), waiting);
            crate::util::until_threads(before);
        }
    });
}

#[test]
fn an_items_token_is_cancelled_by_an_earlier_failure_and_never_by_a_later_one() {
    watched(|| {
        let hour = Duration::from_secs(3600);
        for threads in 2..=8 {
            for own in [false, true] {
                let waits = |token: &CancellationToken, item: usize| match item {
                    // Until the others are in it.
                    3 => Err(anyhow::anyhow!("item 3")),
                    0..3 => {
                        assert!(!token.is_cancelled());
                        Ok(item)
                    }
                    _ => {
                        token.sleep(hour)?;
                        Ok(item)
                    }
                };
                let source = Pipeline::from_iter(0..100_usize).threads(threads);
                let mut seen = Vec::new();
                let ended = if own {
                    source.try_blocking(threads, waits).for_each(&live(), |item| seen.push(item))
                } else {
                    source.try_map_with_token(waits).for_each(&live(), |item| seen.push(item))
                };
                assert_eq!(ended.unwrap_err().to_string(), "item 3");
                assert_eq!(seen, [0, 1, 2]);
            }
        }
    });
}

#[test]
fn the_callers_token_and_the_end_of_a_run_end_the_waits_of_its_items() {
    watched(|| {
        let hour = Duration::from_secs(3600);
        for threads in 1..=4 {
            let token = CancellationToken::new();
            let begun = Counter::default();
            let ended = brigade::scope(&live(), |s| {
                s.spawn(|_| {
                    begun.wait_for(threads);
                    token.cancel();
                    Ok(())
                })?;
                let run = Pipeline::from_iter(0..).threads(threads).try_blocking(threads, |token, _: u64| {
                    begun.add();
                    token.sleep(hour)
                });
                assert!(run.for_each(&token, drop).is_err());
                Ok::<_, Cancelled>(())
            });
            ended.unwrap();
            // The first output ends the run.
            let first = Pipeline::from_iter(0..).threads(threads).try_blocking(threads, |token, item: u64| {
                if item > 0 {
                    token.sleep(hour)?;
                }
                Ok::<_, Cancelled>(item)
            });
            assert_eq!(first.first(&live()), Ok(Some(0)));
        }
    });
}

#[test]
fn an_iterator_may_wait_for_the_output_of_an_item_that_has_passed_several_sections() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            let (sender, outputs) = std::sync::mpsc::channel();
            let source = (0..24_usize).inspect(move |item| {
                if *item > 0 {
                    assert_eq!(outputs.recv().unwrap(), item - 1);
                }
            });
            let run = set(Pipeline::from_iter(source), setting)
                .map(|item| item)
                .blocking(2, |_, item| item)
                .filter(|_| true)
                .scan(0, |_, item| Some(item))
                .map(|item| item);
            run.for_each(&live(), move |item| sender.send(item).unwrap()).unwrap();
        });
    });
}

#[test]
fn endless_fans_in_each_section_end_when_the_sink_has_enough() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            let first = set(Pipeline::from_iter(0..), setting).flat_map(|_: u32| 0_u64..);
            let run =
                first.blocking(2, |_, item| item).flat_map(|_| 0_u64..).scan(0, |_, item| Some(item)).flat_map(|_| 0..);
            let mut left = 20_000;
            let ended: Result<(), anyhow::Error> = run.try_for_each(&live(), |_: u64| {
                left -= 1;
                anyhow::ensure!(left > 0, "enough");
                Ok(())
            });
            assert_eq!(ended.unwrap_err().to_string(), "enough");
        });
    });
}

#[test]
fn a_section_that_filters_everything_holds_up_nothing() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(3)], |setting| {
            let run = set(Pipeline::from_iter(0..2_000), setting).map(|item| item).scan(0, |_, item| Some(item));
            let run =
                run.filter(|_| false).blocking(2, |_, item: u32| item).scan_with_end(0, |_, _| Some(0), |_| Some(7));
            assert_eq!(run.map(|item| item).collect::<Vec<_>>(&live()), Ok(vec![7]));
        });
    });
}

#[test]
fn large_fans_in_three_sections_come_out_in_order_and_all_of_them() {
    watched(|| {
        for threads in 1..=8 {
            let fan = |item: u64| (0..1_000_u64).map(move |part| item * 1_000 + part);
            let run = Pipeline::from_iter(0..2).threads(threads).window(1).flat_map(fan).scan(0, |_, item| Some(item));
            let run = run
                .flat_map(|item| (item % 100 == 0).then(|| fan(item)).into_iter().flatten())
                .blocking(2, |_, item| item);
            let run = run.flat_map(|item| [item; 3]);
            let mut expected =
                (0..2).flat_map(fan).filter(|item| item % 100 == 0).flat_map(fan).flat_map(|item| [item; 3]);
            run.for_each(&live(), |item| assert_eq!(Some(item), expected.next())).unwrap();
            assert_eq!(expected.next(), None);
        }
    });
}

#[test]
fn a_stage_that_is_stuck_keeps_no_other_from_ending_when_it_returns() {
    watched(|| {
        let (gate, begun, done) = (Gate::default(), Counter::default(), Mutex::new(Vec::new()));
        brigade::scope(&live(), |s| {
            s.spawn(|_| {
                begun.wait_for(1);
                // All others that the window lets in.
                until(|| done.lock().unwrap().len() >= 3);
                gate.open();
                Ok(())
            })?;
            let waits = |_: &CancellationToken, item: usize| {
                if item == 0 {
                    begun.add();
                    gate.pass();
                }
                done.lock().unwrap().push(item);
                item
            };
            let run = Pipeline::from_iter(0..100).threads(2).blocking(2, waits);
            assert_eq!(run.count(&live()), Ok(100));
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn a_flat_scan_makes_any_number_of_outputs_and_ends_with_some() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(20)], |setting| {
            if !setting.2 {
                return;
            }
            for last in [7, 1_000] {
                let outputs: Vec<usize> = set(items(), setting)
                    .flat_scan(
                        0,
                        |sum, item, emit| {
                            *sum += item;
                            (0..item % 4).for_each(|_| emit(*sum));
                            if item == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                        },
                        |sum, emit| {
                            emit(sum);
                            emit(sum + 1);
                        },
                    )
                    .map(|output| output)
                    .collect(&live())
                    .unwrap();
                let (mut sum, mut plain) = (0, Vec::new());
                for item in plain_items() {
                    sum += item;
                    plain.extend(std::iter::repeat_n(sum, item % 4));
                    if item == last {
                        break;
                    }
                }
                plain.extend([sum, sum + 1]);
                assert_eq!(outputs, plain);
            }
        });
    });
}
