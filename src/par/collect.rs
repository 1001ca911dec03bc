//! From items to a vector of outputs, by jobs of rayon's.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;

use rayon::iter::IndexedParallelIterator;

use super::claims;
use super::each::each;
#[cfg(panic = "unwind")]
use super::indexed;
use super::pool;
use super::progress::{Count, count};
use super::run::{Run, RunWatch};

/// What is done with the items of a call.
pub(super) struct Steps<'a, E, M, F> {
    pub(super) run: &'a Run<'a, E>,
    pub(super) count: Option<&'a Count<'a>>,
    /// Makes what each job has of its own.
    pub(super) job: M,
    pub(super) f: F,
}

impl<E: Send, M: Sync, F: Sync> Steps<'_, E, M, F> {
    /// Maps `items` into a vector in their order; `None` if one failed or was skipped. At most `limit` run at once.
    pub(super) fn collect<I, J, R>(&self, items: I, limit: Option<NonZeroUsize>) -> Option<Vec<R>>
    where
        I: IndexedParallelIterator,
        R: Send,
        M: Fn() -> J,
        F: Fn(&mut J, usize, I::Item) -> Result<R, E>,
    {
        if let Some(jobs) = pool::jobs(limit) {
            return claims::collect(self, items, jobs);
        }
        // Where nothing unwinds, a job of rayon's own collect cannot be left.
        #[cfg(panic = "unwind")]
        {
            let mut room = Vec::new();
            if room.try_reserve_exact(items.len()).is_ok() {
                return indexed::collect(self, items, room);
            }
        }
        // The call may end at one of the first items, long before it needs the room it is refused.
        claims::collect(self, items, pool::threads())
    }

    /// Runs all items; `None` if one failed or was skipped. At most `limit` run at once.
    pub(super) fn each<I, J>(&self, items: I, limit: Option<NonZeroUsize>) -> Option<()>
    where
        I: IndexedParallelIterator,
        M: Fn() -> J,
        F: Fn(&mut J, usize, I::Item) -> Result<(), E>,
    {
        match pool::jobs(limit) {
            // A vector of nothing takes no memory.
            Some(jobs) => claims::collect(self, items, jobs).map(|_: Vec<()>| ()),
            None => each(self, items),
        }
    }

    /// What a job that begins looks at.
    pub(super) fn look(&self) -> Look<'_> {
        Look { watch: self.run.watch(), shard: self.count.map(Count::shard) }
    }

    /// Runs one item; `None` if it failed or is skipped.
    #[inline]
    pub(super) fn one<J, T, R>(&self, job: &mut J, look: Look<'_>, index: usize, item: T) -> Option<R>
    where
        F: Fn(&mut J, usize, T) -> Result<R, E>,
    {
        if !look.watch.surely_runs(index) && self.run.skips(index) {
            return None;
        }
        let output = (self.f)(job, index, item);
        count(look.shard, 1);
        match output {
            Ok(output) => Some(output),
            Err(error) => self.run.failed(index, error),
        }
    }
}

/// What a job reads and writes for each item.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    watch: RunWatch<'a>,
    shard: Option<&'a AtomicUsize>,
}
