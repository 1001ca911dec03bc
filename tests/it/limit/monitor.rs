//! A lock that one can wait at for a state.

use std::cell::Cell;
use std::time::Duration;

use brigade::limit::{Monitor, WaitError};
use brigade::{Cancelled, scope};

use crate::util::{alone, live, payload_of, sleeps_of_others, until, until_others_sleep, watched};

#[test]
fn two_threads_hand_a_turn_to_each_other() {
    watched(|| {
        // The state borrows, which a condition variable that a token wakes could not have.
        let names = ["even".to_owned(), "odd".to_owned()];
        let turn = Monitor::new((0_u32, names[0].as_str()));
        scope(&live(), |s| {
            for (own, other) in [(0, 1), (1, 0)] {
                let (names, turn) = (&names, &turn);
                s.spawn(move |s| {
                    for _ in 0..2_000 {
                        let mut turn = turn.wait(s.token(), |turn| turn.1 == names[own])?;
                        turn.0 += 1;
                        turn.1 = &names[other];
                    }
                    Ok::<_, Cancelled>(())
                })?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(turn.into_inner(), (4_000, "even"));
    });
}

#[test]
fn all_who_wait_for_a_state_get_it() {
    watched(|| {
        let mut gate = Monitor::new(0);
        scope(&live(), |s| {
            for least in 1..=8 {
                let gate = &gate;
                s.spawn(move |s| {
                    assert!(*gate.wait(s.token(), |count| *count >= least)? >= least);
                    Ok::<_, Cancelled>(())
                })?;
            }
            for _ in 0..8 {
                *gate.lock() += 1;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(*gate.get_mut(), 8);
    });
}

#[test]
fn a_guard_that_changes_nothing_wakes_no_thread() {
    if !alone!(a_guard_that_changes_nothing_wakes_no_thread) {
        return;
    }
    watched(|| {
        let state = Monitor::new(Cell::new(0));
        scope(&live(), |s| {
            s.spawn(|s| {
                drop(state.wait(s.token(), |state| state.get() == 2)?);
                Ok::<_, Cancelled>(())
            })?;
            until_others_sleep();
            let before = sleeps_of_others();
            for _ in 0..100 {
                assert_eq!(state.lock().get(), 0);
            }
            // A change through a cell is none.
            state.lock().set(1);
            until_others_sleep();
            assert_eq!(sleeps_of_others(), before);
            *state.lock().get_mut() = 2;
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_panic_of_the_predicate_or_of_a_holder_leaves_the_monitor_usable() {
    watched(|| {
        let state = Monitor::new(1);
        payload_of(|| drop(state.wait(&live(), |_| panic!("in the predicate"))));
        scope(&live(), |s| {
            s.spawn(|s| {
                assert_eq!(*state.wait(s.token(), |state| *state == 2)?, 2);
                Ok::<_, Cancelled>(())
            })?;
            payload_of(|| {
                let mut guard = state.lock();
                *guard = 2;
                panic!("with the guard");
            });
            Ok(())
        })
        .unwrap();
        assert_eq!(format!("{state:?}"), "Monitor { value: 2, waiting: 0, .. }");
        let guard = state.lock();
        assert_eq!(
            (format!("{guard:?}"), format!("{state:?}")),
            ("2".into(), "Monitor { value: (locked), waiting: 0, .. }".into())
        );
    });
}

#[test]
fn a_state_that_comes_in_time_is_no_timeout() {
    watched(|| {
        let state = Monitor::new(false);
        let error = state.wait_timeout(&live(), Duration::from_millis(1), |state| *state).unwrap_err();
        assert_eq!((error, error.cancelled()), (WaitError::Timeout, None));
        scope(&live(), |s| {
            s.spawn(|s| Ok::<_, Cancelled>(*state.wait_timeout(s.token(), Duration::MAX, |state| *state).unwrap()))?;
            until(|| format!("{state:?}").contains("waiting: 1"));
            *state.lock() = true;
            Ok(())
        })
        .unwrap();
        // A timeout of zero looks once.
        assert!(state.wait_timeout(&live(), Duration::ZERO, |state| *state).is_ok());
    });
}
