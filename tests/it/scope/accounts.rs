//! The accounts of a scope that keeps going: which tasks failed, were cancelled or were skipped.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use brigade::hooks::Outcome;
use brigade::{CancelReason, CancellationToken, Cancelled, Failures, ScopeBuilder, scope};

use super::EagerBomb;
use crate::util::{Counter, Gate, live, until, watched};

/// Failed, cancelled, skipped.
fn accounts<E>(failures: &Failures<E>) -> (usize, usize, usize) {
    (failures.count(), failures.cancelled_count(), failures.skipped())
}

#[test]
fn tasks_that_a_failure_kept_from_starting_do_not_count_as_failed() {
    watched(|| {
        let (token, failed) = (live(), AtomicUsize::new(0));
        let failures = ScopeBuilder::new()
            .limit(1)
            .named("job")
            .collect_all(&token, |s| {
                for job in 0..20 {
                    s.spawn({
                        let (token, failed) = (&token, &failed);
                        move |_| -> Result<()> {
                            if failed.fetch_add(1, Ordering::SeqCst) == 2 {
                                token.cancel();
                            }
                            anyhow::bail!("{job}")
                        }
                    })
                    .ok();
                }
                Ok(())
            })
            .unwrap_err();
        // The third has cancelled the token before it failed.
        assert_eq!(accounts(&failures), (2, 1, 17));
        assert_eq!(failures.cancel_reason(), Some(CancelReason::Requested));
        assert_eq!(failures.to_string(), "job#0 failed: 0, and 1 other failure; 1 cancelled, 17 skipped");
        assert_eq!(failures.cancelled()[0].to_string(), "job#2 failed: 2");
    });
}

#[test]
fn a_scope_stops_after_as_many_failures_as_it_was_told() {
    watched(|| {
        for (limit, most) in [(1, 1), (1, 3), (2, 1), (2, 3), (4, 5)] {
            let builder = ScopeBuilder::new().limit(limit).queue(1_000).fail_after(most);
            let ran = AtomicUsize::new(0);
            let failures = builder
                .collect_all(&live(), |s| {
                    let hold = Gate::default();
                    for job in 0..100 {
                        let (hold, ran) = (hold.clone(), &ran);
                        s.spawn(move |_| -> Result<()> {
                            hold.pass();
                            ran.fetch_add(1, Ordering::SeqCst);
                            if job % 3 == 2 { panic!("job {job}") } else { anyhow::bail!("job {job}") }
                        })?;
                    }
                    hold.open();
                    Ok(())
                })
                .unwrap_err();
            let (failed, cancelled, skipped) = accounts(&failures);
            assert!((most..most + limit).contains(&(failed + cancelled)), "{failures}");
            assert!(failed >= most);
            assert_eq!((failed + cancelled, failed + cancelled + skipped), (ran.into_inner(), 100));
            assert_eq!(failures.cancel_reason(), Some(CancelReason::Failed));
        }
        // A failure that is joined counts, and the scope is cancelled by it; but it is handled.
        let (result, failures) = ScopeBuilder::new().fail_after(2).supervise(&live(), |s| {
            for job in 0..2 {
                assert!(s.spawn(move |_| -> Result<()> { anyhow::bail!("{job}") })?.join().is_err());
            }
            Ok::<_, anyhow::Error>(s.token().reason())
        });
        assert_eq!((result.unwrap(), failures.is_empty()), (Some(CancelReason::Failed), true));
        let none = ScopeBuilder::new().limit(1).fail_after(2).first_ok(
            &live(),
            (0..10).map(|job| move |_: &CancellationToken| -> Result<()> { anyhow::bail!("{job}") }),
        );
        let none = none.unwrap_err();
        assert_eq!((none.count(), none.skipped() > 0), (2, true));
    });
}

#[test]
#[should_panic(expected = "ScopeBuilder::fail_after(0): no task could ever run; 1 stops at the first failure")]
fn to_fail_after_no_failure_is_refused_where_it_is_set() {
    drop(ScopeBuilder::new().fail_after(0));
}

#[test]
fn a_run_that_was_cancelled_before_anything_failed_says_so() {
    watched(|| {
        let token = live();
        let failures = ScopeBuilder::new()
            .limit(1)
            .collect_all(&token, |s| {
                let running = Gate::default();
                s.spawn({
                    let running = running.clone();
                    move |s| {
                        running.open();
                        Err::<(), _>(Cancelled::new(s.token().wait()))
                    }
                })?;
                running.pass();
                s.spawn(|_| Ok(()))?;
                token.cancel_with(CancelReason::Signal(2));
                assert!(s.spawn(|_| Ok(())).is_err());
                Ok::<_, Cancelled>(())
            })
            .unwrap_err();
        assert_eq!(accounts(&failures), (0, 1, 2));
        assert_eq!(failures.to_string(), "cancelled: signal 2; 1 cancelled, 2 skipped");
        assert!(!failures.is_empty());
    });
}

#[test]
fn a_body_thrown_out_by_a_refused_spawn_counts_as_cancelled() {
    let token = live();
    token.cancel();
    let failures = ScopeBuilder::new().collect_all(&token, |s| -> Result<()> {
        s.spawn(|_| Ok(()))?;
        unreachable!("refused")
    });
    let failures = failures.unwrap_err();
    assert_eq!(accounts(&failures), (0, 1, 1));
    assert_eq!(failures.cancelled()[0].to_string(), "body#0 failed: cancelled: requested");
}

#[test]
fn of_more_errors_after_the_cancel_than_are_kept_the_others_are_counted() {
    watched(|| {
        let token = live();
        let failures = ScopeBuilder::new()
            .failures(2)
            .collect_all(&token, |s| {
                for task in 0..5 {
                    s.spawn(move |s| -> Result<()> {
                        s.token().wait();
                        anyhow::bail!("{task}")
                    })?;
                }
                token.cancel();
                Ok(())
            })
            .unwrap_err();
        let shown: Vec<String> = failures.cancelled().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["task#0 failed: 0", "task#1 failed: 1"]);
        assert_eq!(accounts(&failures), (0, 5, 0));
    });
}

#[test]
fn a_join_that_gives_up_handles_the_error_that_the_task_ends_with_later() {
    watched(|| {
        for limit in [None, Some(1), Some(2)] {
            let builder = limit.map_or_else(ScopeBuilder::new, |limit| ScopeBuilder::new().limit(limit));
            for panics in [false, true] {
                let token = live();
                let (running, go_on) = (Gate::default(), Gate::default());
                let result = builder.collect_all(&token, |s| {
                    let (running, go_on) = (&running, &go_on);
                    let task = s.spawn(move |s| -> Result<()> {
                        running.open();
                        go_on.pass();
                        assert!(!panics, "a panic");
                        Ok(s.token().check()?)
                    })?;
                    running.pass();
                    token.cancel();
                    let failure = task.join().unwrap_err();
                    assert_eq!(failure.cancelled(), Some(Cancelled::new(CancelReason::Requested)));
                    go_on.open();
                    Ok(1)
                });
                match result {
                    Ok(value) => assert_eq!((value, panics), (1, false)),
                    Err(failures) => {
                        assert_eq!((failures.to_string().as_str(), panics), ("task#0 panicked: a panic", true));
                    }
                }
            }
        }
    });
}

#[test]
fn a_skipped_task_whose_join_said_so_is_not_counted_again() {
    watched(|| {
        let token = live();
        let (running, hold) = (Gate::default(), Gate::default());
        let failures = ScopeBuilder::new().limit(1).collect_all(&token, |s| {
            let (running, hold) = (&running, &hold);
            s.spawn(move |_| {
                running.open();
                Ok(hold.pass())
            })?;
            running.pass();
            let (joined, left) = (s.spawn(|_| Ok(()))?, s.spawn(|_| Ok(()))?);
            token.cancel();
            assert!(joined.join().unwrap_err().cancelled().is_some());
            hold.open();
            until(|| left.is_finished());
            drop(left);
            Ok::<_, Cancelled>(())
        });
        assert_eq!(accounts(&failures.unwrap_err()), (0, 0, 1));
    });
}

#[test]
fn hooks_say_of_a_task_what_the_list_says() {
    use brigade::hooks::{Hooks, Task};
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    struct Outcomes(Mutex<Vec<Outcome>>);
    impl Hooks for Outcomes {
        fn ended(&self, _: Task<'_>, outcome: Outcome, _: Duration) {
            self.0.lock().unwrap().push(outcome);
        }
    }
    watched(|| {
        for most in 1..6 {
            let outcomes = Outcomes::default();
            let builder = ScopeBuilder::new().limit(2).queue(100).fail_after(most).hooks(&outcomes);
            let result = builder.collect_all(&live(), |s| {
                for job in 0..40 {
                    s.spawn(move |s| match job % 3 {
                        0 => anyhow::bail!("{job}"),
                        1 => Ok(s.token().check()?),
                        _ => Ok(()),
                    })
                    .ok();
                }
                Ok(())
            });
            let failures = result.unwrap_err();
            let ended = outcomes.0.into_inner().unwrap();
            let number = |is: fn(&Outcome) -> bool| ended.iter().filter(|outcome| is(outcome)).count();
            assert_eq!(number(|outcome| *outcome == Outcome::Failed), failures.count());
            assert_eq!(number(|outcome| matches!(outcome, Outcome::Cancelled(_))), failures.cancelled_count());
            // A spawn that was refused made no task.
            assert_eq!(number(|outcome| matches!(outcome, Outcome::Skipped(_))) + 40 - ended.len(), failures.skipped());
        }
    });
}

#[test]
fn values_of_several_closures_whose_drop_panics_end_no_process() {
    use brigade::scope::{try_join_all, try_join3, try_join4};
    use brigade::try_join;

    use crate::util::message_of;

    type Ended<T> = std::result::Result<T, Cancelled>;
    /// Closures of one call. The one that fails waits for the bombs of the others, because it would keep closures
    /// from starting otherwise.
    #[derive(Default)]
    struct Round(Counter);
    impl Round {
        fn bomb(&self, message: &'static str) -> impl FnOnce(&CancellationToken) -> Ended<EagerBomb> + Send {
            move |_| {
                self.0.add();
                Ok(EagerBomb(message))
            }
        }

        fn fails(&self, bombs: usize) -> impl FnOnce(&CancellationToken) -> Ended<EagerBomb> + Send {
            move |_| {
                self.0.wait_for(bombs);
                Err(Cancelled::new(CancelReason::Other("real")))
            }
        }
    }
    watched(|| {
        let t = live();
        // The real error comes first, and a panic counts more.
        let panics: [&dyn Fn(); 8] = [
            &|| {
                let r = Round::default();
                assert!(try_join(&t, r.fails(1), r.bomb("b")).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join3(&t, r.fails(2), r.bomb("b"), r.bomb("c")).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join3(&t, r.bomb("a"), r.fails(2), r.bomb("c")).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join4(&t, r.fails(3), r.bomb("b"), r.bomb("c"), r.bomb("d")).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join4(&t, r.bomb("a"), r.bomb("b"), r.fails(3), r.bomb("d")).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join4(&t, r.bomb("a"), r.bomb("b"), r.bomb("c"), r.fails(3)).map(std::mem::forget).is_ok());
            },
            &|| {
                let r = Round::default();
                assert!(try_join_all(&t, ["a", "b", "c"].map(|message| r.bomb(message))).map(std::mem::forget).is_ok());
            },
            &|| {
                // A panic beside the values: that of a callback of the token.
                let result = scope(&t, |s| {
                    s.token().on_cancel(|_| panic!("callback")).detach();
                    s.spawn(|_| Err::<(), _>(Cancelled::new(CancelReason::Requested)))?;
                    Ended::Ok(())
                });
                assert!(result.is_ok());
            },
        ];
        for (at, run) in panics.iter().enumerate() {
            match at {
                6 => run(),
                7 => assert_eq!(message_of(run), "callback"),
                _ => assert_eq!(message_of(run).len(), 1, "the message of a bomb"),
            }
        }
    });
}
