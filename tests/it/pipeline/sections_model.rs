//! Random pipelines of several sections, with bounds in bytes and a report, against the plain loop.

use std::time::Duration;

use brigade::pipeline::Report;
use brigade::{CancellationToken, Pipeline};
use proptest::prelude::*;

use super::drops::watched_in_silence;
use super::live;
use crate::util::{alone, reached};

/// A random program of up to four sections, which runs on threads and as the plain loop.
#[derive(Clone, Debug)]
struct Program {
    items: usize,
    shape: usize,
    threads: usize,
    window: Option<usize>,
    budget: usize,
    fans: [usize; 3],
    filters: [usize; 3],
    fails: Option<(usize, usize)>,
    panics: Option<(usize, usize)>,
    sink_fails: Option<usize>,
    own: usize,
    most: usize,
    report: Report,
}

impl Program {
    fn run(&self, threads: usize) -> (Vec<usize>, String) {
        let tried = |section: usize| {
            move |item: usize| {
                anyhow::ensure!(self.fails != Some((section, item)), "{section} {item}");
                assert!(self.panics != Some((section, item)), "{section} {item}");
                Ok(item)
            }
        };
        let fanned = |section: usize| {
            move |item: usize| {
                let parts = if item % 5 == 0 { self.fans[section] } else { 1 };
                (0..parts).map(move |part| (item * 31 + part) % 509)
            }
        };
        let kept = |section: usize| move |item: &usize| item % self.filters[section] != 1;
        let waits = |token: &CancellationToken, item: usize| {
            if item % 9 == 0 {
                token.sleep(Duration::from_micros(20))?;
            }
            Ok::<_, anyhow::Error>(item)
        };
        let mut seen = Vec::new();
        let sink = |item: usize| {
            seen.push(item);
            anyhow::ensure!(self.sink_fails != Some(seen.len()), "sink");
            Ok(())
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let source = Pipeline::from_iter(0..self.items).budget(self.budget, |item| item % 50);
            let source = source.threads(threads).report(&self.report);
            let source = if let Some(items) = self.window { source.window(items) } else { source };
            let first = source.filter(kept(0)).try_map(tried(0)).flat_map(fanned(0));
            match self.shape {
                0 => first
                    .weigh_output(self.budget, |item| item % 50)
                    .try_blocking(self.own, waits)
                    .filter(kept(1))
                    .try_map(tried(1))
                    .flat_map(fanned(1))
                    .try_for_each(&live(), sink),
                1 => first
                    .batch(self.most)
                    .map(|batch| batch.into_iter().sum::<usize>() % 509)
                    .try_map(tried(1))
                    .take(self.most * 9)
                    .flat_map(fanned(1))
                    .try_for_each(&live(), sink),
                2 => first
                    .dedup()
                    .try_map(tried(1))
                    .flat_map(fanned(1))
                    .try_blocking(self.own, waits)
                    .filter(kept(2))
                    .try_map(tried(2))
                    .scan_with_end(
                        0,
                        |sum, item| {
                            *sum = (*sum * 3 + item) % 509;
                            (*sum != 7).then_some(*sum)
                        },
                        Some,
                    )
                    .flat_map(fanned(2))
                    .try_for_each(&live(), sink),
                3 => first
                    .batch(self.most)
                    .try_flat_map(|batch| tried(1)(batch.len()).map(|_| batch))
                    .try_filter(|item| Ok::<_, anyhow::Error>(kept(1)(&tried(1)(*item)?)))
                    .enumerate()
                    .try_filter_map(|(at, item)| Ok::<_, anyhow::Error>((at % 3 != 1).then_some(tried(2)(item)?)))
                    .try_flat_map_init(|| (), |(), item| Ok::<_, anyhow::Error>(fanned(2)(item)))
                    .on_idle(sink, |_| Ok(()))
                    .try_for_each(&live(), |sink, item| sink(item))
                    .map(drop),
                4 => first
                    .take(self.most * 20)
                    .try_map(tried(1))
                    .map(|item| vec![item])
                    .reduce_by(&live(), self.most, |mut before, behind| {
                        before.extend(behind);
                        before
                    })
                    .and_then(|all| all.unwrap_or_default().into_iter().try_for_each(sink)),
                _ => first
                    .skip_while(|item| item % 7 < 3)
                    .enumerate()
                    .map(|(at, item)| at ^ item)
                    .try_map(tried(1))
                    .chunk_by(|item, next| item < next)
                    .map(|run| run.len())
                    .weigh_output(self.budget, |len| *len)
                    .try_for_each(&live(), sink),
            }
        }));
        assert!(!self.report.figures().is_running, "{}", self.report);
        let said = match ended {
            Ok(Ok(())) => String::from("done"),
            Ok(Err(error)) => error.to_string(),
            Err(payload) => format!("panic {:?}", payload.downcast_ref::<String>()),
        };
        (seen, said)
    }
}

fn programs() -> impl Strategy<Value = Program> {
    let place = || proptest::option::weighted(0.3, (0..3_usize, 0..300_usize));
    let windows = proptest::option::of(prop_oneof![Just(1), Just(2), 3..60_usize]);
    let switches = (1..=8_usize, windows, prop_oneof![Just(1), 2..500_usize, Just(1_000_000)]);
    let stages = (
        proptest::array::uniform3(prop_oneof![Just(1), Just(0), Just(3), Just(400)]),
        proptest::array::uniform3(1..6_usize),
    );
    let ends = (place(), place(), proptest::option::weighted(0.2, 1..200_usize));
    (0..200_usize, 0..6_usize, switches, stages, ends, (1..9_usize, 1..8_usize)).prop_map(
        |(items, shape, (threads, window, budget), (fans, filters), (fails, panics, sink_fails), (own, most))| {
            Program {
                items,
                shape,
                threads,
                window,
                budget,
                fans,
                filters,
                fails,
                panics,
                sink_fails,
                own,
                most,
                report: Report::new(),
            }
        },
    )
}

#[test]
fn pipelines_of_several_sections_equal_the_plain_loop() {
    if !alone!(pipelines_of_several_sections_equal_the_plain_loop) {
        return;
    }
    watched_in_silence(|| {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 400,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        runner
            .run(&programs(), |program| {
                reached(&format!("{program:?}"));
                // On a rayon worker it is the plain loop.
                let expected = rayon::scope(|_| program.run(program.threads));
                prop_assert_eq!(program.run(program.threads), expected);
                Ok(())
            })
            .unwrap();
    });
}
