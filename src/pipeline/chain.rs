//! The methods that begin a pipeline from a source and add stages to it.

use std::marker::PhantomData;

use super::source::Source;
use super::stage::{Filter, FilterMap, FlatMap, Identity, Inspect, Map, Stage, TryMap};
use super::{Order, Pipeline, Settings};
use crate::error::Cancelled;

impl<S: Source<Error = Cancelled>> Pipeline<S, Identity<Cancelled>> {
    pub(super) fn from_source(source: S) -> Self {
        Pipeline {
            source,
            stage: Identity(PhantomData),
            settings: Settings { threads: None, window: None, order: Order::Source, name: None, stack: None },
        }
    }
}

/// Stages, which run in parallel.
impl<S: Source, W: Stage<S::Item>> Pipeline<S, W> {
    /// Adds a stage that cannot fail.
    pub fn map<R, F>(self, f: F) -> Pipeline<S, Map<W, F>>
    where
        F: Fn(W::Output) -> R + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: Map { before: stage, f }, settings }
    }

    /// Adds a stage that can fail.
    ///
    /// The first error, in the order of the items, ends the run, and the end returns it. Errors convert along the pipeline
    /// as by `?`: a stage's error type is made from that of the stage before, and the first one's from
    /// [`Cancelled`](crate::Cancelled). An error type that knows nothing of cancellation, such as that of `parse`, has to
    /// be made one that does: by `?` in the closure, or by `.map_err(anyhow::Error::from)`.
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
    pub fn try_map<R, E, F>(self, f: F) -> Pipeline<S, TryMap<W, F>>
    where
        F: Fn(W::Output) -> Result<R, E> + Sync,
        E: From<W::Error>,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: TryMap { before: stage, f }, settings }
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
    pub fn filter<F>(self, f: F) -> Pipeline<S, Filter<W, F>>
    where
        F: Fn(&W::Output) -> bool + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: Filter { before: stage, f }, settings }
    }

    /// Adds a stage that makes one output of an item, or none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let numbers: Vec<u32> =
    ///     Pipeline::from_data(["1", "two", "3"]).filter_map(|word| word.parse().ok()).collect(&CancellationToken::new())?;
    /// assert_eq!(numbers, [1, 3]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn filter_map<R, F>(self, f: F) -> Pipeline<S, FilterMap<W, F>>
    where
        F: Fn(W::Output) -> Option<R> + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: FilterMap { before: stage, f }, settings }
    }

    /// Adds a stage that makes any number of outputs of an item, in order.
    ///
    /// The outputs of an item may have no end. If they take long or are very many, they go to the sink as they come: an
    /// output that took long is handed over before the next is asked for, and up to 64 quick ones may wait for the first
    /// slow one behind them.
    ///
    /// The [`window`](Pipeline::window) counts the items of the source. Of their outputs, beyond one an item, a run holds
    /// some 16 parts whose turn it is, and 16 and 4 a thread besides; then a thread waits. A part is 4096 outputs of up to
    /// 256 bytes, and fewer larger ones. Outputs that may own memory also count by the time they took to make: a part is
    /// 4096 of them at 125 ns, and 16 at 2 µs, as `Vec`s of 64 KiB take (8 threads hold 60 MB of these).
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
    pub fn flat_map<R, F>(self, f: F) -> Pipeline<S, FlatMap<W, F>>
    where
        R: IntoIterator,
        F: Fn(W::Output) -> R + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: FlatMap { before: stage, f }, settings }
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
    pub fn inspect<F>(self, f: F) -> Pipeline<S, Inspect<W, F>>
    where
        F: Fn(&W::Output) + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: Inspect { before: stage, f }, settings }
    }
}
