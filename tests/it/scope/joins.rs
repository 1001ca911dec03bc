//! Joins with a time, joins that are tried again, and several that wait for one task.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brigade::scope::ScopedTask;
use brigade::{CancelReason, Cancelled, ScopeBuilder, scope};

use crate::util::{Census, Gate, alone, live, reached, together, until_others_sleep, watched};

const SOON: Duration = Duration::from_millis(2);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_join_that_was_too_early_can_be_tried_again() {
    watched(|| {
        for limit in [None, Some(1), Some(3)] {
            let builder = limit.map_or(ScopeBuilder::new(), |limit| ScopeBuilder::new().limit(limit));
            let census = Census::default();
            let gate = Gate::default();
            let value = builder
                .run(&live(), |s| {
                    let task = s.spawn(|_| {
                        gate.pass();
                        Ok::<_, Cancelled>(census.make(7))
                    })?;
                    let Err(task) = task.try_join() else { panic!("it waits at the gate") };
                    let started = Instant::now();
                    let Err(task) = task.join_timeout(SOON) else { panic!("it waits at the gate") };
                    assert!(started.elapsed() >= SOON);
                    let Err(task) = task.join_deadline(started) else { panic!("it waits at the gate") };
                    gate.open();
                    task.join_timeout(Duration::MAX).map_err(|_| "no timeout is up").unwrap()
                })
                .unwrap();
            assert_eq!(value.value, 7);
            drop(value);
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn try_join_gives_the_value_of_a_task_that_has_ended_even_in_a_cancelled_scope() {
    watched(|| {
        let ended = scope(&live(), |s| {
            let task = s.spawn(|_| Ok::<_, Cancelled>(7))?;
            task.wait()?;
            s.finish();
            task.try_join().map_err(|_| "it has ended").unwrap()
        });
        assert_eq!(ended, Ok(7));
    });
}

#[test]
fn a_cancel_and_a_failure_end_joins_with_a_time_and_waits() {
    if !alone!(a_cancel_and_a_failure_end_joins_with_a_time_and_waits) {
        return;
    }
    watched(|| {
        let token = live();
        let gate = Gate::default();
        let at_gate = || {
            gate.pass();
            Ok(())
        };
        let outcome = scope(&token, |s| {
            // Neither ends before the body has seen the cancel.
            let (timed, waited) = (s.spawn(|_| at_gate())?, s.spawn(|_| at_gate())?);
            s.spawn(|_| {
                until_others_sleep();
                token.cancel();
                Ok(())
            })?;
            let cancelled = Cancelled::new(CancelReason::Requested);
            assert_eq!(waited.wait(), Err(cancelled));
            assert_eq!(timed.join_timeout(HOUR).map_err(|_| "a cancel is no timeout").unwrap(), Err(cancelled));
            let joined = waited.join();
            gate.open();
            joined
        });
        assert_eq!(outcome, Err(Cancelled::new(CancelReason::Requested)));

        let outcome = scope(&live(), |s| {
            let fails = s.spawn(|_| Err::<(), _>(anyhow::anyhow!("it failed")))?;
            // Its end is what is waited for, or the cancel that it brings.
            _ = fails.wait();
            Ok(fails.join_timeout(HOUR).map_err(|_| "no timeout").unwrap()?)
        });
        assert_eq!(outcome.unwrap_err().to_string(), "it failed");
    });
}

#[test]
fn several_threads_wait_for_one_task_and_one_joins_it() {
    if !alone!(several_threads_wait_for_one_task_and_one_joins_it) {
        return;
    }
    watched(|| {
        for limit in [None, Some(2)] {
            let builder = limit.map_or(ScopeBuilder::new(), |limit| ScopeBuilder::new().limit(limit));
            let (gate, waited) = (Gate::default(), AtomicUsize::new(0));
            let joined = builder.run(&live(), |s| {
                let task = s.spawn(|_| {
                    gate.pass();
                    Ok::<_, Cancelled>(7)
                })?;
                let wait = || {
                    task.wait().unwrap();
                    assert!(task.is_finished());
                    waited.fetch_add(1, Ordering::SeqCst);
                };
                let open = || {
                    reached("the waits");
                    until_others_sleep();
                    gate.open();
                };
                let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new(open)];
                threads.extend((0..4).map(|_| Box::new(&wait) as Box<dyn FnOnce() + Send>));
                together(threads);
                task.join()
            });
            assert_eq!((joined, waited.into_inner()), (Ok(7), 4));
        }
    });
}

#[test]
fn a_task_that_waits_for_a_queued_one_runs_it() {
    watched(|| {
        let outcome = ScopeBuilder::new().limit(1).run(&live(), |s| {
            s.spawn(|s| {
                let queued = s.spawn(|_| Ok::<_, Cancelled>(7))?;
                queued.wait()?;
                let Err(late) = s.spawn(|_| Ok::<_, Cancelled>(8))?.try_join() else { panic!("it is queued") };
                Ok::<_, Cancelled>(queued.join()? + late.join_timeout(HOUR).map_err(drop).unwrap()?)
            })
            .and_then(ScopedTask::join)
            .map_err(|_| Cancelled::new(CancelReason::Failed))
        });
        assert_eq!(outcome, Ok(15));
    });
}
