//! [`Worker`]: a thread that claims batches, works them and commits their outputs.

use std::ops::ControlFlow;

use super::super::source::{Feed, Stock};
use super::super::stage::Stage;
use super::ring::Offers;
use super::section::{PieceOf, Section, WorkedOf};
use super::state::{Answer, Haste, Step};
use super::supply::Claim;
use super::work::Work;

/// A worker of a run.
pub(in super::super) struct Worker<'a, F: Feed, W: Stage<F::Item>> {
    section: &'a Section<'a, F, W>,
    work: Work<'a, F::Item, W>,
    haste: Haste,
    worked: Option<WorkedOf<F, W>>,
}

impl<'a, F: Feed, W: Stage<F::Item>> Worker<'a, F, W> {
    pub(in super::super) fn new(section: &'a Section<'a, F, W>) -> Self {
        let work = Work::new(section.stage, &section.signal, section.order);
        Worker { section, work, haste: Haste::MayLinger, worked: None }
    }

    /// Works until nothing is left to do.
    pub(in super::super) fn run(mut self) {
        let crash = CrashGuard(self.section);
        loop {
            let ticket = self.section.signal.workers.ticket();
            let step = self.section.enter(|state, void| {
                state.commit(self.worked.take());
                state.worker_step(self.haste, void)
            });
            self.haste = Haste::MayLinger;
            match step {
                Step::Work(claim, outputs) => self.work(claim, outputs),
                Step::Linger(wanted) => {
                    self.section.linger(wanted);
                    self.haste = Haste::HasLingered;
                }
                Step::Pull(items) => {
                    if let Some((claim, outputs)) = self.section.pull(items) {
                        self.work(claim, outputs);
                    }
                }
                Step::Sleep => {
                    self.section.signal.workers.wait(ticket);
                    self.section.enter(|state, _| state.roster().worker_awake());
                }
                Step::Leave => break,
            }
        }
        std::mem::forget(crash);
    }

    fn work(&mut self, claim: Claim<<F::Stock as Stock>::Batch>, outputs: Vec<W::Output>) {
        let section = self.section;
        let mut offers = Offers::default();
        self.worked = Some(self.work.run(claim, outputs, |part| hand_over(section, part, &mut offers)));
    }
}

/// Hands a part of a batch over, and waits until there is room for it. Breaks off when the batch is void.
fn hand_over<F: Feed, W: Stage<F::Item>>(
    section: &Section<'_, F, W>,
    part: PieceOf<F, W>,
    offers: &mut Offers,
) -> ControlFlow<(), Vec<W::Output>> {
    let first = part.first;
    let mut part = Some(part);
    loop {
        let ticket = section.signal.parts.ticket();
        match section.enter(|state, void| state.worker_offers(first, &mut part, offers, void)) {
            Answer::Accepted(next) => return ControlFlow::Continue(next),
            Answer::Wait => section.signal.parts.wait(ticket),
            Answer::Void => return ControlFlow::Break(()),
        }
    }
}

/// Ends the run should a worker's loop unwind, which only a rayon source that panics when it is split can make it do.
struct CrashGuard<'a, F: Feed, W: Stage<F::Item>>(&'a Section<'a, F, W>);

impl<F: Feed, W: Stage<F::Item>> Drop for CrashGuard<'_, F, W> {
    fn drop(&mut self) {
        self.0.crash();
    }
}
