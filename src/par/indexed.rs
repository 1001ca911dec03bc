//! rayon's own indexed collect, made to stop.
//!
//! rayon's indexed collect writes each output to its place and allocates once, but rayon has no way to stop it. So a
//! job leaves it by unwinding. The unwinding stops the job without a panic and without the panic hook, and rayon drops
//! the outputs that were written. Two other ways were tried and dropped, measured with items of 1 ns: a vector for each
//! job took 3 times rayon's time, and a vector of options 12 times.
//!
//! A job catches a panic once for all its items, and keeps the index of the item that runs. A catch for each item cost
//! as much as an item of 1 ns does.
//!
//! A part of the items that is to be skipped as a whole is `full`, so rayon splits it no further. Otherwise idle
//! workers would split it down to single items, and leave each of them by an unwinding of its own: of a million items,
//! the tenth of which failed, that took 750 ms.

use std::cell::Cell;
use std::iter;

use rayon::iter::plumbing::{Consumer, Folder, UnindexedConsumer};
use rayon::iter::{IndexedParallelIterator, ParallelExtend, ParallelIterator};

use super::mapper::Mapper;
use crate::panic;

/// Maps `items` without a limit, into a vector that is empty and has room for all; `None` if one failed or was skipped.
pub(super) fn collect<I, E, L, R, M, F>(mapper: &Mapper<'_, E, M, F>, items: I, mut outputs: Vec<R>) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, I::Item) -> Result<R, E> + Sync,
{
    let end = items.len();
    match panic::catch(|| outputs.par_extend(Mapped { base: items, mapper, start: 0, end })) {
        Ok(()) => Some(outputs),
        Err(payload) if panic::is_leave(&payload) => None,
        // The source or a `Drop` panicked, outside of the closure.
        Err(payload) => panic::resume(payload),
    }
}

/// The items from the index `start` to `end` with the mapper behind them, or rayon's consumer with the mapper in front.
struct Mapped<'a, B, S> {
    base: B,
    mapper: &'a S,
    start: usize,
    end: usize,
}

impl<I, E, L, R, M, F> ParallelIterator for Mapped<'_, I, Mapper<'_, E, M, F>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, I::Item) -> Result<R, E> + Sync,
{
    type Item = R;

    fn drive_unindexed<C: UnindexedConsumer<R>>(self, consumer: C) -> C::Result {
        self.base.drive(Mapped { base: consumer, mapper: self.mapper, start: self.start, end: self.end })
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.end)
    }
}

impl<'a, 's, T, C, E, L, R, M, F> Consumer<T> for Mapped<'a, C, Mapper<'s, E, M, F>>
where
    C: Consumer<R>,
    E: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, T) -> Result<R, E> + Sync,
{
    type Folder = MappedFolder<'a, C::Folder, L, Mapper<'s, E, M, F>>;
    type Reducer = C::Reducer;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, C::Reducer) {
        let (left, right, reducer) = self.base.split_at(index);
        let middle = self.start + index;
        (Mapped { base: left, end: middle, ..self }, Mapped { base: right, start: middle, ..self }, reducer)
    }

    fn into_folder(self) -> Self::Folder {
        let mapper = self.mapper;
        MappedFolder {
            base: self.base.into_folder(),
            local: (mapper.local)(),
            mapper,
            index: self.start,
            end: self.end,
        }
    }

    fn full(&self) -> bool {
        self.mapper.call.skips(self.start)
    }
}

/// One job.
struct MappedFolder<'a, B, L, S> {
    base: B,
    local: L,
    mapper: &'a S,
    index: usize,
    end: usize,
}

impl<T, B, E, L, R, M, F> Folder<T> for MappedFolder<'_, B, L, Mapper<'_, E, M, F>>
where
    B: Folder<R>,
    E: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, T) -> Result<R, E> + Sync,
{
    type Result = B::Result;

    fn consume(self, item: T) -> Self {
        self.consume_iter(iter::once(item))
    }

    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        let MappedFolder { base, mut local, mapper, index: start, end } = self;
        let view = mapper.view();
        // The index of the running item, for a panic. The loop stores it and never reads it, so `index` stays in a
        // register.
        let next = Cell::new(start);
        let consumed = panic::catch(|| {
            let (local, next, mut index) = (&mut local, &next, start);
            let outputs = items.into_iter().map(move |item| {
                let output = mapper.run_item(local, view, index, item).unwrap_or_else(|| panic::leave());
                index += 1;
                next.set(index);
                output
            });
            base.consume_iter(outputs)
        });
        match consumed {
            Ok(base) => MappedFolder { base, local, mapper, index: next.get(), end },
            Err(payload) if panic::is_leave(&payload) => panic::resume(payload),
            Err(payload) => {
                if next.get() > end {
                    // The panic is rayon's complaint about an output too many.
                    panic::discard(payload);
                    mapper.call.misfits::<R>(next.get(), end);
                } else {
                    mapper.call.panicked::<R>(next.get(), payload);
                }
                drop(local);
                panic::leave()
            }
        }
    }

    fn complete(self) -> B::Result {
        // The part was `full`, or the source misfits. Either way the job leaves, because rayon's collect wants all
        // outputs.
        if self.index != self.end {
            self.mapper.call.misfits::<R>(self.index, self.end);
            panic::leave();
        }
        self.base.complete()
    }

    fn full(&self) -> bool {
        false
    }
}
