//! The policies of a scope, its hooks, and `try_join` and `first_ok`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use brigade::hooks::{Hooks, Outcome, Task};
use brigade::scope::{first_ok, try_join_all, try_join3, try_join4};
use brigade::{CancelReason, CancellationToken, Cancelled, Panic, ScopeBuilder, scope, try_join};
use proptest::prelude::*;

use super::{Log, shown};
use crate::util::{Gate, live, message_of, payload_of, reached, watched};

#[test]
fn supervised_tasks_disturb_neither_each_other_nor_the_body() {
    watched(|| {
        let go_on = Gate::default();
        let (result, failures) = ScopeBuilder::new().supervise(&live(), |s| {
            let fails = s.spawn(|_| -> Result<()> { anyhow::bail!("an error") })?;
            s.spawn(|_| -> Result<()> { panic!("a panic") })?;
            let works = s.spawn(|s| {
                go_on.pass();
                s.token().check()?;
                Ok(7)
            })?;
            assert_eq!(fails.join().unwrap_err().to_string(), "task#0 failed: an error");
            go_on.open();
            Ok::<_, anyhow::Error>(works.join()?)
        });
        assert_eq!(result.unwrap(), 7);
        assert_eq!(shown(&failures), ["task#1 panicked: a panic"]);
        let payload = payload_of(|| drop(failures.resume_panic()));
        assert_eq!(payload.downcast_ref(), Some(&"a panic"));
    });
}

#[test]
fn a_supervising_body_that_fails_cancels_its_tasks() {
    watched(|| {
        let (result, failures) = ScopeBuilder::new().supervise(&live(), |s| {
            s.spawn(|s| -> Result<()> {
                assert_eq!(s.token().wait(), CancelReason::Failed);
                anyhow::bail!("left alone")
            })?;
            Err::<(), _>(anyhow::anyhow!("body"))
        });
        assert_eq!(result.unwrap_err().to_string(), "body");
        assert_eq!((failures.count(), failures.cancelled()[0].to_string().as_str()), (0, "task#0 failed: left alone"));
        let message = message_of(|| {
            let _ = ScopeBuilder::new().supervise(&live(), |s| -> Result<()> {
                s.spawn(|s| Ok(s.token().wait()))?;
                panic!("the body's")
            });
        });
        assert_eq!(message, "the body's");
    });
}

#[test]
fn of_more_failures_than_are_kept_the_first_are_and_the_others_are_counted() {
    watched(|| {
        for limit in [1, 3] {
            let failures = ScopeBuilder::new()
                .limit(limit)
                .failures(2)
                .collect_all(&live(), |s| {
                    for task in 0..10 {
                        s.spawn(move |_| -> Result<()> { anyhow::bail!("{task}") })?;
                    }
                    Ok(())
                })
                .unwrap_err();
            assert_eq!(shown(&failures), ["task#0 failed: 0", "task#1 failed: 1"]);
            assert_eq!((failures.count(), failures.omitted(), failures.is_empty()), (10, 8, false));
            assert_eq!(failures.to_string(), "task#0 failed: 0, and 9 other failures");
        }
        let none = ScopeBuilder::new().failures(0).collect_all(&live(), |s| {
            s.spawn(|_| -> Result<()> { anyhow::bail!("gone") })?;
            Ok(())
        });
        assert_eq!(none.unwrap_err().to_string(), "1 failure");
    });
}

#[test]
fn a_panic_that_is_not_kept_is_not_lost() {
    watched(|| {
        for kept in [0, 1, 2] {
            let builder = ScopeBuilder::new().limit(1).failures(kept);
            let closures = || {
                (0..5).map(|task| {
                    move |_: &CancellationToken| -> Result<()> {
                        assert!(task < 3, "task {task}");
                        anyhow::bail!("{task}")
                    }
                })
            };
            assert_eq!(message_of(|| drop(builder.first_ok(&live(), closures()))), "task 3");
            let failures = builder.collect_all(&live(), |s| {
                closures().try_for_each(|closure| s.spawn(move |s| closure(s.token())).map(drop))?;
                Ok(())
            });
            let failures = failures.unwrap_err();
            assert_eq!((failures.count(), failures.omitted()), (5, 5 - kept));
            assert_eq!(message_of(|| drop(failures.resume_panic())), "task 3");
        }
    });
}

#[test]
fn a_task_with_a_thread_of_its_own_runs_even_if_the_scope_is_cancelled_at_once() {
    watched(|| {
        for _ in 0..100 {
            let ran = AtomicUsize::new(0);
            let error = scope(&live(), |s| {
                s.spawn(|_| Ok(ran.fetch_add(1, Ordering::SeqCst)))?;
                Err::<(), _>(anyhow::anyhow!("body"))
            });
            assert_eq!((error.unwrap_err().to_string().as_str(), ran.into_inner()), ("body", 1));
        }
    });
}

#[test]
fn hooks_are_told_of_every_start_end_and_panic() {
    watched(|| {
        let log = Log::default();
        let builder = ScopeBuilder::new().limit(1).named("work").hooks(&log);
        let failures = builder.collect_all(&live(), |s| {
            s.spawn(|_| Ok(()))?;
            s.named("other").spawn(|_| -> Result<()> { anyhow::bail!("error") })?;
            s.spawn(|_| -> Result<()> { panic!("panic") })?;
            Ok(())
        });
        assert_eq!(failures.unwrap_err().count(), 2);
        let expected = [
            "work#0 started",
            "work#0 completed",
            "other#1 started",
            "other#1 failed",
            "work#2 started",
            "work#2 panicked: panic",
            "work#2 panicked",
        ];
        assert_eq!(log.lines(), expected);

        let hold = Gate::default();
        let error = builder.run(&live(), |s| {
            s.spawn(|_| -> Result<()> {
                hold.pass();
                anyhow::bail!("error")
            })?;
            s.spawn(|_| Ok(()))?;
            hold.open();
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "error");
        assert_eq!(log.lines(), ["work#0 started", "work#0 failed", "work#1 skipped: a sibling failed"]);
    });
}

#[test]
fn a_panic_in_a_hook_ends_the_scope_and_hangs_nobody() {
    struct Broken(&'static str);
    impl Hooks for Broken {
        fn started(&self, _: Task<'_>) {
            assert!(self.0 != "started", "started");
        }

        fn ended(&self, _: Task<'_>, _: Outcome, _: Duration) {
            assert!(self.0 != "ended", "ended");
        }

        fn panicked(&self, _: &Panic) {
            assert!(self.0 != "panicked", "panicked");
        }
    }
    watched(|| {
        for (broken, expected) in [("started", "started"), ("ended", "ended"), ("panicked", "the task's own")] {
            let hooks = Broken(broken);
            let message = message_of(|| {
                let _ = ScopeBuilder::new().hooks(&hooks).run(&live(), |s| {
                    s.spawn(|s| Ok(s.token().wait()))?;
                    s.spawn(|_| if broken == "panicked" { panic!("the task's own") } else { Ok(()) })?;
                    Ok::<_, Cancelled>(())
                });
            });
            assert_eq!(message, expected);
        }
    });
}

#[test]
fn the_first_value_wins_and_the_others_are_cancelled() {
    watched(|| {
        for limit in [None, Some(1), Some(2)] {
            let builder = limit.map_or_else(ScopeBuilder::new, |limit| ScopeBuilder::new().limit(limit));
            let closures = (0..5).map(|task| {
                move |token: &CancellationToken| -> Result<usize> {
                    match task {
                        0 => anyhow::bail!("not I"),
                        1 => Ok(task),
                        _ => {
                            token.wait();
                            token.check()?;
                            unreachable!("cancelled")
                        }
                    }
                }
            });
            assert_eq!(builder.first_ok(&live(), closures).unwrap(), 1);
        }
        let none = first_ok(
            &live(),
            (0..3).map(|task| move |_: &CancellationToken| -> Result<()> { anyhow::bail!("{task}") }),
        );
        assert_eq!(shown(&none.unwrap_err()), ["task#0 failed: 0", "task#1 failed: 1", "task#2 failed: 2"]);
        let empty = first_ok(&live(), std::iter::empty::<fn(&CancellationToken) -> Result<()>>());
        assert_eq!(empty.unwrap_err().to_string(), "nothing failed");
        let message = message_of(|| {
            let ended = Gate::default();
            let panics = &|_: &CancellationToken| -> Result<i32> {
                ended.open();
                panic!("a bug")
            };
            let succeeds = &|_: &CancellationToken| {
                ended.pass();
                Ok(1)
            };
            let either = |first| move |token: &CancellationToken| if first { panics(token) } else { succeeds(token) };
            drop(first_ok(&live(), [true, false].map(either)));
        });
        assert_eq!(message, "a bug");
    });
}

#[test]
fn closures_that_are_joined_run_at_once_and_one_of_them_on_the_calling_thread() {
    watched(|| {
        let here = std::thread::current().id();
        let all_in = std::sync::Barrier::new(4);
        let at_once = |_: &CancellationToken| {
            all_in.wait();
            Ok::<_, Cancelled>(std::thread::current().id())
        };
        let (a, b, c, d) = try_join4(&live(), at_once, at_once, at_once, at_once).unwrap();
        assert!(a != here && b != here && c != here && d == here);
        let three = try_join3(&live(), |_| Ok(1), |_| Ok("two"), |_| Ok::<_, Cancelled>(3.0));
        assert_eq!(three, Ok((1, "two", 3.0)));
        let all = try_join_all(&live(), (0..4).map(|task| move |_: &CancellationToken| Ok::<_, Cancelled>(task)));
        assert_eq!(all, Ok(vec![0, 1, 2, 3]));

        for first_fails in [true, false] {
            let role = |fails: bool| {
                move |token: &CancellationToken| -> Result<()> {
                    if fails {
                        anyhow::bail!("the real one");
                    }
                    token.wait();
                    Ok(token.check()?)
                }
            };
            let error = try_join(&live(), role(first_fails), role(!first_fails)).unwrap_err();
            assert_eq!(error.to_string(), "the real one");
        }
        let message = message_of(|| _ = try_join(&live(), |_| -> Result<()> { panic!("first") }, |_| Ok(())));
        assert_eq!(message, "first");
    });
}

#[derive(Clone, Copy, Debug)]
struct Fate {
    ends: u8,
    joined: bool,
}

fn run_task(task: usize, fate: Fate) -> Result<usize> {
    match fate.ends {
        0 => anyhow::bail!("error {task}"),
        1 => std::panic::panic_any(format!("panic {task}")),
        _ => Ok(task),
    }
}

fn failure(task: usize, fate: Fate) -> Option<String> {
    match fate.ends {
        0 => Some(format!("task#{task} failed: error {task}")),
        1 => Some(format!("task#{task} panicked: panic {task}")),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_equals_its_model(
        fates in prop::collection::vec((0_u8..6, any::<bool>()).prop_map(|(ends, joined)| Fate { ends, joined }), 0..20),
        limit in prop::option::of(1_usize..4),
        kept in 1_usize..30,
    ) {
        watched(move || {
            reached(&format!("{fates:?}, limit {limit:?}, {kept} kept"));
            let builder = limit.map_or_else(ScopeBuilder::new, |limit| ScopeBuilder::new().limit(limit)).failures(kept);
            // The failures that are not joined, in the order of spawning, and at most `kept` of them.
            let all: Vec<String> = (0..).zip(&fates).filter(|(_, fate)| !fate.joined).filter_map(|(task, fate)| failure(task, *fate)).collect();
            let listed = &all[..all.len().min(kept)];

            let body = |s: &brigade::scope::Scope<'_, '_, anyhow::Error, brigade::scope::KeepGoing>| {
                let tasks: Vec<_> = fates
                    .iter()
                    .enumerate()
                    .map(|(task, fate)| (s.spawn({ let fate = *fate; move |_| run_task(task, fate) }), task, *fate))
                    .collect();
                for (spawned, task, fate) in tasks {
                    if fate.joined {
                        let joined = spawned?.join().map_err(|failure| failure.to_string());
                        assert_eq!(joined, failure(task, fate).map_or(Ok(task), Err));
                    }
                }
                Ok(())
            };
            let collected = builder.collect_all(&live(), body);
            match &collected {
                Ok(()) => assert!(all.is_empty()),
                Err(failures) => assert_eq!((shown(failures).as_slice(), failures.count()), (listed, all.len())),
            }
            let (result, failures) = builder.supervise(&live(), body);
            assert!(result.is_ok());
            assert_eq!((shown(&failures).as_slice(), failures.count()), (listed, all.len()));

            // On one thread the order of time is that of spawning: the first error, unless a panic came before it.
            let first_panic = fates.iter().position(|fate| fate.ends == 1);
            let first_error = fates.iter().position(|fate| fate.ends == 0);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                ScopeBuilder::new().limit(1).queue(100).run(&live(), |s| {
                    for (task, fate) in fates.iter().enumerate() {
                        let fate = *fate;
                        if s.spawn(move |_| run_task(task, fate)).is_err() {
                            break;
                        }
                    }
                    Ok(())
                })
            }));
            match (outcome, first_error, first_panic) {
                (Ok(Ok(())), None, None) => {}
                (Ok(Err(error)), Some(at), panic) if panic.is_none_or(|panic| at < panic) => {
                    assert_eq!(error.to_string(), format!("error {at}"));
                }
                (Err(payload), error, Some(at)) if error.is_none_or(|error| at < error) => {
                    assert_eq!(*payload.downcast::<String>().unwrap(), format!("panic {at}"));
                }
                (other, ..) => panic!("{:?} {first_error:?} {first_panic:?}", other.map(|ended| ended.map_err(|error| error.to_string())).ok()),
            }
        });
    }
}
