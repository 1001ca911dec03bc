//! Stages that make very many outputs of an item, which are handed over in parts.

use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use brigade::{CancelReason, Cancelled, Pipeline};

use super::live;
use crate::util::{Census, Counter, alone, payload_of, reached, until, until_others_sleep, watched};

/// How many parts of outputs may be held: 16 of the due item; 16 and 2 a thread of the others; of each thread the one
/// it makes and the last of an item, which goes where it belongs; and one in the hands of the sink.
fn parts(threads: isize) -> isize {
    16 + 16 + 2 * threads + 2 * threads + 1
}

/// An output of `BYTES` that counts those alive, and keeps the most.
struct Big<'a, const BYTES: usize>(#[expect(dead_code, reason = "memory")] Vec<u8>, &'a AtomicIsize);

impl<'a, const BYTES: usize> Big<'a, BYTES> {
    fn new((alive, most): (&'a AtomicIsize, &AtomicIsize)) -> Self {
        let bytes = vec![1; BYTES];
        most.fetch_max(alive.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Big(bytes, alive)
    }
}

impl<const BYTES: usize> Drop for Big<'_, BYTES> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn outputs_of_64_kib_are_held_in_100_megabytes_on_8_threads() {
    watched(|| {
        for threads in [1, 2, 8, 64_usize] {
            for ordered in [true, false] {
                reached(&format!("{threads} threads, ordered: {ordered}"));
                let (alive, most) = (AtomicIsize::new(0), AtomicIsize::new(0));
                let count = (&alive, &most);
                let pipeline = Pipeline::from_iter(0..threads.min(8))
                    .threads(threads)
                    .flat_map(|_| (0..500).map(move |_| Big::<65_536>::new(count)));
                let pipeline = if ordered { pipeline } else { pipeline.unordered() };
                let counted = pipeline.count(&live()).unwrap();
                assert_eq!((counted, alive.into_inner()), (500 * threads.min(8), 0));
                // A part of them is 16, and what is made between two looks at the clock.
                let bound = 32 * parts(isize::try_from(threads).unwrap());
                let most = most.into_inner();
                assert!(most <= bound.max(1), "{most} outputs of 64 KiB were held on {threads} threads");
            }
        }
    });
}

#[test]
fn a_wide_window_behind_a_slow_item_does_not_hold_all_outputs_of_the_others() {
    if !alone!(a_wide_window_behind_a_slow_item_does_not_hold_all_outputs_of_the_others) {
        return;
    }
    watched(|| {
        for threads in [2, 8, 64] {
            for fan in [100, 20_000] {
                reached(&format!("{threads} threads, {fan} outputs an item"));
                let (alive, most) = (AtomicIsize::new(0), AtomicIsize::new(0));
                let items = 4_000_000 / fan;
                let begun = AtomicUsize::new(0);
                let fanned = Pipeline::from_ready(0..items).threads(threads).window(1_000_000).flat_map(|item| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    if item == 0 {
                        // The first item ends when all other threads wait for room.
                        until(|| begun.load(Ordering::Relaxed) > 1);
                        until_others_sleep();
                    }
                    (0..fan)
                        .inspect(|_| _ = most.fetch_max(alive.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed))
                });
                let count = fanned.fold(&live(), 0, |count, _| {
                    alive.fetch_sub(1, Ordering::Relaxed);
                    count + 1
                });
                assert_eq!(count, Ok(4_000_000));
                let bound = 4096 * parts(isize::try_from(threads).unwrap());
                let most = most.into_inner();
                assert!(most <= bound, "{most} outputs were held on {threads} threads, {bound} may be");
            }
        }
    });
}

#[test]
fn an_output_that_took_long_reaches_the_sink_before_the_next_is_asked_for() {
    watched(|| {
        for threads in 2..=4 {
            for burst in [0, 5_000] {
                let by_worker = AtomicUsize::new(0);
                // Until it is a worker that has the item; the calling thread outputs meanwhile then.
                while by_worker.load(Ordering::Relaxed) == 0 {
                    reached(&format!("{threads} threads, burst of {burst}"));
                    let arrived = Counter::default();
                    let slowly = |()| {
                        let on_worker = std::thread::current().name().is_some_and(|name| name.starts_with("pipeline#"));
                        let (arrived, by_worker) = (&arrived, &by_worker);
                        (0..burst + 80_usize).inspect(move |at| {
                            let at = *at;
                            if at > burst {
                                let started = std::time::Instant::now();
                                while started.elapsed() < std::time::Duration::from_millis(1) {}
                            }
                            // The clock is looked at every 64 outputs of a burst, then after each.
                            if on_worker && at > burst + 66 {
                                arrived.wait_for(at);
                                by_worker.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                    };
                    let source = Pipeline::from_iter(std::iter::once(())).threads(threads);
                    source.flat_map(slowly).for_each(&live(), |_| arrived.add()).unwrap();
                }
            }
        }
    });
}

/// More than is handed over at once, several times.
const MANY: usize = 150_000;

#[test]
fn an_endless_flat_map_has_a_first_output() {
    watched(|| {
        for threads in 1..=4 {
            for items in [1, 2, 20] {
                let endless =
                    || Pipeline::from_iter(0..items).threads(threads).flat_map(|item| (item..).step_by(items));
                assert_eq!(endless().first(&live()), Ok(Some(0)));
                // Behind more than one part.
                assert_eq!(
                    endless().filter(|output| *output > MANY * items).first(&live()),
                    Ok(Some(MANY * items + items))
                );
                assert!(endless().unordered().first(&live()).unwrap().is_some());
                let ready = Pipeline::from_ready(0..items).threads(threads).flat_map(|item| item..);
                assert_eq!(ready.first(&live()), Ok(Some(0)));
                let data = Pipeline::from_data(0..items).threads(threads).flat_map(|item| item..);
                assert_eq!(data.scan((), |(), output| Some(output)).first(&live()), Ok(Some(0)));
            }
        }
    });
}

#[test]
fn many_outputs_come_in_order_and_all_of_them() {
    watched(|| {
        // Few of one item, many of the next.
        let fanned = |item: usize| (0..if item % 3 == 1 { MANY } else { item }).map(move |at| (item, at));
        let expected: Vec<_> = (0..12).flat_map(fanned).collect();
        for threads in 1..=4 {
            for window in [1, 2, 5, 100] {
                reached(&format!("{threads} threads, window {window}"));
                let run = || Pipeline::from_iter(0..12_usize).threads(threads).window(window).flat_map(fanned);
                assert_eq!(run().collect::<Vec<_>>(&live()).as_ref(), Ok(&expected));
                let mut outputs = run().unordered().collect::<Vec<_>>(&live()).unwrap();
                outputs.sort_unstable();
                assert_eq!(outputs, expected);
            }
        }
    });
}

#[test]
fn what_is_held_of_many_outputs_is_bounded() {
    watched(|| {
        for threads in 1..=3 {
            for ordered in [true, false] {
                let (alive, most) = (AtomicIsize::new(0), AtomicIsize::new(0));
                let pipeline = Pipeline::from_iter(0..6).threads(threads).flat_map(|_| {
                    (0..4 * MANY).inspect(|_| {
                        most.fetch_max(alive.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    })
                });
                let pipeline = if ordered { pipeline } else { pipeline.unordered() };
                let count = pipeline.fold(&live(), 0, |count, _| {
                    alive.fetch_sub(1, Ordering::Relaxed);
                    count + 1
                });
                assert_eq!(count, Ok(24 * MANY));
                let bound = 4096 * parts(isize::try_from(threads).unwrap());
                let most = most.into_inner();
                assert!(most <= bound, "{most} outputs were held on {threads} threads");
            }
        }
    });
}

#[test]
fn a_run_that_ends_among_many_outputs_ends_as_the_plain_loop_does() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Ending {
        StageFails,
        StagePanics,
        SinkFails,
        SinkPanics,
        SinkCancels,
    }
    use Ending::*;
    watched(|| {
        for ending in [StageFails, StagePanics, SinkFails, SinkPanics, SinkCancels] {
            // Among the first part, between two, and far on; of the first item and of a later one.
            for (bad_item, bad_at) in [(0, 5), (0, 4_096), (0, 100_000), (3, 100), (3, 20_000)] {
                let run = |threads: usize| {
                    let census = Census::default();
                    let token = live();
                    let mut seen = Vec::new();
                    let mut result = Ok(());
                    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        result = Pipeline::from_iter(0..6)
                            .threads(threads)
                            .flat_map(|item| (0..MANY).map(move |at| (item, at)))
                            .try_map(|at| match ending {
                                StageFails if at == (bad_item, bad_at) => anyhow::bail!("stage at {at:?}"),
                                StagePanics if at == (bad_item, bad_at) => std::panic::panic_any(at),
                                _ => Ok(census.make(at)),
                            })
                            .try_for_each(&token, |output| {
                                seen.push(output.value);
                                match ending {
                                    SinkFails if output.value == (bad_item, bad_at) => anyhow::bail!("sink"),
                                    SinkPanics if output.value == (bad_item, bad_at) => {
                                        std::panic::panic_any(output.value)
                                    }
                                    SinkCancels if output.value == (bad_item, bad_at) => _ = token.cancel(),
                                    _ => {}
                                }
                                Ok(())
                            });
                    }))
                    .err()
                    .map(|payload| *payload.downcast::<(i32, usize)>().unwrap());
                    assert_eq!(census.alive(), 0);
                    (seen, result.map_err(|error| error.to_string()), payload)
                };
                let expected = run(1);
                assert_eq!(
                    expected.0.len(),
                    usize::try_from(bad_item).unwrap() * MANY
                        + bad_at
                        + usize::from(matches!(ending, SinkFails | SinkPanics | SinkCancels))
                );
                for threads in 2..=4 {
                    reached(&format!("{ending:?} at {bad_item}, {bad_at}, {threads} threads"));
                    assert!(run(threads) == expected);
                }
            }
        }
    });
}

#[test]
fn a_cancel_ends_who_waits_to_hand_over_a_part() {
    if !alone!(a_cancel_ends_who_waits_to_hand_over_a_part) {
        return;
    }
    watched(|| {
        for threads in 2..=4 {
            for ordered in [true, false] {
                let token = live();
                let made = AtomicUsize::new(0);
                let pipeline = Pipeline::from_iter(0..10)
                    .threads(threads)
                    .flat_map(|_| std::iter::repeat(()).inspect(|()| _ = made.fetch_add(1, Ordering::Relaxed)));
                let pipeline = if ordered { pipeline } else { pipeline.unordered() };
                // The sink does not come back for more until everybody holds as much as they may, and waits.
                let result = pipeline.for_each(&token, |()| {
                    until_others_sleep();
                    token.cancel();
                });
                assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
            }
        }
    });
}

#[test]
fn a_source_that_panics_behind_many_outputs_is_resumed_after_them() {
    watched(|| {
        for threads in 1..=4 {
            let mut seen = 0;
            let payload = payload_of(|| {
                let source = (0..3).map(|item| if item == 2 { std::panic::panic_any("the source") } else { item });
                let _ =
                    Pipeline::from_iter(source).threads(threads).flat_map(|_| 0..MANY).for_each(&live(), |_| seen += 1);
            });
            assert_eq!((payload.downcast_ref::<&str>(), seen), (Some(&"the source"), 2 * MANY));
        }
    });
}

#[test]
fn one_output_among_endless_ones_that_are_filtered_out_reaches_the_sink() {
    watched(|| {
        for threads in 1..=4 {
            for items in [1, 3] {
                reached(&format!("{threads} threads, {items} items"));
                let rare = || {
                    let endless = Pipeline::from_iter(0..items).threads(threads).flat_map(|_| 0_u64..);
                    endless.filter(|number| *number == 5)
                };
                assert_eq!(rare().first(&live()), Ok(Some(5)));
                assert_eq!(rare().unordered().first(&live()), Ok(Some(5)));
                let failed = rare().try_map(anyhow::Ok).try_for_each(&live(), |_| anyhow::bail!("found"));
                assert_eq!(failed.unwrap_err().to_string(), "found");
            }
        }
    });
}

#[test]
fn large_outputs_that_take_long_are_not_all_held() {
    watched(|| {
        for threads in 2..=3 {
            let (census, most) = (Census::default(), AtomicIsize::new(0));
            let slowly = |_| {
                (0..200).map(|_| {
                    let started = std::time::Instant::now();
                    while started.elapsed() < std::time::Duration::from_micros(500) {}
                    most.fetch_max(census.alive(), Ordering::Relaxed);
                    census.make(())
                })
            };
            Pipeline::from_iter(0..1).threads(threads).flat_map(slowly).for_each(&live(), drop).unwrap();
            let most = most.into_inner();
            assert!(most < 100, "{most} of 200 were held");
        }
    });
}
