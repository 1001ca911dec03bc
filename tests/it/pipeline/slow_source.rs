//! Sources that are slower than the stages, or that wait: nothing is held back, and waiting costs nothing.

use std::io::{self, BufReader, Read};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::Pipeline;
use crossbeam::channel::unbounded;

use super::{SOME_SETTINGS, at_every_setting, costs_nothing_while_blocked, live, set};
use crate::util::{Counter, Gate, alone, reached, sleeps_of_others, watched};

/// How many items a feedback loop has.
const ITEMS: usize = 24;

#[test]
fn an_iterator_may_wait_for_the_output_of_any_of_the_last_four_items() {
    watched(|| {
        for depth in 1..=4 {
            at_every_setting(&[None, Some(1)], |setting| {
                let (sender, outputs) = mpsc::channel();
                let mut seen = [false; ITEMS];
                let source = (0..ITEMS).inspect(move |item| {
                    let awaited = item.checked_sub(depth);
                    while awaited.is_some_and(|awaited| !seen[awaited]) {
                        let output: usize = outputs.recv().expect("an earlier item is output meanwhile");
                        seen[output] = true;
                    }
                });
                let mut count = 0;
                set(Pipeline::from_iter(source), setting)
                    .map(|item| item)
                    .for_each(&live(), |item| {
                        count += 1;
                        // The source may have ended before the last outputs.
                        _ = sender.send(item);
                    })
                    .unwrap();
                assert_eq!(count, ITEMS);
            });
        }
    });
}

#[test]
fn a_channel_may_be_fed_by_the_output_of_any_of_the_last_four_items() {
    watched(|| {
        for depth in 1..=4 {
            at_every_setting(&[None, Some(1)], |setting| {
                let (sender, receiver) = unbounded();
                (0..depth).for_each(|item| sender.send(item).unwrap());
                let (mut count, mut sender) = (0, Some(sender));
                set(Pipeline::from_receiver(receiver), setting)
                    .map(|item| item)
                    .for_each(&live(), |item| {
                        count += 1;
                        if let Some(open) = &sender {
                            open.send(item + depth).unwrap();
                        }
                        if count + depth == ITEMS {
                            sender = None;
                        }
                    })
                    .unwrap();
                assert_eq!(count, ITEMS);
            });
        }
    });
}

#[test]
fn three_quick_items_reach_the_sink_while_an_iterator_waits_for_it() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(3), Some(64)], |setting| {
            let seen = Counter::default();
            let source = (0..12).inspect(|item| {
                if item % 3 == 0 {
                    seen.wait_for(*item);
                }
            });
            set(Pipeline::from_iter(source), setting).map(|item| item).for_each(&live(), |_| seen.add()).unwrap();
            seen.wait_for(12);
        });
    });
}

#[test]
fn three_quick_items_reach_the_sink_through_a_filter_and_a_scan_while_an_iterator_waits_for_it() {
    watched(|| {
        at_every_setting(&[None, Some(3), Some(64)], |setting| {
            let seen = Counter::default();
            // Every second item is filtered out, the last before each wait among them.
            let source = (0..24).inspect(|item| {
                if item % 6 == 0 {
                    seen.wait_for(item / 2);
                }
            });
            let even = set(Pipeline::from_iter(source), setting).filter(|item| item % 2 == 0);
            even.scan((), |(), item| Some(item)).for_each(&live(), |_| seen.add()).unwrap();
            seen.wait_for(12);
        });
    });
}

#[test]
fn three_quick_lines_reach_the_sink_while_a_reader_waits_for_it() {
    /// Gives three lines at a time, each time when the earlier ones have reached the sink.
    struct Waits(Counter, usize);
    impl Read for Waits {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.wait_for(self.1);
            if self.1 == 12 {
                return Ok(0);
            }
            self.1 += 3;
            (&b"one\ntwo\nthree\n"[..]).read(buffer)
        }
    }
    watched(|| {
        at_every_setting(&[None, Some(1), Some(3), Some(64)], |setting| {
            let seen = Counter::default();
            let lines = Pipeline::from_lines(BufReader::new(Waits(seen.clone(), 0)));
            set(lines, setting).try_map(|line| line).for_each(&live(), |_| seen.add()).unwrap();
            seen.wait_for(12);
        });
    });
}

#[test]
fn an_iterator_that_blocks_costs_no_cpu_time_and_two_wakes() {
    if !alone!(an_iterator_that_blocks_costs_no_cpu_time_and_two_wakes) {
        return;
    }
    watched(|| {
        for setting in SOME_SETTINGS {
            let opened = Gate::default();
            let source = (0..6).inspect(|item| {
                if *item == 5 {
                    opened.pass();
                }
            });
            let run = |outputs: &Counter| {
                set(Pipeline::from_iter(source), setting).for_each(&live(), |_| outputs.add()).unwrap();
            };
            costs_nothing_while_blocked(&format!("{setting:?}"), 5, run, || opened.open());
        }
    });
}

#[test]
fn a_channel_that_is_empty_costs_no_cpu_time_and_two_wakes() {
    if !alone!(a_channel_that_is_empty_costs_no_cpu_time_and_two_wakes) {
        return;
    }
    watched(|| {
        for setting in SOME_SETTINGS {
            let (sender, receiver) = unbounded();
            (0..5).for_each(|item| sender.send(item).unwrap());
            let run = |outputs: &Counter| {
                set(Pipeline::from_receiver(receiver), setting).for_each(&live(), |_| outputs.add()).unwrap();
            };
            costs_nothing_while_blocked(&format!("{setting:?}"), 5, run, || drop(sender));
        }
    });
}

/// Enough items that waking a thread for each of them would show.
const MANY: usize = 100_000;

#[test]
fn a_source_slower_than_the_stages_wakes_a_thread_for_one_item_in_a_hundred_at_most() {
    if !alone!(a_source_slower_than_the_stages_wakes_a_thread_for_one_item_in_a_hundred_at_most) {
        return;
    }
    watched(|| {
        for nanoseconds in [100, 1_000] {
            for threads in [2, 16] {
                reached(&format!("next() {nanoseconds} ns, {threads} threads"));
                let sleeps = || {
                    let source = (0..MANY).inspect(|_| {
                        let started = Instant::now();
                        while started.elapsed() < Duration::from_nanos(nanoseconds) {}
                    });
                    let before = sleeps_of_others();
                    let mut sleeps = 0;
                    Pipeline::from_iter(source)
                        .threads(threads)
                        .for_each(&live(), |item| {
                            // All threads of the run are alive, and so are their counts.
                            if item == MANY - 1 {
                                sleeps = sleeps_of_others() - before;
                            }
                        })
                        .unwrap();
                    sleeps
                };
                // The fewest of some runs: a source whose thread the system takes off its core is another one.
                let sleeps = (0..5).map(|_| sleeps()).min().unwrap();
                assert!(sleeps <= MANY / 100, "{sleeps} wakes of {threads} threads, next() {nanoseconds} ns");
            }
        }
    });
}
