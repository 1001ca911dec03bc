//! The report: what a run did with its time, and what bounds it.

use std::time::Duration;

use brigade::pipeline::{Bottleneck, Chain, Figures, Report};
use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline, scope};

use super::{at_every_setting, live, set};
use crate::util::{Gate, message_of, reached, until, watched};

/// Stands for work that takes so long, on any core.
fn take(millis: u64) {
    assert_eq!(live().wait_timeout(Duration::from_millis(millis)), None);
}

/// Runs a pipeline of 60 items on two threads, and returns what bounds it, with the words for it.
fn bound_of(run: impl FnOnce(&Report)) -> (Bottleneck, String) {
    let report = Report::new();
    run(&report);
    let figures = report.figures();
    reached(&figures.to_string());
    assert!(figures.to_string().ends_with(&report.bottleneck().to_string()), "{figures}");
    (report.bottleneck(), figures.to_string())
}

#[test]
fn the_source_is_named_where_it_bounds_the_run() {
    watched(|| {
        for is_ready in [false, true] {
            let items = (0..60).inspect(|_| take(2));
            let (bound, table) = bound_of(|report| {
                let done = if is_ready {
                    Pipeline::from_ready(items).threads(2).report(report).map(drop).count(&live())
                } else {
                    Pipeline::from_iter(items).threads(2).report(report).map(drop).count(&live())
                };
                assert_eq!(done, Ok(60));
            });
            let Bottleneck::Source { share, each } = bound else { panic!("{table}") };
            assert!(share > 0.6 && each > Duration::from_millis(1), "{table}");
            assert!(table.contains("more threads will not help"), "{table}");
        }
    });
}

#[test]
fn the_stages_are_named_where_they_bound_the_run() {
    watched(|| {
        let (bound, table) = bound_of(|report| {
            let items = Pipeline::from_data(0..60).threads(2).report(report);
            assert_eq!(items.map(|_| take(3)).batch(2).map(drop).count(&live()), Ok(30));
        });
        let named = matches!(bound, Bottleneck::Section { section: 1, threads: 2, are_own: false, .. });
        assert!(named && table.contains("the 2 threads are busy"), "{table}");
    });
}

#[test]
fn the_sink_is_named_where_it_bounds_the_run() {
    watched(|| {
        let (bound, table) = bound_of(|report| {
            Pipeline::from_data(0..60).threads(2).report(report).map(drop).for_each(&live(), |()| take(2)).unwrap();
        });
        assert!(matches!(bound, Bottleneck::Sink { share, .. } if share > 0.6), "{table}");
        assert!(table.contains("format in a stage"), "{table}");
        // The consumer of an iterator is its sink.
        let (bound, table) = bound_of(|report| {
            let items = Pipeline::from_data(0..60).threads(2).report(report).map(drop);
            items.iter(&live(), |outputs| outputs.for_each(|output| output.map(|()| take(2)).unwrap()));
        });
        assert!(matches!(bound, Bottleneck::Sink { .. }), "{table}");
    });
}

#[test]
fn a_serial_stage_is_named_where_it_bounds_the_run() {
    watched(|| {
        for threads in [1, 2] {
            let (bound, table) = bound_of(|report| {
                let items = Pipeline::from_data(0..60).threads(threads).report(report).filter(|_| true);
                let items = items.scan((), |(), item| {
                    take(2);
                    Some(item)
                });
                assert_eq!(items.map(drop).count(&live()), Ok(60));
            });
            assert!(matches!(bound, Bottleneck::Serial { section: 2, .. }), "{table}");
            assert!(table.contains("serial stage before 2"), "{table}");
        }
    });
}

#[test]
fn a_blocking_stage_is_named_where_it_bounds_the_run_and_a_window_that_is_narrower_than_its_threads() {
    watched(|| {
        let (bound, table) = bound_of(|report| {
            let items = Pipeline::from_data(0..60).threads(2).report(report);
            assert_eq!(items.blocking(3, |_, _| take(10)).count(&live()), Ok(60));
        });
        assert!(matches!(bound, Bottleneck::Section { section: 2, threads: 3, are_own: true, .. }), "{table}");
        assert!(table.contains("give it more threads"), "{table}");
        let (bound, table) = bound_of(|report| {
            let items = Pipeline::from_data(0..60).threads(2).window(4).report(report);
            assert_eq!(items.blocking(16, |_, _| take(10)).count(&live()), Ok(60));
        });
        assert!(matches!(bound, Bottleneck::Window { window: Some(4), threads: 16, .. }), "{table}");
        assert!(table.contains("window(4) is narrower than the 16 threads"), "{table}");
    });
}

/// Works items of 3 ms each, and returns what bounds that, with the words for it.
fn narrow<C: Chain<Output: Send, Error = Cancelled>>(items: Pipeline<C>) -> (Bottleneck, String) {
    bound_of(|report| _ = items.report(report).map(|_| take(3)).count(&live()).unwrap())
}

#[test]
fn a_window_that_is_narrower_than_the_threads_is_named_however_many_they_are() {
    watched(|| {
        for (threads, window) in [(2, 1), (4, 1), (16, 1), (16, 2), (16, 4), (64, 8)] {
            reached(&format!("window({window}), {threads} threads"));
            let items = 0..30 * (window + 1);
            let runs = [
                narrow(Pipeline::from_iter(items.clone()).threads(threads).window(window)),
                narrow(Pipeline::from_ready(items.clone()).threads(threads).window(window)),
                narrow(Pipeline::from_data(items).threads(threads).window(window)),
            ];
            for (bound, table) in runs {
                assert!(matches!(bound, Bottleneck::Window { .. }), "{table}");
                assert!(table.contains(&format!("window({window}) is narrower than the {threads} threads")), "{table}");
            }
        }
    });
}

#[test]
fn a_window_is_named_that_leaves_the_calling_thread_alone() {
    watched(|| {
        // It takes up each cheap item itself, so that no other thread is started to wait.
        let (bound, table) = bound_of(|report| {
            let items = Pipeline::from_data(0..300_u32).threads(4).window(1).report(report);
            let burnt = items.map(|item| (0..10_000).fold(item, |hash, next| hash.wrapping_mul(31) ^ next));
            assert_eq!(burnt.count(&live()), Ok(300));
        });
        assert!(matches!(bound, Bottleneck::Window { window: Some(1), threads: 4, .. }), "{table}");
    });
}

#[test]
fn a_budget_for_fewer_items_than_threads_is_named_however_many_they_are() {
    watched(|| {
        for threads in [2, 4, 16] {
            reached(&format!("{threads} threads"));
            let (bound, table) = narrow(Pipeline::from_iter(0..60).budget(1, |_| 1).threads(threads));
            assert!(matches!(bound, Bottleneck::Budget { bytes: 1, .. }), "{table}");
        }
    });
}

#[test]
fn no_part_is_named_where_none_is_at_its_limit() {
    watched(|| {
        // One item in all: each part has its turn, and the others wait for it.
        let (bound, table) = bound_of(|report| {
            let item = std::iter::once(()).inspect(|()| take(5));
            let items = Pipeline::from_iter(item).threads(2).report(report).map(|()| take(5));
            items.for_each(&live(), |()| take(5)).unwrap();
        });
        assert_eq!(bound, Bottleneck::Balanced, "{table}");
        assert_eq!(Report::new().bottleneck(), Bottleneck::Balanced);
        assert_eq!(Report::new().figures(), Figures::default());
    });
}

/// Checks a report of a run that has ended.
#[track_caller]
fn check_ended(report: &Report) -> Figures {
    let figures = report.figures();
    assert!(!figures.is_running && figures == report.figures(), "{figures}");
    let waits = figures.sections.iter().map(|section| {
        let waits = section.waits;
        section.busy + section.serial + waits.input + waits.output + waits.window
    });
    let spent = waits.sum::<Duration>() + figures.source + figures.sink;
    let threads = u32::try_from(figures.started).unwrap();
    assert!(spent <= figures.elapsed * threads, "{spent:?} {figures}");
    assert!(figures.sections.iter().all(|section| section.batches <= section.items), "{figures}");
    figures
}

#[test]
fn a_serial_stage_that_threads_wait_for_is_not_taken_for_a_narrow_window() {
    watched(|| {
        for window in [None, Some(100_000)] {
            reached(&format!("{window:?}"));
            let (bound, table) = bound_of(|report| {
                let items = set(Pipeline::from_data(0..300).report(report), (2, window, true));
                let items = items.map(|item| item).scan((), |(), item| {
                    take(1);
                    Some(item)
                });
                assert_eq!(items.map(|_| take(1)).count(&live()), Ok(300));
            });
            assert!(matches!(bound, Bottleneck::Serial { section: 2, .. }), "{table}");
        }
    });
}

#[test]
fn weighed_outputs_count_as_held() {
    watched(|| {
        let report = Report::new();
        let items = Pipeline::from_data(0..64).threads(4).report(&report);
        let outputs = items.map(|item| take(if item == 0 { 300 } else { 1 })).weigh_output(1_000, |()| 400);
        assert_eq!(outputs.map(drop).count(&live()), Ok(64));
        let figures = check_ended(&report);
        assert!(figures.budget == Some(1_000) && figures.most_held >= 1_000, "{figures}");
        assert!(matches!(report.bottleneck(), Bottleneck::Budget { bytes: 1_000, .. }), "{figures}");
    });
}

#[test]
fn the_words_for_one_are_not_those_for_many() {
    watched(|| {
        let report = Report::new();
        assert_eq!(Pipeline::from_data(0..1).threads(1).report(&report).count(&live()), Ok(1));
        let table = report.to_string();
        assert!(table.contains(": 1 item, 1 output; 1 thread took part\n"), "{table}");
        assert!(table.contains("at most 1 item ahead of the sink"), "{table}");
        let items = Pipeline::from_iter(0..2_000).budget(1, |_| 1).threads(2).report(&report);
        assert_eq!(items.count(&live()), Ok(2_000));
        let table = report.to_string();
        assert!(table.contains(": 2,000 items, 2,000 outputs; "), "{table}");
        assert!(table.contains("at most 1 item ahead of the sink, and 1 of 1 byte\n"), "{table}");
        let each = Duration::from_millis(3);
        let words = |bytes| Bottleneck::Budget { bytes, share: 0.5 }.to_string();
        assert!(words(1).starts_with("the budget of 1 byte is"), "{}", words(1));
        assert!(words(1_000).starts_with("the budget of 1,000 bytes is"), "{}", words(1_000));
        let words = |threads| Bottleneck::Section { section: 2, threads, are_own: true, share: 0.9, each }.to_string();
        assert!(words(1).starts_with("the 1 thread of the blocking stage in section 2 is busy 90 %"), "{}", words(1));
        assert!(words(3).starts_with("the 3 threads of the blocking stage in section 2 are busy"), "{}", words(3));
    });
}

#[test]
fn a_report_counts_items_and_outputs_at_every_setting_and_changes_none() {
    watched(|| {
        let report = Report::new();
        at_every_setting(&[None, Some(1)], |setting| {
            let items = set(Pipeline::from_iter(0..100_u32).report(&report), setting);
            let items = items.flat_map(|item| [item; 2]).filter(|item| item % 2 == 0).batch(5).map(|batch| batch.len());
            assert_eq!(items.fold(&live(), 0, |sum, items| sum + items), Ok(100));
            let figures = check_ended(&report);
            assert_eq!((figures.items, figures.outputs, figures.sections.len()), (100, 20, 2), "{figures}");
            assert_eq!((figures.sections[0].items, figures.sections[1].items), (100, 20), "{figures}");
            assert!(figures.started >= 1 && figures.most_ahead >= 1, "{figures}");
            assert!(figures.window.is_none_or(|window| figures.most_ahead <= window as u64), "{figures}");
        });
        // As the plain loop in the midst of rayon.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| Pipeline::from_data(0..10).report(&report).count(&live())).unwrap();
        let figures = check_ended(&report);
        assert_eq!((figures.items, figures.started, figures.threads), (10, 1, 1), "{figures}");
    });
}

#[test]
fn a_report_is_complete_however_the_run_ends() {
    watched(|| {
        for threads in [1, 2, 8] {
            reached(&format!("{threads} threads"));
            let report = Report::new();
            let items = || Pipeline::from_iter(0..1_000).threads(threads).report(&report);
            let fails = |item| if item == 500 { Err(anyhow::anyhow!("no")) } else { Ok(item) };
            items().try_map(fails).for_each(&live(), drop).unwrap_err();
            assert_eq!((check_ended(&report).items, report.figures().outputs), (500, 500));

            let token = live();
            let cancels = |item| {
                if item == 300 {
                    token.cancel();
                }
            };
            items().for_each(&token, cancels).unwrap_err();
            assert_eq!(check_ended(&report).outputs, 301, "{report}");

            let panics = |item| {
                assert!(item != 200, "in the sink");
            };
            assert_eq!(message_of(|| _ = items().for_each(&live(), panics)), "in the sink");
            assert_eq!(check_ended(&report).outputs, 200, "{report}");
            let panics = |item| if item == 100 { panic!("in a stage") } else { item };
            assert_eq!(message_of(|| _ = items().map(panics).count(&live())), "in a stage");
            assert_eq!(check_ended(&report).items, 100, "{report}");

            assert_eq!(items().first(&live()), Ok(Some(0)));
            assert_eq!(check_ended(&report).outputs, 0, "{report}");
            let two = items().iter(&live(), |outputs| outputs.take(2).count());
            assert_eq!(two, 2);
            assert!(check_ended(&report).outputs >= 2, "{report}");
            let mut outputs = items().into_iter(&live());
            assert_eq!(outputs.next(), Some(Ok(0)));
            drop(outputs);
            check_ended(&report);
            assert_eq!(items().collect::<Vec<_>>(&live()).map(|outputs| outputs.len()), Ok(1_000));
            assert_eq!((check_ended(&report).items, report.figures().outputs), (1_000, 1_000), "{report}");

            let gone = live();
            gone.cancel_with(CancelReason::Other("before"));
            items().count(&gone).unwrap_err();
            assert_eq!(check_ended(&report).items, 0, "{report}");
        }
    });
}

#[test]
fn another_thread_reads_a_report_while_the_run_goes() {
    watched(|| {
        for threads in [1, 2] {
            let (report, in_stage, go_on) = (Report::new(), Gate::default(), Gate::default());
            scope(&live(), |s| {
                let run = s.spawn(|s| {
                    let waits = |item| {
                        if item == 5 {
                            in_stage.open();
                            go_on.pass();
                        }
                    };
                    Pipeline::from_data(0..10).threads(threads).window(1).report(&report).map(waits).count(s.token())
                })?;
                in_stage.pass();
                let (first, other) = (report.figures(), report.clone());
                assert!(first.is_running && first.items == 5, "{first}");
                // The item in hand counts as busy before it is done.
                until(|| other.figures().sections[0].busy > first.sections[0].busy + Duration::from_millis(20));
                assert!(report.to_string().starts_with("running after"), "{report}");
                go_on.open();
                assert_eq!(run.join()?, 10);
                Ok::<_, Cancelled>(())
            })
            .unwrap();
            assert_eq!(check_ended(&report).items, 10);
        }
    });
}

#[test]
fn a_report_that_is_used_again_starts_anew() {
    watched(|| {
        let report = Report::new();
        for (items, window) in [(100_usize, 7), (3, 2)] {
            let token = CancellationToken::new();
            Pipeline::from_data(0..items).threads(2).window(window).report(&report).count(&token).unwrap();
            let figures = check_ended(&report);
            assert_eq!((figures.items, figures.window), (items as u64, Some(window)));
        }
        assert!(format!("{report:?}").contains("items: 3"), "{report:?}");
    });
}
