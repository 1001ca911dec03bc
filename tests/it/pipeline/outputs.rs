//! Outputs as an iterator: lent to a closure by `iter`, owned by `into_iter`.

use std::collections::HashSet;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::current;

use brigade::pipeline::{Chain, OwnedOutputs};
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, States, scope};

use super::{SOME_SETTINGS, at_every_setting, live, set};
use crate::util::{alone, memory, message_of, reached, threads, until_threads, watched};

pub(super) const REQUESTED: Cancelled = Cancelled::new(CancelReason::Requested);

/// Calls `$test` with the outputs of the pipeline, lent and owned. A macro, because the iterators have two types.
macro_rules! both {
    ($token:expr, $pipeline:expr, $test:expr) => {{
        reached("iter");
        $pipeline.iter($token, |outputs| $test(outputs));
        reached("into_iter");
        $test(&mut $pipeline.into_iter($token));
    }};
}

pub(super) use both;

/// The outputs up to the end, and the error behind them.
pub(super) fn all<R, E>(mut outputs: &mut dyn Iterator<Item = Result<R, E>>) -> (Vec<R>, Option<E>) {
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
                    let scan = move |(): &mut (), item| {
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
                    // Without order a failure ends the run as soon as it arrives.
                    assert!(!setting.2 || good.into_iter().eq(0..300));
                    assert!(outputs.next().is_none());
                });
            }
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
fn one_thread_holds_no_item_back_while_the_source_waits() {
    watched(|| {
        for depth in [1, 2, 7] {
            // The source gives some items at once, and the next when all of these have been answered.
            let source = |answers: mpsc::Receiver<usize>| {
                let items = (0..20 * depth).inspect(move |item| {
                    if item % depth == 0 && *item > 0 {
                        (0..depth).for_each(|_| _ = answers.recv());
                    }
                });
                Pipeline::from_iter(items).threads(1)
            };
            let expected = Ok((0..20 * depth).collect::<Vec<_>>());
            let answer = |sender: mpsc::Sender<usize>| {
                move |output: Result<usize, Cancelled>| output.inspect(|output| _ = sender.send(*output))
            };
            let (sender, answers) = mpsc::channel();
            let lent: Result<Vec<_>, _> =
                source(answers).iter(&live(), |outputs| outputs.map(answer(sender)).collect());
            assert_eq!(lent, expected);
            let (sender, answers) = mpsc::channel();
            let fanned = source(answers).flat_map(|item| [item]).into_iter(&live()).map(answer(sender));
            assert_eq!(fanned.collect::<Result<Vec<_>, _>>(), expected);
            let (sender, answers) = mpsc::channel();
            let waited = source(answers).blocking(1, |_, item| item);
            let waited: Result<Vec<_>, _> = waited.iter(&live(), |outputs| outputs.map(answer(sender)).collect());
            assert_eq!(waited, expected);
            let (sender, answers) = mpsc::channel();
            let mut outputs = Vec::new();
            let reserved = source(answers).dedicated_caller().blocking(1, |_, item| item).map(|item| item);
            reserved
                .for_each(&live(), |output| {
                    outputs.push(output);
                    _ = sender.send(output);
                })
                .unwrap();
            assert_eq!(Ok(outputs), expected);
        }
    });
}

/// Sections: one of the source, one with workers of its own, one behind a scan, one behind a `take`.
fn sections(threads: usize) -> Pipeline<impl Chain<Output = usize, Error = Cancelled> + Send + 'static> {
    let waited = Pipeline::from_iter(1..).threads(threads).map(|item| item * 3).blocking(2, |_, item: usize| item + 1);
    let summed = waited.filter(|item| item % 2 == 0).scan(0, |sum, item| {
        *sum += item;
        Some(*sum)
    });
    summed.flat_map(|sum| [sum, sum + 1]).take(301).map(|item| item * 2)
}

/// The same by the plain loop.
fn plain_sections() -> impl Iterator<Item = usize> {
    let summed = (1..).map(|item| item * 3 + 1).filter(|item| item % 2 == 0).scan(0, |sum, item| {
        *sum += item;
        Some(*sum)
    });
    summed.flat_map(|sum| [sum, sum + 1]).take(301).map(|item| item * 2)
}

#[test]
fn sections_give_the_outputs_of_the_loop_to_an_iterator_that_is_read_half_or_whole() {
    if !alone!(sections_give_the_outputs_of_the_loop_to_an_iterator_that_is_read_half_or_whole) {
        return;
    }
    watched(|| {
        let before = threads();
        for most in [0, 1, 7, 150, 301, 302] {
            for threads in [1, 2, 3, 8] {
                reached(&format!("{most} outputs, {threads} threads"));
                both!(&live(), sections(threads), |outputs: &mut dyn Iterator<Item = Result<usize, Cancelled>>| {
                    let read: Result<Vec<usize>, Cancelled> = outputs.take(most).collect();
                    assert!(read.unwrap().into_iter().eq(plain_sections().take(most)));
                });
                until_threads(before);
                let collected: Vec<usize> = sections(threads).take(most).collect(&live()).unwrap();
                assert!(collected.into_iter().eq(plain_sections().take(most)));
            }
        }
    });
}

#[test]
fn on_a_rayon_worker_sections_run_there_item_by_item() {
    watched(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let here = current().id();
            for most in [0, 1, 7, 150, 301, 302] {
                let read = sections(4)
                    .inspect(|_| assert_eq!(current().id(), here))
                    .iter(&live(), |outputs| outputs.take(most).collect::<Result<Vec<usize>, Cancelled>>());
                assert!(read.unwrap().into_iter().eq(plain_sections().take(most)));
            }
            let made = AtomicUsize::new(0);
            let counted = Pipeline::from_iter(0..).map(|item: usize| made.fetch_add(1, Ordering::Relaxed) + item);
            counted.blocking(3, |_, item| item).take(50).iter(&live(), |outputs| {
                for (at, output) in outputs.enumerate() {
                    assert_eq!((output, made.load(Ordering::Relaxed)), (Ok(at * 2), at + 1));
                }
            });
            assert_eq!(made.into_inner(), 50);
        });
    });
}

#[test]
fn the_output_of_a_scan_for_its_end_comes_before_the_error_that_ends_it() {
    let fails = |threads| {
        let stage = |item: usize| if item == 5 { anyhow::bail!("five") } else { Ok(item) };
        let tried = Pipeline::from_iter(0..).threads(threads).try_map(stage);
        let sums = tried.scan_with_end(
            0,
            |sum, item| {
                *sum += item;
                Some(*sum)
            },
            |sum| Some(sum + 100),
        );
        sums.map(|sum| sum * 2)
    };
    let check = |outputs: &mut dyn Iterator<Item = anyhow::Result<usize>>| {
        let (good, error) = all(outputs);
        assert_eq!(error.unwrap().to_string(), "five");
        assert_eq!(good, [0, 2, 6, 12, 20, 220]);
    };
    watched(move || {
        for threads in 1..=4 {
            both!(&live(), fails(threads), check);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| fails(4).iter(&live(), |outputs| check(outputs)));
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
            assert_eq!(run.iter(&live(), |outputs| outputs.take(50).flatten().count()), 50);
            let states = states.into_vec();
            assert!(states.len() <= threads && states.into_iter().sum::<usize>() >= 50);
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
