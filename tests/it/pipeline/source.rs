//! Channels and readers as sources, and what ends with them.

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use brigade::{CancelReason, Cancelled, Pipeline, Until, scope};
use crossbeam::channel::{bounded, unbounded};

use super::live;
use crate::util::{Census, Gate, alone, message_of, payload_of, reached, together, until_others_sleep, watched};

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
                // The plain loop would not have met that input; one that nobody had
                // claimed is dropped when all is over.
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
