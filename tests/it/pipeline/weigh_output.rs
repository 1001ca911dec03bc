//! `weigh_output`: a bound in bytes on the outputs that wait for their turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::pipeline::{Bottleneck, Report};
use brigade::{Cancelled, Pipeline, scope};

use super::{at_every_setting, live, set};
use crate::util::{Census, Counted, Gate, alone, message_of, until_others_sleep, watched};

/// Bytes that are alive, and the most there were.
#[derive(Default)]
struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// An output that counts for its bytes while it is alive.
struct Output<'a> {
    bytes: usize,
    alive: &'a Alive,
}

impl Alive {
    fn make(&self, bytes: usize) -> Output<'_> {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        Output { bytes, alive: self }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.alive.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Sizes, of which some are larger than most budgets.
fn bytes_of(item: usize) -> usize {
    if item % 37 == 5 { 500 } else { item % 4 }
}

#[test]
fn weighed_outputs_are_those_of_the_loop_at_every_setting() {
    watched(|| {
        let expected: Vec<usize> = (0..150).map(bytes_of).collect();
        let sum: usize = expected.iter().sum();
        at_every_setting(&[None], |setting| {
            for budget in [1, 100, 10_000] {
                let items =
                    set(Pipeline::from_data(0..150).map(bytes_of).weigh_output(budget, |bytes| *bytes), setting);
                let outputs: Vec<usize> = items.collect(&live()).unwrap();
                assert!(if setting.2 { outputs == expected } else { outputs.iter().sum::<usize>() == sum });
                // Sections behind it, and fans before it; and a budget as well.
                let items = Pipeline::from_iter(0..150).budget(budget, |item| bytes_of(*item)).map(bytes_of);
                let items = set(items, setting).flat_map(|bytes| [bytes; 3]).weigh_output(budget, |bytes| *bytes);
                let items = items.batch(5).map(|batch| batch.iter().sum::<usize>()).blocking(2, |_, sum| sum);
                let items = items.weigh_output(budget, |bytes| *bytes).enumerate().map(|(_, bytes)| bytes);
                assert_eq!(items.fold(&live(), 0, |sum, bytes| sum + bytes), Ok(3 * sum));
            }
        });
    });
}

#[test]
fn outputs_that_wait_for_a_slow_item_weigh_no_more_than_the_bound_and_a_batch_a_thread() {
    if !alone!(outputs_that_wait_for_a_slow_item_weigh_no_more_than_the_bound_and_a_batch_a_thread) {
        return;
    }
    watched(|| {
        for threads in [2, 8] {
            for bytes in [1_000, 100_000] {
                let (alive, go_on) = (Alive::default(), Gate::default());
                scope(&live(), |s| {
                    let (alive, go_on) = (&alive, &go_on);
                    let run = s.spawn(move |s| {
                        let make = |item| {
                            if item == 200 {
                                go_on.pass();
                            }
                            alive.make(bytes)
                        };
                        let items = Pipeline::from_data(0..5_000).threads(threads).window(5_000).map(make);
                        items.weigh_output(1_000_000, |output| output.bytes).map(drop).count(s.token())
                    })?;
                    // All others have come to the bound.
                    until_others_sleep();
                    until_others_sleep();
                    go_on.open();
                    assert_eq!(run.join()?, 5_000);
                    Ok::<_, Cancelled>(())
                })
                .unwrap();
                let most = alive.most.into_inner();
                // A batch of all threads takes a quarter, or has one output.
                let batches = (threads + 1) * bytes.max(1_000_000 / 4 / threads);
                assert!(most <= 1_000_000 + 2 * batches, "{most} bytes at {threads} threads, {bytes} each");
            }
        }
    });
}

#[test]
fn a_run_of_weighed_outputs_ends_as_the_loop_does_and_drops_each_once() {
    watched(|| {
        for threads in [1, 2, 8] {
            let census = Census::default();
            let outputs = || {
                let outputs = Pipeline::from_data(0..200_usize).threads(threads).map(|item| census.make(item));
                outputs.weigh_output(25, |_| 10)
            };
            let mut taken = 0;
            let fails = |output: Counted<usize>| if output.value == 150 { Err(anyhow::anyhow!("no")) } else { Ok(()) };
            outputs().try_map(fails).for_each(&live(), |()| taken += 1).unwrap_err();
            assert_eq!(taken, 150);
            let weighs = |output: &Counted<usize>| if output.value == 70 { panic!("weight") } else { 1 };
            let items = Pipeline::from_data(0..200_usize).threads(threads).map(|item| census.make(item));
            taken = 0;
            assert_eq!(message_of(|| _ = items.weigh_output(9, weighs).for_each(&live(), |_| taken += 1)), "weight");
            assert_eq!(taken, 70);
            let token = live();
            let cancels = |output: Counted<usize>| _ = output.value == 60 && token.cancel();
            outputs().for_each(&token, cancels).unwrap_err();
            assert_eq!(outputs().iter(&live(), |outputs| outputs.take(3).count()), 3);
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_bound_on_outputs_that_is_too_narrow_is_named_as_what_bounds_the_run() {
    watched(|| {
        let report = Report::new();
        // Each item in turn is slow: the others wait for the outputs of its batch.
        let slow = |item| {
            let millis = if item % 8 == 0 { 24 } else { 3 };
            assert_eq!(live().wait_timeout(Duration::from_millis(millis)), None);
        };
        let items = Pipeline::from_data(0..64).threads(4).report(&report).map(slow).weigh_output(1, |()| 1);
        items.map(drop).count(&live()).unwrap();
        let table = report.to_string();
        assert!(matches!(report.bottleneck(), Bottleneck::Budget { bytes: 1, .. }), "{table}");
    });
}
