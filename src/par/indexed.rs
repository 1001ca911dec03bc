//! Rayon's own indexed collect, which writes each output to its place and allocates once, made to stop.
//!
//! Leaving by unwinding is what makes that possible: it stops a job, runs no hook, and rayon drops what was written. Tried
//! instead and dropped, at 1 ns an item: a vector a job (3 times rayon's time), a vector of options (12 times).
//!
//! A part of the items that is to be skipped as a whole is `full`, and so not split any more. Else idle workers would split
//! it down to single items, each of which is left by an unwinding of its own: of a million items, the tenth of which failed,
//! 750 ms long.

use std::cell::Cell;
use std::iter;

use rayon::iter::plumbing::{Consumer, Folder, UnindexedConsumer};
use rayon::iter::{IndexedParallelIterator, ParallelExtend, ParallelIterator};

use super::collect::Steps;
use crate::panic;

/// As [`Steps::collect`], without a limit, into a vector that is empty and has room for all.
pub(super) fn collect<I, E, J, R, M, F>(steps: &Steps<'_, E, M, F>, items: I, mut outputs: Vec<R>) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, I::Item) -> Result<R, E> + Sync,
{
    let end = items.len();
    match panic::catch(|| outputs.par_extend(Stepped { base: items, steps, start: 0, end })) {
        Ok(()) => Some(outputs),
        Err(payload) if panic::is_leave(&payload) => None,
        // A source or a `Drop` panicked, outside of the steps.
        Err(payload) => panic::resume(payload),
    }
}

/// Items, and what takes them, with what is done in between: from the index `start` to `end`.
struct Stepped<'a, B, S> {
    base: B,
    steps: &'a S,
    start: usize,
    end: usize,
}

impl<I, E, J, R, M, F> ParallelIterator for Stepped<'_, I, Steps<'_, E, M, F>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, I::Item) -> Result<R, E> + Sync,
{
    type Item = R;

    fn drive_unindexed<C: UnindexedConsumer<R>>(self, consumer: C) -> C::Result {
        self.base.drive(Stepped { base: consumer, steps: self.steps, start: self.start, end: self.end })
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.end)
    }
}

impl<'a, 's, T, C, E, J, R, M, F> Consumer<T> for Stepped<'a, C, Steps<'s, E, M, F>>
where
    C: Consumer<R>,
    E: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, T) -> Result<R, E> + Sync,
{
    type Folder = Job<'a, C::Folder, J, Steps<'s, E, M, F>>;
    type Reducer = C::Reducer;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, C::Reducer) {
        let (left, right, reducer) = self.base.split_at(index);
        let middle = self.start + index;
        (Stepped { base: left, end: middle, ..self }, Stepped { base: right, start: middle, ..self }, reducer)
    }

    fn into_folder(self) -> Self::Folder {
        let steps = self.steps;
        Job { base: self.base.into_folder(), own: (steps.job)(), steps, index: self.start, end: self.end }
    }

    fn full(&self) -> bool {
        self.steps.run.skips(self.start)
    }
}

struct Job<'a, B, J, S> {
    base: B,
    own: J,
    steps: &'a S,
    index: usize,
    end: usize,
}

impl<T, B, E, J, R, M, F> Folder<T> for Job<'_, B, J, Steps<'_, E, M, F>>
where
    B: Folder<R>,
    E: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, T) -> Result<R, E> + Sync,
{
    type Result = B::Result;

    fn consume(self, item: T) -> Self {
        self.consume_iter(iter::once(item))
    }

    /// A panic is caught for all of them, and told to be that of the item it came from: a catch for each would cost what an
    /// item of 1 ns does.
    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        let Job { base, mut own, steps, index: start, end } = self;
        let look = steps.look();
        // The next item, for a panic. It is stored and not read, so that the loop counts in a register.
        let next = Cell::new(start);
        let consumed = panic::catch(|| {
            let (own, next, mut index) = (&mut own, &next, start);
            let outputs = items.into_iter().map(move |item| {
                let output = steps.one(own, look, index, item).unwrap_or_else(|| panic::leave());
                index += 1;
                next.set(index);
                output
            });
            base.consume_iter(outputs)
        });
        match consumed {
            Ok(base) => Job { base, own, steps, index: next.get(), end },
            Err(payload) if panic::is_leave(&payload) => panic::resume(payload),
            Err(payload) => {
                if next.get() > end {
                    // Rayon's complaint about an output too many.
                    panic::discard(payload);
                    steps.run.misfits::<R>(next.get(), end);
                } else {
                    steps.run.panicked::<R>(next.get(), payload);
                }
                drop(own);
                panic::leave()
            }
        }
    }

    fn complete(self) -> B::Result {
        // It was `full`, or the source has another number of items than it says, and rayon's collect wants all or
        // nothing.
        if self.index != self.end {
            self.steps.run.misfits::<R>(self.index, self.end);
            panic::leave();
        }
        self.base.complete()
    }

    fn full(&self) -> bool {
        false
    }
}
