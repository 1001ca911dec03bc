//! [`ParBuilder`]: what a map can be told, and its forms.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::collect::Steps;
use super::progress::{Count, Progress};
use super::run::{Run, Stopped};
use super::states::States;
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// A parallel map with more to say than [`par_map`](crate::par_map) has: how many items at once, who watches, what a failure
/// does. Its methods are the forms that there are as functions too, and [`collect_all`](Self::collect_all).
///
/// Cheap items want to be taken several at a time, which rayon's own
/// [`with_min_len`](IndexedParallelIterator::with_min_len) says: `(0..n).into_par_iter().with_min_len(1_000)` is an argument
/// like any other. Most often it is not needed: a job is split only when a worker has nothing to do.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, ParBuilder, par::Progress};
///
/// let progress = Progress::new();
/// let lengths = ParBuilder::new().limit(2).progress(&progress).map(&CancellationToken::new(), 0..100, |item| item * 2)?;
/// assert_eq!((lengths[99], progress.done()), (198, 100));
/// # Ok::<(), brigade::Cancelled>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it is given items, by `map` for example"]
pub struct ParBuilder<'a> {
    pub(super) limit: Option<NonZeroUsize>,
    progress: Option<&'a Progress>,
    pub(super) failures: usize,
    pub(super) fail_after: Option<NonZeroUsize>,
    pub(super) name: Arc<str>,
    label: Option<&'a Label<'a>>,
}

/// What the program calls the item of an index.
type Label<'a> = dyn Fn(usize) -> String + Sync + 'a;

/// How many failures are kept by default.
const FAILURES: usize = 1_000;

impl Default for ParBuilder<'_> {
    fn default() -> Self {
        ParBuilder::new()
    }
}

impl<'a> ParBuilder<'a> {
    /// Returns the builder of a call that has all of the pool, and that nobody watches.
    pub fn new() -> Self {
        ParBuilder {
            limit: None,
            progress: None,
            failures: FAILURES,
            fail_after: None,
            name: "item".into(),
            label: None,
        }
    }

    /// Lets at most `items` of this call run at once, even where closures call rayon and their worker takes up another one
    /// meanwhile. The default is no limit: as many as the pool has threads, and more in that case.
    ///
    /// The call then has so many jobs, each of which takes one part of the items after the other, and no pool of its own. No
    /// worker waits for a turn. The parts are large at first; items of which a few take long may ask for small ones by rayon's
    /// [`with_max_len`](IndexedParallelIterator::with_max_len). They are split under a lock: what that runs of the program's
    /// own, such as a `Clone` in `map_with`, must not call rayon. The outputs are moved once more than without a limit.
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

    /// Keeps so many failures in [`collect_all`](Self::collect_all), those of the first items; the others are
    /// [counted](crate::Failures::omitted). The default is 1000.
    pub fn failures(mut self, most: usize) -> Self {
        self.failures = most;
        self
    }

    /// Stops [`collect_all`](Self::collect_all) after `failures` failures. By default nothing stops it. The other forms stop at
    /// the first failure in any case.
    ///
    /// It stops where the plain loop would: the failures are those of the first `failures` items that fail, and all items
    /// before the last of them have been run. What ran behind that is dropped, and counts as
    /// [skipped](crate::Failures::skipped). If a cancel of `token` comes before that, there may be more failures.
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
        self.fail_after = Some(failures);
        self
    }

    /// Names the items in [`Failure`](crate::Failure)s. The default is `item`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.name = name.as_ref().into();
        self
    }

    /// Has [`Failure`](crate::Failure)s labelled: `label` says what the program calls the item of an index, such as the name of a file. It is
    /// called on the calling thread when the call has ended, for the failures alone.
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

    pub(super) fn label(&self, index: usize) -> Option<Box<str>> {
        self.label.map(|label| label(index).into())
    }

    /// As [`par_map`](crate::par_map), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`par_map`](crate::par_map).
    ///
    /// # Errors
    ///
    /// As for [`par_map`](crate::par_map).
    ///
    /// # Panics
    ///
    /// As for [`par_map`](crate::par_map).
    pub fn map<I, R, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        F: Fn(I::Item) -> R + Send + Sync,
    {
        self.try_map(token, items, |item| Ok(f(item)))
    }

    /// As [`try_par_map`](crate::try_par_map), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Errors
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    ///
    /// # Panics
    ///
    /// As for [`try_par_map`](crate::try_par_map).
    pub fn try_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: From<Cancelled> + Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map(token, items, f).map_err(Stopped::bare)
    }

    /// As [`par_for_each`](crate::par_for_each), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`par_for_each`](crate::par_for_each).
    ///
    /// # Errors
    ///
    /// As for [`par_for_each`](crate::par_for_each).
    ///
    /// # Panics
    ///
    /// As for [`par_for_each`](crate::par_for_each).
    pub fn for_each<I, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        F: Fn(I::Item) + Send + Sync,
    {
        self.try_for_each(token, items, |item| {
            f(item);
            Ok(())
        })
    }

    /// As [`try_par_for_each`](crate::try_par_for_each), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_for_each`](crate::try_par_for_each).
    ///
    /// # Errors
    ///
    /// As for [`try_par_for_each`](crate::try_par_for_each).
    ///
    /// # Panics
    ///
    /// As for [`try_par_for_each`](crate::try_par_for_each).
    pub fn try_for_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: From<Cancelled> + Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        self.run_each(token, items, f).map_err(Stopped::bare)
    }

    /// As [`par_map_init`](crate::par::par_map_init), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`par_map_init`](crate::par::par_map_init).
    ///
    /// # Errors
    ///
    /// As for [`par_map_init`](crate::par::par_map_init).
    ///
    /// # Panics
    ///
    /// As for [`par_map_init`](crate::par::par_map_init).
    pub fn map_init<I, S, R, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, I::Item) -> R + Send + Sync,
    {
        self.try_map_init(token, items, init, |state, item| Ok(f(state, item)))
    }

    /// As [`try_par_map_init`](crate::par::try_par_map_init), with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_map_init`](crate::par::try_par_map_init).
    ///
    /// # Errors
    ///
    /// As for [`try_par_map_init`](crate::par::try_par_map_init).
    ///
    /// # Panics
    ///
    /// As for [`try_par_map_init`](crate::par::try_par_map_init).
    pub fn try_map_init<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: From<Cancelled> + Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map_init(token, items, init, f).map_err(Stopped::bare)
    }
}

/// What the forms are, whose errors are the caller's own or located.
impl ParBuilder<'_> {
    pub(super) fn run_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Stopped<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let run = Run::new(token, items.len());
        let outputs = self.outputs(&run, items, || (), |(), _, item| f(item));
        run.end(outputs, Vec::<()>::new()).map(|(outputs, _)| outputs)
    }

    pub(super) fn run_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Stopped<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (run, counted) = (Run::new(token, items.len()), self.counted(items.len()));
        let steps = Steps { run: &run, count: counted.as_ref(), job: || (), f: |(): &mut (), _, item| f(item) };
        let done = steps.each(items, self.limit);
        run.end(done, Vec::<()>::new()).map(drop)
    }

    pub(super) fn run_map_init<I, S, R, E, N, F>(
        &self,
        token: &CancellationToken,
        items: I,
        init: N,
        f: F,
    ) -> Result<(Vec<R>, Vec<S>), Stopped<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        S: Send,
        R: Send,
        E: Send,
        N: Fn() -> S + Send + Sync,
        F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (run, states) = (Run::new(token, items.len()), States::new(init));
        let outputs = self.outputs(&run, items, || states.lend(), |lent, _, item| f(lent.get(), item));
        run.end(outputs, states.into_vec())
    }

    pub(super) fn counted(&self, items: usize) -> Option<Count<'_>> {
        self.progress.map(|progress| progress.begin(items))
    }

    /// The outputs of all items; `None` if one failed or the token was cancelled, or the source was at fault.
    pub(super) fn outputs<I, J, R, E>(
        &self,
        run: &Run<'_, E>,
        items: I,
        job: impl Fn() -> J + Sync,
        f: impl Fn(&mut J, usize, I::Item) -> Result<R, E> + Sync,
    ) -> Option<Vec<R>>
    where
        I: IndexedParallelIterator,
        R: Send,
        E: Send,
    {
        let counted = self.counted(items.len());
        run.guard(|| Steps { run, count: counted.as_ref(), job, f }.collect(items, self.limit))
    }
}

impl fmt::Debug for ParBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParBuilder")
            .field("limit", &self.limit)
            .field("progress", &self.progress)
            .field("failures", &self.failures)
            .field("fail_after", &self.fail_after)
            .field("name", &self.name)
            .field("label", &self.label.is_some())
            .finish()
    }
}
