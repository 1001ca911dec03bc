//! Scopes that let every task end, and list the failures.

use anyhow::Result;
use brigade::{Cancelled, Failure, ScopeBuilder};

use super::shown;
use crate::util::{Counter, Gate, live, watched};

#[test]
fn collect_all_lets_every_task_end_and_lists_the_failures_in_spawn_order() {
    watched(|| {
        let ended = Counter::default();
        let failures = ScopeBuilder::new()
            .collect_all(&live(), |s| {
                for task in 0..6 {
                    let ended = ended.clone();
                    s.named(["even", "odd"][task % 2]).spawn(move |s| {
                        assert!(!s.token().is_cancelled());
                        // The later ones end first.
                        ended.wait_for(5 - task);
                        ended.add();
                        match task {
                            1 => anyhow::bail!("one"),
                            4 => panic!("four"),
                            _ => Ok(()),
                        }
                    })?;
                }
                Ok(())
            })
            .unwrap_err();
        let shown = shown(&failures);
        assert_eq!(shown, ["odd#1 failed: one", "even#4 panicked: four"]);
        let failures: Vec<_> = failures.into_iter().collect();
        assert_eq!(failures[0].error().unwrap().to_string(), "one");
        assert_eq!((failures[1].name(), failures[1].index()), ("even", 4));
        let Some(Failure::Panic(panic)) = failures.into_iter().next_back() else { panic!("a panic") };
        assert_eq!(panic.into_payload().downcast_ref(), Some(&"four"));
    });
}

#[test]
fn collect_all_gives_the_value_if_nothing_failed_and_else_the_bodys_failure_last() {
    assert_eq!(ScopeBuilder::new().collect_all(&live(), |_| Ok::<_, Cancelled>(3)).unwrap(), 3);
    let failures = ScopeBuilder::new()
        .collect_all(&live(), |s| {
            s.spawn(|_| -> Result<()> { anyhow::bail!("task") })?;
            Err::<(), _>(anyhow::anyhow!("body"))
        })
        .unwrap_err();
    let shown = shown(&failures);
    assert_eq!(shown, ["task#0 failed: task", "body#0 failed: body"]);
}

#[test]
fn a_failure_that_is_joined_is_handled_and_not_listed() {
    watched(|| {
        let failures = ScopeBuilder::new()
            .collect_all(&live(), |s| {
                let (error, panic) = (
                    s.spawn(|_| -> Result<()> { anyhow::bail!("handled") })?,
                    s.spawn(|_| -> Result<()> { panic!("too") })?,
                );
                assert_eq!(error.join().unwrap_err().to_string(), "task#0 failed: handled");
                assert_eq!(panic.join().unwrap_err().into_panic().unwrap().message(), "too");
                let gate = Gate::default();
                let dropped = s.spawn({
                    let gate = gate.clone();
                    move |_| -> Result<()> {
                        gate.pass();
                        anyhow::bail!("dropped before it failed")
                    }
                })?;
                drop(dropped);
                gate.open();
                let held = s.spawn(|_| -> Result<()> { anyhow::bail!("dropped when it had failed") })?;
                crate::util::until(|| held.is_finished());
                drop(held);
                // By `?` the failure becomes the body's own.
                s.spawn(|_| -> Result<()> { anyhow::bail!("disk full") })?.join()?;
                Ok(())
            })
            .unwrap_err();
        let shown = shown(&failures);
        let expected = [
            "task#2 failed: dropped before it failed",
            "task#3 failed: dropped when it had failed",
            "body#0 failed: task#4 failed: disk full",
        ];
        assert_eq!(shown, expected);
    });
}
