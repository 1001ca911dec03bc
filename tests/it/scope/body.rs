//! The body of a scope and its tasks: values, names, the first failure, panics, joins, threads.

use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use brigade::{CancelReason, Cancelled, ScopeBuilder, scope};

use super::{Bomb, EagerBomb};
use crate::util::{
    Census, Gate, alone, cpu_time, live, message_of, payload_of, reached, threads, until_others_sleep, until_threads,
    watched,
};

#[test]
fn an_empty_scope_returns_the_bodys_value() {
    assert_eq!(scope(&live(), |_| Ok::<_, Cancelled>(7)), Ok(7));
}

#[test]
fn the_body_returns_after_every_task_has_ended() {
    watched(|| {
        let ended = AtomicUsize::new(0);
        let gate = Gate::default();
        scope(&live(), |s| {
            for _ in 0..10 {
                s.spawn(|_| {
                    gate.pass();
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })?;
            }
            gate.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(ended.into_inner(), 10);
    });
}

#[test]
fn tasks_borrow_and_give_their_values_back() {
    let words = ["a".to_owned(), "bc".to_owned()];
    let lengths = scope(&live(), |s| {
        let tasks: std::result::Result<Vec<_>, _> = words.iter().map(|word| s.spawn(|_| Ok(word.len()))).collect();
        tasks?.into_iter().map(|task| Ok(task.join()?)).collect::<Result<Vec<usize>>>()
    });
    assert_eq!(lengths.unwrap(), [1, 2]);
}

#[test]
fn a_task_may_spawn_tasks_that_outlive_it() {
    watched(|| {
        let count = AtomicUsize::new(0);
        let (inner_started, outer_ended) = (Gate::default(), Gate::default());
        scope(&live(), |s| {
            let outer = s.spawn(|s| {
                s.spawn(|s| {
                    inner_started.open();
                    outer_ended.pass();
                    s.spawn(|_| Ok(count.fetch_add(1, Ordering::SeqCst)))?;
                    Ok(count.fetch_add(1, Ordering::SeqCst))
                })?;
                Ok::<_, Cancelled>(())
            })?;
            outer.join()?;
            inner_started.pass();
            outer_ended.open();
            Ok(())
        })
        .unwrap();
        assert_eq!(count.into_inner(), 2);
    });
}

#[test]
fn threads_carry_the_name_and_index_of_their_task() {
    let name = || std::thread::current().name().map(ToOwned::to_owned);
    let names = scope(&live(), |s| {
        let plain = s.spawn(|_| Ok(name()))?;
        let parse = s.named("parse");
        let string = String::from("string");
        assert_eq!(s.named(&string).spawn(|_| Ok(()))?.name(), "string");
        assert_eq!(s.named(string).spawn(|_| Ok(()))?.name(), "string");
        let named = parse.spawn(|s| Ok((name(), s.spawn(|_| Ok(name()))?.join()?)))?;
        assert_eq!((plain.name(), named.name()), ("task", "parse"));
        let odd = s.named("nul\0").spawn(|_| Ok(name()))?.join()?;
        Ok::<_, Cancelled>((plain.join()?, named.join()?, odd))
    })
    .unwrap();
    let (plain, (named, inherited), odd) = names;
    assert_eq!((plain.as_deref(), named.as_deref()), (Some("task#0"), Some("parse#3")));
    assert!(inherited.unwrap().starts_with("parse#"));
    assert!(odd.unwrap().starts_with("nul\u{fffd}#"));
}

#[test]
fn the_first_error_cancels_the_siblings_and_is_returned() {
    watched(|| {
        for _ in 0..50 {
            let error = scope(&live(), |s| {
                for _ in 0..5 {
                    s.spawn(|s| -> Result<()> {
                        assert_eq!(s.token().wait(), CancelReason::Failed);
                        s.token().check()?;
                        unreachable!("cancelled")
                    })?;
                }
                s.spawn(|_| -> Result<()> { anyhow::bail!("the real error") })?;
                Ok(())
            })
            .unwrap_err();
            assert_eq!(error.to_string(), "the real error");
        }
    });
}

#[test]
fn an_error_of_the_body_cancels_the_tasks_too() {
    watched(|| {
        let error = scope(&live(), |s| {
            s.spawn(|s| Ok(s.token().wait()))?;
            Err::<(), _>(anyhow::anyhow!("body"))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "body");
    });
}

#[test]
fn a_panic_cancels_the_siblings_and_is_resumed_with_its_payload() {
    watched(|| {
        let payload = payload_of(|| {
            let _ = scope(&live(), |s| {
                s.spawn(|s| {
                    assert_eq!(s.token().wait(), CancelReason::Panicked);
                    s.token().check()
                })?;
                s.spawn(|_| -> std::result::Result<(), Cancelled> { panic_any(vec![1, 2, 3]) })?;
                Ok(())
            });
        });
        assert_eq!(payload.downcast_ref(), Some(&vec![1, 2, 3]));
    });
}

#[test]
fn a_panic_of_the_body_waits_for_the_tasks() {
    watched(|| {
        let ended = AtomicUsize::new(0);
        let message = message_of(|| {
            let _ = scope(&live(), |s| -> Result<()> {
                s.spawn(|s| {
                    s.token().wait();
                    Ok(ended.fetch_add(1, Ordering::SeqCst))
                })?;
                panic!("body");
            });
        });
        assert_eq!((message.as_str(), ended.into_inner()), ("body", 1));
    });
}

#[test]
fn a_panic_counts_more_than_an_error_before_it() {
    watched(|| {
        let message = message_of(|| {
            let _ = scope(&live(), |s| {
                s.spawn(|s| -> Result<()> {
                    s.token().wait();
                    panic!("after the error");
                })?;
                s.spawn(|_| -> Result<()> { anyhow::bail!("error") })?;
                Ok(())
            });
        });
        assert_eq!(message, "after the error");
    });
}

#[test]
fn of_several_panics_that_of_the_task_spawned_first_is_resumed() {
    watched(|| {
        for round in 0..100 {
            let all_in = std::sync::Barrier::new(3);
            let message = message_of(|| {
                let builder = if round % 2 == 0 { ScopeBuilder::new() } else { ScopeBuilder::new().limit(3) };
                let _ = builder.run(&live(), |s| {
                    for task in 0..3 {
                        let all_in = &all_in;
                        s.spawn(move |_| -> std::result::Result<(), Cancelled> {
                            all_in.wait();
                            panic!("task {task}");
                        })?;
                    }
                    Ok(())
                });
            });
            assert_eq!(message, "task 0");
        }
    });
}

#[test]
fn a_panic_of_the_body_counts_more_than_one_of_a_task() {
    watched(|| {
        let message = message_of(|| {
            let _ = scope(&live(), |s| -> std::result::Result<(), Cancelled> {
                s.spawn(|_| -> std::result::Result<(), Cancelled> { panic!("task") })?;
                s.token().wait();
                panic!("body");
            });
        });
        assert_eq!(message, "body");
    });
}

#[test]
fn join_gives_the_value_or_says_the_scope_was_cancelled() {
    watched(|| {
        let error = scope(&live(), |s| {
            let good = s.spawn(|_| Ok(5))?;
            assert_eq!(good.join()?, 5);
            let never = s.spawn(|s| Ok(s.token().wait()))?;
            assert!(!never.is_finished());
            let bad = s.spawn(|_| -> Result<()> { anyhow::bail!("bad") })?;
            assert_eq!(bad.join().unwrap_err().reason(), CancelReason::Failed);
            reached("the join of a task that ended by the cancellation");
            let _ = never.join();
            Ok(())
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "bad");
    });
}

#[test]
fn a_blocked_join_wakes_when_a_sibling_fails() {
    watched(|| {
        let error = scope(&live(), |s| {
            let hold = Gate::default();
            let held = s.spawn({
                let hold = hold.clone();
                move |_| Ok(hold.pass())
            })?;
            s.spawn(|_| -> Result<()> { anyhow::bail!("sibling") })?;
            let joined = held.join();
            hold.open();
            assert!(joined.is_err());
            Ok(())
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "sibling");
    });
}

#[test]
fn spawn_in_a_cancelled_scope_starts_nothing_and_says_so() {
    watched(|| {
        let token = live();
        let started = AtomicUsize::new(0);
        let result = scope(&token, |s| {
            token.cancel_with(CancelReason::Signal(2));
            let refused = s.spawn(|_| Ok(started.fetch_add(1, Ordering::SeqCst)));
            assert_eq!(refused.unwrap_err(), Cancelled::new(CancelReason::Signal(2)));
            Ok::<_, Cancelled>("ignored")
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Signal(2))));
        assert_eq!(started.into_inner(), 0);
    });
}

#[test]
fn a_cancelled_token_reaches_the_tasks_but_is_no_error_by_itself() {
    watched(|| {
        let token = live();
        let running = Gate::default();
        let result = scope(&token, |s| {
            let task = s.spawn(|s| {
                running.open();
                Ok(s.token().wait())
            })?;
            running.pass();
            token.cancel_with(CancelReason::Deadline);
            drop(task);
            Ok::<_, Cancelled>(1)
        });
        assert_eq!(result, Ok(1));
    });
}

#[test]
fn a_scope_never_cancels_the_token_it_was_given() {
    let token = live();
    scope(&token, |_| -> Result<()> { anyhow::bail!("failed") }).unwrap_err();
    assert!(!token.is_cancelled());
}

#[test]
fn values_are_dropped_once_joined_or_not() {
    watched(|| {
        let census = Census::default();
        scope(&live(), |s| {
            let joined = s.spawn(|_| Ok(census.make(1)))?;
            s.spawn(|_| Ok(census.make(2)))?;
            let _held = s.spawn(|_| Ok(census.make(3)))?;
            assert_eq!(joined.join()?.value, 1);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn a_payload_whose_drop_panics_does_not_get_in_the_way() {
    watched(|| {
        let payload = payload_of(|| {
            let both = std::sync::Barrier::new(2);
            let _ = scope(&live(), |s| {
                for first in [true, false] {
                    let both = &both;
                    s.spawn(move |_| -> std::result::Result<(), Cancelled> {
                        both.wait();
                        if first { panic_any("first") } else { panic_any(Bomb("bomb")) }
                    })?;
                }
                Ok(())
            });
        });
        assert_eq!(payload.downcast_ref(), Some(&"first"));
    });
}

#[test]
fn neither_a_value_nor_an_error_whose_drop_panics_replaces_a_panic() {
    struct Loud(#[expect(dead_code, reason = "it is there to be dropped")] EagerBomb);
    impl From<Cancelled> for Loud {
        fn from(_: Cancelled) -> Self {
            Loud(EagerBomb("bomb"))
        }
    }
    watched(|| {
        let message = message_of(|| {
            let _ = scope(&live(), |s| {
                let panics = s.spawn(|s| -> std::result::Result<(), Loud> {
                    s.token().wait();
                    panic!("task");
                });
                let fails = s.spawn(|_| Err::<(), _>(Loud(EagerBomb("bomb"))));
                assert!(panics.is_ok() && fails.is_ok());
                Ok(EagerBomb("bomb"))
            });
        });
        assert_eq!(message, "task");
    });
}

#[test]
fn a_thousand_tasks_one_after_the_other_leave_no_threads_behind() {
    if !alone!(a_thousand_tasks_one_after_the_other_leave_no_threads_behind) {
        return;
    }
    watched(|| {
        let before = threads();
        scope(&live(), |s| {
            for task in 0..1_000 {
                assert_eq!(s.spawn(move |_| Ok(task))?.join()?, task);
            }
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        until_threads(before);
        payload_of(|| {
            let _ = scope(&live(), |s| {
                (0..20).try_for_each(|_| s.spawn(|s| Ok(s.token().wait())).map(drop))?;
                s.spawn(|_| -> std::result::Result<(), Cancelled> { panic!("one of many") }).map(drop)
            });
        });
        until_threads(before);
    });
}

#[test]
fn a_waiting_join_burns_no_cpu_time() {
    if !alone!(a_waiting_join_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        let (hold, token) = (Gate::default(), live());
        scope(&live(), |s| {
            let held = s.spawn(|_| Ok(hold.pass()))?;
            let joining = s.spawn(move |_| held.join())?;
            until_others_sleep();
            let before = cpu_time();
            assert_eq!(token.wait_timeout(Duration::from_secs(1)), None);
            let burnt = cpu_time().saturating_sub(before);
            assert!(burnt < Duration::from_millis(5), "a second of waiting burnt {burnt:?}");
            hold.open();
            joining.join()
        })
        .unwrap();
    });
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_that_ends_the_scope() {
    // With an address space of 1.5 GB and stacks of 256 MB, only a few threads can be had.
    const LIMITS: &str = "-v 1500000 && export RUST_MIN_STACK=268435456";
    if !alone!(a_thread_that_cannot_be_started_is_an_error_that_ends_the_scope, LIMITS) {
        return;
    }
    watched(|| {
        let before = threads();
        let result = scope(&live(), |s| {
            for _ in 0..64 {
                s.spawn(|s| Ok(s.token().wait()))?;
            }
            Ok(())
        });
        let Err(Cancelled { .. }) = result else { panic!("64 stacks of 256 MB in 1.5 GB") };
        assert_eq!(result.unwrap_err().to_string(), "cancelled: the system refused to start a thread");
        until_threads(before);
    });
}
