//! `par_reduce` and `par_fold`.

use std::collections::BTreeSet;

use brigade::ParBuilder;
use brigade::par::{par_fold, try_par_fold, try_par_reduce};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::{limited, live, pool};
use crate::util::{payload_of, watched};

#[test]
fn a_sum_of_floats_has_the_same_bits_in_2000_runs_at_any_number_of_threads_and_any_limit() {
    watched(|| {
        let floats: Vec<f64> = (1..20_000).map(|number| 1.0 / f64::from(number)).collect();
        let mut sums = BTreeSet::new();
        for threads in [1, 2, 4, 8] {
            let pool = pool(threads);
            for round in 0..500 {
                let builder = if round % 2 == 0 { ParBuilder::new() } else { ParBuilder::new().limit(1 + round % 5) };
                let sum = pool.install(|| builder.reduce(&live(), floats.par_iter().copied(), |a, b| a + b));
                sums.insert(sum.unwrap().unwrap().to_bits());
                let sum = pool.install(|| par_fold(&live(), &floats, || 0.0, |a, b| a + b, |a, b| a + b));
                sums.insert(sum.unwrap().to_bits());
            }
        }
        assert_eq!(sums.len(), 1);
    });
}

#[test]
fn the_lowest_failure_of_a_reduction_counts_also_where_halves_are_combined() {
    watched(|| {
        for threads in [1, 2, 8] {
            pool(threads).install(|| {
                for _ in 0..100 {
                    let add = |a: u32, b: u32| a.checked_add(b).ok_or_else(|| anyhow::anyhow!("{a} + {b}"));
                    let mut numbers = vec![0; 3_000];
                    (numbers[10], numbers[11], numbers[2_000]) = (u32::MAX, 5, 7);
                    let error = try_par_reduce(&live(), numbers, add).unwrap_err();
                    assert_eq!(error.to_string(), format!("{} + 5", u32::MAX));
                    let fold = try_par_fold(
                        &live(),
                        0..3_000,
                        || 0,
                        |_, item| Ok(item),
                        |_, right| {
                            if right < 2_999 { Err(anyhow::anyhow!("combined up to {right}")) } else { Ok(right) }
                        },
                    );
                    // The leaves have two items and three.
                    assert_eq!(fold.unwrap_err().to_string(), "combined up to 4");
                    let payload = payload_of(|| {
                        _ = par_fold(
                            &live(),
                            0..3_000,
                            || 0,
                            |_, item| item,
                            |_, right| {
                                if right < 2_999 { std::panic::panic_any(right) } else { right }
                            },
                        );
                    });
                    assert_eq!(payload.downcast_ref(), Some(&4));
                }
            });
        }
    });
}

#[test]
fn a_limit_changes_no_error_of_a_fold() {
    watched(|| {
        let mut numbers = vec![0_u16; 4_096];
        // The halves from 1024 on cannot be added to those before, and within the last leaf there is another overflow.
        (numbers[0], numbers[1_024], numbers[4_092], numbers[4_093]) = (60_000, 10_000, 50_000, 20_000);
        let add = |a: u16, b: u16| a.checked_add(b).ok_or_else(|| anyhow::anyhow!("{a} + {b}"));
        for threads in [1, 2, 8] {
            for limit in [None, Some(1), Some(2), Some(5)] {
                let builder = limited(limit);
                for _ in 0..20 {
                    let sum = pool(threads).install(|| builder.try_reduce(&live(), numbers.par_iter().copied(), add));
                    assert_eq!(sum.unwrap_err().to_string(), "60000 + 10000", "{threads} threads, {builder:?}");
                }
            }
        }
    });
}
