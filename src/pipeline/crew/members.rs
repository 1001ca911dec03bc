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

use super::super::source::{Chunk, Feed};
use super::super::stage::Stage;
use super::roster::{Sleep, Wakes, Workers};
use super::section::{Inside, Section, StateOf};
use crate::event::{Event, Ticket};
use crate::panic::Panics;
use crate::thread::{self, Spec};

/// How long a sleeping member waits before it looks whether others hold back items or outputs.
const ALARM: Duration = Duration::from_millis(1);

/// The members of a run, for one of them.
pub(in super::super) struct Members<'scope, 'env, F: Feed, W: Stage<F::Item>> {
    pub(super) section: &'env Section<'env, F, W>,
    scope: &'scope Scope<'scope, 'env>,
    /// The threads to start, but for their index.
    spec: Spec<'env>,
    /// The loop of a worker.
    work: fn(Self),
    handles: Arc<Mutex<Vec<ScopedJoinHandle<'scope, ()>>>>,
}

impl<F: Feed, W: Stage<F::Item>> Clone for Members<'_, '_, F, W> {
    fn clone(&self) -> Self {
        Members { handles: Arc::clone(&self.handles), ..*self }
    }
}

impl<'scope, 'env, F, W> Members<'scope, 'env, F, W>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
{
    /// `work` is the loop of a worker.
    pub(in super::super) fn new(
        section: &'env Section<'env, F, W>,
        scope: &'scope Scope<'scope, 'env>,
        spec: Spec<'env>,
        work: fn(Self),
    ) -> Self {
        Members { section, scope, spec, work, handles: Arc::default() }
    }

    /// Enters the state, which nothing else does, and on leaving wakes and starts the members that can go on.
    ///
    /// The second argument of `f` is the void mark. A member that may sleep afterwards has taken its ticket before.
    pub(super) fn enter<T>(&self, f: impl FnOnce(&mut StateOf<F, W>, u64) -> T) -> T {
        self.enter_inside(|inside, void| f(&mut inside.state, void))
    }

    pub(super) fn enter_inside<T>(&self, f: impl FnOnce(&mut Inside<F, W>, u64) -> T) -> T {
        let signal = &self.section.signal;
        let mut inside = self.section.inside.lock();
        let result = f(&mut inside, signal.void());
        signal.set_idle(inside.state.is_idle());
        let wakes = inside.state.wakes(signal.void());
        #[cfg(test)]
        self.count(&wakes);
        drop(inside);
        self.call(wakes);
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

    fn call(&self, wakes: Wakes) {
        self.section.signal.wake(wakes);
        if let Workers::Start(index) = wakes.workers {
            self.start(index);
        }
    }

    /// Starts a worker. If the system refuses, the run goes on with the members it has, and tries no other: without any
    /// worker the caller does it all.
    #[cold]
    fn start(&self, index: usize) {
        let members = self.clone();
        let spec = Spec { index, ..self.spec };
        let started = thread::spawn(self.scope, spec, move || (members.work)(members));
        match started {
            Ok(handle) => self.handles.lock().push(handle),
            Err(_) => self.enter(|state, _| state.roster().start_refused()),
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

    /// Sleeps at `event` for as long as the state has said.
    pub(super) fn sleep(&self, event: &Event, ticket: Ticket, sleep: Sleep) {
        if sleep == Sleep::Long {
            return event.wait(ticket);
        }
        let end = Instant::now() + ALARM;
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
