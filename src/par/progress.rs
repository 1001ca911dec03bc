//! [`Progress`]: how many items of a call are done.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::pool;

/// A count of the items that are done, for another thread to watch while a map runs.
///
/// One `Progress` may count several calls, one after the other or at once: their items add up. It is a handle, and its
/// clones count together. A [pipeline](crate::Pipeline::progress) is counted, too.
///
/// # Costs
///
/// Each worker counts for itself, at some 0.3 ns an item, and the thread that asks adds the counts up. A fold counts by
/// parts of a thousandth of its items.
///
/// # Examples
///
/// ```
/// use brigade::par::Progress;
/// use brigade::{CancellationToken, Cancelled, ParBuilder, scope};
///
/// let progress = Progress::new();
/// let lengths = scope(&CancellationToken::new(), |s| {
///     let builder = ParBuilder::new().progress(&progress);
///     let map = s.spawn(move |s| builder.map(s.token(), &["one", "three"], |word| word.len()))?;
///     while !map.is_finished() {
///         eprint!("\r{progress}");
///         s.token().sleep(std::time::Duration::from_millis(5))?;
///     }
///     Ok::<_, Cancelled>(map.join()?)
/// })?;
/// assert_eq!(lengths, [3, 5]);
/// assert_eq!((progress.done(), progress.total()), (2, 2));
/// # Ok::<(), Cancelled>(())
/// ```
#[derive(Clone, Default)]
pub struct Progress {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    total: usize,
    /// The items that are done of the calls that have ended.
    done: usize,
    /// The counters of the calls that run, and whether their items that are done count as the total.
    running: Vec<(Arc<[Shard]>, bool)>,
}

/// The counter of one worker.
type Shard = CachePadded<AtomicUsize>;

impl Progress {
    /// Returns a `Progress` that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        Progress::default()
    }

    /// Returns how many items are done.
    ///
    /// An item is done when its closure has returned, a value or an error.
    #[must_use]
    pub fn done(&self) -> usize {
        let state = self.state.lock();
        state.done + state.running.iter().map(|(shards, _)| sum(shards)).sum::<usize>()
    }

    /// Returns how many items all calls have that have begun.
    ///
    /// A pipeline whose source does not know its length has those that are done.
    #[must_use]
    pub fn total(&self) -> usize {
        let state = self.state.lock();
        let unknown = state.running.iter().filter(|(_, is_unknown)| *is_unknown);
        unknown.fold(state.total, |total, (shards, _)| total.saturating_add(sum(shards)))
    }

    /// Begins to count a call.
    pub(super) fn begin(&self, items: usize) -> Count {
        self.begin_with(pool::threads(), Some(items))
    }

    /// Begins to count a run of a pipeline. `None` if the source does not know its length.
    pub(crate) fn begin_run(&self, items: Option<usize>) -> Count {
        self.begin_with(3, items)
    }

    fn begin_with(&self, shards: usize, items: Option<usize>) -> Count {
        let shards: Arc<[Shard]> = (0..shards).map(|_| Shard::default()).collect();
        let mut state = self.state.lock();
        state.total = state.total.saturating_add(items.unwrap_or(0));
        state.running.push((Arc::clone(&shards), items.is_none()));
        Count { progress: self.clone(), shards }
    }
}

fn sum(shards: &[Shard]) -> usize {
    shards.iter().map(|shard| shard.load(Ordering::Relaxed)).sum()
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.done(), self.total())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("done", &self.done()).field("total", &self.total()).finish()
    }
}

/// The count of one call.
pub(crate) struct Count {
    progress: Progress,
    shards: Arc<[Shard]>,
}

impl Count {
    /// Counts items whose outputs the sink of a [run](Progress::begin_run) has taken, on the calling thread.
    #[inline]
    pub(crate) fn took(&self, items: usize) {
        count(self.shards.first().map(|shard| &**shard), items);
    }

    /// Counts items of a run that came to their end without an output, on one thread at a time.
    pub(crate) fn freed(&self, items: usize) {
        count(self.shards.get(1).map(|shard| &**shard), items);
    }

    /// Counts items of a run that were worked in the place of one, on any thread.
    pub(crate) fn worked(&self, items: usize) {
        if let Some(shard) = self.shards.get(2) {
            // Relaxed: the counts carry no data.
            shard.fetch_add(items, Ordering::Relaxed);
        }
    }

    /// Returns the counter of this worker.
    pub(super) fn shard(&self) -> &AtomicUsize {
        // The worker belongs to the pool in which the call began. Two workers at one counter would lose counts.
        &self.shards[rayon::current_thread_index().unwrap_or(0) % self.shards.len()]
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut state = self.progress.state.lock();
        let done = sum(&self.shards);
        state.done += done;
        let own = state.running.iter().position(|(shards, _)| Arc::ptr_eq(shards, &self.shards));
        if let Some((_, true)) = own.map(|own| state.running.swap_remove(own)) {
            state.total = state.total.saturating_add(done);
        }
    }
}

/// Adds to the counter of a worker.
///
/// A load and a store suffice, because only that worker writes to it.
#[inline]
pub(super) fn count(shard: Option<&AtomicUsize>, items: usize) {
    if let Some(shard) = shard {
        shard.store(shard.load(Ordering::Relaxed) + items, Ordering::Relaxed);
    }
}
