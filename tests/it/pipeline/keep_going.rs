//! Runs that keep going: failures as values.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{CancelReason, CancellationToken, Cancelled, Failure, Failures, Pipeline};

use super::{at_every_setting, live, set};
use crate::util::{Census, Counted, message_of, payload_of, reached, watched};

/// Panics without a message on the standard error.
fn throw(message: String) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// The second stage of the runs: some items fail, some panic.
fn tried(item: usize) -> anyhow::Result<usize> {
    match item % 100 {
        7 => anyhow::bail!("bad {item}"),
        13 => throw(format!("bug {item}")),
        _ => Ok(item),
    }
}

fn shown<T: fmt::Debug, E: fmt::Display>(result: Result<T, Failure<E>>) -> String {
    result.map_or_else(|failure| failure.to_string(), |output| format!("{output:?}"))
}

#[test]
fn a_failure_stands_in_its_items_place_and_costs_no_other_item() {
    watched(|| {
        at_every_setting(&[None, Some(1), Some(30)], |setting| {
            let mut expected: Vec<String> = (0..1_500)
                .map(|item| match item % 100 {
                    7 => format!("line#{item} failed: bad {item}"),
                    13 => format!("line#{item} panicked: bug {item}"),
                    _ => item.to_string(),
                })
                .collect();
            let pipeline = Pipeline::from_iter(0..1_500).named("line").try_map(tried).keep_going();
            let mut seen = Vec::new();
            set(pipeline, setting).for_each(&live(), |result| seen.push(shown(result))).unwrap();
            if !setting.2 {
                expected.sort_unstable();
                seen.sort_unstable();
            }
            assert_eq!(seen, expected);
        });
    });
}

#[test]
fn outputs_that_an_item_made_before_it_failed_stay() {
    watched(|| {
        for threads in 1..=8 {
            reached(&threads.to_string());
            // The item 3 has more outputs than are handed over at once, and the item 4 no end.
            let fan = |item: usize| match item {
                3 => 0..20_000,
                4 => 0..usize::MAX,
                _ => 0..3,
            };
            let fails = |part: usize| match part {
                2 => anyhow::bail!("bad part"),
                19_999 => throw("bug".to_owned()),
                _ => Ok(part),
            };
            let seen: Vec<_> = Pipeline::from_data([0_usize, 1])
                .threads(threads)
                .flat_map(fan)
                .try_map(fails)
                .keep_going()
                .map(shown)
                .collect(&live())
                .unwrap();
            assert_eq!(seen, ["0", "1", "item#0 failed: bad part", "0", "1", "item#1 failed: bad part"]);
            let long = |part: usize| if part == 19_999 { fails(part) } else { Ok(part) };
            let seen: Vec<_> = Pipeline::from_data([3_usize, 4, 0])
                .threads(threads)
                .flat_map(fan)
                .try_map(long)
                .keep_going()
                .collect(&live())
                .unwrap();
            assert_eq!(seen.len(), 2 * 20_000 + 3);
            assert_eq!(seen[19_999].as_ref().unwrap_err().index(), 0);
            assert_eq!(seen[39_999].as_ref().unwrap_err().panic().unwrap().message(), "bug");
            assert!(seen[40_000..].iter().all(Result::is_ok));
        }
    });
}

#[test]
fn a_later_stage_and_the_sink_and_the_source_end_the_run() {
    watched(|| {
        for threads in 1..=8 {
            reached(&threads.to_string());
            let seen = AtomicUsize::new(0);
            let see = || seen.fetch_add(1, Ordering::SeqCst);
            let kept = || Pipeline::from_iter(0..1_000_usize).threads(threads).try_map(tried).keep_going();
            // Of an output of the item that fails first.
            let ended: anyhow::Result<()> = kept()
                .try_map(|result| if matches!(result, Ok(500)) { anyhow::bail!("a later stage") } else { Ok(()) })
                .for_each(&live(), |()| _ = see());
            assert_eq!(
                (ended.unwrap_err().to_string().as_str(), seen.swap(0, Ordering::SeqCst)),
                ("a later stage", 500)
            );
            let message = message_of(|| {
                let later = kept().map(|result| {
                    if matches!(result, Ok(500)) {
                        throw("a later bug".to_owned())
                    }
                });
                _ = later.for_each(&live(), |()| _ = see());
            });
            assert_eq!((message.as_str(), seen.swap(0, Ordering::SeqCst)), ("a later bug", 500));
            // Of the failure itself.
            let message = message_of(|| {
                let later = kept().map(|result| {
                    if result.is_err() {
                        throw("a later bug".to_owned())
                    }
                });
                _ = later.for_each(&live(), |()| _ = see());
            });
            assert_eq!((message.as_str(), seen.swap(0, Ordering::SeqCst)), ("a later bug", 7));
            let ended: anyhow::Result<()> =
                kept().try_for_each(&live(), |_| if see() == 500 { anyhow::bail!("sink") } else { Ok(()) });
            assert_eq!((ended.unwrap_err().to_string().as_str(), seen.swap(0, Ordering::SeqCst)), ("sink", 501));
            let message = message_of(|| {
                _ = kept().for_each(&live(), |_| {
                    if see() == 500 {
                        throw("sink".to_owned())
                    }
                });
            });
            assert_eq!((message.as_str(), seen.swap(0, Ordering::SeqCst)), ("sink", 501));
            let source = (0..1_000_usize).inspect(|item| assert!(*item != 500, "source"));
            let message = message_of(|| {
                let kept = Pipeline::from_iter(source).threads(threads).try_map(tried).keep_going();
                _ = kept.for_each(&live(), |_| _ = see());
            });
            assert_eq!((message.as_str(), seen.swap(0, Ordering::SeqCst)), ("source", 500));
            // And of the stages before a scan.
            let ended: anyhow::Result<usize> = Pipeline::from_iter(0..1_000_usize)
                .threads(threads)
                .try_map(tried)
                .scan((), |(), item| Some(item))
                .keep_going()
                .count(&live());
            assert_eq!(ended.unwrap_err().to_string(), "bad 7");
        }
    });
}

/// An iterator that panics when it is dropped before its end.
struct Touchy(usize);

impl Iterator for Touchy {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0 += 1;
        (self.0 < 100_000).then_some(self.0)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(self.0 >= 100_000, "dropped in its midst");
    }
}

#[test]
fn the_rest_of_an_item_that_is_not_wanted_is_no_failure() {
    watched(|| {
        for threads in 1..=8 {
            let touchy = || Pipeline::from_data([0, 0]).threads(threads).flat_map(Touchy).keep_going();
            assert_eq!(touchy().first(&live()).unwrap().unwrap().unwrap(), 1);
            let mut seen = Vec::new();
            let ended: anyhow::Result<()> = touchy().try_for_each(&live(), |result| {
                seen.push(result.is_ok());
                anyhow::ensure!(seen.len() < 10, "enough");
                Ok(())
            });
            assert_eq!((ended.unwrap_err().to_string().as_str(), seen), ("enough", vec![true; 10]));
        }
    });
}

#[test]
fn a_label_is_made_of_each_item_and_shown_for_those_that_fail() {
    struct Name<'a>(usize, &'a AtomicUsize);
    impl fmt::Display for Name<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.1.fetch_add(1, Ordering::SeqCst);
            write!(f, "file {}", self.0)
        }
    }
    for threads in [1, 4] {
        let shown_names = AtomicUsize::new(0);
        let mut seen = Vec::new();
        Pipeline::from_data(0..20_usize)
            .threads(threads)
            .try_map(tried)
            .keep_going_by(|item| Name(*item, &shown_names))
            .for_each(&live(), |result| seen.extend(result.err().map(|failure| failure.to_string())))
            .unwrap();
        assert_eq!(seen, ["item#7 (file 7) failed: bad 7", "item#13 (file 13) panicked: bug 13"]);
        assert_eq!(shown_names.into_inner(), 2);
    }
}

#[test]
fn a_kept_panic_can_be_resumed_with_its_payload() {
    let results: Vec<_> = Pipeline::from_data(0..2_u8)
        .threads(2)
        .map(|item| if item == 1 { std::panic::resume_unwind(Box::new(77_u64)) } else { item })
        .keep_going()
        .collect(&live())
        .unwrap();
    let failure = results.into_iter().find_map(Result::err).unwrap();
    let payload = payload_of(|| failure.into_panic().unwrap().resume());
    assert_eq!(payload.downcast_ref(), Some(&77_u64));
}

#[test]
fn a_run_fails_after_the_nth_failure_in_order() {
    watched(|| {
        at_every_setting(&[None, Some(20)], |setting| {
            let mut seen = Vec::new();
            let pipeline = Pipeline::from_iter(0..1_000_usize).try_map(tried).keep_going();
            let failures =
                set(pipeline, setting).fail_after(4).for_each(&live(), |result| seen.push(shown(result))).unwrap_err();
            assert_eq!((failures.count(), failures.omitted(), failures.skipped()), (4, 3, 0));
            if !setting.2 {
                // By arrival: the error may overtake outputs before it.
                assert!(seen.iter().filter(|said| said.contains('#')).count() <= 3);
                return;
            }
            assert_eq!(failures.to_string(), "item#113 panicked: bug 113, and 3 other failures");
            assert_eq!(seen.len(), 113);
            assert_eq!((seen[0].as_str(), seen[107].as_str()), ("0", "item#107 failed: bad 107"));
            assert_eq!(message_of(|| _ = failures.resume_panic()), "bug 113");
        });
        let count =
            |most| Pipeline::from_data(0..1_000_usize).try_map(tried).keep_going().fail_after(most).count(&live());
        assert_eq!(count(21).unwrap(), 1_000);
        assert_eq!(count(20).unwrap_err().as_slice()[0].index(), 913);
        assert_eq!(count(1).unwrap_err().to_string(), "item#7 failed: bad 7");
        let message = message_of(|| _ = Pipeline::from_data(0..9).try_map(tried).keep_going().fail_after(0));
        assert!(message.starts_with("Pipeline::fail_after(0): "), "{message}");
    });
}

#[test]
fn a_cancelled_run_that_keeps_going_says_so() {
    watched(|| {
        for threads in 1..=8 {
            let token = live();
            let kept = |token: &CancellationToken| {
                Pipeline::from_iter(0..).threads(threads).try_map(tried).keep_going().for_each(token, |result| {
                    if matches!(result, Ok(300)) {
                        token.cancel_with(CancelReason::Signal(2));
                    }
                })
            };
            assert_eq!(kept(&token), Err(Cancelled::new(CancelReason::Signal(2))));
            let failures: Failures<anyhow::Error> = Pipeline::from_iter(0..)
                .threads(threads)
                .try_map(tried)
                .keep_going()
                .fail_after(9)
                .count(&token)
                .unwrap_err();
            assert_eq!((failures.count(), failures.is_empty()), (0, true));
            assert_eq!(failures.cancel_reason(), Some(CancelReason::Signal(2)));
            assert_eq!(failures.to_string(), Cancelled::new(CancelReason::Signal(2)).to_string());
        }
    });
}

#[test]
fn on_a_rayon_worker_a_run_keeps_going_too() {
    watched(|| {
        let failed = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(|| {
            let kept = Pipeline::from_iter(0..1_000_usize).threads(8).try_map(tried).keep_going();
            kept.filter(Result::is_err).count(&live())
        });
        assert_eq!(failed, Ok(20));
    });
}

/// An error that owns the item.
struct Bad(#[expect(dead_code, reason = "dropped")] Option<Counted<usize>>);

impl From<Cancelled> for Bad {
    fn from(_: Cancelled) -> Self {
        Bad(None)
    }
}

#[test]
fn items_errors_and_payloads_of_a_run_that_keeps_going_are_dropped_once() {
    watched(|| {
        at_every_setting(&[None], |setting| {
            for refused in [None, Some(400)] {
                let census = Census::default();
                let pipeline = Pipeline::from_iter((0..1_000_usize).map(|item| census.make(item)))
                    .try_map(|item| match item.value % 10 {
                        3 => Err(Bad(Some(item))),
                        5 => std::panic::resume_unwind(Box::new(item)),
                        _ => Ok(item),
                    })
                    .keep_going();
                let mut seen = 0;
                let ended = set(pipeline, setting).try_for_each(&live(), |_| {
                    seen += 1;
                    anyhow::ensure!(Some(seen) != refused, "refused");
                    Ok(())
                });
                assert_eq!((ended.is_ok(), seen), (refused.is_none(), refused.unwrap_or(1_000)));
                census.assert_all_dropped_once();
            }
        });
    });
}
