//! A task: its closure until it runs, and what it returned until somebody joins it.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Scope;
use super::shared::{Ending, Link, Shared, TASK};
use crate::error::Cancelled;
use crate::hooks::{Outcome, Task};
use crate::panic;
use crate::token::Event;

/// A task as those who run it see it.
pub(super) trait Job<'scope, E>: Send + Sync {
    /// Runs the task on this thread, unless somebody has. Does not panic, but where dropping what is left of it does.
    fn run(&self, link: &Link<'scope, E>);
}

/// A task as its handle sees it.
pub(super) trait Joined<'scope, T, E>: Job<'scope, E> {
    /// Takes what the task ended with, or says how far it is. `event` is notified when it ends.
    fn look(&self, event: Option<&Arc<Event>>) -> Look<T, E>;

    /// Nobody will join it: what it ends with goes to the scope.
    fn abandon(&self, shared: &Shared<'scope, E>);

    fn name(&self) -> &str;

    fn index(&self) -> usize;

    fn is_finished(&self) -> bool;
}

pub(super) enum Look<T, E> {
    Queued,
    Running,
    Ended(Result<T, Ending<E>>),
}

pub(super) struct Cell<'scope, 'env, F, T, E, P> {
    name: Option<Arc<str>>,
    index: usize,
    guarded: Mutex<Guarded<F, T, E>>,
    /// The scope that `F` is given.
    scope: PhantomData<fn(&Scope<'scope, 'env, E, P>)>,
}

struct Guarded<F, T, E> {
    state: State<F, T, E>,
    abandoned: bool,
    /// Of the one who joins.
    event: Option<Arc<Event>>,
}

enum State<F, T, E> {
    Queued(F),
    Running,
    Ended(Result<T, Ending<E>>),
    Taken,
}

impl<F, T, E, P> Cell<'_, '_, F, T, E, P> {
    pub(super) fn new(name: Option<Arc<str>>, index: usize, f: F) -> Self {
        let guarded = Mutex::new(Guarded { state: State::Queued(f), abandoned: false, event: None });
        Cell { name, index, guarded, scope: PhantomData }
    }

    /// Takes the closure, if nobody has.
    pub(super) fn start(&self) -> Option<F> {
        let mut guarded = self.guarded.lock();
        match mem::replace(&mut guarded.state, State::Running) {
            State::Queued(f) => Some(f),
            other => {
                guarded.state = other;
                None
            }
        }
    }
}

impl<'scope, 'env, F, T, E, P> Cell<'scope, 'env, F, T, E, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'scope,
{
    /// Runs the closure and settles what it ended with.
    fn work(&self, f: F, link: &Link<'scope, E>) -> Result<T, Ending<E>> {
        let shared = &**link;
        // A task with a thread of its own has been started when it was spawned.
        if let (Err(cancelled), Some(_)) = (shared.token.check(), &shared.crew) {
            if let Err(payload) = panic::catch(move || drop(f)) {
                shared.fail_beside("drop", payload);
            }
            self.tell_end(shared, Outcome::Skipped(cancelled.reason()), Duration::ZERO);
            return Err(Ending::Cancelled(shared.refuse(self.name.as_ref(), self.index, cancelled).reason()));
        }
        let scope = Scope::new(Arc::clone(link), self.name.clone(), true);
        let started = shared.hooks.map(|_| Instant::now());
        let result = panic::catch(|| {
            if let Some(hooks) = shared.hooks {
                hooks.started(self.task());
            }
            f(&scope)
        });
        let outcome = match &result {
            Ok(Ok(_)) => Outcome::Completed,
            Ok(Err(_)) => Outcome::Failed,
            Err(_) => Outcome::Panicked,
        };
        let settled = shared.settle(self.name.as_ref(), self.index, result);
        if let Some(started) = started {
            self.tell_end(shared, outcome, started.elapsed());
        }
        settled
    }

    fn tell_end(&self, shared: &Shared<'scope, E>, outcome: Outcome, took: Duration) {
        if let Some(hooks) = shared.hooks {
            if let Err(payload) = panic::catch(|| hooks.ended(self.task(), outcome, took)) {
                shared.fail_beside("hooks", payload);
            }
        }
    }

    fn task(&self) -> Task<'_> {
        Task { name: self.name.as_deref().unwrap_or(TASK), index: self.index }
    }

    /// What a task ended with that nobody joins.
    fn give_up(&self, ended: Result<T, Ending<E>>, shared: &Shared<'scope, E>) {
        match ended {
            Ok(value) => {
                if let Err(payload) = panic::catch(move || drop(value)) {
                    shared.fail_beside("drop", payload);
                }
            }
            Err(Ending::Failed(failure)) => _ = shared.fail(self.index, *failure),
            Err(Ending::Cancelled(_)) => {}
        }
    }
}

impl<'scope, 'env, F, T, E, P> Job<'scope, E> for Cell<'scope, 'env, F, T, E, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn run(&self, link: &Link<'scope, E>) {
        let Some(f) = self.start() else { return };
        let settled = self.work(f, link);
        let mut guarded = self.guarded.lock();
        if guarded.abandoned {
            guarded.state = State::Taken;
            drop(guarded);
            self.give_up(settled, link);
        } else {
            guarded.state = State::Ended(settled);
            let event = guarded.event.take();
            drop(guarded);
            if let Some(event) = event {
                event.notify_all();
            }
        }
    }
}

impl<'scope, 'env, F, T, E, P> Joined<'scope, T, E> for Cell<'scope, 'env, F, T, E, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send + 'scope,
{
    fn look(&self, event: Option<&Arc<Event>>) -> Look<T, E> {
        let mut guarded = self.guarded.lock();
        match &guarded.state {
            State::Queued(_) | State::Running if event.is_some() => {
                guarded.event = event.cloned();
                Look::Running
            }
            State::Queued(_) => Look::Queued,
            State::Running => Look::Running,
            State::Ended(_) | State::Taken => match mem::replace(&mut guarded.state, State::Taken) {
                State::Ended(ended) => Look::Ended(ended),
                _ => unreachable!("a task is joined once, by value"),
            },
        }
    }

    fn abandon(&self, shared: &Shared<'scope, E>) {
        let mut guarded = self.guarded.lock();
        guarded.abandoned = true;
        if let State::Ended(_) = guarded.state {
            if let State::Ended(ended) = mem::replace(&mut guarded.state, State::Taken) {
                drop(guarded);
                self.give_up(ended, shared);
            }
        }
    }

    fn name(&self) -> &str {
        self.task().name
    }

    fn index(&self) -> usize {
        self.index
    }

    fn is_finished(&self) -> bool {
        !matches!(self.guarded.lock().state, State::Queued(_) | State::Running)
    }
}
