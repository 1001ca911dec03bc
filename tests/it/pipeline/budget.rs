//! The budget: a bound in bytes on the items that are pulled and not yet output.

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::pipeline::{Bottleneck, Report};
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, scope};
use crossbeam::channel::{bounded, unbounded};

use super::{at_every_setting, live, set};
use crate::util::{
    Census, Counter, Gate, alone, memory, message_of, reached, run_alone_by, until_others_sleep, watched,
};

/// An item that counts for its bytes from its weighing to the end of its outputs.
fn weights() -> impl Iterator<Item = usize> + Clone + Send {
    // Steady small ones beside some that are larger than all budgets but the last.
    (0..300_usize).map(|index| if index % 37 == 5 { 500 } else { index % 4 })
}

/// Counts the bytes that are held, and the most there were.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Held {
    fn add(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[test]
fn a_budget_holds_no_more_than_it_and_one_item_at_every_setting_and_changes_no_output() {
    watched(|| {
        let expected: Vec<usize> = weights().flat_map(|weight| [weight, weight + 1]).collect();
        at_every_setting(&[None, Some(7)], |setting| {
            for budget in [1, 100, 10_000] {
                for is_ready in [false, true] {
                    let held = Held::default();
                    let weigh = |weight: &usize| {
                        held.add(*weight);
                        *weight
                    };
                    let mut outputs = Vec::new();
                    let mut sink = |(weight, output, is_last): (usize, usize, bool)| {
                        outputs.push(output);
                        if is_last {
                            held.take(weight);
                        }
                    };
                    let both = |weight| [(weight, weight, false), (weight, weight + 1, true)];
                    if is_ready {
                        let items = Pipeline::from_ready(weights()).budget(budget, weigh);
                        set(items, setting).flat_map(both).for_each(&live(), &mut sink).unwrap();
                    } else {
                        let items = Pipeline::from_iter(weights()).budget(budget, weigh);
                        set(items, setting).flat_map(both).for_each(&live(), &mut sink).unwrap();
                    }
                    if setting.2 {
                        assert_eq!(outputs, expected);
                    } else {
                        assert_eq!(outputs.iter().sum::<usize>(), expected.iter().sum());
                    }
                    // The budget, or one item that is larger; and the one at the gate.
                    let most = held.most.into_inner();
                    assert!(most <= budget.max(500) + 500, "{most} bytes with a budget of {budget}");
                }
            }
        });
    });
}

#[test]
fn one_byte_lets_every_chain_of_sections_come_to_its_end() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            let items = Pipeline::from_iter(0..60_usize).budget(1, |item| *item);
            let items = set(items, setting).flat_map(|item| vec![item; 20]).filter(|item| item % 3 > 0);
            let items = items.batch(7).map(|batch| batch.len()).blocking(3, |_, len| len);
            let items = items.scan(0, |sum, len| {
                *sum += len;
                Some(*sum)
            });
            let last = items.fold(&live(), 0, usize::max);
            assert_eq!(last, Ok(40 * 20));
            let items = set(Pipeline::from_ready(0..60_usize).budget(1, |_| 5), setting);
            assert_eq!(items.iter(&live(), |outputs| outputs.map(Result::unwrap).sum::<usize>()), 59 * 30);
        });
        let owned = Pipeline::from_iter(0..60_usize).threads(3).budget(1, |_| 5).into_iter(&live());
        assert_eq!(owned.map(Result::unwrap).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    });
}

#[test]
fn a_source_that_waits_for_an_earlier_output_goes_on_with_one_byte() {
    watched(|| {
        for threads in [1, 2, 4] {
            reached(&format!("{threads} threads"));
            let (sender, receiver) = bounded(1);
            sender.send(0).unwrap();
            let items = std::iter::from_fn(|| receiver.recv().ok().filter(|item| *item < 200));
            let items = Pipeline::from_iter(items).threads(threads).budget(1, |_| 3).map(|item| item + 1);
            items.for_each(&live(), |item| sender.send(item).unwrap()).unwrap();
        }
    });
}

#[test]
fn messages_of_a_channel_are_weighed_too() {
    watched(|| {
        for threads in [1, 2, 8] {
            let (sender, receiver) = unbounded();
            (0..500_usize).for_each(|message| sender.send(message).unwrap());
            drop(sender);
            let report = Report::new();
            let items = Pipeline::from_receiver(receiver).budget(20, |_| 10).threads(threads).report(&report);
            assert_eq!(items.collect::<Vec<_>>(&live()), Ok((0..500).collect()));
            let figures = report.figures();
            assert!(threads == 1 || figures.budget == Some(20) && figures.most_held <= 20, "{figures}");
        }
    });
}

#[test]
fn lines_weigh_by_themselves_and_are_those_without_a_budget() {
    watched(|| {
        let text = (0..300_usize).fold(String::new(), |text, line| text + &"x".repeat(line % 90) + "\r\n");
        let expected: Vec<String> = text.lines().map(str::to_owned).collect();
        at_every_setting(&[None, Some(20)], |setting| {
            for budget in [1, 1_000, 1 << 30] {
                let report = Report::new();
                let lines = Pipeline::from_lines(BufReader::with_capacity(512, text.as_bytes()));
                let lines = set(lines.line_budget(budget).report(&report), setting).try_map(|line| line);
                let mut found: Vec<String> = lines.collect(&live()).unwrap();
                if setting.2 {
                    assert!(found == expected);
                } else {
                    let mut sorted = expected.clone();
                    sorted.sort();
                    found.sort();
                    assert!(found == sorted);
                }
                let figures = report.figures();
                assert!(figures.most_held <= budget.max(1_024) as u64, "{figures}");
            }
        });
    });
}

#[test]
fn a_run_with_a_budget_ends_as_the_loop_does_and_drops_each_item_once() {
    watched(|| {
        for threads in [1, 2, 8] {
            for budget in [1, 100] {
                let census = Census::default();
                let items = || {
                    let items = (0..200_usize).map(|item| census.make(item));
                    Pipeline::from_iter(items).threads(threads).budget(budget, |_| 10)
                };
                let fails = |item: &crate::util::Counted<usize>| match item.value {
                    150 => Err(anyhow::anyhow!("no")),
                    _ => Ok(item.value),
                };
                let mut taken = Vec::new();
                let failed = items().try_map(|item| fails(&item)).for_each(&live(), |item| taken.push(item));
                assert_eq!((failed.unwrap_err().to_string(), taken), ("no".to_owned(), (0..150).collect()));
                let panics = |item: crate::util::Counted<usize>| assert!(item.value < 90, "at 90");
                assert_eq!(message_of(|| _ = items().map(panics).count(&live())), "at 90");
                assert_eq!(items().map(|item| item.value).first(&live()), Ok(Some(0)));
                let token = live();
                let cancels = |item: crate::util::Counted<usize>| _ = item.value == 60 && token.cancel();
                items().for_each(&token, cancels).unwrap_err();
                let weighs = |item: &usize| if *item == 70 { panic!("weight") } else { 1 };
                let items = Pipeline::from_iter(0..200_usize).threads(threads).budget(budget, weighs);
                let mut seen = 0;
                assert_eq!(message_of(|| _ = items.for_each(&live(), |_| seen += 1)), "weight");
                assert_eq!(seen, 70);
                census.assert_all_dropped_once();
            }
        }
    });
}

#[test]
fn a_cancel_ends_a_run_whose_item_waits_at_the_gate() {
    watched(|| {
        for threads in [2, 4] {
            let (token, weighed, go_on) = (CancellationToken::new(), Counter::default(), Gate::default());
            let ended = scope(&live(), |s| {
                let run = s.spawn(|_| {
                    let weigh = |_: &usize| {
                        weighed.add();
                        10
                    };
                    let items = Pipeline::from_iter(0..).budget(10, weigh).threads(threads);
                    Ok::<_, Cancelled>(items.for_each(&token, |_| _ = go_on.pass()).unwrap_err())
                })?;
                // One is in the sink, the next waits.
                weighed.wait_for(2);
                token.cancel_with(CancelReason::Other("enough"));
                go_on.open();
                run.join()
            });
            assert_eq!(ended.unwrap().reason(), CancelReason::Other("enough"));
        }
    });
}

#[test]
fn a_run_that_waits_for_its_budget_burns_no_cpu_time() {
    if !alone!(a_run_that_waits_for_its_budget_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        for threads in [2, 4] {
            let go_on = Gate::default();
            let run = |counter: &Counter| {
                let items = Pipeline::from_iter(0..3).budget(10, |_| 10).threads(threads);
                let sink = |_| {
                    counter.add();
                    go_on.pass();
                };
                items.for_each(&live(), sink).unwrap();
            };
            super::costs_nothing_while_blocked(&format!("{threads} threads"), 1, run, || go_on.open());
        }
    });
}

#[test]
fn a_budget_that_is_too_small_is_named_as_what_bounds_the_run() {
    watched(|| {
        let report = Report::new();
        let items = Pipeline::from_iter(0..40).budget(10, |_| 10).threads(2).report(&report);
        let slow = |_| assert_eq!(live().wait_timeout(Duration::from_millis(3)), None);
        items.map(slow).batch(2).map(drop).count(&live()).unwrap();
        let table = report.to_string();
        assert!(matches!(report.bottleneck(), Bottleneck::Budget { bytes: 10, .. }), "{table}");
        assert!(table.contains("the budget of 10 bytes is used up"), "{table}");
    });
}

const MIB: usize = 1 << 20;

/// Runs items of 1 MiB by a budget of 64 MiB through `run`, and checks the resident memory on the way.
fn check_memory(setting: &str, run: impl FnOnce(&(dyn Fn() + Sync))) {
    reached(setting);
    let most = AtomicUsize::new(0);
    run(&|| _ = most.fetch_max(memory(), Ordering::Relaxed));
    let most = most.into_inner();
    assert!(most <= 80 * MIB + 32 * MIB, "{} MiB: {setting}", most / MIB);
}

fn blocks(blocks: usize) -> impl Iterator<Item = Vec<u8>> + Send {
    (0..blocks).map(|block| vec![u8::try_from(block % 251).unwrap() + 1; MIB])
}

#[test]
fn resident_memory_stays_by_the_budget_under_a_slow_sink_a_slow_item_a_panic_and_a_fan() {
    // Not tested here: the memory that the allocator keeps when it is freed (glibc's up to 90 MiB more at 64 threads),
    // and the 50 MB of debug information that a backtrace reads.
    let test = concat!(
        module_path!(),
        "::resident_memory_stays_by_the_budget_under_a_slow_sink_a_slow_item_a_panic_and_a_fan"
    );
    if !run_alone_by(test, "exec env MALLOC_MMAP_THRESHOLD_=131072 RUST_BACKTRACE=0") {
        return;
    }
    watched(|| {
        for threads in [2, 64] {
            let items = || Pipeline::from_iter(blocks(400)).budget(64 * MIB, Vec::len).threads(threads);
            check_memory(&format!("a slow sink, {threads} threads"), |look| {
                let mut at = 0;
                let slow = |block: Vec<u8>| {
                    at += block.len() / MIB;
                    if at % 40 == 0 {
                        until_others_sleep();
                        look();
                    }
                };
                items().for_each(&live(), slow).unwrap();
            });
            check_memory(&format!("a slow item, {threads} threads"), |look| {
                let is_first = |block: &Vec<u8>| block[0] == 1;
                let slow = |block: Vec<u8>| {
                    if is_first(&block) {
                        until_others_sleep();
                        look();
                    }
                    block
                };
                assert_eq!(items().map(slow).count(&live()), Ok(400));
            });
            check_memory(&format!("a panic, {threads} threads"), |look| {
                let panics = |block: Vec<u8>| if block[0] == 200 { panic!("at 200") } else { block };
                let mut at = 0;
                let sink = |_| {
                    at += 1;
                    if at % 50 == 0 {
                        look();
                    }
                };
                assert_eq!(message_of(|| _ = items().map(panics).for_each(&live(), sink)), "at 200");
                look();
            });
            check_memory(&format!("a fan of 1,000, {threads} threads"), |look| {
                let fan = |block: Vec<u8>| {
                    let block = Arc::new(block);
                    (0..1_000).map(move |_| Arc::clone(&block))
                };
                let mut at = 0;
                let slow = |_| {
                    at += 1;
                    if at % 40_000 == 0 {
                        until_others_sleep();
                        look();
                    }
                };
                items().flat_map(fan).for_each(&live(), slow).unwrap();
                assert_eq!(at, 400_000);
            });
        }
    });
}

#[test]
fn a_leaf_waits_for_room_as_a_whole() {
    watched(|| {
        let text = "1\n22\n333\n4444\n".repeat(250);
        let digits = text.len() - 1_000;
        for threads in [1, 2, 8] {
            // A leaf fits the budget, is as large, or larger.
            for leaf in [1, 7, 20, 21, 1_000, usize::MAX] {
                let numbers = Pipeline::from_iter(0..1_000_u64).budget(80, |_| 4).threads(threads);
                assert_eq!(numbers.reduce_by(&live(), leaf, |a, b| a + b), Ok(Some(499_500)));
                let lines = Pipeline::from_byte_lines(text.as_bytes()).line_budget(80).threads(threads);
                let lengths = lines.map(|line| line.unwrap().len()).reduce_by(&live(), leaf, |a, b| a + b);
                assert_eq!(lengths, Ok(Some(digits)));
            }
        }
    });
}

#[test]
fn blocks_of_lines_keep_a_budget() {
    watched(|| {
        let text = "line\n".repeat(100_000);
        for threads in [1, 2, 8] {
            let held = AtomicUsize::new(0);
            let reader = BufReader::with_capacity(1_000, text.as_bytes());
            let blocks = Pipeline::from_line_blocks(reader).budget(5_000, |block| {
                let bytes = block.as_ref().map_or(0, |block| block.as_bytes().len());
                let before = held.fetch_add(bytes, Ordering::SeqCst);
                // One block waits at the gate, and its predecessor may be counted here a moment longer.
                assert!(before <= 5_000 + 2 * 1_000, "{before} bytes are held");
                bytes
            });
            let mut lines = 0;
            blocks
                .threads(threads)
                .for_each(&live(), |block| {
                    let block = block.unwrap();
                    lines += block.count();
                    held.fetch_sub(block.as_bytes().len(), Ordering::SeqCst);
                })
                .unwrap();
            assert_eq!(lines, 100_000);
        }
    });
}
