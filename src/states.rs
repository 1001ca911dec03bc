//! [`States`]: the states of threads or jobs, built on demand and lent to one of them at a time.
//!
//! The states lie behind one lock, which a pipeline's thread takes twice in a run, and a map's job twice.

use std::fmt;
use std::mem;

use parking_lot::Mutex;

use crate::panic;

/// States that are lent to the threads of a run, and handed back when it is over.
///
/// A state is a thread's own while it works: a table of counts, a buffer, a decoder. Give a `&States` to
/// [`Pipeline::map_init`](crate::Pipeline::map_init) or one of its kind. A thread takes a state when it meets its first
/// item: one that an earlier run has left, or a new one by the closure. At the end of the run all states are here
/// again, also after an error, a cancel or a panic. [`into_vec`](Self::into_vec) then gives them out, in no specified
/// order.
///
/// A run builds at most one state a thread for each stage. There is one more for each panic of a closure that was lent
/// a state: that state may be half changed, so no thread gets it again, but `into_vec` has it.
///
/// # Examples
///
/// The counts of the words in a stream, with a table for each thread, in bounded memory:
///
/// ```
/// use std::collections::HashMap;
/// use brigade::{CancellationToken, Pipeline, States};
///
/// let text: &[u8] = b"to be\nor not\nto be\n";
/// let tables = States::new(HashMap::<String, usize>::new);
/// Pipeline::from_lines(text)
///     .try_map(|line| line)
///     .map_init(&tables, |table, line| {
///         for word in line.split_whitespace() {
///             *table.entry(word.to_owned()).or_default() += 1;
///         }
///     })
///     .for_each(&CancellationToken::new(), |()| ())?;
/// let mut counts = HashMap::<String, usize>::new();
/// for (word, count) in tables.into_vec().into_iter().flatten() {
///     *counts.entry(word).or_default() += count;
/// }
/// assert_eq!((counts["to"], counts["be"], counts["not"]), (2, 2, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "states are built when a run takes them"]
pub struct States<S, N> {
    init: N,
    kept: Mutex<Kept<S>>,
}

/// The states that are not lent.
struct Kept<S> {
    idle: Vec<S>,
    /// Never lent again, because a closure panicked while it had them.
    spoiled: Vec<S>,
}

impl<S, N: Fn() -> S> States<S, N> {
    /// Makes an empty store, whose states `init` builds.
    pub fn new(init: N) -> Self {
        States { init, kept: Mutex::new(Kept { idle: Vec::new(), spoiled: Vec::new() }) }
    }

    /// Lends a state that is idle, or a new one.
    pub(crate) fn lend(&self) -> S {
        let idle = self.kept.lock().idle.pop();
        idle.unwrap_or_else(&self.init)
    }

    /// Takes a state back, for another loan.
    pub(crate) fn give_back(&self, state: S) {
        self.kept.lock().idle.push(state);
    }

    /// Takes a state back that is not to be lent again.
    pub(crate) fn give_back_spoiled(&self, state: S) {
        self.kept.lock().spoiled.push(state);
    }

    /// Lends a state to a job, which takes it when it first asks for it, and gives it back when it ends.
    pub(crate) fn loan(&self) -> Loan<'_, S, N> {
        Loan { states: self, state: None }
    }
}

impl<S, N> States<S, N> {
    /// Returns all states that were built, in no specified order.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<S> {
        self.take()
    }

    fn take(&mut self) -> Vec<S> {
        let Kept { idle, spoiled } = self.kept.get_mut();
        let mut all = mem::take(idle);
        all.append(spoiled);
        all
    }
}

/// One by one, because two states whose `Drop` panics would abort the process if dropped together.
impl<S, N> Drop for States<S, N> {
    fn drop(&mut self) {
        let all = self.take();
        if std::thread::panicking() {
            panic::discard_all(all);
        } else {
            panic::drop_each(all);
        }
    }
}

impl<S, N> fmt::Debug for States<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kept { idle, spoiled } = &*self.kept.lock();
        f.debug_struct("States").field("idle", &idle.len()).field("spoiled", &spoiled.len()).finish_non_exhaustive()
    }
}

/// The state of a job, given back when it is dropped.
pub(crate) struct Loan<'a, S, N: Fn() -> S> {
    states: &'a States<S, N>,
    state: Option<S>,
}

impl<S, N: Fn() -> S> Loan<'_, S, N> {
    #[inline]
    pub(crate) fn get(&mut self) -> &mut S {
        let states = self.states;
        self.state.get_or_insert_with(|| states.lend())
    }
}

impl<S, N: Fn() -> S> Drop for Loan<'_, S, N> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.states.give_back(state);
        }
    }
}
