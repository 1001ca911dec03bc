//! A scope that ends early and well.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::scope::first_ok;
use brigade::{CancelReason, CancellationToken, Cancelled, Failures, ScopeBuilder, scope};

use super::Bomb;
use crate::util::{Census, Gate, live, message_of, until, watched};

const FINISHED: Cancelled = Cancelled::new(CancelReason::Finished);

/// With a thread a task, and on one, two and three threads with room for all tasks.
fn builders() -> [ScopeBuilder<'static>; 4] {
    let limited = |threads| ScopeBuilder::new().limit(threads).queue(10_000);
    [ScopeBuilder::new(), limited(1), limited(2), limited(3)]
}

/// Runs the same body in each policy that has a body, and gives each result to `check`.
macro_rules! in_all_policies {
    ($builder:expr, $token:expr, $body:expr, $check:expr) => {{
        $check($builder.run($token, $body).map_err(|error: anyhow::Error| error.to_string()));
        $check($builder.collect_all($token, $body).map_err(|failures: Failures<anyhow::Error>| failures.to_string()));
        let (result, failures) = $builder.supervise($token, $body);
        assert!(failures.is_empty(), "{failures}");
        $check(result.map_err(|error: anyhow::Error| error.to_string()));
    }};
}

/// Waits for the token, and leaves by `?`.
fn leaves(token: &CancellationToken) -> anyhow::Result<()> {
    token.wait();
    Ok(token.check()?)
}

#[test]
fn a_body_that_finishes_ends_the_scope_well_though_its_tasks_leave_by_their_cancelled_waits() {
    watched(|| {
        for builder in builders() {
            in_all_policies!(
                builder,
                &live(),
                |s| {
                    for _ in 0..10 {
                        s.spawn(|s| leaves(s.token()))?;
                    }
                    assert!(s.finish());
                    assert!(!s.finish());
                    assert_eq!(s.token().reason(), Some(CancelReason::Finished));
                    Ok(7)
                },
                |ended| assert_eq!(ended, Ok(7))
            );
        }
    });
}

#[test]
fn a_task_finishes_a_scope_whose_body_has_ended() {
    watched(|| {
        for builder in builders() {
            let ended = Gate::default();
            in_all_policies!(
                builder,
                &live(),
                |s| {
                    s.spawn(|s| {
                        ended.pass();
                        assert!(s.finish());
                        Ok(())
                    })?;
                    for _ in 0..10 {
                        s.spawn(|s| leaves(s.token()))?;
                    }
                    // Nothing of the body's comes after this.
                    ended.open();
                    Ok("a value")
                },
                |result| assert_eq!(result, Ok("a value"))
            );
        }
    });
}

#[test]
fn a_task_that_finishes_wakes_a_body_that_joins() {
    watched(|| {
        for builder in builders() {
            let result = builder.run(&live(), |s| {
                let finds = s.spawn(|s| Ok(s.finish()))?;
                let waits = s.spawn(|s| leaves(s.token()))?;
                assert_eq!(waits.join(), Err(FINISHED));
                // A value that is there is had.
                until(|| finds.is_finished());
                assert_eq!(finds.join(), Ok(true));
                Ok::<_, anyhow::Error>(1)
            });
            assert_eq!(result.unwrap(), 1);
            let (result, failures) = builder.supervise(&live(), |s| {
                s.spawn(|s| Ok(s.finish()))?;
                let waits = s.named("wait").spawn(|s| leaves(s.token()))?;
                let failure = waits.join().unwrap_err();
                assert_eq!(failure.cancelled(), Some(FINISHED));
                assert_eq!(failure.to_string(), "wait#1 cancelled: the scope has finished");
                Ok::<_, anyhow::Error>(2)
            });
            assert_eq!((result.unwrap(), failures.is_empty()), (2, true));
        }
    });
}

#[test]
fn a_body_that_spawns_on_after_a_finish_is_not_thrown_out() {
    watched(|| {
        for builder in builders().into_iter().chain([ScopeBuilder::new().limit(1).queue(0)]) {
            let ran = AtomicUsize::new(0);
            in_all_policies!(
                builder,
                &live(),
                |s| {
                    let finder = s.spawn(|s| Ok(s.finish()))?;
                    until(|| finder.is_finished());
                    let before = ran.load(Ordering::SeqCst);
                    for _ in 0..100 {
                        let task = s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?;
                        assert!(task.is_finished());
                        assert!(task.join().is_err());
                    }
                    assert_eq!(ran.load(Ordering::SeqCst), before, "nothing more starts");
                    Ok(())
                },
                |ended| assert_eq!(ended, Ok(()))
            );
        }
    });
}

#[test]
fn a_body_that_waits_for_room_is_woken_by_a_finish_and_goes_on() {
    watched(|| {
        for queue in [0, 1, 3] {
            let result = ScopeBuilder::new().limit(1).queue(queue).run(&live(), |s| {
                let full = Gate::default();
                s.spawn({
                    let full = full.clone();
                    move |s| {
                        full.pass();
                        s.finish();
                        Ok(())
                    }
                })?;
                let mut tasks = Vec::new();
                for task in 0..20 {
                    if task == queue {
                        full.open();
                    }
                    tasks.push(s.spawn(|_| Ok(()))?);
                }
                Ok::<_, Cancelled>(tasks.into_iter().filter_map(|task| task.join().err()).count())
            });
            assert_eq!(result, Ok(20));
        }
    });
}

#[test]
fn try_spawn_gives_the_closure_back_after_a_finish_and_the_scope_ends_well() {
    for builder in builders() {
        in_all_policies!(
            builder,
            &live(),
            |s| {
                s.finish();
                let error = s.try_spawn(|_| Ok(5)).unwrap_err();
                assert_eq!((error.is_full(), error.cancelled()), (false, Some(FINISHED)));
                assert_eq!(error.into_inner()(s)?, 5);
                Ok(())
            },
            |ended| assert_eq!(ended, Ok(()))
        );
    }
}

#[test]
fn an_error_before_a_finish_stands_and_one_after_it_is_dropped_unread() {
    watched(|| {
        for builder in builders() {
            // The first error ends a scope that fails fast; a finish changes nothing then.
            let error = builder.run(&live(), |s| {
                s.spawn(|_| -> anyhow::Result<()> { anyhow::bail!("before") })?;
                until(|| s.token().is_cancelled());
                assert!(!s.finish());
                assert_eq!(s.token().reason(), Some(CancelReason::Failed));
                Ok(())
            });
            assert_eq!(error.unwrap_err().to_string(), "before");

            let census = Census::default();
            let failures = builder
                .collect_all(&live(), |s| {
                    let fails = s.spawn(|_| -> Result<(), Fault> { Err(Fault::Real(Some(census.make("before")))) })?;
                    until(|| fails.is_finished());
                    drop(fails);
                    s.spawn(|s| {
                        s.finish();
                        Err::<(), _>(Fault::Real(Some(census.make("after"))))
                    })?;
                    Ok(())
                })
                .unwrap_err();
            assert_eq!((failures.count(), failures.cancelled_count(), failures.skipped()), (1, 0, 0));
            assert_eq!((failures.to_string().as_str(), census.alive()), ("task#0 failed: before", 1));
        }
    });
}

#[derive(Debug)]
enum Fault {
    Real(Option<crate::util::Counted<&'static str>>),
    Cancelled,
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Fault::Cancelled
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Real(counted) => f.write_str(counted.as_ref().map_or("", |counted| counted.value)),
            Fault::Cancelled => f.write_str("cancelled"),
        }
    }
}

#[test]
fn a_body_that_fails_after_a_finish_has_failed() {
    let body = "the body's own";
    for builder in builders() {
        let error = builder.run(&live(), |s| {
            s.finish();
            Err::<(), _>(anyhow::anyhow!(body))
        });
        assert_eq!(error.unwrap_err().to_string(), body);
        let failures = builder.collect_all(&live(), |s| {
            s.finish();
            Err::<(), _>(anyhow::anyhow!(body))
        });
        let failures = failures.unwrap_err();
        assert_eq!((failures.count(), failures.to_string()), (1, format!("body#0 failed: {body}")));
        let (result, failures) = builder.supervise(&live(), |s| {
            s.finish();
            Err::<(), _>(anyhow::anyhow!(body))
        });
        assert_eq!((result.unwrap_err().to_string().as_str(), failures.is_empty()), (body, true));
    }
}

#[test]
fn a_panic_after_a_finish_counts() {
    watched(|| {
        for builder in builders() {
            let message = message_of(|| {
                _ = builder.run(&live(), |s| {
                    s.spawn(|s| -> Result<(), Cancelled> {
                        s.finish();
                        panic!("a task's")
                    })?;
                    Ok(())
                });
            });
            assert_eq!(message, "a task's");
            let message = message_of(|| {
                _ = builder.run(&live(), |s| -> Result<(), Cancelled> {
                    s.finish();
                    panic!("the body's")
                });
            });
            assert_eq!(message, "the body's");
            let (result, failures) = builder.supervise(&live(), |s| {
                s.spawn(|s| -> Result<(), Cancelled> {
                    s.finish();
                    panic!("a task's")
                })?;
                Ok(())
            });
            assert_eq!((result, failures.to_string().as_str()), (Ok(()), "task#0 panicked: a task's"));
            // The `Drop` of a closure that is skipped is the task's, too.
            let message = message_of(|| {
                _ = builder.run(&live(), |s| {
                    s.finish();
                    let bomb = Bomb("a drop's");
                    s.spawn(move |_| {
                        drop(bomb);
                        Ok(())
                    })?;
                    Ok::<_, Cancelled>(())
                });
            });
            assert_eq!(message, "a drop's");
        }
    });
}

#[test]
fn the_callers_token_wins_over_a_later_finish() {
    watched(|| {
        for builder in builders() {
            let token = live();
            let result = builder.run(&token, |s| {
                s.spawn(|s| leaves(s.token()))?;
                token.cancel_with(CancelReason::Signal(2));
                assert!(!s.finish());
                assert!(s.spawn(|_| Ok(())).is_err());
                Ok(())
            });
            let cancelled = result.unwrap_err().downcast::<Cancelled>().unwrap();
            assert_eq!(cancelled.reason(), CancelReason::Signal(2));
        }
        // A later cancel of the caller's finds the scope finished.
        let token = live();
        let result = scope(&token, |s| {
            s.finish();
            token.cancel();
            s.spawn(|_| Ok(()))?;
            Ok::<_, Cancelled>(3)
        });
        assert_eq!(result, Ok(3));
    });
}

#[test]
fn a_finish_of_an_outer_scope_cancels_an_inner_one_and_does_not_finish_it() {
    watched(|| {
        for builder in builders() {
            let inner = Mutex::new(None);
            let result = builder.run(&live(), |s| {
                s.spawn(|s| {
                    let ended = scope(s.token(), |within| {
                        s.finish();
                        assert_eq!(within.spawn(|_| Ok(())).unwrap_err(), FINISHED);
                        Ok::<_, Cancelled>(())
                    });
                    *inner.lock().unwrap() = Some(ended);
                    ended
                })?;
                Ok::<_, Cancelled>(1)
            });
            assert_eq!((result, inner.into_inner().unwrap()), (Ok(1), Some(Err(FINISHED))));
        }
    });
}

#[derive(Default)]
pub(super) struct Accounts {
    started: AtomicUsize,
    pub(super) ended: Mutex<Vec<Outcome>>,
}

impl Hooks for Accounts {
    fn started(&self, _: Task<'_>) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&self, _: Task<'_>, outcome: Outcome, _: Duration) {
        self.ended.lock().unwrap().push(outcome);
    }
}

impl Accounts {
    /// Returns how many tasks ended so, and checks that every task that started or was skipped has ended.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        let ended = self.ended.lock().unwrap();
        let skipped = ended.iter().filter(|outcome| matches!(outcome, Outcome::Skipped(_))).count();
        assert_eq!(self.started.load(Ordering::SeqCst) + skipped, ended.len());
        ended.iter().filter(|other| **other == outcome).count()
    }
}

#[test]
fn hooks_tell_tasks_that_were_skipped_from_those_that_ended_after_the_finish() {
    watched(|| {
        let accounts = Accounts::default();
        let result = ScopeBuilder::new().limit(2).queue(100).hooks(&accounts).run(&live(), |s| {
            let running = Gate::default();
            s.spawn({
                let running = running.clone();
                move |s| {
                    running.open();
                    leaves(s.token())
                }
            })?;
            s.spawn(move |s| {
                running.pass();
                s.finish();
                Ok(())
            })?;
            until(|| s.token().is_cancelled());
            for _ in 0..3 {
                s.spawn(|_| Ok(()))?;
            }
            Ok::<_, anyhow::Error>(())
        });
        assert!(result.is_ok());
        assert_eq!(accounts.count(Outcome::Completed), 1);
        assert_eq!(accounts.count(Outcome::Cancelled(CancelReason::Finished)), 1);
        assert_eq!(accounts.count(Outcome::Skipped(CancelReason::Finished)), 3);
    });
}

#[test]
fn the_first_value_finishes_the_scope_of_the_closures() {
    watched(|| {
        let reasons = Mutex::new(Vec::new());
        let all_in = std::sync::Barrier::new(3);
        let first = first_ok(
            &live(),
            (0..3).map(|closure| {
                let (all_in, reasons) = (&all_in, &reasons);
                move |token: &CancellationToken| {
                    all_in.wait();
                    if closure == 1 {
                        return Ok(closure);
                    }
                    reasons.lock().unwrap().push(token.wait());
                    Err(Cancelled::new(CancelReason::Finished))
                }
            }),
        );
        assert_eq!((first.unwrap(), reasons.into_inner().unwrap()), (1, vec![CancelReason::Finished; 2]));
    });
}
