//! [`Chain`]: a source and the stages behind it, and the methods that add a stage.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use super::source::{Before, Source};
use super::stage::{Filter, FilterMap, FlatMap, Identity, Inspect, Map, Stage, TryMap};
use super::{Order, Pipeline, Settings};
use crate::error::{Cancelled, FromError};

/// The source of a [`Pipeline`], and the stages behind it, fused into one call an item.
///
/// The pipeline's methods make the one type that implements it. The trait is there to be named:
/// a function that returns a pipeline, for its caller to add stages and to end, has this type.
///
/// ```
/// use brigade::pipeline::Chain;
/// use brigade::{CancellationToken, Cancelled, Pipeline};
///
/// fn doubled(numbers: Vec<u32>) -> Pipeline<impl Chain<Output = u64, Error = Cancelled>> {
///     Pipeline::from_data(numbers).map(|number| u64::from(number) * 2)
/// }
///
/// let sums: Vec<u64> = doubled(vec![1, 2]).map(|number| number + 1).collect(&CancellationToken::new())?;
/// assert_eq!(sums, [3, 5]);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub trait Chain {
    /// The outputs of the last stage.
    type Output;
    /// The error of the stages; where none can fail, that of the source, most often [`Cancelled`].
    type Error;

    /// The error of the source: [`Cancelled`], but behind a [`scan`](Pipeline::scan) the error of the stages before it.
    ///
    /// A function names it to [locate](Pipeline::located) the errors of a pipeline that it is given.
    /// ([`located_by`](Pipeline::located_by) cannot be called there, because the type of the source's items is hidden.)
    ///
    /// ```
    /// use brigade::pipeline::Chain;
    /// use brigade::{CancellationToken, Cancelled, Failure, Pipeline};
    ///
    /// fn sum<E: Send>(
    ///     numbers: Pipeline<impl Chain<Output = u64, Error = E, Cause = Cancelled>>,
    /// ) -> Result<u64, Failure<E>> {
    ///     numbers.named("line").located().fold(&CancellationToken::new(), 0, |sum, number| sum + number)
    /// }
    ///
    /// let lines = Pipeline::from_data(["1", "x"]).try_map(|line| line.parse().map_err(anyhow::Error::from));
    /// assert_eq!(sum(lines).unwrap_err().to_string(), "line#1 failed: invalid digit found in string");
    /// ```
    type Cause;

    #[doc(hidden)]
    type Source: Source<Item: Send, Error = Self::Cause>;
    #[doc(hidden)]
    type Stage: Stage<<Self::Source as Source>::Item, Output = Self::Output, Error = Self::Error, Cause = Self::Cause>;

    #[doc(hidden)]
    fn split(self) -> (Self::Source, Self::Stage);

    #[doc(hidden)]
    fn source(&self) -> &Self::Source;
}

/// A source and its stages.
#[doc(hidden)]
#[derive(Clone)]
pub struct Fused<S, W> {
    source: S,
    stage: W,
}

/// The pipeline of a chain's source with the stages `W`.
pub(super) type With<C, W> = Pipeline<Fused<<C as Chain>::Source, W>>;

impl<S, W> Chain for Fused<S, W>
where
    S: Source<Item: Send>,
    W: Stage<S::Item, Cause = S::Error>,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = S::Error;
    type Source = S;
    type Stage = W;

    fn split(self) -> (S, W) {
        (self.source, self.stage)
    }

    fn source(&self) -> &S {
        &self.source
    }
}

impl<S: fmt::Debug, W> fmt::Debug for Fused<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<S, W> Pipeline<Fused<S, W>> {
    pub(super) fn new(source: S, stage: W, settings: Settings) -> Self {
        Pipeline { chain: Fused { source, stage }, settings }
    }
}

impl<S: Source<Error = Cancelled>> Pipeline<Fused<S, Identity<Cancelled>>> {
    /// Makes another source of the one that has no stages yet.
    pub(super) fn replace_source<R>(self, replace: impl FnOnce(S) -> R) -> Pipeline<Fused<R, Identity<Cancelled>>> {
        let Fused { source, stage } = self.chain;
        Pipeline::new(replace(source), stage, self.settings)
    }

    pub(super) fn from_source(source: S) -> Self {
        let settings = Settings {
            threads: None,
            window: None,
            order: Order::Source,
            name: None,
            stack: None,
            is_caller_reserved: false,
            expected: None,
            report: None,
            progress: None,
        };
        Pipeline::new(source, Identity(PhantomData), settings)
    }

    /// Changes a setting of the source.
    pub(super) fn with_source(mut self, change: impl FnOnce(&mut S)) -> Self {
        change(&mut self.chain.source);
        self
    }
}

/// The chain `C`, then a boundary: behind it a section begins.
pub(super) type Crossed<C, Q> =
    Fused<Before<<C as Chain>::Source, <C as Chain>::Stage, Q>, Identity<<C as Chain>::Error>>;

impl<C: Chain> Pipeline<C> {
    /// Ends the section, with `serial` behind it. The next one has `own` workers of its own, if any.
    pub(super) fn cross<Q>(self, serial: Q, own: Option<NonZeroUsize>) -> Pipeline<Crossed<C, Q>> {
        let (source, stage) = self.chain.split();
        Pipeline::new(Before { source, stage, serial, own }, Identity(PhantomData), self.settings)
    }

    /// Adds the stage that `add` makes of those before it.
    pub(super) fn add<W>(self, add: impl FnOnce(C::Stage, &Settings) -> W) -> With<C, W> {
        let (source, stage) = self.chain.split();
        let stage = add(stage, &self.settings);
        Pipeline::new(source, stage, self.settings)
    }
}

/// The source.
impl<C: Chain> Pipeline<C> {
    /// Returns how many items the source will give, as far as it knows: at least, and at most, as
    /// [`Iterator::size_hint`] does. A progress bar has its total from this.
    ///
    /// Data know it, and iterators as far as they say. Lines and channels do not.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipeline;
    ///
    /// let files = Pipeline::from_data(vec!["a", "b", "c"]).map(str::len);
    /// assert_eq!(files.size_hint(), (3, Some(3)));
    /// ```
    pub fn size_hint(&self) -> (usize, Option<usize>) {
        self.chain.source().size_hint()
    }
}

/// Stages, which run in parallel.
impl<C: Chain> Pipeline<C> {
    /// Adds a stage that cannot fail.
    pub fn map<R, F>(self, f: F) -> With<C, Map<C::Stage, F>>
    where
        F: Fn(C::Output) -> R + Sync,
    {
        self.add(|before, _| Map { before, f })
    }

    /// Adds a stage that can fail.
    ///
    /// The first error, in the order of the items, ends the run, and the end returns it. Errors convert along
    /// the pipeline as by `?`: a stage's error type is made from that of the stage before, and the first one's
    /// from [`Cancelled`]. An error type that knows nothing of cancellation, such as that of
    /// `parse`, has to be made one that does: by `?` in the closure, or by `.map_err(anyhow::Error::from)`.
    ///
    /// # Examples
    ///
    /// If the items of the source are results, `?` passes their errors on:
    ///
    /// ```
    /// use std::io::{self, BufRead};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let input: &[u8] = b"one\ntwo\n";
    /// let lengths: io::Result<Vec<usize>> = Pipeline::from_iter(input.lines())
    ///     .try_map(|line| Ok::<_, io::Error>(line?.len()))
    ///     .collect(&CancellationToken::new());
    /// assert_eq!(lengths?, [3, 3]);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn try_map<R, E, F>(self, f: F) -> With<C, TryMap<C::Stage, F>>
    where
        F: Fn(C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| TryMap { before, f })
    }

    /// Adds a stage that passes the items for which `f` returns true.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let is_prime = |number: &u32| *number > 1 && (2..*number).all(|divisor| number % divisor > 0);
    /// let primes: Vec<u32> = Pipeline::from_data(0..20_u32).filter(is_prime).collect(&CancellationToken::new())?;
    /// assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn filter<F>(self, f: F) -> With<C, Filter<C::Stage, F>>
    where
        F: Fn(&C::Output) -> bool + Sync,
    {
        self.add(|before, _| Filter { before, f })
    }

    /// Adds a stage that makes one output of an item, or none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let numbers: Vec<u32> =
    ///     Pipeline::from_data(["1", "two"]).filter_map(|word| word.parse().ok()).collect(&CancellationToken::new())?;
    /// assert_eq!(numbers, [1]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn filter_map<R, F>(self, f: F) -> With<C, FilterMap<C::Stage, F>>
    where
        F: Fn(C::Output) -> Option<R> + Sync,
    {
        self.add(|before, _| FilterMap { before, f })
    }

    /// Adds a stage that makes any number of outputs of an item, in order.
    ///
    /// The outputs of an item may have no end. If they take long or are very many, they go
    /// to the sink as they come: an output that took long is handed over before the next
    /// is asked for, and up to 64 quick ones may wait for the first slow one behind them.
    ///
    /// The [`window`](Pipeline::window) counts the items of the source. Of their outputs, beyond one an item, a run
    /// holds some 16 parts whose turn it is, and 16 and 4 a thread besides; then a thread waits. A part is 4096 outputs
    /// of up to 256 bytes, and fewer larger ones. Outputs that may own memory also count by the time they took to make:
    /// a part is 4096 of them at 125 ns, and 16 at 2 µs, as `Vec`s of 64 KiB take (8 threads hold 60 MB of these).
    ///
    /// The iterator stays on the thread that made it, so it need not be [`Send`]; its items must be.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let words: Vec<&str> = Pipeline::from_data(["a line", "and one more"])
    ///     .flat_map(str::split_whitespace)
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(words, ["a", "line", "and", "one", "more"]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn flat_map<R, F>(self, f: F) -> With<C, FlatMap<C::Stage, F>>
    where
        R: IntoIterator,
        F: Fn(C::Output) -> R + Sync,
    {
        self.add(|before, _| FlatMap { before, f })
    }

    /// Adds a stage that looks at each item and passes it on, for counts, logs and progress.
    ///
    /// It runs on the thread that has the item, in no order across items.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let bytes = AtomicUsize::new(0);
    /// let lines = Pipeline::from_data(["one", "three"])
    ///     .inspect(|line| _ = bytes.fetch_add(line.len(), Ordering::Relaxed))
    ///     .count(&CancellationToken::new())?;
    /// assert_eq!((lines, bytes.into_inner()), (2, 8));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn inspect<F>(self, f: F) -> With<C, Inspect<C::Stage, F>>
    where
        F: Fn(&C::Output) + Sync,
    {
        self.add(|before, _| Inspect { before, f })
    }
}
