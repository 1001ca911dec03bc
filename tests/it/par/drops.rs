//! Values that are dropped when a form ends, and values whose `Drop` panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use brigade::{CancellationToken, ParBuilder};

use super::{limited, live, pool};
use crate::util::{Census, Counted, message_of, watched};

#[test]
fn every_value_is_dropped_once_however_a_form_ends() {
    watched(|| {
        for (ends, form, limit) in
            (0..4).flat_map(|ends| (0..4).flat_map(move |form| [None, Some(2)].map(|limit| (ends, form, limit))))
        {
            let (census, token) = (Census::default(), live());
            let items: Vec<_> = (0..5_000).map(|item| census.make(item)).collect();
            let builder = limited(limit);
            let f = |item: Counted<i32>| match (ends, item.value) {
                (1, 2_500) => Err(anyhow::anyhow!("failed")),
                (2, 2_500) => panic!("panicked"),
                (3, 2_500) => Ok((token.cancel(), census.make(0)).1),
                _ => Ok(census.make(item.value)),
            };
            let ended = pool(4).install(|| {
                catch_unwind(AssertUnwindSafe(|| match form {
                    0 => builder.try_map(&token, items, f).map(|values| values.len()),
                    1 => {
                        let init = || census.make(0);
                        builder.try_map_init(&token, items, init, |_, item| f(item)).map(|(values, states)| {
                            assert!(states.len() <= 4);
                            values.len()
                        })
                    }
                    2 => {
                        let keep = |_, item| f(item);
                        builder.try_fold(&token, items, || census.make(0), keep, |left, _| Ok(left)).map(|_| 5_000)
                    }
                    _ => builder
                        .collect_all(&token, items, f)
                        .map(|values| values.len())
                        .map_err(|failures| anyhow::anyhow!("{failures}")),
                }))
            });
            match (ends, ended) {
                (0, Ok(Ok(5_000))) | (1 | 3, Ok(Err(_))) | (2, Err(_)) => {}
                (2, Ok(Err(_))) if form == 3 => {}
                (_, other) => panic!("ending {ends} of form {form} gave {other:?}"),
            }
            assert_eq!(census.alive(), 0, "ending {ends} of form {form}");
        }
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the bomb went off");
    }
}

#[test]
fn with_a_limit_no_output_whose_drop_panics_ends_the_process() {
    watched(|| {
        pool(3).install(|| {
            let limited = ParBuilder::new().limit(2);
            let fail = |item: i32| if item == 80 { Err(anyhow::anyhow!("the error")) } else { Ok(Bomb) };
            assert_eq!(message_of(|| _ = limited.try_map(&live(), 0..100, fail)), "the bomb went off");
            let states = |token: &CancellationToken| {
                limited.map_init(token, 0..100, || Bomb, |_, item| item == 50 && token.cancel())
            };
            assert_eq!(message_of(|| _ = states(&live())), "the bomb went off");
        });
    });
}

/// Panics whenever it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("the grenade went off");
    }
}

#[test]
fn with_a_limit_a_panic_among_outputs_whose_drop_panics_is_resumed_and_an_error_is_not() {
    watched(|| {
        for (threads, limit) in [(1, 1), (3, 1), (3, 2)] {
            pool(threads).install(|| {
                let limited = ParBuilder::new().limit(limit);
                let panics = |item: i32| if item == 80 { panic!("the item") } else { Grenade };
                assert_eq!(message_of(|| std::mem::forget(limited.map(&live(), 0..100, panics))), "the item");
                let fail = |item: i32| if item == 80 { Err(anyhow::anyhow!("the error")) } else { Ok(Grenade) };
                let ended = message_of(|| std::mem::forget(limited.try_map(&live(), 0..100, fail)));
                assert_eq!(ended, "the grenade went off");
            });
        }
    });
}
