//! Scopes with a limit: a queue, and so many threads.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use brigade::scope::Scope;
use brigade::{CancelReason, Cancelled, Pipeline, ScopeBuilder, scope};

use crate::util::{
    Census, Counter, Gate, alone, cpu_time, live, memory, message_of, reached, threads, until_others_sleep,
    until_threads, watched,
};

fn limited(threads: usize) -> ScopeBuilder<'static> {
    ScopeBuilder::new().limit(threads)
}

#[test]
fn no_more_tasks_run_at_once_than_the_limit_says_and_on_no_more_threads() {
    watched(|| {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (ran, ids) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
        limited(10)
            .run(&live(), |s| {
                for _ in 0..1025 {
                    s.spawn(|_| {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        ids.lock().unwrap().insert(std::thread::current().id());
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        Ok(ran.fetch_add(1, Ordering::SeqCst))
                    })?;
                }
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        assert_eq!(ran.into_inner(), 1025);
        assert!(most.into_inner() <= 10 && ids.into_inner().unwrap().len() <= 10);
    });
}

#[test]
fn all_of_the_threads_are_there_if_they_are_needed() {
    watched(|| {
        for limit in [1, 2, 7] {
            let all_in = std::sync::Barrier::new(limit);
            limited(limit)
                .run(&live(), |s| {
                    (0..limit * 3).try_for_each(|_| s.spawn(|_| Ok(all_in.wait().is_leader())).map(drop))?;
                    Ok::<_, Cancelled>(())
                })
                .unwrap();
        }
    });
}

#[test]
fn threads_are_started_when_they_are_needed_and_gone_at_the_end() {
    if !alone!(threads_are_started_when_they_are_needed_and_gone_at_the_end) {
        return;
    }
    watched(|| {
        let before = threads();
        limited(100)
            .run(&live(), |s| {
                assert_eq!(threads(), before);
                s.spawn(|_| Ok(()))?.join()?;
                assert_eq!(threads(), before + 1);
                let gate = Gate::default();
                let held = gate.clone();
                let holds = s.spawn(move |_| Ok(held.pass()))?;
                s.spawn(|_| Ok(()))?.join()?;
                let count = threads();
                gate.open();
                assert_eq!(count, before + 2);
                holds.join()?;
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        until_threads(before);
    });
}

#[test]
fn values_come_back_in_order_at_every_limit_and_length_of_the_queue() {
    watched(|| {
        for limit in [1, 2, 3, 8] {
            for queue in [0, 1, 2, 3, 64] {
                let values = limited(limit).queue(queue).run(&live(), |s| {
                    let tasks = (0..2_000).map(|task| s.spawn(move |_| Ok(task))).collect::<Result<Vec<_>, _>>()?;
                    s.join_all(tasks)
                });
                assert_eq!(values, Ok::<_, Cancelled>((0..2_000).collect()));
            }
        }
    });
}

#[test]
fn the_body_waits_while_the_queue_is_full_and_a_cancel_wakes_it() {
    watched(|| {
        let (token, hold) = (live(), Gate::default());
        let spawned = AtomicUsize::new(0);
        let result = limited(1).queue(3).run(&token, |s| {
            s.spawn(|s| {
                hold.pass();
                s.token().wait();
                Ok(())
            })?;
            let spawn = || s.spawn(|_| Ok(())).map(|_| spawned.fetch_add(1, Ordering::SeqCst));
            while spawned.load(Ordering::SeqCst) < 3 {
                spawn()?;
            }
            // It wakes the body, which waits for room from here on; or is there before it does.
            let result = scope(&live(), |other| {
                other.spawn(|_| {
                    hold.open();
                    Ok(token.cancel())
                })?;
                loop {
                    spawn()?;
                }
            });
            result.map(|(): ()| ())
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        assert!(spawned.into_inner() <= 4, "one of them may have been taken from the queue");
    });
}

#[test]
fn try_spawn_gives_the_closure_back_when_the_queue_is_full() {
    watched(|| {
        let hold = Gate::default();
        let running = Gate::default();
        limited(1)
            .queue(2)
            .run(&live(), |s| {
                s.spawn(|_| {
                    running.open();
                    Ok(hold.pass())
                })?;
                running.pass();
                let first = s.try_spawn(|_| Ok(1)).unwrap();
                let second = s.try_spawn(|_| Ok(2)).unwrap();
                let third = Census::default().make(3);
                let error = s.try_spawn(move |_| Ok(third.value)).unwrap_err();
                assert!(error.is_full() && error.cancelled().is_none());
                assert_eq!(error.to_string(), "the queue of the scope is full");
                hold.open();
                let third = s.spawn(error.into_inner())?;
                assert_eq!((first.join()?, second.join()?, third.join()?), (1, 2, 3));
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        let token = live();
        token.cancel();
        let result = limited(1).run(&token, |s| {
            let error = s.try_spawn(|_| Ok(())).unwrap_err();
            assert!(!error.is_full());
            assert_eq!(error.cancelled(), Some(Cancelled::new(CancelReason::Requested)));
            Ok::<_, Cancelled>(())
        });
        assert!(result.is_err());
    });
}

#[test]
fn a_task_that_spawns_never_waits() {
    watched(|| {
        let ran = AtomicUsize::new(0);
        limited(1)
            .queue(0)
            .run(&live(), |s| {
                s.spawn(|s| {
                    for _ in 0..1_000 {
                        s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?;
                        s.try_spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst))).unwrap();
                    }
                    Ok::<_, Cancelled>(())
                })?;
                Ok(())
            })
            .unwrap();
        assert_eq!(ran.into_inner(), 2_000);
    });
}

#[test]
fn a_scope_handed_to_another_thread_by_the_body_may_spawn_there() {
    watched(|| {
        let ran = &AtomicUsize::new(0);
        limited(2)
            .queue(0)
            .run(&live(), |s| {
                let outputs = Pipeline::from_iter(0..500)
                    .threads(3)
                    .try_map(|_| s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst))).map(drop));
                outputs.for_each(s.token(), drop)?;
                // Into a task, where it must not wait for the queue that its thread should empty.
                let sent = s.named("sent");
                s.spawn(move |_| {
                    (0..100).try_for_each(|_| sent.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst))).map(drop))
                })?;
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 600);
    });
}

#[test]
fn tasks_may_join_tasks_however_few_threads_there_are() {
    fn fibonacci(s: &Scope<'_, '_, Cancelled>, n: u32) -> Result<u64, Cancelled> {
        if n < 2 {
            return Ok(u64::from(n));
        }
        let (left, right) = (s.spawn(move |s| fibonacci(s, n - 1))?, s.spawn(move |s| fibonacci(s, n - 2))?);
        Ok(left.join()? + right.join()?)
    }
    watched(|| {
        for limit in 1..=4 {
            reached(&format!("limit {limit}"));
            assert_eq!(limited(limit).run(&live(), |s| s.spawn(|s| fibonacci(s, 16))?.join()), Ok(987));
        }
        let handed_on = limited(1).run(&live(), |s| {
            let (sender, receiver) = std::sync::mpsc::channel();
            sender.send(s.spawn(|_| Ok(5))?).unwrap();
            let joins = s.spawn(move |_| receiver.recv().unwrap().join())?;
            joins.join()
        });
        assert_eq!(handed_on, Ok::<_, Cancelled>(5));
    });
}

#[test]
fn ten_thousand_tasks_that_each_spawn_two_leave_no_threads_behind() {
    if !alone!(ten_thousand_tasks_that_each_spawn_two_leave_no_threads_behind) {
        return;
    }
    watched(|| {
        let (before, ran) = (threads(), AtomicUsize::new(0));
        limited(2)
            .run(&live(), |s| {
                for _ in 0..10_000 {
                    s.spawn(|s| {
                        for _ in 0..2 {
                            s.spawn(|_| Ok(ran.fetch_add(1, Ordering::Relaxed)))?;
                        }
                        Ok::<_, Cancelled>(())
                    })?;
                }
                assert!(threads() <= before + 2);
                Ok(())
            })
            .unwrap();
        assert_eq!(ran.into_inner(), 20_000);
        until_threads(before);
    });
}

#[test]
fn the_stack_does_not_grow_with_the_depth_of_spawning() {
    fn deeper<'scope>(s: &Scope<'scope, '_, Cancelled>, left: u32, ended: &'scope AtomicBool) -> Result<(), Cancelled> {
        match left {
            0 => ended.store(true, Ordering::SeqCst),
            _ => drop(s.spawn(move |s| deeper(s, left - 1, ended))?),
        }
        Ok(())
    }
    watched(|| {
        let ended = AtomicBool::new(false);
        let builder = limited(2).stack_size(64 << 10);
        builder.run(&live(), |s| s.spawn(|s| deeper(s, 200_000, &ended)).map(drop)).unwrap();
        assert!(ended.into_inner());
    });
}

#[test]
fn what_is_in_the_queue_is_skipped_after_a_failure_and_dropped_once() {
    watched(|| {
        for limit in [1, 2, 4] {
            let (census, ran) = (Census::default(), &AtomicUsize::new(0));
            let error = limited(limit)
                .queue(10_000)
                .run(&live(), |s| {
                    let hold = Gate::default();
                    for task in 0..1_000 {
                        let (item, hold) = (census.make(task), hold.clone());
                        let spawned = s.spawn(move |s| {
                            hold.pass();
                            ran.fetch_add(1, Ordering::SeqCst);
                            if task == 0 {
                                anyhow::bail!("the first");
                            }
                            s.token().wait();
                            Ok(item)
                        });
                        assert!(spawned.is_ok());
                    }
                    hold.open();
                    Ok(())
                })
                .unwrap_err();
            assert_eq!(error.to_string(), "the first");
            assert!(ran.load(Ordering::SeqCst) <= limit);
            assert_eq!(census.alive(), 0);
        }
    });
}

#[test]
fn skipped_tasks_are_an_error_even_if_the_rest_ends_well() {
    watched(|| {
        let (token, hold) = (live(), Gate::default());
        let result = limited(1).run(&token, |s| {
            s.spawn(|_| Ok(hold.pass()))?;
            s.spawn(|_| Ok(true))?;
            token.cancel_with(CancelReason::Signal(15));
            hold.open();
            Ok::<_, Cancelled>(())
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Signal(15))));
    });
}

#[test]
fn idle_threads_of_a_limited_scope_burn_no_cpu_time() {
    if !alone!(idle_threads_of_a_limited_scope_burn_no_cpu_time) {
        return;
    }
    watched(|| {
        let hold = Gate::default();
        limited(4)
            .queue(2)
            .run(&live(), |s| {
                let tasks = Counter::default();
                for _ in 0..3 {
                    let tasks = tasks.clone();
                    s.spawn(move |_| {
                        tasks.add();
                        tasks.wait_for(3);
                        Ok(false)
                    })?;
                }
                let held = s.spawn(|_| Ok(hold.pass()))?;
                let joins = s.spawn(|_| held.join())?;
                until_others_sleep();
                let before = cpu_time();
                assert_eq!(live().wait_timeout(Duration::from_secs(1)), None);
                let burnt = cpu_time().saturating_sub(before);
                assert!(burnt < Duration::from_millis(5), "a second of waiting burnt {burnt:?}");
                hold.open();
                joins.join()?;
                Ok::<_, Cancelled>(())
            })
            .unwrap();
    });
}

#[test]
fn one_thread_is_enough_where_no_more_can_be_started_and_none_is_an_error() {
    // With an address space of 1.5 GB and stacks of 256 MB, only a few threads can be had.
    const LIMITS: &str = "-v 1500000";
    if !alone!(one_thread_is_enough_where_no_more_can_be_started_and_none_is_an_error, LIMITS) {
        return;
    }
    watched(|| {
        let before = threads();
        let ran = AtomicUsize::new(0);
        let result = limited(64).stack_size(256 << 20).run(&live(), |s| {
            for _ in 0..1_000 {
                s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?;
            }
            Ok::<_, Cancelled>(())
        });
        assert_eq!((result, ran.into_inner()), (Ok(()), 1_000));
        let result = limited(64).stack_size(2 << 30).run(&live(), |s| s.spawn(|_| Ok(())).map(drop));
        assert_eq!(result.unwrap_err().to_string(), "cancelled: the system refused to start a thread");
        until_threads(before);
    });
}

#[test]
fn a_limit_of_zero_is_refused_where_it_is_set() {
    let message = message_of(|| _ = ScopeBuilder::new().limit(0));
    assert_eq!(message, "ScopeBuilder::limit(0): no task could ever run; 1 runs them one after the other");
}

#[test]
#[expect(clippy::large_stack_arrays, reason = "that is the point")]
fn values_and_closures_of_192_kib_fit_stacks_of_two_mib() {
    const SIZE: usize = 192 << 10;
    watched(|| {
        let builders = [ScopeBuilder::new(), limited(1), limited(2)].map(|builder| builder.stack_size(2 << 20));
        for builder in builders {
            // The body has such a stack too: it runs on a thread of the outer scope.
            let joined = ScopeBuilder::new().stack_size(2 << 20).run(&live(), |outer| {
                let body = outer.spawn(|outer| {
                    builder.run(outer.token(), |s| {
                        s.spawn(|_| Ok([1_u8; SIZE]))?;
                        let task = s.spawn(|_| Ok([2_u8; SIZE]))?;
                        task.join().map(|value| value[SIZE - 1])
                    })
                })?;
                let closure = outer.spawn(|outer| {
                    builder.run(outer.token(), |s| {
                        let captured = [3_u8; SIZE];
                        s.spawn(move |_| Ok(captured[SIZE - 1]))?.join()
                    })
                })?;
                Ok::<_, Cancelled>((body.join()?, closure.join()?))
            });
            assert_eq!(joined, Ok((2, 3)));
        }
    });
}

#[test]
fn joins_within_joins_may_be_as_deep_as_the_stack_allows() {
    fn deep(s: &Scope<'_, '_, Cancelled>, left: u32) -> Result<u32, Cancelled> {
        if left == 0 {
            return Ok(0);
        }
        Ok(1 + s.spawn(move |s| deep(s, left - 1))?.join()?)
    }
    watched(|| {
        let depth =
            |levels, stack| limited(1).stack_size(stack).run(&live(), |s| s.spawn(move |s| deep(s, levels))?.join());
        assert_eq!(depth(500, 2 << 20), Ok(500));
        assert_eq!(depth(10_000, 64 << 20), Ok(10_000));
    });
}

#[test]
fn a_refused_first_thread_leaves_nothing_behind() {
    if !alone!(a_refused_first_thread_leaves_nothing_behind, "-v 4000000") {
        return;
    }
    watched(|| {
        // No thread is to be had with such a stack; then each spawn tries again.
        let refused = limited(2).stack_size(64 << 30).supervise(&live(), |s| {
            let before = memory();
            for _ in 0..100_000 {
                assert!(s.spawn(|_| Ok(())).is_err());
            }
            assert!(memory() < before + (64 << 20));
            Ok::<_, Cancelled>(())
        });
        assert_eq!((refused.0, refused.1.count()), (Ok(()), 100_000));
    });
}

/// Tasks that have been run are kept for the spawns to come, and know the scope that keeps them.
#[test]
fn a_limited_scope_leaves_no_memory_behind() {
    if !alone!(a_limited_scope_leaves_no_memory_behind) {
        return;
    }
    watched(|| {
        let run = || {
            let tasks = |s: &Scope<'_, '_, Cancelled>| (0..1_000).try_for_each(|_| s.spawn(|_| Ok(())).map(drop));
            assert_eq!(limited(2).run(&live(), tasks), Ok(()));
        };
        (0..20).for_each(|_| run());
        let before = memory();
        (0..500).for_each(|_| run());
        assert!(memory() < before + (4 << 20), "{} bytes more", memory() - before);
    });
}
