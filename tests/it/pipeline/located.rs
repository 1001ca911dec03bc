//! A pipeline's error that says which item failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancelReason, Cancelled, Failure, Pipeline};
use proptest::prelude::*;

use super::live;
use crate::util::{message_of, watched};

#[derive(Debug, PartialEq, thiserror::Error)]
enum Bad {
    #[error("bad {0}")]
    Item(u32),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn passes(item: u32, bad: &[u32]) -> Result<u32, Bad> {
    if bad.contains(&item) { Err(Bad::Item(item)) } else { Ok(item) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_that_of_the_sources_item_from_every_source_at_any_number_of_threads(
        items in 1_u32..3_000,
        bad in prop::collection::vec(0_u32..3_000, 0..4),
        threads in 1_usize..5,
        window in prop::option::of(1_usize..50),
    ) {
        watched(move || {
            let first = bad.iter().copied().filter(|item| *item < items).min();
            // What a filter or a fan makes of the items before it does not count.
            macro_rules! ended {
                ($source:expr) => {{
                    let pipeline = $source.named("line").threads(threads);
                    let pipeline = window.map_or(pipeline, |window| $source.named("line").threads(threads).window(window));
                    pipeline
                        .filter(|item| item % 3 != 1 || bad.contains(item))
                        .flat_map(|item| [item, item])
                        .try_map(|item| passes(item, &bad))
                        .located_by(|item| item * 10)
                        .filter(|item| item % 2 == 0)
                        .count(&live())
                }};
            }
            let lines = (0..items).fold(String::new(), |lines, item| lines + &item.to_string() + "\n");
            let parsed = Pipeline::from_lines(lines.as_bytes())
                .named("line")
                .threads(threads)
                .try_map(|line| passes(line.unwrap().parse().unwrap(), &bad))
                .located()
                .count(&live());
            for (ended, labelled) in [
                (ended!(Pipeline::from_iter(0..items)), true),
                (ended!(Pipeline::from_ready(0..items)), true),
                (ended!(Pipeline::from_data(0..items)), true),
                (parsed, false),
            ] {
                match (ended, first) {
                    (Ok(_), None) => {}
                    (Err(failure), Some(first)) => {
                        assert_eq!((failure.name(), failure.index()), ("line", first as usize));
                        let label = labelled.then(|| (first * 10).to_string());
                        assert_eq!(failure.label().map(str::to_owned), label);
                        assert_eq!(failure.into_error(), Some(Bad::Item(first)));
                    }
                    (ended, first) => panic!("{ended:?}, {first:?}"),
                }
            }
        });
    }
}

#[test]
fn a_located_run_says_that_it_was_cancelled_and_resumes_panics() {
    watched(|| {
        for threads in [1, 2] {
            let token = live();
            token.cancel_with(CancelReason::Signal(15));
            let run = || Pipeline::from_data(0..9_u32).threads(threads).try_map(|item| passes(item, &[])).located();
            let failure = run().collect::<Vec<_>>(&token).unwrap_err();
            assert_eq!(failure.cancelled(), Some(Cancelled::new(CancelReason::Signal(15))));
            let panics = |item: u32| -> Result<u32, Bad> { panic!("item {item}") };
            let message = message_of(|| {
                _ = Pipeline::from_data(0..9).threads(threads).try_map(panics).located().count(&live());
            });
            assert_eq!(message, "item 0");
        }
    });
}

#[test]
fn a_located_error_goes_on_by_question_mark_and_an_error_of_the_sink_is_no_items() {
    for threads in [1, 2] {
        let run = |bad: &'static [u32]| {
            Pipeline::from_iter(0..100_u32).threads(threads).try_map(move |item| passes(item, bad)).located()
        };
        let ended: anyhow::Result<()> = run(&[50]).try_for_each(&live(), |_| Ok(()));
        let error = ended.unwrap_err();
        assert_eq!(error.to_string(), "item#50 failed: bad 50");
        assert!(matches!(error.downcast_ref(), Some(Failure::Error { error: Bad::Item(50), .. })));
        let ended: anyhow::Result<()> = run(&[50]).try_for_each(&live(), |item| {
            anyhow::ensure!(item < 20, "disk full");
            Ok(())
        });
        assert_eq!(ended.unwrap_err().to_string(), "disk full");
        // A stage behind may fail in its own way.
        let ended: anyhow::Result<usize> = run(&[50])
            .try_map(|item| if item == 30 { anyhow::bail!("another stage") } else { Ok(item) })
            .count(&live());
        assert_eq!(ended.unwrap_err().to_string(), "another stage");
    }
}

#[test]
fn a_label_is_shown_for_the_item_that_fails_alone_and_behind_a_scan_the_index_counts_what_that_makes() {
    struct Name<'a>(u32, &'a AtomicUsize);
    impl std::fmt::Display for Name<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.1.fetch_add(1, Ordering::SeqCst);
            write!(f, "file {}", self.0)
        }
    }
    let shown = AtomicUsize::new(0);
    let failure = Pipeline::from_iter(0..1_000_u32)
        .threads(1)
        .try_map(|item| passes(item, &[700]))
        .located_by(|item| Name(*item, &shown))
        .count(&live())
        .unwrap_err();
    assert_eq!((failure.to_string().as_str(), shown.into_inner()), ("item#700 (file 700) failed: bad 700", 1));
    for threads in [1, 2] {
        let ended = Pipeline::from_iter(0..1_000_u32)
            .threads(threads)
            .filter(|item| item % 2 == 0)
            .scan((), |(), item| Some(item))
            .try_map(|item| passes(item, &[700]))
            .located()
            .count(&live());
        assert_eq!(ended.unwrap_err().index(), 350);
    }
}
