//! The sources that wait, the stages and the ends, each by itself.

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, Until, scope};
use crossbeam::channel::{bounded, unbounded};

use crate::util::{Census, Gate, alone, message_of, payload_of, reached, together, until_others_sleep, watched};

fn live() -> CancellationToken {
    CancellationToken::new()
}

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
fn a_scan_and_what_is_behind_it_run_on_the_calling_thread_in_order() {
    watched(|| {
        for threads in 1..=4 {
            // Neither the state nor what is behind the scan can be sent to another thread.
            let state = std::rc::Rc::new(std::cell::Cell::new(0));
            let here = std::thread::current().id();
            let numbered: Vec<(u32, u32)> = Pipeline::from_ready(0..1_000_u32)
                .threads(threads)
                .unordered()
                .filter(|item| item % 2 == 0)
                .scan(state.clone(), |next, item| Some((next.replace(next.get() + 1), item)))
                .inspect(|_| assert_eq!(std::thread::current().id(), here))
                .collect(&live())
                .unwrap();
            assert!(numbered.iter().map(|(at, item)| (*at, *item)).eq((0..500).map(|at| (at, 2 * at))));
            assert_eq!(state.get(), 500);
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

#[test]
fn from_receiver_takes_all_that_is_sent_until_every_sender_is_gone() {
    watched(|| {
        for (capacity, threads) in [(0, 1), (0, 2), (1, 2), (64, 3), (1_000, 8)] {
            let (sender, receiver) = bounded(capacity);
            let sum = scope(&live(), |s| {
                for part in 0..2 {
                    let sender = sender.clone();
                    s.spawn(move |s| {
                        Ok(sender.until(s.token()).send_all((0..2_000_u64).map(|at| 2 * at + part)).unwrap())
                    })?;
                }
                drop(sender);
                Pipeline::from_receiver(receiver).threads(threads).fold(s.token(), 0, |sum, item| sum + item)
            });
            assert_eq!(sum, Ok::<_, Cancelled>(7_998_000));
        }
    });
}

#[test]
fn from_receiver_holds_no_message_back_while_the_channel_is_empty() {
    watched(|| {
        for threads in 1..=4 {
            let (sender, receiver) = unbounded();
            sender.send(0).unwrap();
            // Each output sends the next input.
            let mut sender = Some(sender);
            let outputs = AtomicUsize::new(0);
            Pipeline::from_receiver(receiver)
                .threads(threads)
                .for_each(&live(), |item: usize| {
                    outputs.fetch_add(1, Ordering::Relaxed);
                    if item == 100 {
                        sender = None;
                    } else if let Some(sender) = &sender {
                        sender.send(item + 1).unwrap();
                    }
                })
                .unwrap();
            assert_eq!(outputs.into_inner(), 101);
        }
    });
}

/// A message with a sender of its own channel.
struct Owner(crossbeam::channel::Sender<Owner>);

#[test]
fn a_run_from_a_receiver_that_wants_no_more_ends_though_a_sender_is_alive() {
    watched(|| {
        for threads in 1..=4 {
            let (sender, receiver) = unbounded();
            let pipeline = || {
                sender.send(7).unwrap();
                Pipeline::from_receiver(receiver.clone()).threads(threads)
            };
            reached("first");
            assert_eq!(pipeline().first(&live()), Ok(Some(7)));
            reached("a stage that fails");
            let failed = pipeline().try_map(|_| Err::<(), _>(anyhow::anyhow!("failed"))).count(&live());
            assert_eq!(failed.unwrap_err().to_string(), "failed");
            reached("a sink that panics");
            assert_eq!(message_of(|| _ = pipeline().for_each(&live(), |_| panic!("the sink's"))), "the sink's");
            reached("a scan that ends");
            assert_eq!(pipeline().scan((), |(), _| None::<u8>).count(&live()), Ok(0));
            reached("an item that owns a sender");
            let (sender, receiver) = unbounded();
            sender.send(Owner(sender.clone())).unwrap();
            drop(sender);
            let first = Pipeline::from_receiver(receiver).threads(threads).first(&live()).unwrap().unwrap();
            assert!(first.0.send(Owner(first.0.clone())).is_err());
        }
    });
}

#[test]
fn what_the_sink_holds_is_dropped_before_a_source_that_waits_for_it() {
    watched(|| {
        for threads in 1..=4 {
            let source = || {
                let (sender, receiver) = mpsc::channel();
                sender.send(1).unwrap();
                (sender, Pipeline::from_iter(receiver).threads(threads))
            };
            reached("a sink behind two scans");
            let (sender, pipeline) = source();
            let failed = pipeline
                .scan((), |(), item| Some(item))
                .map(|item| item + 1)
                .scan((), |(), item| Some(item))
                .try_for_each(&live(), move |item: i32| {
                    sender.send(item).unwrap();
                    anyhow::bail!("the sink's")
                });
            assert_eq!(failed.unwrap_err().to_string(), "the sink's");
            reached("a scan's closure");
            let (sender, pipeline) = source();
            let scan = move |(): &mut (), item| (sender.send(item).is_ok() && item < 0).then_some(item);
            assert_eq!(pipeline.scan((), scan).count(&live()), Ok(0));
            reached("a scan's state");
            let (sender, pipeline) = source();
            let failed =
                pipeline.scan(sender, |_, item| Some(item)).try_for_each(&live(), |_| anyhow::bail!("at once"));
            assert_eq!(failed.unwrap_err().to_string(), "at once");
            reached("what a fold has so far");
            let (sender, pipeline) = source();
            let failed = pipeline
                .try_map(|item| if item == 1 { Ok(item) } else { Err(anyhow::anyhow!("the second")) })
                .fold(&live(), sender, |sender, item| {
                    sender.send(item + 1).unwrap();
                    sender
                });
            assert_eq!(failed.unwrap_err().to_string(), "the second");
        }
    });
}

#[test]
fn a_cancellation_hides_what_failed_above_it_if_it_is_the_sinks_own_and_nothing_if_not() {
    if !alone!(a_cancellation_hides_what_failed_above_it_if_it_is_the_sinks_own_and_nothing_if_not) {
        return;
    }
    watched(|| {
        for (scanned, by_sink) in [(false, true), (true, true), (false, false), (true, false)] {
            for panics in [false, true] {
                let token = live();
                let failed = Gate::default();
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let pipeline = Pipeline::from_ready(0..2_usize).threads(2).window(2).try_map(|item| {
                        if item == 1 {
                            failed.open();
                            assert!(!panics, "item 1");
                            anyhow::bail!("item 1");
                        }
                        Ok(item)
                    });
                    let fan = |item: usize| [item, item];
                    let sink = |_| {
                        failed.pass();
                        // When the other worker sleeps, the failure has arrived.
                        until_others_sleep();
                        if by_sink {
                            token.cancel();
                        } else {
                            together(vec![Box::new(|| _ = token.cancel())]);
                        }
                        Ok::<_, anyhow::Error>(())
                    };
                    if scanned {
                        pipeline.scan((), |(), item| Some(item)).flat_map(fan).try_for_each(&token, sink)
                    } else {
                        pipeline.flat_map(fan).try_for_each(&token, sink)
                    }
                }));
                let outcome = outcome.map(|ended| ended.unwrap_err().to_string()).ok();
                let expected = match (by_sink, panics) {
                    (true, _) => Some("cancelled: requested"),
                    (false, false) => Some("item 1"),
                    (false, true) => None,
                };
                assert_eq!(outcome.as_deref(), expected);
            }
        }
    });
}

#[test]
fn a_scan_that_cancels_and_ends_is_cancelled() {
    watched(|| {
        for threads in 1..=2 {
            let token = live();
            let end = |(): &mut (), _| {
                token.cancel();
                None::<()>
            };
            let result = Pipeline::from_iter(0..).threads(threads).scan((), end).count(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        }
    });
}

#[test]
fn from_receiver_wakes_when_cancelled() {
    watched(|| {
        for threads in [1, 2, 4] {
            let token = live();
            let (sender, receiver) = unbounded();
            sender.send(()).unwrap();
            let result = Pipeline::from_receiver(receiver).threads(threads).for_each(&token, |()| {
                let token = token.clone();
                sender.send(()).unwrap();
                token.cancel();
            });
            assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));

            // Asleep in an empty channel.
            let (_sender, receiver) = unbounded::<()>();
            let token = live().child_with_timeout(std::time::Duration::from_millis(5));
            let result = Pipeline::from_receiver(receiver).threads(threads).count(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Deadline)));
        }
    });
}

/// A reader that hands out what it is sent, and waits for it.
struct Pipe(mpsc::Receiver<&'static str>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv().map_or(Ok(0), |text| text.as_bytes().read(buffer))
    }
}

#[test]
fn from_lines_holds_no_line_back_while_the_reader_waits() {
    watched(|| {
        for threads in 1..=4 {
            let (sender, receiver) = mpsc::channel();
            sender.send("one\ntwo\nthr").unwrap();
            let mut sender = Some(sender);
            let mut lines = Vec::new();
            Pipeline::from_lines(BufReader::new(Pipe(receiver)))
                .threads(threads)
                .try_map(|line| line)
                .for_each(&live(), |line| {
                    match line.as_str() {
                        "two" => sender.as_ref().unwrap().send("ee\nfour").unwrap(),
                        "three" => sender = None,
                        _ => {}
                    }
                    lines.push(line);
                })
                .unwrap();
            assert_eq!(lines, ["one", "two", "three", "four"]);
        }
    });
}

#[test]
fn lines_of_a_large_slice_are_read_in_linear_time() {
    watched(|| {
        let text = "line\n".repeat(4_000_000);
        for window in [None, Some(16)] {
            let lines = Pipeline::from_lines(text.as_bytes()).threads(2);
            let lines = if let Some(items) = window { lines.window(items) } else { lines };
            let text_read = if window.is_none() { 4_000_000 } else { 50_000 };
            let count = lines.scan(0, |count, _| {
                *count += 1;
                (*count <= text_read).then_some(())
            });
            assert_eq!(count.count(&live()), Ok(text_read));
        }
    });
}

#[test]
fn a_line_that_is_no_text_is_an_error_in_its_place() {
    watched(|| {
        for threads in 1..=3 {
            let text: &[u8] = b"fine\nbad \xff\nnever seen\n";
            let mut seen = Vec::new();
            let result =
                Pipeline::from_lines(text).threads(threads).try_map(|line| line).try_for_each(&live(), |line| {
                    seen.push(line);
                    Ok::<_, io::Error>(())
                });
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(seen, ["fine"]);
        }
    });
}

#[test]
fn a_panic_of_the_reader_is_resumed_after_the_lines_before_it() {
    struct Bomb(bool);
    impl Read for Bomb {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!std::mem::replace(&mut self.0, true), "the reader's");
            (&b"one\ntwo\n"[..]).read(buffer)
        }
    }
    watched(|| {
        for threads in 1..=3 {
            let seen = Mutex::new(Vec::new());
            let payload = payload_of(|| {
                let lines = Pipeline::from_lines(BufReader::new(Bomb(false))).threads(threads);
                let _ = lines.try_map(|line| line).for_each(&live(), |line| seen.lock().unwrap().push(line));
            });
            assert_eq!(payload.downcast_ref(), Some(&"the reader's"));
            assert_eq!(seen.into_inner().unwrap(), ["one", "two"]);
        }
    });
}

#[test]
fn outputs_that_arrive_in_reverse_leave_in_order_within_a_narrow_window() {
    watched(|| {
        for (threads, window) in [(5, 4), (5, 5), (4, 4), (3, 2), (8, 64)] {
            for _ in 0..20 {
                let outputs: Vec<usize> = Pipeline::from_iter(0..50_usize)
                    .threads(threads)
                    .window(window)
                    .inspect(|item| (0..(4 - item % 5) * 50).for_each(|_| std::thread::yield_now()))
                    .collect(&live())
                    .unwrap();
                assert!(outputs.into_iter().eq(0..50));
            }
        }
    });
}

#[test]
fn pipelines_scopes_and_maps_nest() {
    watched(|| {
        let token = live();
        let inner = |item: u64| -> Result<u64, Cancelled> {
            scope(&token, |s| {
                let left = s.spawn(|s| Pipeline::from_iter(0..item).threads(2).fold(s.token(), 0, |sum, x| sum + x))?;
                let right =
                    s.spawn(|s| brigade::par_map(s.token(), vec![item; 3], |x| x).map(|all| all.iter().sum::<u64>()))?;
                Ok(left.join()? + right.join()?)
            })
        };
        let sums: Vec<u64> = Pipeline::from_iter(0..30).threads(3).try_map(inner).collect(&token).unwrap();
        assert!(sums.into_iter().eq((0..30).map(|item| (0..item).sum::<u64>() + 3 * item)));
    });
}

#[test]
fn the_stack_does_not_grow_with_the_input() {
    watched(|| {
        #[expect(clippy::disallowed_methods, reason = "a thread with a stack of its own")]
        let small = std::thread::Builder::new().stack_size(128 << 10).spawn(|| {
            let token = live();
            let count = Pipeline::from_iter(0..300_000_u32).threads(1).filter(|item| item % 2 == 0).count(&token);
            let behind = Pipeline::from_ready(0..300_000_u32).threads(2).scan((), |(), item| Some(item)).count(&token);
            (count, behind)
        });
        assert_eq!(small.unwrap().join().unwrap(), (Ok(150_000), Ok(300_000)));
    });
}

#[test]
fn named_names_the_threads() {
    watched(|| {
        let names = Mutex::new(Vec::new());
        let (met, everybody) = (AtomicUsize::new(0), Gate::default());
        Pipeline::from_data(0..3)
            .threads(3)
            .named("parse")
            .map(|_| {
                names.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
                if met.fetch_add(1, Ordering::SeqCst) == 2 {
                    everybody.open();
                }
                everybody.pass()
            })
            .for_each(&live(), drop)
            .unwrap();
        let mut names = names.into_inner().unwrap();
        names.retain(|name| name.starts_with("parse"));
        names.sort();
        assert_eq!(names, ["parse#1", "parse#2"]);
    });
}

#[test]
fn an_input_behind_the_failing_one_whose_drop_panics_leaks_nothing() {
    struct Input(usize);
    impl Drop for Input {
        fn drop(&mut self) {
            assert!(self.0 != 1_332, "drop of the input");
        }
    }
    watched(|| {
        for ready in [true, false] {
            for _ in 0..50 {
                let census = Census::default();
                let stage = |input: Input| {
                    let number = input.0;
                    // Before the result is made, which rustc would leak (rust-lang/rust#47949).
                    drop(input);
                    anyhow::ensure!(number != 1_227, "stage");
                    Ok(census.make(()))
                };
                let inputs = (0..3_000).map(Input);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    if ready {
                        Pipeline::from_ready(inputs).threads(2).try_map(stage).for_each(&live(), drop)
                    } else {
                        Pipeline::from_iter(inputs).threads(2).try_map(stage).for_each(&live(), drop)
                    }
                }));
                // The plain loop would not have met that input; one that nobody had claimed is dropped when all is over.
                if let Ok(ended) = outcome {
                    assert_eq!(ended.unwrap_err().to_string(), "stage");
                }
                assert_eq!(census.alive(), 0);
            }
        }
    });
}

#[test]
fn outputs_whose_drop_panics_do_not_abort_a_run_whose_sink_panicked() {
    struct Output(usize);
    impl Drop for Output {
        fn drop(&mut self) {
            assert!(!matches!(self.0, 5_005..5_009), "drop of an output");
        }
    }
    watched(|| {
        for threads in 1..=3 {
            let message = message_of(|| {
                let outputs = Pipeline::from_iter(0..10_000).threads(threads).map(Output);
                let _ = outputs.for_each(&live(), |output| assert!(output.0 != 5_000, "sink"));
            });
            assert_eq!(message, "sink");
            let result = Pipeline::from_data(0..10_000).threads(threads).map(Output).try_for_each(&live(), |output| {
                anyhow::ensure!(output.0 != 5_000, "sink");
                Ok(())
            });
            assert_eq!(result.unwrap_err().to_string(), "sink");
        }
    });
}
