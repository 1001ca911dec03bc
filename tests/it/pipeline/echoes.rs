//! The real error beats its echo, without order too; and the reason of an item's token.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, States};

use super::live;
use crate::util::{Gate, alone, payload_of, watched};

const HOUR: Duration = Duration::from_secs(3600);

/// The first item to begin fails when the other threads wait; what they return then is an echo.
fn fail(begun: &AtomicUsize, threads: usize, token: &CancellationToken, panics: bool) -> Result<(), anyhow::Error> {
    if begun.fetch_add(1, Ordering::SeqCst) > 0 {
        token.sleep(HOUR)?;
    }
    while begun.load(Ordering::SeqCst) < threads {
        std::thread::yield_now();
    }
    assert!(!panics, "the real panic");
    anyhow::bail!("the real error")
}

#[test]
fn without_order_the_real_failure_beats_its_echoes() {
    watched(|| {
        for _ in 0..100 {
            for threads in [2, 3, 8] {
                let begun = AtomicUsize::new(0);
                let ended = Pipeline::from_data(0..100)
                    .threads(threads)
                    .dedicated_caller()
                    .unordered()
                    .try_map_with_token(|token, _| fail(&begun, threads, token, false))
                    .for_each(&live(), drop);
                assert_eq!(ended.unwrap_err().to_string(), "the real error");

                let begun = AtomicUsize::new(0);
                let ended = Pipeline::from_data(0..100)
                    .threads(2)
                    .unordered()
                    .try_blocking(threads, |token, _| fail(&begun, threads, token, false))
                    .for_each(&live(), drop);
                assert_eq!(ended.unwrap_err().to_string(), "the real error");

                let begun = AtomicUsize::new(0);
                let payload = payload_of(|| {
                    let pipeline = Pipeline::from_data(0..100).threads(2).unordered();
                    let pipeline = pipeline.try_blocking(threads, |token, _| fail(&begun, threads, token, true));
                    _ = pipeline.for_each(&live(), drop);
                });
                assert_eq!(payload.downcast_ref(), Some(&"the real panic"));
            }
        }
    });
}

#[test]
fn the_token_of_an_item_that_is_not_wanted_any_more_says_why() {
    if !alone!(the_token_of_an_item_that_is_not_wanted_any_more_says_why) {
        return;
    }
    watched(|| {
        for ends_well in [true, false] {
            let (seen, begun, late) = (Mutex::new(None), Gate::default(), Gate::default());
            let ended = Pipeline::from_data(0..2)
                .threads(2)
                .dedicated_caller()
                .map(|item| {
                    if item == 1 {
                        begun.open();
                        // Until the run has ended, or the first has failed.
                        late.pass();
                    } else {
                        begun.pass();
                    }
                    item
                })
                .map_with_token(|token, item| {
                    if item == 1 {
                        token.wait();
                        *seen.lock().unwrap() = token.reason();
                    }
                    item
                })
                .try_map(|item| if ends_well || item > 0 { Ok(item) } else { Err(anyhow::anyhow!("the first")) });
            let opens = |result: Result<Option<i32>, anyhow::Error>| {
                late.open();
                result.is_ok()
            };
            // The gate opens before the run waits for the second item.
            let ok = std::thread::scope(|scope| {
                let opener = scope.spawn(|| {
                    crate::util::until_others_sleep();
                    late.open();
                });
                let ok = opens(ended.first(&live()));
                opener.join().unwrap();
                ok
            });
            assert_eq!(ok, ends_well);
            let reason = if ends_well { CancelReason::Finished } else { CancelReason::Failed };
            assert_eq!(seen.into_inner().unwrap(), Some(reason));
        }
    });
}

#[test]
fn a_blocking_stage_goes_on_past_errors_and_panics() {
    watched(|| {
        for threads in [1, 2, 8] {
            let mut values = Vec::new();
            let mut failures = Vec::new();
            Pipeline::from_iter(0..200_usize)
                .threads(2)
                .named("page")
                .blocking_keep_going(threads, |_, item| match item % 50 {
                    3 => Err(anyhow::anyhow!("no answer")),
                    7 => panic!("a bug"),
                    _ => Ok(item),
                })
                .for_each(&live(), |result| match result {
                    Ok(value) => values.push(value),
                    Err(failure) => failures.push(failure.to_string()),
                })
                .unwrap();
            assert!(values.into_iter().eq((0..200).filter(|item| ![3, 7].contains(&(item % 50)))));
            assert_eq!(failures.len(), 8);
            assert_eq!(failures[..2], ["page#3 failed: no answer", "page#7 panicked: a bug"]);
        }
    });
}

#[test]
fn a_blocking_stage_has_a_state_for_each_thread() {
    watched(|| {
        let states = States::new(|| 0_usize);
        let count = |count: &mut usize, _: &CancellationToken, item: usize| {
            *count += 1;
            item
        };
        let outputs: Vec<usize> =
            Pipeline::from_iter(0..500).threads(2).blocking_init(4, &states, count).collect(&live()).unwrap();
        assert!(outputs.into_iter().eq(0..500));
        let states = states.into_vec();
        assert!((1..=4).contains(&states.len()) && states.into_iter().sum::<usize>() == 500);
        let sums = States::new(|| 0_usize);
        let outputs: Vec<usize> = Pipeline::from_iter(0..500)
            .threads(3)
            .map_init_with_token(&sums, |sum, token, item| {
                assert_eq!(token.check(), Ok::<_, Cancelled>(()));
                *sum += item;
                item
            })
            .collect(&live())
            .unwrap();
        assert!(outputs.into_iter().eq(0..500));
        assert_eq!(sums.into_vec().into_iter().sum::<usize>(), 499 * 250);
    });
}
