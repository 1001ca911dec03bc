//! Items that are only done, without outputs. A job ends by itself here, and nothing need be left by unwinding.

use std::cell::Cell;
use std::iter;

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Consumer, Folder, Reducer};

use super::collect::Steps;
use crate::panic;

/// Runs all items; `None` if one failed or was skipped.
pub(super) fn each<I, E, J, M, F>(steps: &Steps<'_, E, M, F>, items: I) -> Option<()>
where
    I: IndexedParallelIterator,
    E: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, I::Item) -> Result<(), E> + Sync,
{
    let end = items.len();
    items.drive(Each { steps, start: 0, end }).then_some(())
}

/// What takes items, from the index `start` to `end`.
struct Each<'a, S> {
    steps: &'a S,
    start: usize,
    end: usize,
}

impl<'a, 's, T, E, J, M, F> Consumer<T> for Each<'a, Steps<'s, E, M, F>>
where
    E: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, T) -> Result<(), E> + Sync,
{
    type Folder = EachJob<'a, J, Steps<'s, E, M, F>>;
    type Reducer = Both;
    type Result = bool;

    fn split_at(self, index: usize) -> (Self, Self, Both) {
        let middle = self.start + index;
        (Each { end: middle, ..self }, Each { start: middle, ..self }, Both)
    }

    fn into_folder(self) -> Self::Folder {
        let steps = self.steps;
        EachJob { own: (steps.job)(), steps, index: self.start, end: self.end, goes_on: true }
    }

    fn full(&self) -> bool {
        self.steps.run.skips(self.start)
    }
}

struct EachJob<'a, J, S> {
    own: J,
    steps: &'a S,
    index: usize,
    end: usize,
    goes_on: bool,
}

impl<T, E, J, M, F> Folder<T> for EachJob<'_, J, Steps<'_, E, M, F>>
where
    E: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, T) -> Result<(), E> + Sync,
{
    type Result = bool;

    fn consume(self, item: T) -> Self {
        self.consume_iter(iter::once(item))
    }

    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        if !self.goes_on {
            return self;
        }
        let EachJob { mut own, steps, index, end, .. } = self;
        let look = steps.look();
        // One catch for all items: see `indexed`.
        let running = Cell::new(index);
        let done = panic::catch(|| {
            for item in items {
                steps.one(&mut own, look, running.get(), item)?;
                running.set(running.get() + 1);
            }
            Some(())
        });
        let done = done.unwrap_or_else(|payload| steps.run.panicked(running.get(), payload));
        EachJob { own, steps, index: running.get(), end, goes_on: done.is_some() }
    }

    fn complete(self) -> bool {
        // Where it was full from the first, nothing has been done.
        if self.goes_on && self.index != self.end {
            self.steps.run.misfits::<()>(self.index, self.end);
        }
        self.index == self.end
    }

    fn full(&self) -> bool {
        !self.goes_on
    }
}

/// Both parts of the items are done.
struct Both;

impl Reducer<bool> for Both {
    fn reduce(self, left: bool, right: bool) -> bool {
        left && right
    }
}
