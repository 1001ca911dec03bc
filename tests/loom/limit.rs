//! The semaphore and the single flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::limit::{AcquireError, Semaphore, SingleFlight, SingleFlightError};
use brigade::{CancellationToken, PAST};
use loom::thread::spawn;

use crate::{A, bounded, with};

/// Runs a model twice: where no caller has waited for long, and is called, and where each has, and is granted its
/// permits.
fn young_and_old(interruptions: usize, f: impl Fn() + Clone + Send + Sync + 'static) {
    // Both models are in one test, and the tests take turns, because the setting is the process's.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for old in [false, true] {
        PAST.store(old, Ordering::SeqCst);
        bounded(interruptions, f.clone());
    }
}

fn never() -> CancellationToken {
    CancellationToken::never()
}

#[test]
fn a_release_does_not_leave_a_caller_waiting() {
    young_and_old(4, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let holders = Arc::new(AtomicUsize::new(0));
        let use_it = |semaphore: Arc<Semaphore>, holders: Arc<AtomicUsize>| {
            move || {
                let permit = semaphore.acquire(&never(), 1).unwrap();
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                holders.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
        };
        let other = spawn(use_it(Arc::clone(&semaphore), Arc::clone(&holders)));
        use_it(Arc::clone(&semaphore), holders)();
        other.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn releases_of_one_each_serve_a_caller_who_wants_both() {
    young_and_old(3, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let (one, two) = (semaphore.acquire_owned(&never(), 1).unwrap(), semaphore.acquire_owned(&never(), 1).unwrap());
        let releasing = spawn(move || drop(one));
        let other = spawn(move || drop(two));
        assert_eq!(semaphore.acquire(&never(), 2).unwrap().permits(), 2);
        releasing.join().unwrap();
        other.join().unwrap();
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn a_cancel_that_races_with_a_release_loses_no_permit() {
    young_and_old(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire_owned(&never(), 1).unwrap();
        let token = CancellationToken::new();
        let cancelling = with(&token, |token| token.cancel_with(A));
        let waiting = with(&token, {
            let semaphore = Arc::clone(&semaphore);
            move |token| semaphore.acquire(token, 1).map(drop)
        });
        drop(held);
        let outcome = waiting.join().unwrap();
        assert!(outcome.is_ok() || outcome.unwrap_err().cancelled().is_some());
        assert!(cancelling.join().unwrap());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_cancelled_caller_at_the_front_does_not_leave_the_next_waiting() {
    young_and_old(2, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let mut held = semaphore.acquire_owned(&never(), 2).unwrap();
        let token = CancellationToken::new();
        let large = with(&token, {
            let semaphore = Arc::clone(&semaphore);
            move |token| semaphore.acquire(token, 2).map(drop).unwrap_err().cancelled().is_some()
        });
        let small = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.acquire(&never(), 1).unwrap().permits()
        });
        drop(held.split(1));
        token.cancel();
        assert!(large.join().unwrap());
        assert_eq!(small.join().unwrap(), 1);
        drop(held);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn close_does_not_leave_a_caller_waiting() {
    young_and_old(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire_owned(&never(), 1).unwrap();
        let closing = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.close()
        });
        let waiting = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.acquire(&never(), 1).map(drop)
        });
        drop(held);
        closing.join().unwrap();
        let outcome = waiting.join().unwrap();
        assert!(outcome.is_ok() || outcome == Err(AcquireError::Closed));
        assert_eq!((semaphore.available(), semaphore.is_closed()), (1, true));
    });
}

#[test]
fn a_resize_does_not_leave_a_caller_waiting() {
    young_and_old(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire_owned(&never(), 1).unwrap();
        let resizing = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.resize(2)
        });
        assert_eq!(semaphore.acquire(&never(), 1).unwrap().permits(), 1);
        drop(held);
        resizing.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.size()), (2, 2));
    });
}

#[test]
fn a_caller_who_waits_for_more_than_a_smaller_semaphore_has_is_refused() {
    young_and_old(3, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let held = semaphore.acquire_owned(&never(), 1).unwrap();
        let resizing = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.resize(1)
        });
        let outcome = semaphore.acquire(&never(), 2).map(drop);
        assert_eq!(outcome, Err(AcquireError::TooMany { asked: 2, size: 1 }));
        resizing.join().unwrap();
        drop(held);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn two_callers_of_one_key_both_get_a_value() {
    bounded(4, || {
        let flights = Arc::new(SingleFlight::<u32, u32, ()>::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let call = |flights: Arc<SingleFlight<_, _, _>>, runs: Arc<AtomicUsize>| {
            move || {
                flights.run(&never(), 1, || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Ok(7)
                })
            }
        };
        let other = spawn(call(Arc::clone(&flights), Arc::clone(&runs)));
        assert_eq!(call(flights, Arc::clone(&runs))(), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(7));
        assert!((1..=2).contains(&runs.load(Ordering::SeqCst)));
    });
}

#[test]
fn a_lost_flight_does_not_leave_a_caller_waiting() {
    bounded(3, || {
        let flights = Arc::new(SingleFlight::<u32, u32, ()>::new());
        let token = CancellationToken::new();
        let losing = with(&token, {
            let flights = Arc::clone(&flights);
            move |token| {
                flights.run(token, 1, || {
                    token.cancel();
                    Err(())
                })
            }
        });
        assert_eq!(flights.run(&never(), 1, || Ok(7)), Ok(7));
        // It led, or it shared the other's value.
        assert!(matches!(losing.join().unwrap(), Err(SingleFlightError::Failed(())) | Ok(7)));
    });
}

#[test]
fn a_cancel_and_a_forget_leave_no_caller_waiting() {
    bounded(3, || {
        let flights = Arc::new(SingleFlight::<u32, u32, ()>::new());
        let token = CancellationToken::new();
        let waiting = with(&token, {
            let flights = Arc::clone(&flights);
            move |token| flights.run(token, 1, || Ok(7))
        });
        let cancelling = with(&token, |token| token.cancel_with(A));
        let led = flights.run(&never(), 1, || {
            flights.forget(&1);
            Ok(8)
        });
        assert!(led == Ok(8) || led == Ok(7));
        assert!(matches!(waiting.join().unwrap(), Ok(_) | Err(SingleFlightError::Cancelled(_))));
        assert!(cancelling.join().unwrap());
    });
}
