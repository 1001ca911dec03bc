//! Stages that take long: the sink hears of each output meanwhile, and the other threads go on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Pipeline};
use crossbeam::channel::unbounded;

use super::{SOME_SETTINGS, Setting, costs_nothing_while_blocked, live, set};
use crate::util::{Counter, Gate, alone, reached, until_others_sleep, watched};

/// An item takes so long that the caller only outputs.
const LONG: Duration = Duration::from_millis(2);

/// A stage in which each item takes long, and one is held until the sink opens a gate.
struct Stage {
    token: CancellationToken,
    caller: ThreadId,
    held: usize,
    gate: Gate,
    /// How many items are in the stage at once, and the most there have been.
    now: AtomicUsize,
    most: AtomicUsize,
    on_caller: Mutex<Option<usize>>,
}

impl Stage {
    /// On the thread that is to call the end.
    fn holding(item: usize) -> Self {
        Stage {
            token: live(),
            caller: thread::current().id(),
            held: item,
            gate: Gate::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            on_caller: Mutex::new(None),
        }
    }

    fn work(&self, item: usize) {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        assert_eq!(self.token.wait_timeout(LONG), None);
        if item == self.held {
            // The calling thread would wait for its own sink: noted, and not waited for.
            if thread::current().id() == self.caller {
                *self.on_caller.lock().unwrap() = Some(item);
            } else {
                self.gate.pass();
            }
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// Checks how the items were worked on so many threads.
    fn check(self, setting: Setting) {
        let on_caller = self.on_caller.into_inner().unwrap();
        assert_eq!(on_caller, None, "the sink was silent while the caller worked this item: {setting:?}");
        let most = self.most.into_inner();
        assert!(most <= setting.0, "{most} items were worked at once: {setting:?}");
    }
}

/// Calls `test` with so many threads, in order and not.
fn with_threads(threads: &[usize], test: impl Fn(Setting)) {
    for threads in threads {
        for ordered in [true, false] {
            reached(&format!("{threads} threads, ordered: {ordered}"));
            test((*threads, None, ordered));
        }
    }
}

#[test]
fn the_first_match_of_a_slow_search_reaches_the_sink_while_a_later_item_is_worked() {
    const MATCH: usize = 30;
    fn search<C: Chain<Output = usize, Error = Cancelled>>(source: impl Fn() -> Pipeline<C>) {
        with_threads(&[2, 3, 8], |setting| {
            let stage = Stage::holding(MATCH + 1);
            let matches = set(source(), setting).inspect(|item| stage.work(*item)).filter(|item| *item == MATCH);
            let mut found = Vec::new();
            let searched = matches.for_each(&live(), |item| {
                found.push(item);
                stage.gate.open();
            });
            assert!(searched.is_ok());
            assert_eq!(found, [MATCH]);
            stage.check(setting);
        });
    }
    watched(|| {
        search(|| Pipeline::from_data(0..60));
        search(|| Pipeline::from_ready(0..60));
        search(|| Pipeline::from_iter(0..60));
        search(|| {
            let (sender, receiver) = unbounded();
            (0..60).for_each(|item| sender.send(item).unwrap());
            Pipeline::from_receiver(receiver)
        });
    });
}

#[test]
fn the_outputs_before_a_slow_item_reach_the_sink_while_it_is_worked_and_without_order_all_others() {
    const SLOW: usize = 40;
    const ITEMS: usize = 80;
    fn check<C: Chain<Output = usize, Error = Cancelled>>(source: impl Fn() -> Pipeline<C>) {
        with_threads(&[3, 8], |setting| {
            let stage = Stage::holding(SLOW);
            let mut outputs = Vec::new();
            let awaited = if setting.2 { SLOW } else { ITEMS - 1 };
            let worked = set(source(), setting).inspect(|item| stage.work(*item)).for_each(&live(), |item| {
                outputs.push(item);
                if outputs.len() == awaited {
                    stage.gate.open();
                }
            });
            assert!(worked.is_ok());
            stage.check(setting);
            if !setting.2 {
                assert_eq!(outputs.last(), Some(&SLOW));
                outputs.sort_unstable();
            }
            assert!(outputs.into_iter().eq(0..ITEMS), "{setting:?}");
        });
    }
    watched(|| {
        check(|| Pipeline::from_data(0..ITEMS));
        check(|| Pipeline::from_ready(0..ITEMS));
        check(|| Pipeline::from_iter(0..ITEMS));
    });
}

#[test]
fn as_many_items_are_worked_at_once_as_there_are_threads_though_the_caller_only_outputs() {
    watched(|| {
        with_threads(&[2, 3, 8], |setting| {
            let stage = Stage::holding(usize::MAX);
            set(Pipeline::from_data(0..200), setting)
                .inspect(|item| stage.work(*item))
                .for_each(&live(), drop)
                .unwrap();
            assert_eq!(stage.most.load(Ordering::SeqCst), setting.0, "{setting:?}");
            stage.check(setting);
        });
    });
}

#[test]
fn an_item_that_takes_long_costs_no_cpu_time_and_two_wakes() {
    fn check<C: Chain<Output = usize, Error = Cancelled>>(source: impl Fn() -> Pipeline<C> + Sync) {
        for setting in SOME_SETTINGS {
            let gate = Gate::default();
            let run = |begun: &Counter| {
                let stage = |item: &usize| {
                    if *item == 20 {
                        begun.add();
                        gate.pass();
                    }
                };
                set(source(), setting).inspect(stage).for_each(&live(), drop).unwrap();
            };
            costs_nothing_while_blocked(&format!("{setting:?}"), 1, run, || gate.open());
        }
    }
    if !alone!(an_item_that_takes_long_costs_no_cpu_time_and_two_wakes) {
        return;
    }
    watched(|| {
        check(|| Pipeline::from_data(0..5_000));
        check(|| Pipeline::from_ready(0..5_000));
        check(|| Pipeline::from_iter(0..5_000));
    });
}

#[test]
fn the_default_window_lets_the_others_go_on_past_an_item_that_takes_long() {
    if !alone!(the_default_window_lets_the_others_go_on_past_an_item_that_takes_long) {
        return;
    }
    // Long enough that each is a batch of its own.
    let item_of_200_microseconds = || {
        let started = Instant::now();
        while started.elapsed() < Duration::from_micros(200) {}
    };
    watched(move || {
        for (threads, window) in [(4, None), (16, None), (16, Some(96))] {
            reached(&format!("{threads} threads, window {window:?}"));
            let (slow, begun, passed) = (100, AtomicUsize::new(0), AtomicUsize::new(0));
            let stage = |item: &usize| {
                begun.fetch_max(*item, Ordering::SeqCst);
                item_of_200_microseconds();
                if *item == slow {
                    // Until all other threads wait for room.
                    until_others_sleep();
                    passed.store(begun.load(Ordering::SeqCst) - slow, Ordering::SeqCst);
                }
            };
            let source = Pipeline::from_data(0..4_000);
            set(source, (threads, window, true)).inspect(stage).for_each(&live(), drop).unwrap();
            let passed = passed.into_inner();
            match window {
                Some(items) => assert!(passed < items, "{passed} items were begun ahead of a window of {items}"),
                None => {
                    assert!(passed > 8 * threads, "{passed} items were begun on {threads} threads");
                    assert!(passed <= 64 * threads, "{passed} items were begun on {threads} threads");
                }
            }
        }
    });
}
