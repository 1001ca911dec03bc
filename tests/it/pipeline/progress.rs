//! `Progress` of a pipeline.

use std::io::BufReader;

use brigade::par::Progress;
use brigade::pipeline::Report;
use brigade::{ParBuilder, Pipeline, scope};
use crossbeam::channel::unbounded;

use super::{at_every_setting, live, set};
use crate::util::{Gate, watched};

#[test]
fn progress_counts_the_items_of_a_pipeline_at_every_setting() {
    watched(|| {
        at_every_setting(&[None, Some(1)], |setting| {
            let progress = Progress::new();
            let items = set(Pipeline::from_data(0..100).progress(&progress), setting);
            // Items, not outputs.
            items.flat_map(|item| [item; 3]).filter(|item| item % 2 == 0).count(&live()).unwrap();
            assert_eq!(progress.to_string(), "100 of 100");
        });
    });
}

#[test]
fn leaves_count_as_the_items_that_they_have() {
    watched(|| {
        for threads in [1, 2, 8] {
            for leaf in [1, 7, 100, 1_000] {
                let (progress, report) = (Progress::new(), Report::new());
                let add = |a, b| a + b;
                let data = Pipeline::from_data(0..1_000_u32).threads(threads).report(&report).progress(&progress);
                data.filter(|item| *item != 500).reduce_by(&live(), leaf, add).unwrap();
                assert_eq!(progress.to_string(), "1000 of 1000");
                let figures = report.figures();
                assert_eq!((figures.items, figures.sections[0].items), (1_000, 1_000));
                // As many of a source that does not know its length, and behind a serial stage.
                let odd = Pipeline::from_iter((0..2_000_u32).filter(|item| item % 2 == 1)).threads(threads);
                odd.progress(&progress).reduce_by(&live(), leaf, add).unwrap();
                let serial = Pipeline::from_iter(0..1_000_u32).threads(threads).report(&report).progress(&progress);
                let serial = serial.scan(0, |_, item| Some(item)).map(|item| item);
                serial.reduce_by(&live(), leaf, add).unwrap();
                assert_eq!(progress.done(), 3_000);
                let figures = report.figures();
                let sections = figures.sections.iter().map(|section| section.items).collect::<Vec<_>>();
                assert_eq!((figures.items, sections), (1_000, vec![1_000, 1_000]));
            }
        }
    });
}

#[test]
fn the_total_is_the_length_of_the_source_if_that_knows_it_or_else_what_is_done() {
    watched(|| {
        for threads in [1, 2] {
            let progress = Progress::new();
            let totals = |expected| {
                assert_eq!((progress.done(), progress.total()), expected);
            };
            Pipeline::from_iter(0..10).threads(threads).progress(&progress).count(&live()).unwrap();
            totals((10, 10));
            Pipeline::from_ready(0..10).threads(threads).progress(&progress).count(&live()).unwrap();
            totals((20, 20));
            let odd = (0..10).filter(|item| item % 2 == 1);
            Pipeline::from_iter(odd).threads(threads).progress(&progress).count(&live()).unwrap();
            totals((25, 25));
            let lines = BufReader::new(&b"a\nb\nc"[..]);
            Pipeline::from_lines(lines).threads(threads).progress(&progress).count(&live()).unwrap();
            totals((28, 28));
            let (sender, receiver) = unbounded();
            (0..4).for_each(|message| sender.send(message).unwrap());
            drop(sender);
            Pipeline::from_receiver(receiver).threads(threads).progress(&progress).count(&live()).unwrap();
            totals((32, 32));
            // It adds up with the maps.
            ParBuilder::new().progress(&progress).for_each(&live(), 0..8, drop).unwrap();
            totals((40, 40));
        }
    });
}

#[test]
fn progress_can_be_watched_and_stays_behind_where_a_run_fails() {
    watched(|| {
        for threads in [1, 2] {
            let (progress, in_sink, go_on) = (Progress::new(), Gate::default(), Gate::default());
            scope(&live(), |s| {
                let run = s.spawn(|s| {
                    let items = Pipeline::from_iter(0..100).threads(threads).window(1).progress(&progress);
                    let fails = |item| if item == 50 { Err(anyhow::anyhow!("no")) } else { Ok(item) };
                    items.try_map(fails).for_each(s.token(), |item| {
                        if item == 30 {
                            in_sink.open();
                            go_on.pass();
                        }
                    })
                })?;
                in_sink.pass();
                assert_eq!(progress.to_string(), "30 of 100");
                go_on.open();
                Ok(run.join()?)
            })
            .unwrap_err();
            assert_eq!(progress.to_string(), "50 of 100");
        }
    });
}
