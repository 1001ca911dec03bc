//! [`Members`]: the threads of a run, from the first start to the last join.
//!
//! **Threads start when there is something for them to do.** A member that leaves the state and sees a step for one
//! more worker, while none sleeps, starts it. So starting is a chain beside the caller, one thread at a time, and a run
//! that is over soon has started few. (All at once before the first item took 6.2 ms at 128 threads.) The first worker
//! is started before the caller works its first item, even if a run of cheap items would do without: two items of a
//! second each would take two seconds otherwise, and nothing tells the two runs apart.

use std::mem;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::report::{self, Lack, Times};
use super::super::source::{Chunk, Feed};
use super::super::stage::Stage;
use super::below::{Below, Calls, Void};
use super::onward::Onward;
use super::place::Place;
use super::roster::{Sleep, Wakes, Workers};
use super::section::{BelowOf, Inside, Section, StateOf};
use crate::event::{Event, Ticket};
use crate::panic::Panics;
use crate::thread::{self, Spec};

/// How long a sleeping member waits before it looks whether others hold back items or outputs.
const ALARM: Duration = Duration::from_millis(1);

/// Which sections a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Serves {
    All,
    /// The section of this number.
    One(usize),
}

/// The members of a run, for one of them.
pub(in super::super) struct Members<'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> {
    pub(super) section: &'env Section<'env, F, W, N>,
    scope: &'scope Scope<'scope, 'env>,
    /// The threads to start, but for their index.
    spec: Spec<'env>,
    /// The loop of a worker.
    work: fn(Self, Serves),
    handles: Arc<Mutex<Vec<ScopedJoinHandle<'scope, ()>>>>,
    /// The times of this one, if there is a report.
    times: Option<Arc<Times>>,
}

impl<F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>> Clone for Members<'_, '_, F, W, N> {
    fn clone(&self) -> Self {
        Members { handles: Arc::clone(&self.handles), times: None, ..*self }
    }
}

impl<'scope, 'env, F, W, N> Members<'scope, 'env, F, W, N>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
{
    /// `work` is the loop of a worker.
    pub(in super::super) fn new(
        section: &'env Section<'env, F, W, N>,
        scope: &'scope Scope<'scope, 'env>,
        spec: Spec<'env>,
        work: fn(Self, Serves),
    ) -> Self {
        Members { section, scope, spec, work, handles: Arc::default(), times: section.recording.member() }
    }

    /// For the thread that has begun with it.
    pub(super) fn begun(self) -> Self {
        Members { times: self.section.recording.member(), ..self }
    }

    pub(super) fn times(&self) -> Option<&Times> {
        self.times.as_deref()
    }

    /// The consumer of the outputs takes over on the calling thread.
    pub(in super::super) fn enter_consumer(&self, now: Instant) {
        if let Some(times) = self.times() {
            times.begin(report::Step::Sink, now);
        }
    }

    /// The first section, as this member works there.
    pub(super) fn place(&self) -> Place<'_> {
        self.section.place(self.times())
    }

    /// Enters the state, which nothing else does, and on leaving wakes and starts the members that can go on.
    ///
    /// The second argument of `f` is the void mark. A member that may sleep afterwards has taken its ticket before.
    pub(super) fn enter<T>(&self, f: impl FnOnce(&mut StateOf<F, W, N>, Void<'_>) -> T) -> T {
        self.enter_inside(|inside, void| f(&mut inside.state, void))
    }

    pub(super) fn enter_inside<T>(&self, f: impl FnOnce(&mut Inside<F, W, N>, Void<'_>) -> T) -> T {
        let signal = &self.section.signal;
        let mut inside = self.section.inside.lock();
        if BelowOf::<F, W, N>::TIMED && inside.state.down.flush_at().is_some() {
            inside.state.down.tell_time(Instant::now());
        }
        let result = f(&mut inside, Void::new(signal.all_marks()));
        let state = &mut inside.state;
        state.settle(Void::new(signal.all_marks()), signal.all_marks());
        signal.set_idle(state.is_idle());
        let wakes = state.wakes(Void::new(signal.all_marks()));
        let own = state.own_calls(Void::new(signal.all_marks()));
        let freed = mem::take(&mut state.freed);
        let ahead = || inside.state.ahead(Void::new(signal.all_marks()));
        self.section.recording.saw(freed, ahead);
        #[cfg(test)]
        self.count(&wakes);
        drop(inside);
        self.call(wakes, own);
        result
    }

    #[cfg(test)]
    fn count(&self, wakes: &Wakes) {
        let Some(counts) = &self.section.counts else { return };
        super::counts::add(&counts.entries);
        if wakes.workers != Workers::None {
            super::counts::add(&counts.wakes);
        }
        if wakes.caller {
            super::counts::add(&counts.wakes);
        }
    }

    fn call(&self, wakes: Wakes, own: Calls) {
        self.section.signal.wake(wakes);
        if let Workers::Start(index) = wakes.workers {
            self.start(Serves::All, index);
        }
        for (section, workers) in own {
            let event = &self.section.signal.blocking[section];
            match workers {
                Workers::None => {}
                Workers::One => event.notify_one(),
                Workers::All => event.notify_all(),
                Workers::Start(index) => self.start(Serves::One(section), index),
            }
        }
    }

    /// Starts a worker. If the system refuses, the run goes on with the members it has, and tries no other: without any
    /// worker the caller does it all, and without a section's own workers those of all do.
    #[cold]
    fn start(&self, serves: Serves, index: usize) {
        let members = self.clone();
        // Numbered on behind those that serve all.
        let index = match serves {
            Serves::All => index,
            Serves::One(_) => index.saturating_add(self.section.plan.threads),
        };
        let spec = Spec { index, ..self.spec };
        let started = thread::spawn(self.scope, spec, move || (members.work)(members, serves));
        match (started, serves) {
            (Ok(handle), _) => self.handles.lock().push(handle),
            (Err(_), Serves::All) => self.enter(|state, _| state.roster().start_refused()),
            (Err(_), Serves::One(section)) => self.enter(|state, _| state.down.own_refused(section - 1)),
        }
    }

    /// Joins all workers, of which each may have started another before it ended; their panics are added to `panics`.
    pub(in super::super) fn join(&self, panics: &mut Panics) {
        loop {
            let handles = mem::take(&mut *self.handles.lock());
            if handles.is_empty() {
                return;
            }
            thread::join_all(handles).into_iter().for_each(|payload| panics.add(payload));
        }
    }

    /// Sleeps as [`sleep`](Self::sleep) does, because there is nothing to do for the section.
    pub(super) fn idle(&self, event: &Event, ticket: Ticket, sleep: Sleep, lacks: Option<(usize, Lack)>) {
        let times = self.times().zip(lacks);
        let step = times.map(|(_, (section, lack))| report::Step::Wait(section, lack));
        let sleeps = || self.sleep(event, ticket, sleep);
        match step {
            Some(step) => report::during(self.times(), step, sleeps),
            None => sleeps(),
        }
    }

    /// Sleeps at `event` for as long as the state has said.
    pub(super) fn sleep(&self, event: &Event, ticket: Ticket, sleep: Sleep) {
        let end = match sleep {
            Sleep::Long => return event.wait(ticket),
            Sleep::Until(time) => return event.wait_until(ticket, Some(time)),
            Sleep::ToAlarm | Sleep::ToAsk => Instant::now() + ALARM,
        };
        event.wait_until(ticket, Some(end));
        if Instant::now() >= end {
            self.ring(sleep);
        }
    }

    /// Asks for the outputs that are held back, and as the guard takes the items of a puller that waits in `next()`.
    fn ring(&self, sleep: Sleep) {
        let signal = &self.section.signal;
        signal.alarm();
        self.enter_inside(|Inside { state, open }, _| {
            let Some(number) = state.ring_alarm(sleep) else { return };
            signal.ring(number);
            if let Some(open) = open {
                state.take_chunk(Chunk::List(open.take_all()));
            }
        });
    }
}
