//! [`Worker`]: a thread that claims batches, works them and commits their outputs.

use super::super::local::MemberLocal;
use super::super::source::Feed;
use super::super::stage::Stage;
use super::below::{Below, OwnStep, Void};
use super::hands::Hands;
use super::members::{Members, Serves};
use super::onward::{Onward, hand_over};
use super::ring::Offers;
use super::roster::{Arrival, Sleep};
use super::section::{BatchOf, DoneOf, LocalOf, Section, StateOf, TaskOf, WorkedOf};
use super::step::{Look, Step};
use super::supply::Claim;
use super::work::Work;
use crate::event::Ticket;
use crate::panic::Panics;

/// A worker of a run.
pub(in super::super) struct Worker<'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> {
    members: Members<'scope, 'env, F, W, N>,
    local: MemberLocal<'env, F::Item, W>,
    behind: Option<LocalOf<F, W, N>>,
    worked: Option<WorkedOf<F, W>>,
    done: Option<DoneOf<F, W, N>>,
    /// Where the worker comes from, until it looks at the state.
    arrival: Option<Arrival>,
}

impl<'scope, 'env, F, W, N> Worker<'scope, 'env, F, W, N>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
{
    /// Works until nothing is left to do.
    pub(in super::super) fn run(members: Members<'scope, 'env, F, W, N>, serves: Serves) {
        let members = members.begun();
        let Section { stage, next, .. } = members.section;
        let (local, behind) = (MemberLocal::new(*stage), Some(next.local()));
        let mut worker = Worker { members, local, behind, worked: None, done: None, arrival: Some(Arrival::Started) };
        let crash = CrashGuard(worker.members.section);
        match serves {
            Serves::All => worker.serve_all(),
            Serves::One(section) => worker.serve_one(section),
        }
        std::mem::forget(crash);
        worker.retire();
    }

    fn serve_all(&mut self) {
        let signal = &self.members.section.signal;
        loop {
            let ticket = signal.workers.ticket();
            let (step, lack) = self.members.enter(|state, void| {
                if let Some(arrival) = self.arrival.take() {
                    state.roster().worker_arrives(arrival);
                }
                state.commit(self.worked.take());
                if let Some(done) = self.done.take() {
                    state.down.commit(done);
                }
                let step = state.worker_step(void);
                let lack = matches!(step, Step::Sleep(_)).then(|| state.lack(void));
                (step, lack)
            });
            match step {
                Step::Work(claim, outputs) => self.work(claim, outputs),
                Step::Behind(task) => self.work_behind(task),
                Step::Pull(quota) => {
                    if let Some((claim, outputs)) = self.members.pull(quota) {
                        self.work(claim, outputs);
                    }
                }
                Step::Sleep(sleep) => {
                    self.members.idle(&signal.workers, ticket, sleep, lack.map(|lack| (0, lack)));
                    self.arrival = Some(Arrival::Slept(sleep));
                }
                Step::Leave => break,
            }
        }
    }

    /// For a section that has workers of its own.
    fn serve_one(&mut self, section: usize) {
        let event = &self.members.section.signal.blocking[section];
        loop {
            let ticket = event.ticket();
            let (step, lack) = self.members.enter(|state, void| {
                if let Some(done) = self.done.take() {
                    state.down.commit(done);
                }
                (state.own_step(section, self.arrival.take(), void), state.own_lack())
            });
            match step {
                OwnStep::Work(task) => self.work_behind(task),
                OwnStep::Sleep => {
                    self.members.idle(event, ticket, Sleep::Long, Some((section, lack)));
                    self.arrival = Some(Arrival::Slept(Sleep::Long));
                }
                OwnStep::Leave => break,
            }
        }
    }

    fn work(&mut self, claim: Claim<BatchOf<F>>, outputs: Vec<W::Output>) {
        let Worker { members, local, behind: Some(behind), .. } = self else { return };
        let section = members.section;
        let (place, mut offers) = (members.place(), Offers::default());
        let work = Work { stage: section.stage, local, place };
        let hand_over = |part| hand_over(part, &mut offers, &section.next, behind, place, &mut AtWork(members));
        self.worked = Some(work.run(claim, outputs, hand_over));
    }

    fn work_behind(&mut self, task: TaskOf<F, W, N>) {
        let Worker { members, behind: Some(behind), .. } = self else { return };
        let section = members.section;
        self.done = Some(section.next.work(task, behind, members.place(), &mut AtWork(members)));
    }

    /// A panic of a state's `Drop` ends this thread, and counts when it is joined.
    fn retire(mut self) {
        let mut panics = Panics::default();
        self.local.retire(&mut panics);
        if let Some(behind) = self.behind.take() {
            self.members.section.next.retire(behind, &mut panics);
        }
        panics.resume_or(());
    }
}

/// A worker with a batch in its hands.
struct AtWork<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>>(
    &'a Members<'scope, 'env, F, W, N>,
);

impl<F, W, N> Hands for AtWork<'_, '_, '_, F, W, N>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
{
    type State = StateOf<F, W, N>;

    fn ticket(&self) -> Ticket {
        self.0.section.signal.parts.ticket()
    }

    fn look<R, T>(&mut self, look: impl FnOnce(&mut Self::State, Void<'_>) -> Look<R, T>) -> Look<R, T> {
        self.0.enter(|state, void| state.worker_offers(|state| look(state, void)))
    }

    fn sleep(&self, ticket: Ticket, sleep: Sleep) {
        self.0.sleep(&self.0.section.signal.parts, ticket, sleep);
    }
}

/// Ends the run should a worker's loop unwind, which only a rayon source that panics when it is split can make it do.
struct CrashGuard<'a, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>>(&'a Section<'a, F, W, N>);

impl<F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> Drop for CrashGuard<'_, F, W, N> {
    fn drop(&mut self) {
        self.0.crash();
    }
}
