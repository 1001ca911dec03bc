//! A `finish` that races with a failure, a cancel, spawns and the last join.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::hooks::Outcome;
use brigade::{CancelReason, Cancelled, ScopeBuilder};

use super::finish::Accounts;
use crate::util::{live, reached, watched};

/// How often each race is run, at least; there are five.
const RACES: usize = 2_500;

#[test]
fn a_finish_that_races_with_a_failure_leaves_one_winner() {
    watched(|| {
        for race in 0..RACES {
            let (finished, line) = (AtomicBool::new(false), std::sync::Barrier::new(2));
            let result = ScopeBuilder::new().limit(2).run(&live(), |s| {
                s.spawn(|s| {
                    line.wait();
                    finished.store(s.finish(), Ordering::SeqCst);
                    Ok(())
                })?;
                s.spawn(|_| {
                    line.wait();
                    Err::<(), _>(Cancelled::new(CancelReason::Other("real")))
                })?;
                if race % 2 == 0 {
                    s.token().wait();
                }
                Ok(())
            });
            match result {
                Ok(()) => assert!(finished.into_inner()),
                // It came before the finish, won that or not.
                Err(error) => assert_eq!(error.reason(), CancelReason::Other("real")),
            }
        }
    });
}

#[test]
fn a_finish_that_races_with_a_cancel_leaves_one_winner() {
    watched(|| {
        for _ in 0..RACES {
            let (token, finished, line) = (live(), AtomicBool::new(false), std::sync::Barrier::new(2));
            let result = ScopeBuilder::new().limit(2).run(&token, |s| {
                s.spawn(|s| {
                    line.wait();
                    finished.store(s.finish(), Ordering::SeqCst);
                    Ok(())
                })?;
                s.spawn(|s| Err::<(), _>(Cancelled::new(s.token().wait())))?;
                line.wait();
                token.cancel();
                Ok(())
            });
            let expected = if finished.into_inner() { Ok(()) } else { Err(Cancelled::new(CancelReason::Requested)) };
            assert_eq!(result, expected);
        }
    });
}

#[test]
fn a_finish_that_races_with_spawns_loses_no_task() {
    watched(|| {
        for race in 0..RACES {
            let (accounts, ran, line) = (Accounts::default(), AtomicUsize::new(0), std::sync::Barrier::new(2));
            let builder = ScopeBuilder::new().limit(2).queue(race % 3).hooks(&accounts);
            let values = builder.collect_all(&live(), |s| {
                let (line, ran) = (&line, &ran);
                let finder = s.spawn(move |s| {
                    line.wait();
                    Ok(usize::from(s.finish()))
                })?;
                line.wait();
                let tasks: Vec<_> = (0..20)
                    .map(|_| s.spawn(move |_| Ok(ran.fetch_add(1, Ordering::SeqCst))))
                    .collect::<Result<_, _>>()?;
                drop(finder);
                Ok::<_, Cancelled>(
                    tasks.into_iter().filter(|_| race % 2 == 0).filter_map(|task| task.join().ok()).count(),
                )
            });
            let values = values.unwrap();
            let completed = accounts.count(Outcome::Completed);
            assert_eq!(accounts.ended.lock().unwrap().len(), 21);
            assert_eq!(completed, 1 + ran.load(Ordering::SeqCst));
            assert!(values < completed.max(1));
        }
    });
}

#[test]
fn a_finish_that_races_with_the_last_join_ends_well() {
    watched(|| {
        for race in 0..RACES {
            reached(&format!("race {race}"));
            let builder = if race % 2 == 0 { ScopeBuilder::new() } else { ScopeBuilder::new().limit(1) };
            let result = builder.run(&live(), |s| {
                let task = s.spawn(|s| {
                    s.finish();
                    Ok(1)
                })?;
                match task.join() {
                    Err(cancelled) if cancelled.reason() != CancelReason::Finished => Err(cancelled),
                    joined => Ok(joined.is_ok_and(|value| value == 1)),
                }
            });
            assert!(result.is_ok(), "{result:?}");
        }
    });
}

#[test]
fn of_two_finishes_that_race_one_ends_the_scope() {
    watched(|| {
        for race in 0..4 * RACES {
            let (winners, line) = (AtomicUsize::new(0), std::sync::Barrier::new(2));
            let result = ScopeBuilder::new().limit(2).run(&live(), |s| {
                let (winners, line) = (&winners, &line);
                for wait in [race % 64, 32] {
                    s.spawn(move |s| {
                        line.wait();
                        (0..wait).for_each(|_| std::hint::spin_loop());
                        winners.fetch_add(usize::from(s.finish()), Ordering::SeqCst);
                        s.token().check()
                    })?;
                }
                Ok(())
            });
            assert_eq!((result, winners.into_inner()), (Ok(()), 1));
        }
    });
}
