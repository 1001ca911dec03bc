//! `Progress`: the count.

use brigade::par::Progress;
use brigade::{Cancelled, ParBuilder, scope};

use super::{limited, live, pool};
use crate::util::{Gate, watched};

#[test]
fn progress_counts_every_item_of_every_form_and_can_be_watched() {
    watched(|| {
        let progress = Progress::new();
        assert_eq!(progress.to_string(), "0 of 0");
        for limit in [None, Some(1)] {
            let builder = limited(limit).progress(&progress);
            let before = progress.total();
            pool(3)
                .install(|| {
                    builder.map(&live(), 0..5_000, |item| item)?;
                    builder.for_each(&live(), 0..5_000, drop)?;
                    builder.map_init(&live(), 0..5_000, || (), |(), item| item)?;
                    builder.fold(&live(), 0..5_000, || 0, |a, b| a + b, |a, b| a + b)
                })
                .unwrap();
            assert!(builder.collect_all(&live(), 0..5_000, Ok::<_, Cancelled>).is_ok());
            assert_eq!((progress.total() - before, progress.done()), (25_000, progress.total()));
        }
        // Seen while it runs: the item in hand is not done, those before it are.
        let progress = Progress::new();
        let (reached_it, go_on) = (Gate::default(), Gate::default());
        scope(&live(), |s| {
            s.spawn(|s| {
                pool(1).install(|| {
                    ParBuilder::new().progress(&progress).for_each(s.token(), 0..100, |item| {
                        if item == 30 {
                            reached_it.open();
                            go_on.pass();
                        }
                    })
                })
            })?;
            reached_it.pass();
            assert_eq!(progress.to_string(), "30 of 100");
            go_on.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(format!("{progress:?}"), "Progress { done: 100, total: 100 }");
    });
}

#[test]
fn progress_counts_an_item_that_failed() {
    let progress = Progress::new();
    for limit in [1, 2] {
        let builder = ParBuilder::new().progress(&progress).limit(limit);
        let fails = |item| if item == 4 { Err(anyhow::anyhow!("no")) } else { Ok(()) };
        assert!(pool(1).install(|| builder.try_map(&live(), 0..10, fails)).is_err());
    }
    assert_eq!(progress.to_string(), "10 of 20");
}
