//! The states of `par_map_init`: one a worker, lent to its jobs.

use parking_lot::Mutex;

use super::pool;

pub(super) struct States<S, F> {
    /// A stack for each worker: a closure that calls rayon may be interrupted by another job of the same call, on the same
    /// worker, which needs a state of its own.
    idle: Vec<Mutex<Vec<S>>>,
    init: F,
}

impl<S, F: Fn() -> S> States<S, F> {
    pub(super) fn new(init: F) -> Self {
        States { idle: (0..pool::threads()).map(|_| Mutex::default()).collect(), init }
    }

    /// Lends a state to a job. It is made when it is first asked for.
    pub(super) fn lend(&self) -> Lent<'_, S, F> {
        Lent { states: self, state: None }
    }

    fn own(&self) -> &Mutex<Vec<S>> {
        &self.idle[rayon::current_thread_index().unwrap_or(0) % self.idle.len()]
    }

    /// All states, in the order of the workers.
    pub(super) fn into_vec(self) -> Vec<S> {
        self.idle.into_iter().flat_map(Mutex::into_inner).collect()
    }
}

pub(super) struct Lent<'a, S, F: Fn() -> S> {
    states: &'a States<S, F>,
    state: Option<S>,
}

impl<S, F: Fn() -> S> Lent<'_, S, F> {
    #[inline]
    pub(super) fn get(&mut self) -> &mut S {
        let states = self.states;
        self.state.get_or_insert_with(|| {
            let idle = states.own().lock().pop();
            idle.unwrap_or_else(&states.init)
        })
    }
}

impl<S, F: Fn() -> S> Drop for Lent<'_, S, F> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.states.own().lock().push(state);
        }
    }
}
