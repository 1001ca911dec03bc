//! [`ParBuilder`]: the switches of a call.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::progress::{Count, Progress};
use crate::failures::Bounds;

/// The switches of a parallel map: how many items run at once, which [`Progress`] counts them, which failures are kept.
///
/// Set the switches, then call a method: each function of this part has a method here, and
/// [`collect_all`](Self::collect_all) is a method alone.
///
/// If the items are very cheap, let a job take several at a time by rayon's own
/// [`with_min_len`](rayon::iter::IndexedParallelIterator::with_min_len): `(0..n).into_par_iter().with_min_len(1_000)`
/// is an argument like any other. Most often it is not needed, because rayon splits a job only when a worker is idle.
///
/// # Examples
///
/// ```
/// use brigade::par::Progress;
/// use brigade::{CancellationToken, ParBuilder};
///
/// let progress = Progress::new();
/// let builder = ParBuilder::new().limit(2).progress(&progress);
/// let doubles = builder.map(&CancellationToken::new(), 0..100, |item| item * 2)?;
/// assert_eq!((doubles[99], progress.done()), (198, 100));
/// # Ok::<(), brigade::Cancelled>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it is given items, by `map` for example"]
pub struct ParBuilder<'a> {
    pub(super) limit: Option<NonZeroUsize>,
    progress: Option<&'a Progress>,
    pub(super) bounds: Bounds,
    pub(super) name: Arc<str>,
    label: Option<&'a Label<'a>>,
}

/// Gives the item of an index the name that the program has for it.
type Label<'a> = dyn Fn(usize) -> String + Sync + 'a;

impl Default for ParBuilder<'_> {
    fn default() -> Self {
        ParBuilder::new()
    }
}

impl<'a> ParBuilder<'a> {
    /// Returns a builder without a limit and without a progress count, which keeps 1000 failures.
    pub fn new() -> Self {
        ParBuilder { limit: None, progress: None, bounds: Bounds::DEFAULT, name: "item".into(), label: None }
    }

    /// Lets at most `items` of this call run at once.
    ///
    /// It is a bound and not a number of threads: the call has the threads of the rayon pool that it runs in, so a
    /// limit of 8 in a pool of two threads runs two items. A program with an option such as `-j 8` builds a pool of 8
    /// threads, by rayon's `ThreadPoolBuilder::num_threads`, with `build_global` at its start or with `build` and
    /// `install` around the call. The limit is for calls that must not use all of them: each item takes a gigabyte, or
    /// a file handle.
    ///
    /// By default there is no limit: as many items run as the pool has threads. If closures call rayon, more may run,
    /// because a worker that waits in rayon takes up another item. The limit holds in that case too.
    ///
    /// A call with a limit has this many jobs, and no pool of its own. Each job takes one part of the items after the
    /// other, and no worker waits for a turn. The first parts are large. If a few items take much longer than the rest,
    /// ask for small parts by rayon's [`with_max_len`](rayon::iter::IndexedParallelIterator::with_max_len). The items
    /// are split under a lock: code of the program that runs then, such as a `Clone` in `map_with`, must not call
    /// rayon. The outputs are moved once more than without a limit.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    #[track_caller]
    pub fn limit(mut self, items: usize) -> Self {
        let Some(items) = NonZeroUsize::new(items) else {
            panic!("ParBuilder::limit(0): no item could ever run; 1 runs them one after the other");
        };
        self.limit = Some(items);
        self
    }

    /// Has `progress` count the items of this call.
    pub fn progress(mut self, progress: &'a Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Has [`collect_all`](Self::collect_all) keep at most `most` failures, those of the first items.
    ///
    /// The others are [counted](crate::Failures::omitted). The default is 1000.
    pub fn failures(mut self, most: usize) -> Self {
        self.bounds.kept = most;
        self
    }

    /// Stops [`collect_all`](Self::collect_all) after this many failures.
    ///
    /// By default failures do not stop it. The other forms stop at the first failure in any case.
    ///
    /// It stops where the plain loop would stop: the failures are those of the first `failures` items that fail, and
    /// all items before the last of them have been run. Items that ran after that one are dropped, and count as
    /// [skipped](crate::Failures::skipped). If `token` is cancelled before that, there may be more failures.
    ///
    /// # Panics
    ///
    /// If `failures` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ParBuilder};
    ///
    /// let failures = ParBuilder::new()
    ///     .fail_after(2)
    ///     .collect_all(&CancellationToken::new(), ["1", "x", "y", "2", "z"], str::parse::<u32>)
    ///     .unwrap_err();
    /// assert_eq!((failures.count(), failures.skipped()), (2, 2));
    /// ```
    #[track_caller]
    pub fn fail_after(mut self, failures: usize) -> Self {
        let Some(failures) = NonZeroUsize::new(failures) else {
            panic!("ParBuilder::fail_after(0): no item could ever run; 1 stops at the first failure");
        };
        self.bounds.fail_after = Some(failures);
        self
    }

    /// Sets the name of the items in a [`Failure`](crate::Failure); the default is `item`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.name = name.as_ref().into();
        self
    }

    /// Gives each [`Failure`](crate::Failure) a label, which `label` makes from the index of the item.
    ///
    /// A label is the name that the program has for an item, such as the name of a file. `label` is called on the
    /// calling thread when the call has ended, and for the failures alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ParBuilder};
    ///
    /// let names = ["Cargo.toml", "missing.toml"];
    /// let label = |index: usize| names[index].to_owned();
    /// let failures = ParBuilder::new()
    ///     .named("file")
    ///     .labelled(&label)
    ///     .collect_all(&CancellationToken::new(), names, std::fs::read)
    ///     .unwrap_err();
    /// assert!(failures.to_string().starts_with("file#1 (missing.toml) failed: "));
    /// ```
    pub fn labelled(mut self, label: &'a (dyn Fn(usize) -> String + Sync)) -> Self {
        self.label = Some(label);
        self
    }

    /// Returns the label of an item, if the program has given one.
    pub(super) fn label(&self, index: usize) -> Option<Box<str>> {
        self.label.map(|label| label(index).into())
    }

    /// Begins to count a call of this many items, if there is a progress count.
    pub(super) fn counted(&self, items: usize) -> Option<Count> {
        self.progress.map(|progress| progress.begin(items))
    }
}

impl fmt::Debug for ParBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParBuilder")
            .field("limit", &self.limit)
            .field("progress", &self.progress)
            .field("failures", &self.bounds.kept)
            .field("fail_after", &self.bounds.fail_after)
            .field("name", &self.name)
            .field("label", &self.label.is_some())
            .finish()
    }
}
