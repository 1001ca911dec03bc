//! Outputs for which there is no room: the maps end as the plain loop does, which asks for none before it has them.

use brigade::par::Progress;
use brigade::{CancelReason, CancellationToken, Cancelled, ParBuilder};

use super::{builders, ending, pool};
use crate::util::{alone, watched};

const ITEMS: usize = usize::MAX;

type Wide = [u64; 4];

fn wide(item: usize) -> Wide {
    [item as u64; 4]
}

/// The ends of every form that has outputs, as text. No machine has room for the outputs of all items.
fn forms<T: Send + std::fmt::Debug>(
    builder: &ParBuilder<'_>,
    token: &CancellationToken,
    items: usize,
    f: &(dyn Fn(usize) -> Result<T, anyhow::Error> + Sync),
) -> [String; 3] {
    [
        ending(|| builder.try_map(token, 0..items, f)),
        ending(|| builder.try_map_init(token, 0..items, || 0, |_, item| f(item))),
        ending(|| {
            // This one goes on past failures: the last of them has to be the cancellation.
            let stop = token.child_token();
            let all = builder.collect_all(&stop, 0..items, |item| match f(item) {
                Ok(output) => Ok(output),
                Err(error) => Err((stop.cancel(), error).1),
            });
            all.map_err(|failures| match failures.cancelled().first().and_then(brigade::Failure::error) {
                Some(error) => anyhow::anyhow!("{error}"),
                None => Cancelled::new(failures.cancel_reason().expect("it was cancelled")).into(),
            })
        }),
    ]
}

fn fails_at_1000(items: usize) {
    let progress = Progress::new();
    for threads in [1, 2, 4] {
        for builder in builders([1, 2, 5]) {
            let builder = builder.progress(&progress);
            pool(threads).install(|| {
                let token = CancellationToken::new();
                let fails = |item| if item == 1_000 { Err(anyhow::anyhow!("item 1000")) } else { Ok(wide(item)) };
                assert_eq!(forms(&builder, &token, items, &fails), ["item 1000"; 3], "{threads} threads, {builder:?}");
                let panics = |item| if item == 1_000 { panic!("item {item}") } else { Ok(wide(item)) };
                let [map, init, _] = [0, 1, 2].map(|form| {
                    ending(|| match form {
                        0 => builder.try_map(&token, 0..items, panics),
                        1 => builder.try_map_init(&token, 0..items, || 0, |_, item| panics(item)).map(|both| both.0),
                        _ => Ok(vec![]),
                    })
                });
                assert_eq!([map, init], ["item 1000"; 2], "{threads} threads, {builder:?}");
                let cancels = |item| {
                    if item == 1_000 {
                        token.cancel_with(CancelReason::Deadline);
                    }
                    Ok(wide(item))
                };
                let ended: anyhow::Error = builder.try_map(&token, 0..items, cancels).unwrap_err();
                assert_eq!(ended.to_string(), "cancelled: the deadline passed");
                // It is cancelled from the first here.
                let nothing = |_| -> Result<Wide, anyhow::Error> { panic!("nothing is started") };
                assert_eq!(forms(&builder, &token, items, &nothing), ["cancelled: the deadline passed"; 3]);
                assert_eq!(builder.map(&token, 0..items, wide), Err(Cancelled::new(CancelReason::Deadline)));
            });
        }
    }
}

#[test]
fn a_map_with_more_outputs_than_an_address_can_name_ends_with_its_error_panic_or_cancel() {
    watched(|| fails_at_1000(ITEMS));
}

#[test]
fn a_map_whose_outputs_the_system_has_no_room_for_ends_with_its_error_panic_or_cancel() {
    // 137 GB, in a process that may have 4.
    if alone!(a_map_whose_outputs_the_system_has_no_room_for_ends_with_its_error_panic_or_cancel, "-v 4000000") {
        watched(|| fails_at_1000(u32::MAX as usize));
    }
}

#[test]
fn a_map_whose_outputs_take_no_room_ends_with_its_error() {
    watched(|| {
        for builder in builders([1, 2, 5]) {
            let fails = |item| if item == 1_000 { Err(anyhow::anyhow!("item 1000")) } else { Ok(()) };
            let seen = pool(2).install(|| forms(&builder, &CancellationToken::new(), ITEMS, &fails));
            assert_eq!(seen, ["item 1000"; 3], "{builder:?}");
        }
    });
}

#[test]
fn a_map_whose_outputs_just_fit_returns_them_also_with_a_limit() {
    // 400 MB of outputs: twice does not fit.
    const LIMITS: &str = "-v 860000 && export MALLOC_ARENA_MAX=1";
    if alone!(a_map_whose_outputs_just_fit_returns_them_also_with_a_limit, LIMITS) {
        watched(|| {
            for builder in builders([1, 2]) {
                let page = |item: u64| [item; 2_000];
                let pages =
                    pool(2).install(|| builder.map(&CancellationToken::new(), 0..25_000_usize, |at| page(at as u64)));
                assert!(pages.unwrap().iter().zip(0..).all(|(page, at)| page[1_999] == at), "{builder:?}");
            }
        });
    }
}
