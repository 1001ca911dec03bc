//! Maps whose closures are given a token of their item.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::par::{try_par_for_each_with_token, try_par_map_init_with_token, try_par_map_with_token};
use brigade::{CancelReason, CancellationToken, Cancelled, Failure, ParBuilder};
use proptest::prelude::*;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::{Fate, builders, ending, live, pool, run};
use crate::util::{Gate, watched};

/// The items 0, 1, .. of which each is a job.
fn single(items: usize) -> impl IndexedParallelIterator<Item = usize> {
    (0..items).into_par_iter().with_max_len(1)
}

#[test]
fn an_earlier_failure_cancels_the_token_of_an_item_and_a_later_one_does_not() {
    watched(|| {
        for builder in builders([3]) {
            pool(3).install(|| {
                let (begun, later) = (Gate::default(), Gate::default());
                let result = builder.try_map_with_token(&live(), single(3), |token, item| match item {
                    0 => {
                        // The last item has ended by now, with a failure.
                        later.pass();
                        assert!(!token.is_cancelled());
                        Err::<(), _>(anyhow::anyhow!("the first"))
                    }
                    1 => {
                        begun.open();
                        assert_eq!(token.wait(), CancelReason::Failed);
                        Err(Cancelled::new(CancelReason::Failed).into())
                    }
                    _ => {
                        begun.pass();
                        later.open();
                        Err(anyhow::anyhow!("the last"))
                    }
                });
                assert_eq!(result.map(drop).unwrap_err().to_string(), "the first");
            });
        }
    });
}

#[test]
fn the_callers_token_ends_the_waits_of_all_forms() {
    watched(|| {
        let wait = |token: &CancellationToken| Err::<(), _>(Cancelled::new(token.wait()));
        let cancelled_by_the_first = |item: usize, token: &CancellationToken, all: &CancellationToken| {
            if item == 0 {
                all.cancel_with(CancelReason::Other("enough"));
            }
            wait(token)
        };
        let enough = Cancelled::new(CancelReason::Other("enough"));
        pool(2).install(|| {
            let all = live();
            let ended =
                try_par_map_with_token(&all, single(2), |token, item| cancelled_by_the_first(item, token, &all));
            assert_eq!(ended.map(drop), Err(enough));
            let all = live();
            let ended =
                try_par_for_each_with_token(&all, single(2), |token, item| cancelled_by_the_first(item, token, &all));
            assert_eq!(ended, Err(enough));
            let all = live();
            let f = |(): &mut (), token: &CancellationToken, item| cancelled_by_the_first(item, token, &all);
            let ended = try_par_map_init_with_token(&all, single(2), || (), f);
            assert_eq!(ended.map(drop), Err(enough));
        });
    });
}

#[test]
fn items_of_one_job_share_a_token_and_other_parts_have_others() {
    watched(|| {
        let tokens = AtomicUsize::new(0);
        pool(1).install(|| {
            let mut builder = ParBuilder::new();
            for (limit, most) in [(None, 64), (Some(1), 200)] {
                if let Some(limit) = limit {
                    builder = builder.limit(limit);
                }
                let last = std::sync::Mutex::new(None);
                tokens.store(0, Ordering::SeqCst);
                builder
                    .try_for_each_with_token(
                        &live(),
                        (0..10_000_usize).into_par_iter().with_min_len(100),
                        |token, _| {
                            // The callbacks of a token are its own: a new one has none.
                            let mut last = last.lock().unwrap();
                            let known = last.replace(token.clone());
                            if known.is_none_or(|known| format!("{known:?}") != format!("{token:?}")) {
                                tokens.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok::<_, Cancelled>(())
                        },
                    )
                    .unwrap();
                let tokens = tokens.load(Ordering::SeqCst);
                assert!((1..=most).contains(&tokens), "{tokens} tokens");
            }
        });
    });
}

#[test]
fn a_located_failure_names_the_item() {
    watched(|| {
        let located = ParBuilder::new().named("file").located();
        let f = |token: &CancellationToken, item: usize| {
            if item < 3 { Ok(()) } else { token.check().map_err(anyhow::Error::from).and(Err(anyhow::anyhow!("x"))) }
        };
        let name = |failure: Failure<anyhow::Error>| (failure.name().to_owned(), failure.index());
        assert_eq!(located.try_map_with_token(&live(), 0..9_usize, f).map(drop).map_err(name), Err(("file".into(), 3)));
        assert_eq!(located.try_for_each_with_token(&live(), 0..9_usize, f).map_err(name), Err(("file".into(), 3)));
        let init = located.try_map_init_with_token(&live(), 0..9_usize, || (), |(), token, item| f(token, item));
        assert_eq!(init.map(drop).map_err(name), Err(("file".into(), 3)));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn maps_with_tokens_end_as_the_plain_loop_does(
        fates in prop::collection::vec(
            prop_oneof![20 => Just(Fate::Pass), 1 => Just(Fate::Fail), 1 => Just(Fate::Panic)],
            0..200,
        ),
        threads in 1..4_usize,
        limit in prop_oneof![Just(None), (1..4_usize).prop_map(Some)],
        // Items that pass wait for nothing, but fail as soon as they see their token cancelled.
        echoes in any::<bool>(),
    ) {
        let plain = ending(|| fates.iter().copied().enumerate().map(|(item, fate)| run(item, fate)).collect::<Result<Vec<_>, _>>());
        let ours = watched(move || {
            let builder = super::limited(limit);
            pool(threads).install(|| {
                ending(|| {
                    builder.try_map_with_token(&live(), 0..fates.len(), |token, item| {
                        if echoes {
                            token.check()?;
                        }
                        run(item, fates[item])
                    })
                })
            })
        });
        prop_assert_eq!(ours, plain);
    }
}
