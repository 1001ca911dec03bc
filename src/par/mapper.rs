//! [`Mapper`]: the closure of a call, applied to one item.

use std::sync::atomic::AtomicUsize;

use super::call::{Call, CallWatch};
use super::progress::{Count, count};

/// The closure of a call, and everything that a job needs to apply it to an item.
pub(super) struct Mapper<'a, E, M, F> {
    pub(super) call: &'a Call<'a, E>,
    pub(super) count: Option<&'a Count>,
    /// Makes the value that each job has of its own.
    pub(super) local: M,
    pub(super) f: F,
}

impl<E: Send, M: Sync, F: Sync> Mapper<'_, E, M, F> {
    /// Returns the view of the call for a job that begins.
    pub(super) fn view(&self) -> JobView<'_> {
        JobView { watch: self.call.watch(), shard: self.count.map(Count::shard) }
    }

    /// Runs one item; `None` if it failed or is skipped.
    #[inline]
    pub(super) fn run_item<L, T, R>(&self, local: &mut L, view: JobView<'_>, index: usize, item: T) -> Option<R>
    where
        F: Fn(&mut L, usize, T) -> Result<R, E>,
    {
        if !view.watch.surely_runs(index) && self.call.skips(index) {
            return None;
        }
        let output = (self.f)(local, index, item);
        count(view.shard, 1);
        match output {
            Ok(output) => Some(output),
            Err(error) => self.call.failed(index, error),
        }
    }
}

/// The values that a job reads and writes for each item: the state of the call, and the counter of its worker.
#[derive(Clone, Copy)]
pub(super) struct JobView<'a> {
    watch: CallWatch<'a>,
    shard: Option<&'a AtomicUsize>,
}
