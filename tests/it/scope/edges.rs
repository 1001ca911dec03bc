//! Where the parts of a scope meet: a join that gives up, threads that are refused late, threads that run no task,
//! panics beside the tasks.

use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::scope::{ScopedTask, first_ok, try_join_all};
use brigade::{CancelReason, CancellationToken, Cancelled, Failures, Pipeline, ScopeBuilder, scope, try_join};

use super::{Bomb, Log};
use crate::util::{Counter, Gate, alone, live, message_of, payload_of, reached, until_others_sleep, watched};

#[test]
fn a_task_whose_join_gave_up_is_skipped_as_any_other() {
    if !alone!(a_task_whose_join_gave_up_is_skipped_as_any_other) {
        return;
    }
    watched(|| {
        let (token, log, hold) = (live(), Log::default(), Gate::default());
        let result = ScopeBuilder::new().limit(1).hooks(&log).run(&token, |s| {
            s.spawn(|_| Ok(hold.pass()))?;
            let second = s.spawn(|_| Ok(()))?;
            scope(&CancellationToken::never(), |other| {
                other.spawn(|_| {
                    // The join sleeps by then, or is about to sleep.
                    until_others_sleep();
                    Ok(token.cancel())
                })?;
                assert!(second.join().is_err());
                Ok::<_, Cancelled>(())
            })?;
            hold.open();
            Ok::<_, Cancelled>(())
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
        assert_eq!(log.lines_after_starts(), ["task#0 completed", "task#1 skipped: requested"]);
    });
}

#[test]
fn a_task_of_its_own_thread_runs_even_if_its_join_gives_up() {
    watched(|| {
        for _ in 0..500 {
            let (token, ran) = (live(), AtomicUsize::new(0));
            let result = scope(&token, |s| {
                let task = s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?;
                token.cancel();
                let _ = task.join();
                Ok::<_, Cancelled>(())
            });
            assert_eq!((result, ran.into_inner()), (Ok(()), 1));
        }
    });
}

#[test]
fn what_a_task_spawns_and_joins_one_by_one_does_not_fill_the_queue() {
    watched(|| {
        let (joined, hold) = (Gate::default(), Gate::default());
        ScopeBuilder::new()
            .limit(1)
            .queue(2)
            .run(&live(), |s| {
                s.spawn(|s| {
                    for task in 0..1_000 {
                        assert_eq!(s.spawn(move |_| Ok(task))?.join()?, task);
                    }
                    // Out of order, too.
                    let tasks = (0..100).map(|task| s.spawn(move |_| Ok(task))).collect::<Result<Vec<_>, _>>()?;
                    assert!(tasks.into_iter().rev().map(ScopedTask::<_, _>::join).eq((0..100).rev().map(Ok)));
                    joined.open();
                    Ok(hold.pass())
                })?;
                joined.pass();
                for _ in 0..2 {
                    s.try_spawn(|_| Ok(())).unwrap();
                }
                assert!(s.try_spawn(|_| Ok(())).unwrap_err().is_full());
                hold.open();
                Ok::<_, Cancelled>(())
            })
            .unwrap();
    });
}

#[test]
fn who_works_for_the_body_does_not_run_tasks_beyond_the_limit() {
    watched(|| {
        let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let task = || {
            most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            active.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Cancelled>(())
        };
        ScopeBuilder::new()
            .limit(1)
            .run(&live(), |s| {
                let spawn = || (0..8).map(|_| s.spawn(|_| task())).collect::<Result<Vec<_>, _>>();
                try_join_all(&live(), spawn()?.into_iter().map(|task| move |_: &CancellationToken| task.join()))?;
                let joins = Pipeline::from_iter(spawn()?).threads(4).unordered();
                joins.try_map(ScopedTask::<_, _>::join).for_each(&live(), drop)
            })
            .unwrap();
        assert_eq!(most.into_inner(), 1);
    });
}

#[test]
fn tasks_beneath_a_task_may_join_its_siblings_on_one_thread() {
    watched(|| {
        let sum = ScopeBuilder::new().limit(1).run(&live(), |s| {
            s.spawn(|s| {
                let tasks = (1..=8).map(|task| s.spawn(move |_| Ok(task))).collect::<Result<Vec<_>, _>>()?;
                // On threads of their own, of a scope without a limit and of one with.
                let all = tasks.into_iter().enumerate().map(|(at, task)| {
                    move |_: &CancellationToken| {
                        if at % 2 == 0 {
                            task.join()
                        } else {
                            ScopeBuilder::new().limit(1).run(&live(), |inner| inner.spawn(|_| task.join())?.join())
                        }
                    }
                });
                try_join_all(s.token(), all).map(|values: Vec<i32>| values.into_iter().sum::<i32>())
            })?
            .join()
        });
        assert_eq!(sum, Ok(36));
    });
}

#[test]
fn threads_take_up_slow_tasks_in_the_order_in_which_they_were_spawned() {
    watched(|| {
        for limit in [2, 4] {
            for round in 0..50 {
                reached(&format!("limit {limit}, round {round}"));
                // The last of the first `limit` tasks ends the wait of the others; later tasks wait too.
                let result = ScopeBuilder::new().limit(limit).run(&live(), |s| {
                    (0..40).try_for_each(|task| {
                        s.spawn(move |s| {
                            if task + 1 < limit || task >= limit {
                                return Ok(s.token().wait());
                            }
                            Err(Cancelled::new(CancelReason::Other("the last of the first")))
                        })
                        .map(drop)
                    })
                });
                assert_eq!(result, Err(Cancelled::new(CancelReason::Other("the last of the first"))));
            }
        }
    });
}

#[test]
fn first_ok_ends_if_the_closures_cannot_be_had() {
    watched(|| {
        let message = message_of(|| {
            let closures = (0..3).map(|at| {
                assert!(at < 2, "no third");
                |token: &CancellationToken| Err::<(), _>(Cancelled::new(token.wait()))
            });
            _ = first_ok(&live(), closures);
        });
        assert_eq!(message, "no third");
        let cancelled = live();
        cancelled.cancel();
        let failures =
            first_ok(&cancelled, [1, 2].map(|at| move |_: &CancellationToken| Ok::<_, Cancelled>(at))).unwrap_err();
        assert_eq!(failures.to_string(), "cancelled: requested; 1 skipped");
    });
}

#[test]
fn closures_that_end_well_are_joined_even_if_the_token_is_cancelled_meanwhile() {
    watched(|| {
        for slow in [true, false] {
            let token = live();
            let (cancels, waits) = (Gate::default(), Gate::default());
            let fast = || {
                token.cancel();
                waits.open();
            };
            let result = try_join(
                &token,
                |_| {
                    if slow {
                        waits.pass();
                    } else {
                        fast();
                    }
                    Ok::<_, Cancelled>(1)
                },
                |_| {
                    if slow {
                        fast();
                    } else {
                        waits.pass();
                    }
                    cancels.open();
                    Ok(2)
                },
            );
            assert_eq!(result, Ok((1, 2)));
        }
    });
}

#[test]
fn the_bodys_own_error_counts_more_than_the_refusal_it_came_from() {
    let token = live();
    token.cancel();
    let result: anyhow::Result<()> = scope(&token, |s| {
        anyhow::Context::context(s.spawn(|_| Ok(())), "starting the parser")?;
        Ok(())
    });
    assert_eq!(format!("{:#}", result.unwrap_err()), "starting the parser: cancelled: requested");
    // A refusal that is ignored is still one.
    let result = scope(&token, |s| {
        assert!(s.spawn(|_| Ok(())).is_err());
        Ok::<_, Cancelled>(())
    });
    assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
}

impl From<Cancelled> for Bomb {
    fn from(_: Cancelled) -> Self {
        Bomb("the drop of a cancellation")
    }
}

#[test]
fn hooks_are_told_of_panics_of_the_body_and_of_drops_under_the_tasks_name() {
    watched(|| {
        let log = Log::default();
        let builder = ScopeBuilder::new().hooks(&log);
        let failures = builder
            .collect_all(&live(), |s| -> Result<(), Cancelled> {
                s.named("parse").spawn(|_| Ok(Bomb("the drop of a value")))?;
                panic!("a bug");
            })
            .unwrap_err();
        assert_eq!(
            failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["parse#0 panicked: the drop of a value", "body#0 panicked: a bug"]
        );
        let mut lines = log.lines_after_starts();
        lines.sort();
        assert_eq!(lines, ["body#0 panicked: a bug", "parse#0 completed", "parse#0 panicked: the drop of a value"]);
    });
}

/// Panics at the start or at the end.
struct Bad {
    at_start: bool,
}

impl Hooks for Bad {
    fn started(&self, _: Task<'_>) {
        assert!(!self.at_start, "a bad start");
    }

    fn ended(&self, _: Task<'_>, _: Outcome, _: Duration) {
        assert!(self.at_start, "a bad end");
    }
}

#[test]
fn a_panic_in_a_hook_counts_as_the_tasks() {
    watched(|| {
        for at_start in [false, true] {
            let bad = Bad { at_start };
            let message = if at_start { "a bad start" } else { "a bad end" };
            let builder = ScopeBuilder::new().hooks(&bad);
            let joined = builder.collect_all(&live(), |s| {
                let bomb = Bomb("the drop of a closure");
                let task = s.spawn(move |_| {
                    std::mem::forget(bomb);
                    Ok::<_, Cancelled>(1)
                })?;
                Ok(task.join().unwrap_err().to_string())
            });
            assert_eq!(joined.unwrap(), format!("task#0 panicked: {message}"));
            assert_eq!(
                message_of(|| _ = builder.run(&live(), |s| s.spawn(|_| Ok::<_, Cancelled>(1)).map(drop))),
                message
            );
        }
    });
}

/// Counts the tasks that have ended.
#[derive(Default)]
struct Ends(Counter);

impl Hooks for Ends {
    fn ended(&self, _: Task<'_>, _: Outcome, _: Duration) {
        self.0.add();
    }
}

#[test]
fn several_values_whose_drop_panics_end_no_process() {
    watched(|| {
        // Errors that are listed, when the body panics.
        let message = message_of(|| {
            let ended = Counter::default();
            let (_, failures): (Result<(), Bomb>, Failures<Bomb>) = ScopeBuilder::new().supervise(&live(), |s| {
                for _ in 0..2 {
                    let ended = ended.clone();
                    s.spawn(move |_| {
                        ended.add();
                        Err::<(), _>(Bomb("the drop of an error"))
                    })?;
                }
                ended.wait_for(2);
                panic!("the body")
            });
            std::mem::forget(failures);
        });
        assert_eq!(message, "the body");
        // Errors beside a success, which waits until the errors are listed: later ones would be dropped at once.
        let ended = Ends::default();
        let value = ScopeBuilder::new().hooks(&ended).first_ok(
            &live(),
            [0, 1, 2].map(|at| {
                let ended = ended.0.clone();
                move |_: &CancellationToken| {
                    ended.wait_for(at);
                    if at == 2 { Ok(at) } else { Err(Bomb("the drop of an error")) }
                }
            }),
        );
        assert_eq!(value.ok(), Some(2));
        // Values in front of a failure: the first of them goes off, as in a loop.
        let message = message_of(|| {
            let closures = [0, 1, 2].map(|at| {
                move |_: &CancellationToken| {
                    if at < 2 { Ok(Bomb("the drop of a value")) } else { anyhow::bail!("the third") }
                }
            });
            _ = try_join_all(&live(), closures);
        });
        assert_eq!(message, "the drop of a value");
    });
}

#[test]
fn of_two_panics_about_one_task_the_first_is_resumed() {
    struct Late;
    impl Hooks for Late {
        fn ended(&self, _: Task<'_>, _: Outcome, _: Duration) {
            panic!("later");
        }
    }
    watched(|| {
        let payload = payload_of(|| {
            _ = ScopeBuilder::new()
                .hooks(&Late)
                .run(&live(), |s| s.spawn(|_| -> Result<(), Cancelled> { panic_any(7) }).map(drop));
        });
        assert_eq!(payload.downcast_ref(), Some(&7));
    });
}
