//! [`States`]: the states of `par_map_init`, one for each worker, lent to its jobs.

use parking_lot::Mutex;

use super::pool;

/// The states of one call, and the closure that makes them.
pub(super) struct States<S, N> {
    /// A stack for each worker.
    ///
    /// If a closure calls rayon, its worker may run another job of the same call meanwhile, and that job needs a state
    /// of its own.
    idle: Vec<Mutex<Vec<S>>>,
    init: N,
}

impl<S, N: Fn() -> S> States<S, N> {
    pub(super) fn new(init: N) -> Self {
        States { idle: (0..pool::threads()).map(|_| Mutex::default()).collect(), init }
    }

    /// Lends a state to a job.
    ///
    /// The state is made when the job first asks for it.
    pub(super) fn lend(&self) -> Lent<'_, S, N> {
        Lent { states: self, state: None }
    }

    /// Returns the idle states of this worker.
    fn own(&self) -> &Mutex<Vec<S>> {
        &self.idle[rayon::current_thread_index().unwrap_or(0) % self.idle.len()]
    }

    /// Returns all states, in the order of the workers.
    pub(super) fn into_vec(self) -> Vec<S> {
        self.idle.into_iter().flat_map(Mutex::into_inner).collect()
    }
}

/// The state of one job, given back when it is dropped.
pub(super) struct Lent<'a, S, N: Fn() -> S> {
    states: &'a States<S, N>,
    state: Option<S>,
}

impl<S, N: Fn() -> S> Lent<'_, S, N> {
    #[inline]
    pub(super) fn get(&mut self) -> &mut S {
        let states = self.states;
        self.state.get_or_insert_with(|| {
            let idle = states.own().lock().pop();
            idle.unwrap_or_else(&states.init)
        })
    }
}

impl<S, N: Fn() -> S> Drop for Lent<'_, S, N> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.states.own().lock().push(state);
        }
    }
}
