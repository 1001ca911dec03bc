//! The claims of the tests of Go's errgroup, of crossbeam's scope and of rayon's, made of this scope.

use std::panic::panic_any;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use brigade::scope::{Scope, ScopedTask};
use brigade::{CancelReason, Cancelled, Failure, Failures, ScopeBuilder, scope};

use crate::util::{Counter, Gate, live, message_of, payload_of, watched};

// errgroup

#[test]
fn a_scope_without_tasks_ends_well_and_one_with_errors_with_the_first() {
    watched(|| {
        assert_eq!(scope(&live(), |_| Ok::<_, Cancelled>(1)), Ok(1));
        for errors in [vec![], vec![None], vec![Some(1)], vec![Some(1), None], vec![Some(1), None, Some(2)]] {
            let result = scope(&live(), |s| {
                for error in &errors {
                    // One after the other, as errgroup's test has it.
                    let task = s.spawn(move |_| error.map_or(Ok(()), |error| Err(anyhow!("error {error}"))))?;
                    task.join()?;
                }
                Ok(())
            });
            let first = errors.iter().flatten().next().map(|error| format!("error {error}"));
            assert_eq!(result.err().map(|error| error.to_string()), first);
        }
    });
}

#[test]
fn a_failure_cancels_the_token_with_its_reason_and_success_does_not() {
    watched(|| {
        let outer = live();
        let token = scope(&outer, |s| {
            s.spawn(|_| Ok(()))?.join()?;
            Ok::<_, Cancelled>(s.token().clone())
        });
        assert!(!token.unwrap().is_cancelled());
        let mut token = None;
        let result = scope(&outer, |s| {
            token = Some(s.token().clone());
            s.spawn(|_| Err::<(), _>(anyhow!("broken")))?;
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "broken");
        assert_eq!(token.unwrap().reason(), Some(CancelReason::Failed));
        assert!(!outer.is_cancelled());
    });
}

/// errgroup's `TryGo`: with no queue, a task is accepted while a thread is free for it, and no longer.
#[test]
fn try_spawn_without_a_queue_accepts_as_many_tasks_as_may_run() {
    const LIMIT: usize = 42;
    watched(|| {
        let (hold, ended) = (Gate::default(), Counter::default());
        let block = || {
            hold.pass();
            ended.add();
            Ok::<_, Cancelled>(())
        };
        ScopeBuilder::new()
            .limit(LIMIT)
            .queue(0)
            .run(&live(), |s| {
                for task in 0..LIMIT {
                    s.try_spawn(|_| block()).unwrap_or_else(|error| panic!("task {task} of {LIMIT}: {error}"));
                }
                for _ in 0..3 {
                    assert!(s.try_spawn(|_| block()).unwrap_err().is_full());
                }
                hold.open();
                // As `Go` does.
                (0..LIMIT).try_for_each(|_| s.spawn(|_| block()).map(drop))
            })
            .unwrap();
        ended.wait_for(2 * LIMIT);
    });
}

#[test]
fn of_1025_tasks_at_a_limit_of_10_no_more_than_10_run_at_once() {
    const LIMIT: usize = 10;
    watched(|| {
        for queue in [0, 1, 5_000] {
            let (active, most, ran) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            ScopeBuilder::new()
                .limit(LIMIT)
                .queue(queue)
                .run(&live(), |s| {
                    (0..1_025).try_for_each(|_| {
                        s.spawn(|_| {
                            let now = active.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            // A switch of threads, as errgroup's test waits a microsecond.
                            std::thread::yield_now();
                            active.fetch_sub(1, Ordering::SeqCst);
                            ran.fetch_add(1, Ordering::SeqCst);
                            Ok::<_, Cancelled>(())
                        })
                        .map(drop)
                    })
                })
                .unwrap();
            assert!(most.into_inner() <= LIMIT);
            assert_eq!(ran.into_inner(), 1_025);
        }
    });
}

// crossbeam

fn number_of(failure: &Failure<Cancelled>) -> Option<u32> {
    failure.panic().and_then(|panic| panic.message().strip_prefix("thread ")?.parse().ok())
}

#[test]
fn a_panic_that_is_joined_is_handled_and_the_others_run() {
    watched(|| {
        let ran = AtomicUsize::new(0);
        let mut builder = ScopeBuilder::new();
        for _ in 0..2 {
            let result = builder.collect_all(&live(), |s| {
                let panics = s.spawn(|_| -> Result<(), Cancelled> { panic!("thread 1") })?;
                let failure = panics.join().unwrap_err();
                assert_eq!((number_of(&failure), failure.index()), (Some(1), 0));
                let others = [(); 10].map(|()| s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst))));
                assert!(others.into_iter().all(|other| other.is_ok_and(|other| other.join().is_ok())));
                Ok::<_, Cancelled>(())
            });
            assert!(result.is_ok());
            builder = builder.limit(1);
        }
        assert_eq!(ran.into_inner(), 20);
    });
}

#[test]
fn of_many_panics_each_is_listed_once_but_for_those_joined() {
    watched(|| {
        for builder in [ScopeBuilder::new(), ScopeBuilder::new().limit(2)] {
            let failures = builder
                .collect_all(&live(), |s| -> Result<(), Cancelled> {
                    s.spawn(|_| -> Result<(), Cancelled> { panic!("thread 0") })?;
                    let joined = s.spawn(|_| -> Result<(), Cancelled> { panic!("thread 1") })?;
                    s.spawn(|_| -> Result<(), Cancelled> { panic!("thread 2") })?;
                    assert_eq!(joined.join().err().as_ref().and_then(number_of), Some(1));
                    panic!("thread 3");
                })
                .unwrap_err();
            assert_eq!(failures.iter().map(number_of).collect::<Vec<_>>(), [Some(0), Some(2), Some(3)]);
            assert_eq!(message_of(|| _ = Failures::resume_panic(failures)), "thread 0");
        }
    });
}

#[test]
fn scopes_and_tasks_nest_as_deep_as_one_likes() {
    fn nest<'env>(s: &Scope<'_, 'env, Cancelled>, ran: &'env AtomicUsize, depth: usize) -> Result<(), Cancelled> {
        ran.fetch_add(1, Ordering::SeqCst);
        if depth == 0 { Ok(()) } else { s.spawn(move |s| nest(s, ran, depth - 1)).map(drop) }
    }
    watched(|| {
        let ran = AtomicUsize::new(0);
        scope(&live(), |s| nest(s, &ran, 100)).unwrap();
        ScopeBuilder::new().limit(1).run(&live(), |s| nest(s, &ran, 100)).unwrap();
        assert_eq!(ran.into_inner(), 202);
    });
}

#[test]
fn a_handle_that_a_task_returns_is_joined_outside_of_it() {
    watched(|| {
        for builder in [ScopeBuilder::new(), ScopeBuilder::new().limit(1)] {
            let value = builder.run(&live(), |s| {
                let outer = s.spawn(|s| {
                    let inner: ScopedTask<'_, i32, Cancelled> = s.spawn(|_| Ok(7))?;
                    Ok(inner)
                })?;
                outer.join()?.join()
            });
            assert_eq!(value, Ok(7));
        }
    });
}

// rayon

#[test]
fn a_payload_is_resumed_as_it_was_thrown_from_body_task_nested_task_and_nested_scope() {
    #[derive(Debug, PartialEq)]
    struct Thrown(i32);
    let thrown = |run: &dyn Fn() -> Result<(), Cancelled>| *payload_of(|| _ = run()).downcast::<Thrown>().unwrap();
    watched(move || {
        for builder in [ScopeBuilder::new(), ScopeBuilder::new().limit(2)] {
            assert_eq!(thrown(&|| builder.run(&live(), |_| panic_any(Thrown(1)))), Thrown(1));
            let spawns =
                || builder.run(&live(), |s| s.spawn(|_| -> Result<(), Cancelled> { panic_any(Thrown(2)) }).map(drop));
            assert_eq!(thrown(&spawns), Thrown(2));
            let nests = || {
                builder.run(&live(), |s| {
                    s.spawn(|s| {
                        s.spawn(|s| s.spawn(|_| -> Result<(), Cancelled> { panic_any(Thrown(3)) }).map(drop)).map(drop)
                    })
                    .map(drop)
                })
            };
            assert_eq!(thrown(&nests), Thrown(3));
            let scopes = || builder.run(&live(), |_| spawns());
            assert_eq!(thrown(&scopes), Thrown(2));
        }
    });
}

#[test]
fn beside_a_panic_the_others_still_run() {
    watched(|| {
        // Before the panic and after it, by a task and by the body; those after it are refused at worst.
        let ran = AtomicBool::new(false);
        let message = message_of(|| {
            let _ = scope(&live(), |s| -> Result<(), Cancelled> {
                s.spawn(|_| Ok(ran.swap(true, Ordering::SeqCst)))?;
                s.spawn(|_| -> Result<(), Cancelled> { panic!("spawned") }).map(drop)
            });
        });
        assert_eq!((message.as_str(), ran.into_inner()), ("spawned", true));
        let ran = AtomicBool::new(false);
        let message = message_of(|| {
            let _ = scope(&live(), |s| -> Result<(), Cancelled> {
                s.spawn(|_| Ok(ran.swap(true, Ordering::SeqCst)))?;
                panic!("body");
            });
        });
        assert_eq!((message.as_str(), ran.into_inner()), ("body", true));
        // Where a failure disturbs no other task, later tasks run too.
        for builder in [ScopeBuilder::new(), ScopeBuilder::new().limit(1)] {
            let ran = AtomicUsize::new(0);
            let message = message_of(|| {
                let _ = builder
                    .supervise(&live(), |s| {
                        s.spawn(|_| -> Result<(), Cancelled> { panic!("spawned") })?;
                        s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?
                            .join()
                            .map_err(|_| live().check().unwrap_err())
                    })
                    .1
                    .resume_panic();
            });
            assert_eq!((message.as_str(), ran.into_inner()), ("spawned", 1));
        }
    });
}

#[test]
fn all_threads_of_a_limit_may_panic_at_once() {
    watched(|| {
        let all_in = Barrier::new(4);
        let failures = ScopeBuilder::new()
            .limit(4)
            .collect_all(&live(), |s| {
                for task in 0..8 {
                    let all_in = &all_in;
                    s.spawn(move |_| -> Result<(), Cancelled> {
                        all_in.wait();
                        panic!("thread {task}");
                    })?;
                }
                Ok(())
            })
            .unwrap_err();
        assert_eq!(failures.iter().filter_map(number_of).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    });
}

#[test]
fn one_thread_starts_tasks_in_the_order_in_which_they_were_spawned() {
    watched(|| {
        let order = std::sync::Mutex::new(Vec::new());
        ScopeBuilder::new()
            .limit(1)
            .run(&live(), |s| {
                (0..500).try_for_each(|task| {
                    s.spawn({
                        let order = &order;
                        move |_| {
                            order.lock().unwrap().push(task);
                            Ok::<_, Cancelled>(())
                        }
                    })
                    .map(drop)
                })
            })
            .unwrap();
        assert_eq!(order.into_inner().unwrap(), (0..500).collect::<Vec<_>>());
    });
}
