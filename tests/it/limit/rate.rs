//! Rates on the real clock. On a virtual clock they are compared with a model in `src/limit/bucket.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use brigade::limit::{AcquireError, Rate, RateLimiter};
use brigade::{Cancelled, scope};

use super::HOUR;
use crate::util::{alone, live, message_of, together, until_others_sleep, watched};

#[test]
fn the_burst_is_admitted_at_once_and_no_more() {
    let limiter = RateLimiter::new(Rate::every(HOUR).burst(5));
    (0..5).for_each(|_| limiter.try_acquire().unwrap());
    let denied = limiter.try_acquire().unwrap_err();
    assert!(denied.retry_after > HOUR / 2 && denied.retry_after <= HOUR);
    assert!(denied.to_string().starts_with("the rate is used up: try again in 3599."), "{denied}");
}

#[test]
fn after_the_time_that_a_denial_names_a_permit_is_there() {
    watched(|| {
        let limiter = RateLimiter::new(Rate::per_second(500));
        for _ in 0..10 {
            if let Err(denied) = limiter.try_acquire() {
                assert!(denied.retry_after <= Duration::from_millis(2));
                assert_eq!(live().wait_timeout(denied.retry_after), None);
                assert!(limiter.try_acquire().is_ok());
            }
        }
    });
}

#[test]
fn never_more_than_the_rate_and_the_burst_are_admitted() {
    watched(|| {
        let rate = Rate::per_second(20_000).burst(20);
        let limiter = RateLimiter::new(rate);
        let times = Mutex::new(Vec::new());
        let start = Instant::now();
        let caller = || {
            for _ in 0..500 {
                limiter.acquire(&live()).unwrap();
                times.lock().unwrap().push(Instant::now());
            }
        };
        together((0..4).map(|_| Box::new(caller) as Box<dyn FnOnce() + Send>).collect());
        assert!(start.elapsed() >= Duration::from_micros(50) * (2_000 - 20));
        // What a caller sees comes late, so from the start on it is never more than the schedule.
        let mut times = times.into_inner().unwrap();
        times.sort();
        for (index, time) in (1_u32..).zip(times) {
            assert!(time - start >= Duration::from_micros(50) * index.saturating_sub(20), "the {index}th came early");
        }
        assert_eq!(limiter.rate(), rate);
    });
}

#[test]
fn callers_who_give_up_let_no_more_than_the_rate_and_the_burst_in() {
    watched(|| {
        for round in 0..40_u64 {
            let every = Duration::from_micros(20 + 5 * round);
            let limiter = RateLimiter::new(Rate::every(every).burst(4));
            let (admitted, start) = (AtomicU32::new(0), Instant::now());
            let caller = || {
                for step in 0..60_u32 {
                    let (permits, patience) = (1 + step % 4, Duration::from_micros(u64::from(step * 67 % 400)));
                    let token = if step % 3 == 0 { live().child_with_timeout(patience) } else { live() };
                    if limiter.acquire_many(&token, permits).is_ok() {
                        admitted.fetch_add(permits, Ordering::Relaxed);
                    }
                }
            };
            together((0..4).map(|_| Box::new(caller) as Box<dyn FnOnce() + Send>).collect());
            // The limiter is a moment older than `start`.
            let most = (start.elapsed() + Duration::from_micros(20)).as_nanos() / every.as_nanos() + 4;
            assert!(u128::from(admitted.into_inner()) <= most + 1, "more than {most} every {every:?}");
        }
    });
}

#[test]
fn callers_are_admitted_in_the_order_in_which_they_came() {
    if !alone!(callers_are_admitted_in_the_order_in_which_they_came) {
        return;
    }
    watched(|| {
        let limiter = RateLimiter::new(Rate::every(Duration::from_millis(40)).burst(4));
        limiter.acquire_many(&live(), 4).unwrap();
        let admitted = Mutex::new(Vec::new());
        scope(&live(), |s| {
            // The first asks for more, and is not passed over by those who ask for less.
            for (number, permits) in [(0, 3), (1, 1), (2, 1), (3, 2)] {
                let (limiter, admitted) = (&limiter, &admitted);
                s.spawn(move |s| {
                    limiter.acquire_many(s.token(), permits).unwrap();
                    admitted.lock().unwrap().push(number);
                    Ok::<_, Cancelled>(())
                })?;
                until_others_sleep();
                assert!(limiter.try_acquire().is_err());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(admitted.into_inner().unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn callers_behind_one_that_gives_up_move_up() {
    if !alone!(callers_behind_one_that_gives_up_move_up) {
        return;
    }
    watched(|| {
        let limiter = RateLimiter::new(Rate::every(HOUR / 2).burst(2));
        limiter.acquire(&live()).unwrap();
        let gives_up = live();
        scope(&live(), |s| {
            s.spawn(|_| {
                assert!(limiter.acquire_many(&gives_up, 2).is_err());
                Ok(())
            })?;
            until_others_sleep();
            s.spawn(|s| limiter.acquire(s.token()))?;
            until_others_sleep();
            assert!(limiter.try_acquire().is_err());
            // There was a permit for the second from the start.
            gives_up.cancel();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        let denied = limiter.try_acquire().unwrap_err();
        assert!(denied.retry_after <= HOUR / 2);
    });
}

#[test]
fn all_who_wait_can_give_up_at_once() {
    watched(|| {
        let limiter = RateLimiter::new(Rate::every(HOUR));
        limiter.try_acquire().unwrap();
        let token = live();
        scope(&live(), |s| {
            for _ in 0..50 {
                s.spawn(|_| {
                    assert!(limiter.acquire(&token).is_err());
                    Ok::<_, Cancelled>(())
                })?;
            }
            token.cancel();
            Ok(())
        })
        .unwrap();
        // All their places were given back.
        assert!(limiter.try_acquire().unwrap_err().retry_after <= HOUR);
    });
}

#[test]
fn more_than_the_burst_is_refused_at_once() {
    watched(|| {
        let limiter = RateLimiter::new(Rate::per_minute(1).burst(3));
        let error = AcquireError::TooMany { asked: 4, size: 3 };
        assert_eq!(limiter.acquire_many(&live(), 4), Err(error));
        assert_eq!(limiter.acquire_many(&live(), 3), Ok(()));
        assert!(limiter.try_acquire().is_err());
    });
}

#[test]
fn rates_that_mean_the_same_are_equal() {
    assert_eq!(Rate::per_second(2), Rate::per_minute(120));
    assert_eq!(Rate::per_second(2), Rate::every(Duration::from_millis(500)));
    assert_ne!(Rate::per_second(2), Rate::per_second(2).burst(2));
    assert_eq!(format!("{:?}", Rate::per_second(2).burst(7)), "Rate { interval: 500ms, burst: 7 }");
    // The interval is rounded up.
    assert_eq!(format!("{:?}", Rate::per_second(3)), "Rate { interval: 333.333334ms, burst: 1 }");
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    assert_eq!(message_of(|| _ = Rate::per_second(0)), "a rate of 0 permits a second admits no caller");
    assert_eq!(message_of(|| _ = Rate::per_minute(0)), "a rate of 0 permits a minute admits no caller");
    assert_eq!(message_of(|| _ = Rate::every(Duration::ZERO)), "an interval of zero is no limit");
    assert_eq!(message_of(|| _ = Rate::every(years)), "the interval of a rate is more than nine years");
    assert_eq!(message_of(|| _ = Rate::per_second(1).burst(0)), "a burst of 0 permits admits no caller");
    assert_eq!(
        message_of(|| _ = Rate::per_second(1).burst(u32::MAX)),
        "the burst of a rate takes more than nine years to be saved up"
    );
}
