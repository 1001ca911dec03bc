//! Every call of the limits that waits, and the cancel that ends it.

use std::time::{Duration, Instant};

use brigade::limit::{
    AcquireError, KeyedRateLimiter, Monitor, Rate, RateLimiter, Retry, Semaphore, SingleFlight, SingleFlightError,
    Ticker, WaitError,
};
use brigade::{CancelReason, CancellationToken, Cancelled, scope};

use super::{HOUR, cancelled};
use crate::util::{Counter, Gate, alone, cpu_time, live, reached, until_others_sleep, watched};

/// Limits that are used up: whoever asks for more waits.
struct UsedUp {
    semaphore: Semaphore,
    rate: RateLimiter,
    keyed: KeyedRateLimiter<u32>,
    flight: SingleFlight<u32, u32, Cancelled>,
    monitor: Monitor<bool>,
}

impl UsedUp {
    fn new() -> Self {
        let slow = Rate::every(HOUR).burst(2);
        let limits = UsedUp {
            semaphore: Semaphore::new(2),
            rate: RateLimiter::new(slow),
            keyed: KeyedRateLimiter::new(slow, 3),
            flight: SingleFlight::new(),
            monitor: Monitor::new(false),
        };
        std::mem::forget(limits.semaphore.try_acquire(2).unwrap());
        for _ in 0..2 {
            limits.rate.try_acquire().unwrap();
            limits.keyed.try_acquire(&7).unwrap();
        }
        limits
    }

    /// Has a thread compute the value of key 7 until `end` is open, and runs `body` meanwhile.
    fn while_computing(&self, body: impl FnOnce()) {
        let (begun, end) = (Gate::default(), Gate::default());
        scope(&live(), |s| {
            s.spawn(|s| {
                self.flight
                    .run(s.token(), 7, || {
                        begun.open();
                        end.pass();
                        Ok(49)
                    })
                    .unwrap();
                Ok::<_, Cancelled>(())
            })?;
            begun.pass();
            body();
            end.open();
            Ok(())
        })
        .unwrap();
    }
}

/// Every way to wait: returns the cancellation that ended it.
type Wait = fn(&CancellationToken, &UsedUp) -> Option<Cancelled>;

const WAITS: [Wait; 14] = [
    |token, limits| limits.semaphore.acquire(token, 1).unwrap_err().cancelled(),
    |token, limits| limits.semaphore.acquire(token, 2).unwrap_err().cancelled(),
    |token, limits| limits.semaphore.acquire_timeout(token, 1, HOUR).unwrap_err().cancelled(),
    |token, limits| limits.semaphore.acquire_deadline(token, 1, Instant::now() + HOUR).unwrap_err().cancelled(),
    |token, limits| limits.semaphore.acquire_owned(token, 1).unwrap_err().cancelled(),
    |token, limits| limits.rate.acquire(token).err(),
    |token, limits| limits.rate.acquire_many(token, 2).unwrap_err().cancelled(),
    |token, limits| limits.keyed.acquire(token, &7).err(),
    |token, _| Ticker::new(HOUR).tick(token).err(),
    |token, limits| match limits.flight.run(token, 7, || unreachable!("another caller leads")) {
        Err(SingleFlightError::Cancelled(cancelled)) => Some(cancelled),
        _ => None,
    },
    |token, _| {
        Retry::new(2).backoff(HOUR, HOUR).run(token, || Err::<(), _>(Cancelled::new(CancelReason::Failed))).err()
    },
    |token, limits| limits.monitor.wait(token, |ready| *ready).err(),
    |token, limits| limits.monitor.wait_timeout(token, HOUR, |ready| *ready).unwrap_err().cancelled(),
    |token, limits| limits.monitor.wait_deadline(token, Instant::now() + HOUR, |ready| *ready).unwrap_err().cancelled(),
];

#[test]
fn cancel_wakes_every_call_that_waits() {
    watched(|| {
        let signal = Cancelled::new(CancelReason::Signal(15));
        let limits = UsedUp::new();
        let token = live();
        limits.while_computing(|| {
            scope(&live(), |s| {
                let waiting = Counter::default();
                for wait in WAITS {
                    for token in [token.clone(), token.child_token()] {
                        let (waiting, limits) = (waiting.clone(), &limits);
                        s.spawn(move |_| {
                            waiting.add();
                            assert_eq!(wait(&token, limits), Some(signal));
                            Ok::<_, Cancelled>(())
                        })?;
                    }
                }
                waiting.wait_for(2 * WAITS.len());
                reached("the cancel");
                token.cancel_with(CancelReason::Signal(15));
                Ok(())
            })
            .unwrap();
        });
    });
}

#[test]
fn a_deadline_wakes_every_call_that_waits() {
    watched(|| {
        let limits = UsedUp::new();
        limits.while_computing(|| {
            for wait in WAITS {
                let token = live().child_with_timeout(Duration::from_millis(2));
                assert_eq!(wait(&token, &limits), Some(Cancelled::new(CancelReason::Deadline)));
            }
        });
    });
}

#[test]
fn sixteen_waits_of_each_kind_burn_no_cpu_time_and_all_wake() {
    if !alone!(sixteen_waits_of_each_kind_burn_no_cpu_time_and_all_wake) {
        return;
    }
    watched(|| {
        let limits = UsedUp::new();
        let token = live();
        limits.while_computing(|| {
            scope(&live(), |s| {
                for wait in WAITS {
                    for _ in 0..16 {
                        let (token, limits) = (&token, &limits);
                        s.spawn(move |_| Ok::<_, Cancelled>(wait(token, limits).expect("cancelled")))?;
                    }
                }
                until_others_sleep();
                let before = cpu_time();
                assert_eq!(token.wait_timeout(Duration::from_secs(1)), None);
                let burnt = cpu_time().saturating_sub(before);
                assert!(burnt < Duration::from_millis(5), "224 waits of a second burnt {burnt:?}");
                token.cancel();
                reached("the joins");
                Ok(())
            })
            .unwrap();
        });
    });
}

#[test]
fn with_a_cancelled_token_every_call_fails_even_if_it_need_not_wait() {
    watched(|| {
        let token = cancelled();
        let requested = Cancelled::new(CancelReason::Requested);
        let semaphore = Semaphore::new(5);
        let rate = Rate::per_second(1).burst(5);
        assert_eq!(semaphore.acquire(&token, 1).unwrap_err(), AcquireError::Cancelled(requested));
        assert_eq!(semaphore.acquire_timeout(&token, 1, HOUR).unwrap_err().cancelled(), Some(requested));
        assert_eq!(semaphore.acquire_deadline(&token, 1, Instant::now()).unwrap_err().cancelled(), Some(requested));
        assert_eq!(semaphore.acquire_owned(&token, 1).unwrap_err().cancelled(), Some(requested));
        assert_eq!(semaphore.available(), 5);
        assert_eq!(RateLimiter::new(rate).acquire(&token), Err(requested));
        assert_eq!(RateLimiter::new(rate).acquire_many(&token, 9), Err(requested.into()));
        assert_eq!(KeyedRateLimiter::new(rate, 1).acquire(&token, &1), Err(requested));
        let mut ticker = Ticker::new(Duration::from_nanos(1));
        assert_eq!(ticker.tick(&token), Err(requested));
        let flight = SingleFlight::<_, (), ()>::new();
        assert_eq!(flight.run(&token, 1, || unreachable!()), Err(requested.into()));
        assert_eq!(Retry::new(1).run(&token, || -> Result<(), Cancelled> { unreachable!() }), Err(requested));
        let monitor = Monitor::new(true);
        assert_eq!(monitor.wait(&token, |ready| *ready).err(), Some(requested));
        assert_eq!(monitor.wait_timeout(&token, HOUR, |ready| *ready).err(), Some(requested.into()));
    });
}

#[test]
fn timeouts_are_never_early_and_leave_nothing_behind() {
    watched(|| {
        let limits = UsedUp::new();
        for token in [live(), CancellationToken::never(), live().child_with_timeout(HOUR)] {
            for timeout in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(10)] {
                let deadline = Instant::now() + timeout;
                assert_eq!(limits.semaphore.acquire_timeout(&token, 1, timeout).unwrap_err(), AcquireError::Timeout);
                assert!(Instant::now() >= deadline);
                let deadline = Instant::now() + timeout;
                assert_eq!(limits.semaphore.acquire_deadline(&token, 1, deadline).unwrap_err(), AcquireError::Timeout);
                assert!(Instant::now() >= deadline);
                let deadline = Instant::now() + timeout;
                let error = limits.monitor.wait_timeout(&token, timeout, |ready| *ready).unwrap_err();
                assert_eq!(error, WaitError::Timeout);
                assert!(Instant::now() >= deadline);
            }
        }
        limits.semaphore.resize(3);
        assert!(limits.semaphore.try_acquire(1).is_ok());
    });
}

#[test]
fn a_cancel_wins_over_a_timeout_that_has_passed() {
    watched(|| {
        let limits = UsedUp::new();
        let error = limits.semaphore.acquire_timeout(&cancelled(), 1, Duration::ZERO).unwrap_err();
        assert!(error.cancelled().is_some());
        let error = limits.monitor.wait_timeout(&cancelled(), Duration::ZERO, |ready| *ready).unwrap_err();
        assert!(error.cancelled().is_some());
    });
}
