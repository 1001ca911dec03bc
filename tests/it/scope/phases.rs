//! A cancel and a panic at every step of a scope, and in every wait of its tasks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::scope::{FailFast, Scope};
use brigade::{CancelReason, CancellationToken, Cancelled, Failure, Pipeline, ScopeBuilder, Until, par_map, scope};
use crossbeam::channel::bounded;

use super::Bomb;
use crate::util::{Census, Counted, live, message_of, reached, watched};

/// Does something at the step of this number.
struct Steps<'a> {
    taken: AtomicUsize,
    at: usize,
    act: &'a (dyn Fn() + Sync),
}

impl Steps<'_> {
    fn step(&self) {
        if self.taken.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.act)();
        }
    }
}

const TASKS: usize = 6;

/// A body that spawns, tasks that spawn, a join in a task and one in the body; with a step wherever something can
/// happen. Each value counts itself.
fn run<'env>(
    s: &Scope<'_, 'env, Cancelled, FailFast>,
    steps: &'env Steps<'env>,
    census: &'env Census,
) -> Result<usize, Cancelled> {
    steps.step();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let captured = census.make(task);
        tasks.push(s.spawn(move |s| {
            steps.step();
            let inner = census.make(captured.value);
            let nested = s.spawn(move |s| {
                steps.step();
                s.token().check()?;
                Ok(census.make(inner.value))
            })?;
            // Odd ones leave it to the scope.
            let value = if captured.value % 2 == 0 { nested.join()?.value } else { captured.value };
            steps.step();
            Ok(census.make(value))
        })?);
        steps.step();
    }
    let values = s.join_all(tasks)?;
    steps.step();
    Ok(values.iter().map(|value: &Counted<usize>| value.value).sum())
}

fn builders() -> [ScopeBuilder<'static>; 4] {
    let limited = |limit, queue| ScopeBuilder::new().limit(limit).queue(queue);
    [ScopeBuilder::new(), limited(1, 0), limited(2, 1), limited(3, 100)]
}

/// How many steps there are where nothing happens.
fn all_steps() -> usize {
    let steps = Steps { taken: AtomicUsize::new(0), at: usize::MAX, act: &|| {} };
    let census = Census::default();
    let sum = ScopeBuilder::new().run(&live(), |s| run(s, &steps, &census));
    assert_eq!((sum, census.alive()), (Ok(TASKS * (TASKS - 1) / 2), 0));
    steps.taken.into_inner()
}

#[test]
fn a_cancel_at_any_step_ends_the_scope_with_its_sum_or_as_cancelled() {
    watched(|| {
        let count = all_steps();
        let mut seen = BTreeSet::new();
        for round in 0..20 {
            for builder in builders() {
                for at in 0..=count {
                    reached(&format!("round {round}, {builder:?}, step {at}"));
                    let token = live();
                    let act = || _ = token.cancel_with(CancelReason::Signal(15));
                    let census = Census::default();
                    let steps = Steps { taken: AtomicUsize::new(0), at, act: &act };
                    let result = builder.run(&token, |s| run(s, &steps, &census));
                    match result {
                        Ok(sum) => assert_eq!(sum, TASKS * (TASKS - 1) / 2),
                        Err(cancelled) => assert_eq!(cancelled.reason(), CancelReason::Signal(15)),
                    }
                    assert_eq!(census.alive(), 0);
                    seen.insert(result.is_ok());
                }
            }
        }
        assert_eq!(seen.len(), 2, "some cancels came late, and some did not");
    });
}

#[test]
fn a_panic_at_any_step_ends_the_scope_with_its_message() {
    watched(|| {
        let count = all_steps();
        for builder in builders() {
            for at in 0..count {
                reached(&format!("{builder:?}, step {at}"));
                let census = Census::default();
                let act = || panic!("at step {at}");
                let message = message_of(|| {
                    let steps = Steps { taken: AtomicUsize::new(0), at, act: &act };
                    _ = builder.run(&live(), |s| run(s, &steps, &census));
                });
                assert_eq!((message, census.alive()), (format!("at step {at}"), 0));
            }
        }
    });
}

type Wait<'a> = dyn Fn(&Scope<'_, '_, Cancelled>) -> Result<(), Cancelled> + Sync + 'a;

#[test]
fn a_panic_wakes_siblings_wherever_they_wait_with_the_token() {
    watched(|| {
        // One waits for room, one for an item, in channels that no other thread uses.
        let (full_sender, _full) = bounded(0);
        let (_empty, empty_receiver) = bounded::<()>(0);
        let (first, second) = (live(), live());
        let waits: [(&str, &Wait<'_>); 10] = [
            ("wait", &|s| Err(Cancelled::new(s.token().wait()))),
            ("wait_timeout", &|s| {
                s.token().wait_timeout(Duration::MAX).map_or(Ok(()), |reason| Err(Cancelled::new(reason)))
            }),
            ("sleep", &|s| s.token().sleep(Duration::MAX)),
            ("send", &|s| full_sender.until(s.token()).send(()).map_err(|_| s.token().check().unwrap_err())),
            ("recv", &|s| empty_receiver.until(s.token()).recv().map_err(|_| s.token().check().unwrap_err())),
            ("a token of several", &|s| {
                let any = CancellationToken::any_of([&first, s.token(), &second]);
                Err(Cancelled::new(any.wait()))
            }),
            ("a join", &|s| {
                let never = s.spawn(|s| Ok(s.token().wait()))?;
                never.join().map(drop)
            }),
            ("a scope", &|s| {
                scope(s.token(), |inner| {
                    inner.spawn(|inner| Err::<(), _>(Cancelled::new(inner.token().wait())))?.join()
                })
            }),
            ("a limited scope", &|s| {
                ScopeBuilder::new().limit(1).queue(0).run(s.token(), |inner| {
                    loop {
                        inner.spawn(|inner| Ok(inner.token().wait()))?;
                    }
                })
            }),
            ("a pipeline", &|s| {
                Pipeline::from_receiver(empty_receiver.clone()).threads(2).map(|()| ()).for_each(s.token(), drop)
            }),
        ];
        for (name, wait) in waits {
            for siblings in [1, 8] {
                reached(name);
                let message = message_of(|| {
                    let _ = scope(&live(), |s| {
                        for _ in 0..siblings {
                            s.spawn(|s| wait(s))?;
                        }
                        s.spawn(|_| -> Result<(), Cancelled> { panic!("a bug") })?;
                        wait(s)
                    });
                });
                assert_eq!(message, "a bug", "{name}");
                // An error does the same, and the scope ends with it.
                let result = scope(&live(), |s| {
                    (0..siblings).try_for_each(|_| s.spawn(|s| wait(s)).map(drop))?;
                    s.spawn(|_| Err::<(), _>(Cancelled::new(CancelReason::Other("the first"))))?;
                    wait(s)
                });
                assert_eq!(result, Err(Cancelled::new(CancelReason::Other("the first"))), "{name}");
            }
        }
    });
}

#[test]
fn a_task_that_never_waits_stops_where_it_looks() {
    watched(|| {
        let result = scope(&live(), |s| {
            s.spawn(|s| {
                loop {
                    par_map(s.token(), 0..1_000, |item| item + 1)?;
                }
            })
            .map(|task: brigade::scope::ScopedTask<'_, (), _>| task)?;
            s.spawn(|_| Err::<(), _>(Cancelled::new(CancelReason::Other("stop"))))?;
            Ok(())
        });
        assert_eq!(result, Err(Cancelled::new(CancelReason::Other("stop"))));
    });
}

#[test]
fn what_panics_when_it_is_dropped_ends_no_process_wherever_it_is() {
    fn bomb() -> Bomb {
        Bomb("the bomb went off")
    }
    watched(|| {
        for builder in builders() {
            // A payload, and one that loses against it.
            let message = message_of(|| {
                let payload = crate::util::payload_of(|| {
                    let _ = builder.run(&live(), |s| {
                        for _ in 0..4 {
                            s.spawn(|_| -> Result<(), Cancelled> { std::panic::panic_any(bomb()) })?;
                        }
                        Ok(())
                    });
                });
                drop(payload.downcast::<Bomb>().expect("one of them, as it was thrown"));
            });
            assert_eq!(message, "the bomb went off");
            // A value that is not joined, one that is joined too late, a closure that is skipped, an error that loses.
            let dropped =
                builder.collect_all(&live(), |s| s.spawn(|_| Ok::<_, Cancelled>(bomb())).map(drop)).unwrap_err();
            assert_eq!(dropped.as_slice()[0].panic().unwrap().message(), "the bomb went off");
            let skipped = message_of(|| {
                let _ = builder.run(&live(), |s| -> Result<(), Cancelled> {
                    for _ in 0..4 {
                        let bomb = bomb();
                        s.spawn(move |s| {
                            let _bomb = bomb;
                            s.token().cancel();
                            Ok(())
                        })?;
                    }
                    Ok(())
                });
            });
            assert_eq!(skipped, "the bomb went off");
            let failures = builder
                .failures(1)
                .collect_all(&live(), |s| {
                    (0..3).try_for_each(|_| {
                        s.spawn(|_| Err::<(), _>(Explosive(bomb()))).map(drop).map_err(Explosive::from)
                    })
                })
                .unwrap_err();
            assert_eq!(failures.count(), 3);
            let mut failures = failures.into_iter();
            std::mem::forget(failures.next().map(Failure::into_error));
        }
    });
}

/// An error with a bomb in it.
struct Explosive(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);

impl From<Cancelled> for Explosive {
    fn from(_: Cancelled) -> Self {
        Explosive(Bomb("the bomb went off"))
    }
}
