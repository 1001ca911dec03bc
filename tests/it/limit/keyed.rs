//! A rate for each key.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::limit::{KeyedRateLimiter, Rate};

use super::HOUR;
use crate::util::{Census, Counted, live, message_of, together, watched};

#[test]
fn each_key_has_a_schedule_of_its_own() {
    let limiter = KeyedRateLimiter::new(Rate::every(HOUR).burst(2), 10);
    for key in 0..10 {
        assert!(limiter.try_acquire(&key).is_ok());
        assert!(limiter.try_acquire(&key).is_ok());
        let denied = limiter.try_acquire(&key).unwrap_err();
        assert!(denied.retry_after > HOUR / 2 && denied.retry_after <= HOUR);
    }
    assert_eq!(limiter.len(), 10);
}

#[test]
fn the_key_whose_burst_is_free_first_is_forgotten_first() {
    let limiter = KeyedRateLimiter::new(Rate::every(HOUR).burst(9), 3);
    assert!(limiter.is_empty());
    let use_up = |key: &str, times: usize| (0..times).filter(|_| limiter.try_acquire(&key.to_owned()).is_ok()).count();
    assert_eq!((use_up("a", 9), use_up("b", 1), use_up("c", 5)), (9, 1, 5));
    // In the place of b.
    assert_eq!(use_up("d", 9), 9);
    assert_eq!(limiter.len(), 3);
    assert_eq!((use_up("a", 1), use_up("c", 9), use_up("d", 1)), (0, 4, 0));
    // In the place of one of them, since all are used up: the one that is free first.
    assert_eq!(use_up("b", 9), 9);
    assert_eq!(limiter.len(), 3);
}

#[test]
fn a_full_bucket_is_forgotten_before_one_that_is_not() {
    watched(|| {
        let limiter = KeyedRateLimiter::new(Rate::per_second(1_000).burst(3), 2);
        limiter.try_acquire(&1).unwrap();
        assert_eq!(live().wait_timeout(Duration::from_millis(5)), None);
        // Key 1 is full again. Key 2 is not, and stays.
        let start = Instant::now();
        (0..3).for_each(|_| limiter.try_acquire(&2).unwrap());
        limiter.try_acquire(&3).unwrap();
        let admitted = limiter.try_acquire(&2).is_ok();
        assert!(!admitted || start.elapsed() >= Duration::from_millis(1));
    });
}

#[test]
fn callers_wait_for_their_own_key_and_also_if_it_is_forgotten() {
    watched(|| {
        let limiter = KeyedRateLimiter::new(Rate::every(Duration::from_millis(3)), 2);
        let start = Instant::now();
        let callers = (0..6).map(|key| {
            let limiter = &limiter;
            Box::new(move || (0..4).for_each(|_| limiter.acquire(&live(), &(key % 3)).unwrap()))
                as Box<dyn FnOnce() + Send>
        });
        together(callers.collect());
        assert!(start.elapsed() >= Duration::from_millis(3));
        assert_eq!(limiter.len(), 2);
    });
}

/// A key whose drops are counted.
#[derive(Clone)]
struct Key(u32, #[expect(dead_code, reason = "it counts its drops")] Arc<Counted<()>>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn keys_are_bounded_and_each_is_dropped_once() {
    let census = Census::default();
    let limiter = KeyedRateLimiter::new(Rate::every(HOUR), 5);
    for number in 0..1_000 {
        let key = Key(number % 300, Arc::new(census.make(())));
        _ = limiter.try_acquire(&key);
        drop(key);
        assert!(limiter.len() <= 5 && census.alive() <= 5);
    }
    drop(limiter);
    census.assert_all_dropped_once();
}

#[test]
fn no_keys_are_refused() {
    let message = message_of(|| drop(KeyedRateLimiter::<u32>::new(Rate::per_second(1), 0)));
    assert_eq!(message, "a limiter of 0 keys cannot limit any: let it know one at least");
}

/// A key whose `Hash` panics at each third call, while it is told to.
#[derive(Clone, PartialEq, Eq)]
struct Bomb(u32);

thread_local! {
    static HASHES: Cell<Option<u32>> = const { Cell::new(None) };
}

impl Hash for Bomb {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(hashes) = HASHES.get() {
            HASHES.set(Some(hashes + 1));
            assert!(hashes % 3 != 2, "the hash");
        }
        self.0.hash(state);
    }
}

#[test]
fn a_hash_that_panics_does_not_break_the_limiter() {
    for keys in [1, 2, 5] {
        let limiter = KeyedRateLimiter::new(Rate::every(HOUR), keys);
        HASHES.set(Some(0));
        let panics = (0..200)
            .filter(|number| catch_unwind(AssertUnwindSafe(|| limiter.try_acquire(&Bomb(number % 7)))).is_err())
            .count();
        HASHES.set(None);
        assert!(panics > 20 && limiter.len() <= keys);
        for number in 100..200 {
            assert!(limiter.try_acquire(&Bomb(number)).is_ok());
            assert!(limiter.try_acquire(&Bomb(number)).is_err());
        }
    }
}
