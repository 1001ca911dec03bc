//! How many threads a run starts: those for which there is something to do.

use std::io::BufReader;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::pipeline::Chain;
use brigade::{CancellationToken, Cancelled, Pipeline, scope};
use crossbeam::channel::unbounded;

use super::live;
use crate::util::{Counter, Gate, alone, reached, threads, until_others_sleep, until_threads, watched};

/// The most threads that a run has started, as its sink finds.
fn started<C: Chain<Output: Send, Error = Cancelled>>(pipeline: Pipeline<C>) -> usize {
    let before = threads();
    let most = AtomicUsize::new(0);
    pipeline.for_each(&live(), |_| _ = most.fetch_max(threads() - before, Ordering::Relaxed)).unwrap();
    until_threads(before);
    most.into_inner()
}

#[test]
fn three_items_start_three_threads_at_most_and_one_that_finds_the_end_of_a_ready_source() {
    if !alone!(three_items_start_three_threads_at_most_and_one_that_finds_the_end_of_a_ready_source) {
        return;
    }
    watched(|| {
        for allowed in [2, 8, 256] {
            for _ in 0..20 {
                reached(&format!("{allowed} threads"));
                let (sender, receiver) = unbounded();
                (0..3).for_each(|item| sender.send(item).unwrap());
                drop(sender);
                let lines = BufReader::new(&b"one\ntwo\nthree\n"[..]);
                let started = [
                    ("data", started(Pipeline::from_data(0..3).threads(allowed))),
                    ("from_ready", started(Pipeline::from_ready(0..3).threads(allowed))),
                    ("from_iter", started(Pipeline::from_iter(0..3).threads(allowed))),
                    ("from_receiver", started(Pipeline::from_receiver(receiver).threads(allowed))),
                    ("from_lines", started(Pipeline::from_lines(lines).threads(allowed))),
                ];
                for (source, threads) in started {
                    // Each member of a ready source pulls, and while three are at their items, a fourth may.
                    let most = 3 + usize::from(source == "from_ready");
                    assert!(threads <= most, "{source} has started {threads} of {allowed} threads for three items");
                }
            }
        }
    });
}

#[test]
fn ten_trivial_items_of_data_or_a_ready_iterator_start_one_thread_at_most() {
    const RUNS: usize = 100;
    if !alone!(ten_trivial_items_of_data_or_a_ready_iterator_start_one_thread_at_most) {
        return;
    }
    watched(|| {
        for allowed in [2, 64] {
            for ready in [true, false] {
                reached(&format!("{allowed} threads, ready: {ready}"));
                // To count threads takes longer than ten items, so the sink does it at the last of them.
                let starts_more = |_: &usize| {
                    let before = threads();
                    let sink = |started, item| if item == 9 { threads() - before } else { started };
                    let run = if ready {
                        Pipeline::from_ready(0..10).threads(allowed).fold(&live(), 0, sink)
                    } else {
                        Pipeline::from_data(0..10).threads(allowed).fold(&live(), 0, sink)
                    };
                    until_threads(before);
                    run.unwrap() > 1
                };
                let count = (0..RUNS).filter(starts_more).count();
                // A run that is interrupted may take long enough to start some.
                assert!(count < RUNS / 2, "{count} of {RUNS} runs started threads of {allowed}, ready: {ready}");
            }
        }
    });
}

#[test]
fn a_source_that_blocks_at_once_keeps_two_threads_at_most() {
    if !alone!(a_source_that_blocks_at_once_keeps_two_threads_at_most) {
        return;
    }
    watched(|| {
        for allowed in [2, 8, 64] {
            reached(&format!("{allowed} threads"));
            let (asked, opened) = (Counter::default(), Gate::default());
            let source = (0..3).inspect(|_| {
                asked.add();
                opened.pass();
            });
            let before = threads();
            let run = || Pipeline::from_iter(source).threads(allowed).count(&live());
            let started = scope(&CancellationToken::new(), |s| {
                let run = s.spawn(|_| run())?;
                asked.wait_for(1);
                until_others_sleep();
                // The task of the scope is one.
                let started = threads() - before - 1;
                opened.open();
                assert_eq!(run.join(), Ok(3));
                Ok::<_, Cancelled>(started)
            });
            let started = started.unwrap();
            assert!(started <= 2, "{started} threads of {allowed} wait for a source that has given nothing");
        }
    });
}

#[test]
fn items_that_take_long_start_all_threads() {
    watched(|| {
        for allowed in [2, 3, 8, 16] {
            for source in 0..3 {
                reached(&format!("{allowed} threads, source {source}"));
                // Each item waits until as many are begun as there are threads.
                let begun = Counter::default();
                let stage = |item| {
                    begun.add();
                    begun.wait_for(allowed);
                    item
                };
                let count = match source {
                    0 => Pipeline::from_data(0..allowed).threads(allowed).map(stage).count(&live()),
                    1 => Pipeline::from_ready(0..allowed).threads(allowed).map(stage).count(&live()),
                    _ => Pipeline::from_iter(0..allowed).threads(allowed).map(stage).count(&live()),
                };
                assert_eq!(count, Ok(allowed));
            }
        }
    });
}
