//! A run that stops early, or that cannot have what it asks for.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use brigade::{CancelReason, Cancelled, Pipeline, scope};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::live;
use crate::util::{
    Census, Counted, Gate, alone, cpu_time, memory, message_of, payload_of, reached, threads, until_others_sleep,
    until_threads, watched,
};

#[test]
fn the_error_of_the_lowest_item_wins_and_what_lies_below_is_output() {
    watched(|| {
        for _ in 0..300 {
            let mut seen = Vec::new();
            let error = Pipeline::from_data(0..1_000_usize)
                .threads(4)
                .try_map(|item| if item % 100 == 70 { Err(anyhow::anyhow!("{item}")) } else { Ok(item) })
                .for_each(&live(), |item| seen.push(item))
                .unwrap_err();
            assert_eq!((error.to_string().as_str(), seen.len()), ("70", 70));
        }
    });
}

#[test]
fn after_a_failure_the_source_is_left_soon() {
    watched(|| {
        let pulled = AtomicUsize::new(0);
        let endless = (0_u64..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
        let result = Pipeline::from_iter(endless)
            .threads(3)
            .window(32)
            .try_map(|item| if item == 1_000 { Err(anyhow::anyhow!("enough")) } else { Ok(item) })
            .for_each(&live(), |_| ());
        assert_eq!(result.unwrap_err().to_string(), "enough");
        assert!(pulled.into_inner() <= 1_000 + 32);
    });
}

#[test]
fn panics_keep_their_payload_wherever_they_start() {
    struct Parcel(u32);
    fn parcel(run: impl FnOnce() -> Result<(), Cancelled>) -> u32 {
        payload_of(|| _ = run()).downcast::<Parcel>().expect("the payload as it was thrown").0
    }
    watched(|| {
        let thrown = |item: u32| if item == 40 { std::panic::panic_any(Parcel(item)) } else { item };
        for threads in [1, 2, 5] {
            reached(&format!("threads({threads})"));
            let token = live();
            assert_eq!(parcel(|| Pipeline::from_iter((0..).map(thrown)).threads(threads).for_each(&token, |_| ())), 40);
            assert_eq!(
                parcel(|| Pipeline::from_ready((0..).map(thrown)).threads(threads).for_each(&token, |_| ())),
                40
            );
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).map(thrown).for_each(&token, |_| ())), 40);
            let data = 0..100_u32;
            assert_eq!(parcel(|| Pipeline::from_data(data).threads(threads).map(thrown).for_each(&token, |_| ())), 40);
            let sink = |item| _ = thrown(item);
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).for_each(&token, sink)), 40);
            assert_eq!(parcel(|| Pipeline::from_iter(0..).threads(threads).unordered().for_each(&token, sink)), 40);
        }
    });
}

#[test]
fn a_panic_in_the_drop_of_an_item_ends_the_run_and_is_resumed() {
    struct Mine(u32);
    impl Drop for Mine {
        fn drop(&mut self) {
            assert!(self.0 != 40 || std::thread::panicking(), "mine");
        }
    }
    watched(|| {
        for threads in [1, 2, 5] {
            let run = || Pipeline::from_iter((0..200).map(Mine)).threads(threads).map(drop).for_each(&live(), |()| ());
            assert_eq!(message_of(|| _ = run()), "mine");
            let run = || Pipeline::from_iter((0..200).map(Mine)).threads(threads).for_each(&live(), drop);
            assert_eq!(message_of(|| _ = run()), "mine");
        }
    });
}

#[test]
fn every_item_is_dropped_once_however_the_run_ends() {
    watched(|| {
        for threads in [1, 2, 4] {
            for (ending, ordered, ready) in
                (0..6).flat_map(|ending| [(ending, true, true), (ending, true, false), (ending, false, false)])
            {
                reached(&format!("threads({threads}), ending {ending}, ordered: {ordered}, ready: {ready}"));
                let census = Census::default();
                let token = live();
                let run = || -> Result<(), anyhow::Error> {
                    let source = (0..2_000).map(|item| {
                        assert!(ending != 1 || item != 500);
                        census.make(item)
                    });
                    let stage = |item: Counted<i32>| {
                        assert!(ending != 2 || item.value != 500);
                        anyhow::ensure!(ending != 3 || item.value != 500);
                        Ok(census.make(item.value))
                    };
                    let sink = |item: Counted<i32>| {
                        assert!(ending != 4 || item.value != 500);
                        if ending == 5 && item.value == 500 {
                            token.cancel();
                        }
                        Ok(())
                    };
                    if ready {
                        return Pipeline::from_ready(source).threads(threads).try_map(stage).try_for_each(&token, sink);
                    }
                    let pipeline = Pipeline::from_iter(source).threads(threads).try_map(stage);
                    let pipeline = if ordered { pipeline.ordered() } else { pipeline.unordered() };
                    pipeline.try_for_each(&token, sink)
                };
                let ended = catch_unwind(AssertUnwindSafe(run));
                assert_eq!(ended.is_err(), [1, 2, 4].contains(&ending));
                if let Ok(result) = ended {
                    assert_eq!(result.is_err(), [3, 5].contains(&ending));
                }
                assert_eq!(census.alive(), 0, "ending {ending}, ordered: {ordered}");
            }
        }
    });
}

#[test]
fn a_cancelled_token_starts_nothing() {
    watched(|| {
        for threads in [1, 2] {
            let token = live();
            token.cancel_with(CancelReason::Deadline);
            let started = AtomicBool::new(false);
            let result = Pipeline::from_data(0..10)
                .threads(threads)
                .map(|_| started.store(true, Ordering::Relaxed))
                .collect::<Vec<()>>(&token);
            assert_eq!(result, Err(Cancelled::new(CancelReason::Deadline)));
            assert!(!started.into_inner());
        }
    });
}

#[test]
fn once_cancelled_the_sink_is_not_called_again() {
    watched(|| {
        for threads in [1, 2, 4] {
            for cancel_in_stage in [true, false] {
                reached(&format!("threads({threads}), cancel in stage: {cancel_in_stage}"));
                let token = live();
                let mut late = 0;
                let cancel_at = |item, at_stage| {
                    if item == 100 && at_stage == cancel_in_stage {
                        token.cancel();
                    }
                };
                let result = Pipeline::from_iter(0..)
                    .threads(threads)
                    .map(|item| {
                        cancel_at(item, true);
                        item
                    })
                    .for_each(&token, |item| {
                        late += usize::from(token.is_cancelled());
                        cancel_at(item, false);
                    });
                assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
                // A cancel by another thread may come between the look at the token and the call.
                assert!(late <= usize::from(cancel_in_stage && threads > 1), "{late} calls came late");
            }
        }
    });
}

#[test]
fn a_cancel_at_any_moment_is_never_taken_for_completion() {
    watched(|| {
        for round in 0..1_000_u32 {
            let token = live();
            let begun = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    begun.pass();
                    (0..round % 300).for_each(|_| std::hint::spin_loop());
                    Ok::<_, Cancelled>(token.cancel())
                })?;
                let endless = Pipeline::from_iter(std::iter::repeat(())).threads(2).window(1);
                let result = endless.for_each(&token, |()| begun.open());
                assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_run_that_waits_for_its_source_or_its_stages_wakes_when_cancelled() {
    watched(|| {
        for threads in [2, 4] {
            let token = live();
            let blocked = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    blocked.pass();
                    token.cancel();
                    Ok::<_, Cancelled>(())
                })?;
                reached("a source that waits with the token observed");
                let source = std::iter::from_fn(|| {
                    blocked.open();
                    token.wait();
                    None::<u32>
                });
                let result = Pipeline::from_iter(source).threads(threads).for_each(&token, |_| ());
                assert!(result.is_err());
                Ok(())
            })
            .unwrap();

            let token = live();
            let blocked = Gate::default();
            scope(&live(), |s| {
                s.spawn(|_| {
                    blocked.pass();
                    token.cancel();
                    Ok::<_, Cancelled>(())
                })?;
                reached("a stage that waits with the token observed, and a full window");
                let stage = |item| {
                    if item == 0 {
                        blocked.open();
                        token.wait();
                    }
                };
                let result = Pipeline::from_iter(0..).threads(threads).window(4).map(stage).for_each(&token, |()| ());
                assert!(result.is_err());
                Ok(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_panic_is_not_lost_to_a_cancellation() {
    watched(|| {
        let token = live();
        let result = payload_of(|| {
            let _ = Pipeline::from_data(0..100)
                .threads(2)
                .map(|item| {
                    if item == 50 {
                        token.cancel();
                        std::panic::panic_any("at the last moment");
                    }
                })
                .for_each(&token, |()| ());
        });
        assert_eq!(result.downcast_ref(), Some(&"at the last moment"));
    });
}

#[test]
fn zero_threads_and_zero_windows_are_refused_where_they_are_said() {
    assert!(message_of(|| drop(Pipeline::from_iter([1]).threads(0))).contains("threads(0)"));
    assert!(message_of(|| drop(Pipeline::from_iter([1]).window(0))).contains("window(0)"));
}

#[test]
fn errors_convert_along_the_stages() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Mine {
        #[error("{0}")]
        Io(String),
        #[error(transparent)]
        Cancelled(#[from] Cancelled),
    }
    impl From<std::io::Error> for Mine {
        fn from(error: std::io::Error) -> Self {
            Mine::Io(error.to_string())
        }
    }
    let run = |bad: u32| {
        Pipeline::from_iter(0..10_u32)
            .try_map(move |item| if item == bad { Err(std::io::Error::other("first")) } else { Ok(item) })
            .try_map(|item| if item == 5 { Err(Mine::Io("second".to_owned())) } else { Ok(item) })
            .collect::<Vec<_>>(&live())
    };
    assert_eq!(run(3), Err(Mine::Io("first".to_owned())));
    assert_eq!(run(7), Err(Mine::Io("second".to_owned())));
}

#[test]
fn inside_a_rayon_job_it_is_the_plain_loop() {
    watched(|| {
        for workers in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
            let sums: Vec<u64> = pool.install(|| {
                (0..4_u64)
                    .into_par_iter()
                    .map(|_| {
                        let here = std::thread::current().id();
                        let mut sum = 0;
                        Pipeline::from_iter(0..100_u64)
                            .threads(4)
                            .map(|item| {
                                assert_eq!(std::thread::current().id(), here);
                                (0..=item).into_par_iter().map(|_| 1).sum::<u64>()
                            })
                            .for_each(&live(), |item| sum += item)
                            .unwrap();
                        sum
                    })
                    .collect()
            });
            assert_eq!(sums, [5_050; 4]);
        }
    });
}

#[test]
fn stages_may_call_rayon_and_other_pipelines() {
    watched(|| {
        let inner = |item: u32| -> u32 {
            let squares = Pipeline::from_iter(0..item).threads(2).map(|x| x * x).collect::<Vec<_>>(&live()).unwrap();
            squares.par_iter().sum()
        };
        let outer = Pipeline::from_iter(0..50).threads(3).map(inner).collect::<Vec<_>>(&live()).unwrap();
        assert_eq!(outer, (0..50).map(|item| (0..item).map(|x| x * x).sum()).collect::<Vec<u32>>());
    });
}

#[test]
fn threads_are_gone_when_the_end_returns() {
    if !alone!(threads_are_gone_when_the_end_returns) {
        return;
    }
    watched(|| {
        let before = threads();
        for ending in 0..4 {
            let token = live();
            let run = || {
                Pipeline::from_iter(0..1_000)
                    .threads(8)
                    .try_map(|item| match (ending, item) {
                        (1, 500) => Err(anyhow::anyhow!("failed")),
                        (2, 500) => panic!("panicked"),
                        (3, 500) => {
                            token.cancel();
                            Ok(())
                        }
                        _ => Ok(()),
                    })
                    .for_each(&token, |()| ())
            };
            let ended = catch_unwind(AssertUnwindSafe(run));
            assert_eq!(matches!(ended, Ok(Ok(()))), ending == 0);
            until_threads(before);
        }
    });
}

#[test]
fn waiting_for_a_blocked_source_burns_no_cpu_time() {
    if !alone!(waiting_for_a_blocked_source_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        let (token, opened) = (live(), Gate::default());
        scope(&live(), |s| {
            s.spawn(|_| {
                let source = (0..4).inspect(|item| {
                    if *item == 3 {
                        opened.pass();
                    }
                });
                Pipeline::from_iter(source).threads(4).for_each(&token, |_| ())
            })?;
            until_others_sleep();
            let before = cpu_time();
            assert_eq!(token.wait_timeout(Duration::from_secs(1)), None);
            let burnt = cpu_time().saturating_sub(before);
            assert!(burnt < Duration::from_millis(5), "a second of waiting burnt {burnt:?}");
            opened.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn memory_does_not_grow_with_the_input() {
    if !alone!(memory_does_not_grow_with_the_input) {
        return;
    }
    watched(|| {
        let run = |items: usize| {
            Pipeline::from_data(0..items).threads(2).for_each(&live(), |_| ()).unwrap();
            Pipeline::from_iter(0..items).threads(2).for_each(&live(), |_| ()).unwrap();
            Pipeline::from_ready(0..items).threads(2).filter(|item| item % 3 == 0).count(&live()).unwrap();
            Pipeline::from_data(0..items / 10).threads(2).flat_map(|item| 0..item % 20).count(&live()).unwrap();
        };
        run(100_000);
        let before = memory();
        // Optimized, this takes seconds.
        run(if cfg!(debug_assertions) { 1_000_000 } else { 100_000_000 });
        let grown = memory().saturating_sub(before);
        assert!(grown < 8 << 20, "grew by {grown} bytes");
    });
}

#[test]
fn threads_that_cannot_be_started_are_done_without() {
    // With an address space of 1.5 GB and stacks of 256 MB, only a few threads can be had.
    if !alone!(threads_that_cannot_be_started_are_done_without, "-v 1500000 && export RUST_MIN_STACK=268435456") {
        return;
    }
    watched(|| {
        let names = std::sync::Mutex::new(std::collections::BTreeSet::new());
        let meeting = RefCell::new(0);
        Pipeline::from_iter(0..10_000)
            .threads(64)
            .map(|item: u32| {
                names.lock().unwrap().insert(std::thread::current().name().map(ToOwned::to_owned));
                item
            })
            .for_each(&live(), |item| {
                assert_eq!(item, meeting.replace_with(|next| *next + 1));
            })
            .unwrap();
        assert_eq!(meeting.into_inner(), 10_000);
        assert!(!names.into_inner().unwrap().contains(&Some("pipeline#63".to_owned())));
    });
}
