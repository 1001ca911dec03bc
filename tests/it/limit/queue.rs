//! Callers who wait for a semaphore: their order, and the ways in which their waits end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use brigade::limit::{AcquireError, Permit, Semaphore, TryAcquireError};
use brigade::scope::Scope;
use brigade::{CancellationToken, Cancelled, scope};

use crate::util::{alone, live, reached, threads, until, until_others_sleep, until_threads, watched};

type Result<T> = std::result::Result<T, Cancelled>;

/// Starts a caller who asks for permits, and returns when it waits. Only for tests that run alone.
fn start_waiting<'scope, 'env: 'scope>(
    s: &Scope<'scope, 'env, Cancelled>,
    semaphore: &'env Semaphore,
    token: &CancellationToken,
    asked: usize,
    then: impl FnOnce(std::result::Result<Permit<'env>, AcquireError>) + Send + 'scope,
) -> Result<()> {
    let token = token.clone();
    s.spawn(move |_| {
        then(semaphore.acquire(&token, asked));
        Ok(())
    })?;
    until_others_sleep();
    Ok(())
}

/// Lets the callers who wait become too old to be passed over.
fn grow_old() {
    assert_eq!(live().wait_timeout(Duration::from_millis(3)), None);
}

#[test]
fn callers_are_served_in_the_order_in_which_they_came() {
    if !alone!(callers_are_served_in_the_order_in_which_they_came) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(3);
        let served = Mutex::new(Vec::new());
        let held = semaphore.try_acquire(3).unwrap();
        scope(&live(), |s| {
            // No two of them fit at once.
            for (number, asked) in [2, 3, 2, 2, 3].into_iter().enumerate() {
                let served = &served;
                start_waiting(s, &semaphore, &live(), asked, move |permit| {
                    served.lock().unwrap().push(number);
                    drop(permit.unwrap());
                })?;
            }
            grow_old();
            drop(held);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(served.into_inner().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(semaphore.available(), 3);
    });
}

#[test]
fn a_caller_who_has_waited_for_a_millisecond_is_not_passed_over() {
    if !alone!(a_caller_who_has_waited_for_a_millisecond_is_not_passed_over) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(10);
        let held = semaphore.try_acquire(1).unwrap();
        scope(&live(), |s| {
            start_waiting(s, &semaphore, &live(), 10, |permit| assert_eq!(permit.unwrap().permits(), 10))?;
            grow_old();
            assert_eq!(semaphore.available(), 9);
            assert_eq!(semaphore.try_acquire(1).unwrap_err(), TryAcquireError::NoPermits);
            let late = semaphore.acquire_timeout(&live(), 1, Duration::from_millis(1));
            assert_eq!(late.unwrap_err(), AcquireError::Timeout);
            // A call for none passes nobody over.
            assert_eq!(semaphore.try_acquire(0).unwrap().permits(), 0);
            assert_eq!(semaphore.acquire_timeout(&live(), 0, Duration::ZERO).unwrap().permits(), 0);
            drop(held);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert!(semaphore.try_acquire(10).is_ok());
    });
}

#[test]
fn a_caller_who_wants_all_is_not_starved_by_callers_who_want_one() {
    watched(|| {
        let semaphore = Semaphore::new(4);
        let served = AtomicBool::new(false);
        scope(&live(), |s| {
            for _ in 0..3 {
                s.spawn(|s| {
                    // Some permits are held at any moment.
                    let mut last = semaphore.acquire(s.token(), 1).unwrap();
                    while !served.load(Ordering::SeqCst) {
                        if let Ok(next) = semaphore.try_acquire(1) {
                            last = next;
                        } else {
                            drop(last);
                            last = semaphore.acquire(s.token(), 1).unwrap();
                        }
                    }
                    drop(last);
                    Ok::<_, Cancelled>(())
                })?;
            }
            for _ in 0..20 {
                assert_eq!(semaphore.acquire(s.token(), 4).unwrap().permits(), 4);
            }
            served.store(true, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_cancelled_caller_at_the_front_makes_room_for_the_next() {
    if !alone!(a_cancelled_caller_at_the_front_makes_room_for_the_next) {
        return;
    }
    watched(|| {
        for old in [false, true] {
            for by_timeout in [false, true] {
                let semaphore = Semaphore::new(2);
                let mut held = semaphore.try_acquire(2).unwrap();
                scope(&live(), |s| {
                    let large = if by_timeout { live().child_with_timeout(Duration::from_millis(20)) } else { live() };
                    start_waiting(s, &semaphore, &large, 2, |permit| {
                        assert!(permit.unwrap_err().cancelled().is_some());
                    })?;
                    start_waiting(s, &semaphore, &live(), 1, |permit| drop(permit.unwrap()))?;
                    if old {
                        grow_old();
                    }
                    drop(held.split(1));
                    if !by_timeout {
                        large.cancel();
                    }
                    Ok::<_, Cancelled>(())
                })
                .unwrap();
                assert_eq!(semaphore.available(), 1);
                drop(held);
            }
        }
    });
}

#[test]
fn a_timeout_at_the_front_makes_room_for_the_next() {
    if !alone!(a_timeout_at_the_front_makes_room_for_the_next) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(2);
        let _held = semaphore.try_acquire(1).unwrap();
        scope(&live(), |s| {
            s.spawn(|s| {
                let late = semaphore.acquire_timeout(s.token(), 2, Duration::from_millis(30));
                assert_eq!(late.unwrap_err(), AcquireError::Timeout);
                Ok(())
            })?;
            until_others_sleep();
            grow_old();
            drop(semaphore.acquire(s.token(), 1).unwrap());
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn a_cancel_that_races_with_a_grant_loses_no_permit() {
    watched(|| {
        let semaphore = Semaphore::new(1);
        for turn in 0..1_000 {
            let token = live();
            let held = semaphore.try_acquire(1).unwrap();
            scope(&live(), |s| {
                s.spawn(|_| {
                    if let Err(error) = semaphore.acquire(&token, 1) {
                        assert!(error.cancelled().is_some());
                    }
                    Ok::<_, Cancelled>(())
                })?;
                if turn % 2 == 0 {
                    std::thread::yield_now();
                }
                s.spawn(|_| Ok(token.cancel()))?;
                drop(held);
                Ok(())
            })
            .unwrap();
            assert_eq!(semaphore.available(), 1);
        }
    });
}

#[test]
fn a_larger_semaphore_serves_those_who_wait() {
    if !alone!(a_larger_semaphore_serves_those_who_wait) {
        return;
    }
    watched(|| {
        for old in [false, true] {
            let semaphore = Semaphore::new(2);
            let held = semaphore.try_acquire(2).unwrap();
            scope(&live(), |s| {
                let hold = &AtomicUsize::new(0);
                scope(&live(), |s| {
                    for _ in 0..5 {
                        start_waiting(s, &semaphore, &live(), 2, move |permit| {
                            let _permit = permit.unwrap();
                            hold.fetch_add(1, Ordering::SeqCst);
                            // All of them hold their permits at once.
                            until(|| hold.load(Ordering::SeqCst) == 5);
                        })?;
                    }
                    if old {
                        grow_old();
                    }
                    semaphore.resize(12);
                    Ok(())
                })?;
                s.token().check()
            })
            .unwrap();
            drop(held);
            assert_eq!((semaphore.size(), semaphore.available()), (12, 12));
        }
    });
}

#[test]
fn a_smaller_semaphore_refuses_those_who_ask_for_more_than_it_has_and_owes_what_is_held() {
    if !alone!(a_smaller_semaphore_refuses_those_who_ask_for_more_than_it_has_and_owes_what_is_held) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(5);
        let mut held = semaphore.try_acquire(5).unwrap();
        scope(&live(), |s| {
            start_waiting(s, &semaphore, &live(), 4, |permit| {
                assert_eq!(permit.unwrap_err(), AcquireError::TooMany { asked: 4, size: 2 });
            })?;
            start_waiting(s, &semaphore, &live(), 2, |permit| assert_eq!(permit.unwrap().permits(), 2))?;
            semaphore.resize(2);
            assert_eq!((semaphore.size(), semaphore.available()), (2, 0));
            // Three permits are owed.
            drop(held.split(3));
            assert_eq!(semaphore.available(), 0);
            drop(held);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!((semaphore.size(), semaphore.available()), (2, 2));
    });
}

#[test]
fn forgotten_permits_refuse_those_who_wait_for_them() {
    if !alone!(forgotten_permits_refuse_those_who_wait_for_them) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(3);
        let held = semaphore.try_acquire(2).unwrap();
        scope(&live(), |s| {
            start_waiting(s, &semaphore, &live(), 2, |permit| {
                assert_eq!(permit.unwrap_err(), AcquireError::TooMany { asked: 2, size: 1 });
            })?;
            held.forget();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!((semaphore.size(), semaphore.available()), (1, 1));
    });
}

#[test]
fn close_fails_callers_who_wait_and_later_ones_and_no_holder() {
    if !alone!(close_fails_callers_who_wait_and_later_ones_and_no_holder) {
        return;
    }
    watched(|| {
        let semaphore = Semaphore::new(2);
        let mut held = semaphore.try_acquire(2).unwrap();
        scope(&live(), |s| {
            for asked in [2, 1, 1] {
                start_waiting(s, &semaphore, &live(), asked, |permit| {
                    assert_eq!(permit.unwrap_err(), AcquireError::Closed);
                })?;
            }
            semaphore.close();
            reached("the joins");
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(semaphore.acquire(&live(), 1).unwrap_err(), AcquireError::Closed);
        assert_eq!(semaphore.try_acquire(1).unwrap_err(), TryAcquireError::Closed);
        assert_eq!(held.split(1).unwrap().permits(), 1);
        assert_eq!(semaphore.available(), 1);
        drop(held);
        assert_eq!(format!("{semaphore:?}"), "Semaphore { available: 2, size: 2, closed: true }");
    });
}

#[test]
fn a_semaphore_has_no_thread_of_its_own() {
    if !alone!(a_semaphore_has_no_thread_of_its_own) {
        return;
    }
    watched(|| {
        let before = threads();
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1).unwrap();
        scope(&live(), |s| {
            start_waiting(s, &semaphore, &live(), 1, |permit| drop(permit.unwrap()))?;
            assert_eq!(threads(), before + 1);
            drop(held);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        until_threads(before);
    });
}
