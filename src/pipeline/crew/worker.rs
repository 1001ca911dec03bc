//! [`Worker`]: a thread that claims batches, works them and commits their outputs.

use std::ops::ControlFlow;

use super::super::source::Feed;
use super::super::stage::Stage;
use super::members::Members;
use super::ring::Offers;
use super::roster::Arrival;
use super::section::{BatchOf, PieceOf, Section, WorkedOf};
use super::step::{Answer, Offer, Step};
use super::supply::Claim;
use super::work::Work;
use crate::panic::Panics;

/// A worker of a run.
pub(in super::super) struct Worker<'scope, 'env, F: Feed, W: Stage<F::Item>> {
    members: Members<'scope, 'env, F, W>,
    work: Work<'env, F::Item, W>,
    worked: Option<WorkedOf<F, W>>,
    /// Where the worker comes from, until it looks at the state.
    arrival: Option<Arrival>,
}

impl<'scope, 'env, F, W> Worker<'scope, 'env, F, W>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
{
    /// Works until nothing is left to do.
    pub(in super::super) fn run(members: Members<'scope, 'env, F, W>) {
        let work = Work::new(members.section);
        Worker { members, work, worked: None, arrival: Some(Arrival::Started) }.work_all();
    }

    fn work_all(mut self) {
        let section = self.members.section;
        let crash = CrashGuard(section);
        loop {
            let ticket = section.signal.workers.ticket();
            let step = self.members.enter(|state, void| {
                if let Some(arrival) = self.arrival.take() {
                    state.roster().worker_arrives(arrival);
                }
                state.commit(self.worked.take());
                state.worker_step(void)
            });
            match step {
                Step::Work(claim, outputs) => self.work(claim, outputs),
                Step::Pull(quota) => {
                    if let Some((claim, outputs)) = self.members.pull(quota) {
                        self.work(claim, outputs);
                    }
                }
                Step::Sleep(sleep) => {
                    self.members.sleep(&section.signal.workers, ticket, sleep);
                    self.arrival = Some(Arrival::Slept(sleep));
                }
                Step::Leave => break,
            }
        }
        std::mem::forget(crash);
        // A panic of theirs ends this thread, and counts when it is joined.
        let mut panics = Panics::default();
        self.work.local.retire(&mut panics);
        panics.resume_or(());
    }

    fn work(&mut self, claim: Claim<BatchOf<F>>, outputs: Vec<W::Output>) {
        let members = &self.members;
        #[cfg(test)]
        if let Some(counts) = &members.section.counts {
            super::counts::add(&counts.batches);
        }
        let mut offers = Offers::default();
        self.worked = Some(self.work.run(claim, outputs, |part| hand_over(members, part, &mut offers)));
    }
}

/// Hands a part of a batch over, and waits until there is room for it. Breaks off when the batch is void.
fn hand_over<F, W>(
    members: &Members<'_, '_, F, W>,
    part: PieceOf<F, W>,
    offers: &mut Offers,
) -> ControlFlow<(), Vec<W::Output>>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
{
    let parts = &members.section.signal.parts;
    let mut offer = Offer { first: part.first, part: Some(part), offers };
    loop {
        let ticket = parts.ticket();
        match members.enter(|state, void| state.worker_offers(&mut offer, void)) {
            Answer::Accepted(next) => return ControlFlow::Continue(next),
            Answer::Wait(sleep) => members.sleep(parts, ticket, sleep),
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
