//! A semaphore's permits: taken, given back, split, forgotten, resized and closed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::limit::{AcquireError, OwnedPermit, Permit, Semaphore, TryAcquireError};
use brigade::{Cancelled, scope};
use proptest::prelude::*;

use super::HOUR;
use crate::util::{live, message_of, payload_of, together, watched};

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Drop,
    Split(usize),
    Forget,
    Resize(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5_usize).prop_map(Step::Take),
        4 => Just(Step::Drop),
        2 => (0..4_usize).prop_map(Step::Split),
        1 => Just(Step::Forget),
        2 => (0..8_usize).prop_map(Step::Resize),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// The model is arithmetic: what is free is the size less what is held.
    #[test]
    fn a_semaphore_counts_as_arithmetic_does(size in 0..8_usize, steps in prop::collection::vec(step(), 0..40)) {
        let semaphore = Semaphore::new(size);
        let (mut size, mut is_closed) = (size, false);
        let mut held: VecDeque<Permit<'_>> = VecDeque::new();
        for step in steps {
            let sum: usize = held.iter().map(Permit::permits).sum();
            let free = size.saturating_sub(sum);
            match step {
                Step::Take(asked) => {
                    let expected = match () {
                        () if is_closed => Err(TryAcquireError::Closed),
                        () if asked > size => Err(TryAcquireError::TooMany { asked, size }),
                        () if asked > free => Err(TryAcquireError::NoPermits),
                        () => Ok(asked),
                    };
                    let taken = semaphore.try_acquire(asked);
                    prop_assert_eq!(taken.as_ref().map(Permit::permits).map_err(|error| *error), expected);
                    held.extend(taken);
                }
                Step::Drop => drop(held.pop_front()),
                Step::Split(permits) => {
                    if let Some(first) = held.front_mut() {
                        let before = first.permits();
                        let part = first.split(permits);
                        prop_assert_eq!(part.as_ref().map(Permit::permits), (permits <= before).then_some(permits));
                        held.extend(part);
                    }
                }
                Step::Forget => {
                    if let Some(first) = held.pop_front() {
                        size = size.saturating_sub(first.permits());
                        first.forget();
                    }
                }
                Step::Resize(to) => {
                    size = to;
                    semaphore.resize(to);
                }
                Step::Close => {
                    is_closed = true;
                    semaphore.close();
                }
            }
            let sum: usize = held.iter().map(Permit::permits).sum();
            prop_assert_eq!(semaphore.size(), size);
            prop_assert_eq!(semaphore.available(), size.saturating_sub(sum));
            prop_assert_eq!(semaphore.is_closed(), is_closed);
        }
        drop(held);
        prop_assert_eq!(semaphore.available(), size);
    }
}

#[test]
fn more_than_the_size_is_refused_at_once() {
    watched(|| {
        let semaphore = Semaphore::new(2);
        let _held = semaphore.try_acquire(2).unwrap();
        let error = AcquireError::TooMany { asked: 3, size: 2 };
        assert_eq!(semaphore.acquire(&live(), 3).unwrap_err(), error);
        assert_eq!(semaphore.acquire_timeout(&live(), 3, HOUR).unwrap_err(), error);
        assert_eq!(
            semaphore.try_acquire(usize::MAX).unwrap_err(),
            TryAcquireError::TooMany { asked: usize::MAX, size: 2 }
        );
        assert_eq!(error.to_string(), "3 permits were asked for, and there are 2 in all: ask for less, or make more");
    });
}

#[test]
fn a_semaphore_of_no_permits_gives_none_until_it_is_enlarged() {
    let semaphore = Semaphore::new(0);
    assert!(semaphore.acquire(&live(), 0).is_ok());
    assert_eq!(semaphore.acquire(&live(), 1).unwrap_err(), AcquireError::TooMany { asked: 1, size: 0 });
    semaphore.resize(1);
    assert!(semaphore.acquire(&live(), 1).is_ok());
}

#[test]
fn a_semaphore_can_be_of_the_most_permits_and_of_no_more() {
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    assert_eq!(semaphore.available(), Semaphore::MAX_PERMITS);
    let all = semaphore.try_acquire(Semaphore::MAX_PERMITS).unwrap();
    assert_eq!(semaphore.available(), 0);
    semaphore.resize(0);
    semaphore.resize(Semaphore::MAX_PERMITS);
    drop(all);
    assert_eq!(semaphore.available(), Semaphore::MAX_PERMITS);
    let too_many = Semaphore::MAX_PERMITS + 1;
    let message = format!("a semaphore of {too_many} permits: it can have {}", Semaphore::MAX_PERMITS);
    assert_eq!(message_of(|| drop(Semaphore::new(too_many))), message);
    assert_eq!(message_of(|| semaphore.resize(too_many)), message);
}

#[test]
fn a_panic_gives_the_permits_back() {
    let semaphore = Semaphore::new(3);
    payload_of(|| {
        let _two = semaphore.acquire(&live(), 2).unwrap();
        let _owned = semaphore.acquire_owned(&live(), 1).unwrap();
        panic!("with permits");
    });
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn an_owned_permit_outlives_its_semaphore() {
    let semaphore = Semaphore::new(3);
    let mut permit: OwnedPermit = semaphore.acquire_owned(&live(), 2).unwrap();
    assert_eq!(semaphore.try_acquire_owned(2).unwrap_err(), TryAcquireError::NoPermits);
    let part = permit.split(1).unwrap();
    assert!(permit.split(2).is_none());
    assert_eq!((permit.permits(), part.permits(), semaphore.available()), (1, 1, 1));
    part.forget();
    assert_eq!((semaphore.size(), semaphore.available()), (2, 1));
    drop(semaphore);
    drop(permit);
}

#[test]
fn no_more_than_the_size_is_ever_held_and_all_comes_back() {
    watched(|| {
        let size = 7;
        let semaphore = Semaphore::new(size);
        let held = AtomicUsize::new(0);
        let worker = |seed: usize| {
            let (semaphore, held) = (&semaphore, &held);
            move || {
                for turn in 0..300 {
                    let asked = (seed * 31 + turn * 17) % size + 1;
                    let token = match turn % 5 {
                        0 => live().child_with_timeout(Duration::from_micros(50)),
                        _ => live(),
                    };
                    let taken = match turn % 4 {
                        0 => semaphore.try_acquire(asked).ok(),
                        1 => semaphore.acquire_timeout(&token, asked, Duration::from_micros(50)).ok(),
                        _ => semaphore.acquire(&token, asked).ok(),
                    };
                    if let Some(permit) = taken {
                        assert!(held.fetch_add(permit.permits(), Ordering::SeqCst) + permit.permits() <= size);
                        if turn % 7 == 0 {
                            std::thread::yield_now();
                        }
                        held.fetch_sub(permit.permits(), Ordering::SeqCst);
                    }
                }
            }
        };
        together((0..6).map(|seed| Box::new(worker(seed)) as Box<dyn FnOnce() + Send>).collect());
        assert_eq!(semaphore.available(), size);
    });
}

#[test]
fn a_resize_up_and_down_all_the_time_loses_no_permit_and_no_waiter() {
    watched(|| {
        let semaphore = Semaphore::new(4);
        let (semaphore, done) = (&semaphore, &AtomicUsize::new(0));
        scope(&live(), |s| {
            for _ in 0..3 {
                s.spawn(move |s| {
                    for turn in 0..500 {
                        // The size is never less than 2.
                        drop(semaphore.acquire(s.token(), turn % 2 + 1).unwrap());
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Cancelled>(())
                })?;
            }
            let mut size = 4;
            while done.load(Ordering::SeqCst) < 3 {
                size = if size == 9 { 2 } else { size + 1 };
                semaphore.resize(size);
            }
            semaphore.resize(4);
            Ok(())
        })
        .unwrap();
        assert_eq!((semaphore.size(), semaphore.available()), (4, 4));
    });
}
