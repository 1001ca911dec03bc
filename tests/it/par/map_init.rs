//! `par_map_init`: the states.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::par::{par_map_init, try_par_map_init};

use super::{limited, live, pool};
use crate::util::{message_of, watched};

#[test]
fn a_worker_has_one_state_and_all_are_handed_back() {
    watched(|| {
        for threads in [1, 2, 4] {
            for limit in [None, Some(2)] {
                let made = AtomicUsize::new(0);
                let builder = limited(limit);
                let (values, states) = pool(threads)
                    .install(|| {
                        let init = || (made.fetch_add(1, Ordering::SeqCst), 0_usize);
                        builder.map_init(&live(), 0..20_000_usize, init, |state, item| {
                            state.1 += 1;
                            item
                        })
                    })
                    .unwrap();
                assert!(values.into_iter().eq(0..20_000));
                assert_eq!(states.len(), made.into_inner());
                assert!((1..=threads).contains(&states.len()), "{} states on {threads} threads", states.len());
                assert_eq!(states.iter().map(|(_, count)| count).sum::<usize>(), 20_000);
            }
        }
    });
}

#[test]
fn a_closure_that_calls_rayon_has_a_state_of_its_own_meanwhile() {
    watched(|| {
        for threads in [1, 2] {
            let (_, states) = pool(threads)
                .install(|| {
                    par_map_init(&live(), 0..200_usize, Vec::new, |state: &mut Vec<usize>, item| {
                        state.push(item);
                        // Another part of the outer call may run on this worker now.
                        rayon::join(|| std::hint::black_box(item), || std::hint::black_box(item));
                        assert_eq!(state.pop(), Some(item));
                    })
                })
                .unwrap();
            assert!(states.iter().all(Vec::is_empty));
        }
    });
}

#[test]
fn a_state_that_cannot_be_made_is_a_panic_of_the_lowest_item() {
    watched(|| {
        let message = message_of(|| {
            let init = || -> u8 { panic!("no state") };
            _ = pool(2).install(|| par_map_init(&live(), 0..100, init, |_, item: i32| item));
        });
        assert_eq!(message, "no state");
        let result = pool(1).install(|| {
            try_par_map_init(
                &live(),
                0..100,
                || 0,
                |count, item| {
                    *count += 1;
                    if item == 60 { Err(anyhow::anyhow!("after {count} items")) } else { Ok(()) }
                },
            )
        });
        assert_eq!(result.unwrap_err().to_string(), "after 61 items");
    });
}
