//! A limit on one call.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::ParBuilder;
use brigade::par::par_reduce;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::{live, pool};
use crate::util::{message_of, watched};

#[test]
fn no_more_items_run_at_once_than_the_limit_says() {
    watched(|| {
        for limit in [1, 2, 3, 100] {
            let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let task = |item: usize| {
                most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                active.fetch_sub(1, Ordering::SeqCst);
                item
            };
            let values = pool(4).install(|| {
                ParBuilder::new().limit(limit).for_each(&live(), 0..2_000_usize, |item| _ = task(item))?;
                ParBuilder::new().limit(limit).fold(
                    &live(),
                    0..2_000_usize,
                    || 0,
                    |sum, item| sum + task(item),
                    |a, b| a + b,
                )
            });
            assert_eq!(values, Ok(1_999 * 1_000));
            assert!(most.into_inner() <= limit.min(4));
        }
    });
}

#[test]
fn a_limit_takes_whatever_rayon_knows_the_length_of() {
    watched(|| {
        pool(4).install(|| {
            let limited = ParBuilder::new().limit(2);
            let words = vec!["a".to_owned(), "bc".to_owned()];
            assert_eq!(limited.map(&live(), &words, String::len).unwrap(), [1, 2]);
            assert_eq!(limited.map(&live(), words, |word| word + "!").unwrap(), ["a!", "bc!"]);
            let mut numbers = [1, 2, 3];
            limited.for_each(&live(), &mut numbers, |number| *number += 1).unwrap();
            assert_eq!(numbers, [2, 3, 4]);
            let zipped = (0..100).into_par_iter().zip(100..200).with_min_len(7).rev();
            assert!(limited.map(&live(), zipped, |(a, b)| b - a).unwrap().iter().all(|number| *number == 100));
            let chunks = (0..10).into_par_iter().chunks(3);
            assert_eq!(limited.map(&live(), chunks, |chunk: Vec<i32>| chunk.len()).unwrap(), [3, 3, 3, 1]);
        });
    });
}

#[test]
fn a_limit_of_zero_is_refused_where_it_is_set() {
    let message = message_of(|| _ = ParBuilder::new().limit(0));
    assert_eq!(message, "ParBuilder::limit(0): no item could ever run; 1 runs them one after the other");
}

#[test]
fn a_limit_holds_also_where_workers_take_up_other_jobs_while_they_wait() {
    watched(|| {
        for (threads, limit) in [(1, 1), (2, 2), (4, 4), (4, 2), (2, 100)] {
            let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool(threads).install(|| {
                let builder = ParBuilder::new().limit(limit);
                let result = builder.for_each(&live(), 0..500, |_| {
                    most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    rayon::yield_now();
                    rayon::join(std::thread::yield_now, std::thread::yield_now);
                    active.fetch_sub(1, Ordering::SeqCst);
                });
                assert_eq!(result, Ok(()));
            });
            assert!(most.into_inner() <= limit.min(threads), "{threads} threads, a limit of {limit}");
        }
    });
}

#[test]
fn a_limited_fold_keeps_its_bits_and_a_map_its_parts_whatever_lengths_the_items_ask_for() {
    watched(|| {
        let floats: Vec<f64> = (1..30_000).map(|number| 1.0 / f64::from(number)).collect();
        let sum = |least, most, limit| {
            let items = floats.par_iter().copied().with_min_len(least).with_max_len(most);
            pool(4).install(|| ParBuilder::new().limit(limit).reduce(&live(), items, |a, b| a + b)).unwrap().unwrap()
        };
        let plain = par_reduce(&live(), floats.par_iter().copied(), |a, b| a + b).unwrap().unwrap();
        for (least, most) in [(1, 1), (1, 7), (500, 1_000), (10_000, usize::MAX)] {
            assert_eq!(sum(least, most, 2).to_bits(), plain.to_bits());
        }
        // If the two items were in one part, the first would wait for the second for ever.
        let both = std::sync::Barrier::new(2);
        let meets = (0..2).into_par_iter().with_max_len(1);
        let leaders = pool(4).install(|| ParBuilder::new().limit(2).map(&live(), meets, |_| both.wait().is_leader()));
        assert_eq!(leaders.unwrap().into_iter().filter(|is| *is).count(), 1);
    });
}
