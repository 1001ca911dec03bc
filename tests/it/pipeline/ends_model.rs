//! Random pipelines with the stages that fail and leave items out, into each of the ends, against plain iterators.

use std::any::Any;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use brigade::pipeline::Chain;
use brigade::{Cancelled, Pipeline};
use crossbeam::channel::unbounded;
use proptest::prelude::*;

use super::live;
use crate::util::{alone, reached, watched};

/// How many ends there are.
const ENDS: usize = 15;

#[derive(Clone, Debug)]
struct Program {
    items: usize,
    source: usize,
    fails: Option<(usize, usize)>,
    panics: Option<(usize, usize)>,
    /// After how many outputs the sink fails or breaks off.
    sink: usize,
    threads: usize,
    window: Option<usize>,
    leaf: usize,
    end: usize,
}

/// An output, or how the loop ends there.
type Output = Result<usize, String>;

impl Program {
    fn meets(&self, stage: usize, item: usize) -> Result<(), String> {
        if self.panics == Some((stage, item)) {
            return Err(format!("panic {stage} {item}"));
        }
        if self.fails == Some((stage, item)) {
            return Err(format!("error {stage} {item}"));
        }
        Ok(())
    }

    fn tried(&self, stage: usize, item: usize) -> anyhow::Result<()> {
        self.meets(stage, item).map_err(|how| {
            if how.starts_with("panic") {
                // Without the hook.
                resume_unwind(Box::new(how));
            }
            anyhow::anyhow!(how)
        })
    }

    /// The outputs of the plain loop, up to its failure.
    fn outputs(&self) -> Vec<Output> {
        let mut out = Vec::new();
        for item in 0..self.items {
            let made = (|| {
                self.meets(0, item)?;
                if item % 5 == 2 {
                    return Ok(());
                }
                self.meets(1, item)?;
                if item % 7 == 3 {
                    return Ok(());
                }
                self.meets(2, item)?;
                out.extend((0..item % 4).map(|part| Ok(item * 4 + part)));
                Ok(())
            })();
            if let Err(how) = made {
                out.push(Err(how));
                break;
            }
        }
        out
    }

    /// How the plain loop ends.
    fn expected(&self) -> String {
        let outputs = self.outputs();
        let mut outputs = outputs.iter().cloned();
        match self.end {
            0 => said(outputs.try_fold((0, 0), |(count, sum), output| {
                let sum = folded(sum, output?);
                if count == self.sink { Err("sink".to_owned()) } else { Ok((count + 1, sum)) }
            })),
            1 => said(reduced(folded, outputs)),
            2 => said(outputs.collect::<Result<Vec<_>, _>>().map(|all| Some(all).filter(|all| !all.is_empty()))),
            3 => said(reduced(|_, last| last, outputs)),
            4 => said(reduced(std::cmp::min, outputs)),
            5 => said(reduced(std::cmp::max, outputs)),
            6 => said(outputs.sum::<Result<usize, _>>()),
            7 => said(found(outputs).map(|found| found.is_some())),
            8 => said(found(outputs).map(|found| found.is_none())),
            9 => said(found(outputs)),
            10 | 11 => {
                for (count, output) in outputs.enumerate() {
                    match output {
                        Ok(output) if count == self.sink => {
                            return said(Ok::<_, String>(ControlFlow::<usize>::Break(output)));
                        }
                        Ok(_) => {}
                        Err(how) => return said(Err::<(), _>(how)),
                    }
                }
                said(Ok::<_, String>(ControlFlow::<usize>::Continue(())))
            }
            _ => {
                let mut taken = Vec::new();
                for output in outputs {
                    match output {
                        Ok(output) => taken.push(output),
                        Err(how) => return format!("{taken:?} {}", said(Err::<(), _>(how))),
                    }
                }
                format!("{taken:?} {}", said(Ok::<_, String>(())))
            }
        }
    }

    /// Not each end with each source, because each pair is a type of its own, which takes the compiler long.
    fn run(&self) -> String {
        match (self.source, self.end) {
            (1, 2) => self.reduced_by(self.staged(Pipeline::from_ready(0..self.items))),
            (2, 2) => self.reduced_by(self.staged(Pipeline::from_data(0..self.items))),
            _ => self.ended(self.staged(Pipeline::from_iter(0..self.items))),
        }
    }

    fn reduced_by<C>(&self, staged: Pipeline<C>) -> String
    where
        C: Chain<Output = usize, Error = anyhow::Error>,
    {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            said(staged.map(|output| vec![output]).reduce_by(&live(), self.leaf, |mut before, behind| {
                before.extend(behind);
                before
            }))
        }));
        ended.unwrap_or_else(said_of_panic)
    }

    fn staged<C>(&self, source: Pipeline<C>) -> Pipeline<impl Chain<Output = usize, Error = anyhow::Error>>
    where
        C: Chain<Output = usize, Error = Cancelled>,
    {
        let source = source.threads(self.threads);
        let source = if let Some(items) = self.window { source.window(items) } else { source };
        let filtered = source
            .try_filter(|item| self.tried(0, *item).map(|()| item % 5 != 2))
            .try_filter_map_init(Vec::<u8>::new, |_, item| {
                self.tried(1, item).map(|()| (item % 7 != 3).then_some(item))
            });
        filtered.try_flat_map(|item| {
            self.tried(2, item)?;
            anyhow::Ok((0..item % 4).map(move |part| item * 4 + part))
        })
    }

    fn ended<C>(&self, staged: Pipeline<C>) -> String
    where
        C: Chain<Output = usize, Error = anyhow::Error>,
    {
        if self.end == 2 {
            return self.reduced_by(staged);
        }
        let token = live();
        let mut taken = Vec::new();
        let ended = catch_unwind(AssertUnwindSafe(|| match self.end {
            0 => said(staged.try_fold(&token, (0, 0), |(count, sum), output| {
                let sum = folded(sum, output);
                if count == self.sink { Err(anyhow::anyhow!("sink")) } else { Ok((count + 1, sum)) }
            })),
            1 => said(staged.reduce(&token, folded)),
            3 => said(staged.last(&token)),
            4 => said(staged.min(&token)),
            5 => said(staged.max(&token)),
            6 => said(staged.sum::<usize>(&token)),
            7 => said(staged.any(&token, |output| is_wanted(&output))),
            8 => said(staged.all(&token, |output| !is_wanted(&output))),
            9 => said(staged.find(&token, is_wanted)),
            10 => {
                let mut count = 0;
                said(staged.for_each_until(&token, |output| {
                    count += 1;
                    if count > self.sink { ControlFlow::Break(output) } else { ControlFlow::Continue(()) }
                }))
            }
            11 => {
                let mut count = 0;
                said(staged.try_for_each_until(&token, |output| {
                    count += 1;
                    anyhow::Ok(if count > self.sink { ControlFlow::Break(output) } else { ControlFlow::Continue(()) })
                }))
            }
            12 => said(staged.for_each_batch(&token, |outputs| {
                assert!(outputs.len() > 0);
                taken.extend(outputs);
                anyhow::Ok(())
            })),
            13 => {
                let (mut tells, mut since) = (0, 0);
                let taken = staged.on_idle(&mut taken, |taken| {
                    assert!(taken.len() > since, "told without an output since");
                    (tells, since) = (tells + 1, taken.len());
                    anyhow::Ok(())
                });
                let ended = taken.try_for_each(&token, |taken, output| {
                    taken.push(output);
                    Ok(())
                });
                if let Ok(taken) = &ended {
                    assert_eq!(taken.len(), since, "told at the end");
                }
                said(ended.map(|_| ()))
            }
            _ => {
                let (sender, receiver) = unbounded();
                let ended = catch_unwind(AssertUnwindSafe(|| staged.send_to(&token, &sender)));
                drop(sender);
                taken.extend(receiver);
                let ended = ended.unwrap_or_else(|payload| resume_unwind(payload));
                said(ended.map(|sent| assert_eq!(sent, taken.len())))
            }
        }));
        let said = ended.unwrap_or_else(said_of_panic);
        if self.end < 12 { said } else { format!("{taken:?} {said}") }
    }
}

fn said_of_panic(payload: Box<dyn Any + Send>) -> String {
    said(Err::<(), _>(payload.downcast::<String>().map_or_else(|other| resume_unwind(other), |how| *how)))
}

fn reduced(f: fn(usize, usize) -> usize, mut outputs: impl Iterator<Item = Output>) -> Result<Option<usize>, String> {
    outputs.try_fold(None, |so_far: Option<usize>, output| {
        output.map(|output| Some(so_far.map_or(output, |so_far| f(so_far, output))))
    })
}

/// The first output that is wanted, unless the loop ends before.
fn found(mut outputs: impl Iterator<Item = Output>) -> Result<Option<usize>, String> {
    outputs.find(|output| output.as_ref().map_or(true, is_wanted)).transpose()
}

fn folded(sum: usize, output: usize) -> usize {
    (sum * 31 + output) % 1_000_003
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as a filter takes it")]
fn is_wanted(output: &usize) -> bool {
    output % 97 == 96
}

/// A result, with its error as text.
fn said<T: Debug, E: ToString>(result: Result<T, E>) -> String {
    format!("{:?}", result.map_err(|error| error.to_string()))
}

fn programs() -> impl Strategy<Value = Program> {
    let place = || proptest::option::weighted(0.3, (0..3_usize, 0..300_usize));
    let switches = (1..=8_usize, proptest::option::of(1..60_usize), prop_oneof![1..8_usize, 8..400_usize]);
    ((0..300_usize, 0..3_usize), (place(), place()), 0..200_usize, switches, 0..ENDS).prop_map(
        |((items, source), (fails, panics), sink, (threads, window, leaf), end)| Program {
            items,
            source,
            fails,
            panics,
            sink,
            threads,
            window,
            leaf,
            end,
        },
    )
}

#[test]
fn every_end_equals_the_plain_loop() {
    if !alone!(every_end_equals_the_plain_loop) {
        return;
    }
    watched(|| {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 1_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        runner
            .run(&programs(), |program| {
                reached(&format!("{program:?}"));
                let expected = program.expected();
                prop_assert_eq!(program.run(), expected.clone());
                // On a rayon worker it is the plain loop.
                prop_assert_eq!(rayon::scope(|_| program.run()), expected);
                Ok(())
            })
            .unwrap();
    });
}
