//! Serial stages that put consecutive items together: `batch`, `batch_by`, `batch_within`, `chunk_by`.

use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Pipeline;
use super::chain::{Chain, Crossed};
use super::serial::Serial;
use crate::panic::{Guarded, Unmet};

/// The chain `C`, then batches of its outputs.
type Weighed<C, F> = Crossed<C, Batched<<C as Chain>::Output, F>>;

/// Stages that put consecutive items together.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Makes vectors of `items` consecutive items; the last one may have fewer.
    ///
    /// A batch is handed on as soon as it is full. What has come together is handed on at the end, and before an error
    /// of an earlier stage ends the run; not when the run is cancelled. Items are held back until their batch is full:
    /// a source that waits for the output of an earlier item must not meet this stage.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let sums: Vec<i32> = Pipeline::from_iter(1..=7)
    ///     .batch(3)
    ///     .map(|batch| batch.iter().sum())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sums, [6, 15, 7]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[track_caller]
    pub fn batch(self, items: usize) -> Pipeline<Weighed<C, impl FnMut(&C::Output) -> usize + Send>> {
        let Some(items) = NonZeroUsize::new(items) else {
            panic!("Pipeline::batch(0): a batch needs an item");
        };
        self.cross(Batched::new(items.get(), |_: &C::Output| 1), None)
    }

    /// Makes vectors of consecutive items that weigh `most` together, or one item more than that needs: a batch is
    /// handed on as soon as its items weigh `most` or more.
    ///
    /// It is flushed as [`batch`](Self::batch) is. An item may weigh 0.
    ///
    /// # Panics
    ///
    /// If `most` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let words = ["a", "few", "words", "of", "a", "text"];
    /// let blocks: Vec<Vec<&str>> =
    ///     Pipeline::from_data(words).batch_by(6, |word| word.len()).collect(&CancellationToken::new())?;
    /// assert_eq!(blocks, [vec!["a", "few", "words"], vec!["of", "a", "text"]]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[track_caller]
    pub fn batch_by<F>(self, most: usize, weight: F) -> Pipeline<Weighed<C, F>>
    where
        F: FnMut(&C::Output) -> usize + Send,
    {
        assert!(most > 0, "Pipeline::batch_by(0, ..): a batch needs room for an item");
        self.cross(Batched::new(most, weight), None)
    }

    /// Makes vectors of `items` consecutive items, or of fewer, because a batch is handed on at the latest when `time`
    /// has passed since its first item came.
    ///
    /// Use this where a batch is worth waiting for, but not for long: rows that go into a database, lines that go to a
    /// server. The batch is handed on as soon as one of the run's [threads](Self::threads) is free. With one thread,
    /// and inside a rayon job, the only thread may be waiting for the source's next item; then the batch is handed on
    /// when that has come. How the items fall into batches depends on time; their order does not.
    ///
    /// It is flushed as [`batch`](Self::batch) is, too.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancellationToken, Pipeline};
    /// use crossbeam::channel::bounded;
    ///
    /// let (rows, source) = bounded(10);
    /// rows.send("a row")?;
    /// let (mut rows, mut written) = (Some(rows), Vec::new());
    /// Pipeline::from_receiver(source).threads(2).batch_within(1_000, Duration::from_millis(10)).for_each(
    ///     &CancellationToken::new(),
    ///     |batch| {
    ///         // The first batch comes though more rows may follow.
    ///         if let Some(rows) = rows.take() {
    ///             rows.send("another").expect("the source is there");
    ///         }
    ///         written.push(batch);
    ///     },
    /// )?;
    /// assert_eq!(written, [["a row"], ["another"]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn batch_within(self, items: usize, time: Duration) -> Pipeline<Crossed<C, Within<C::Output>>> {
        let Some(items) = NonZeroUsize::new(items) else {
            panic!("Pipeline::batch_within(0, ..): a batch needs an item");
        };
        self.cross(Within { items: items.get(), time, batch: Unmet(Vec::new()), until: None }, None)
    }

    /// Makes vectors of consecutive items, where `together` is asked for each item and the next: the vector ends where
    /// it answers `false`.
    ///
    /// It is flushed as [`batch`](Self::batch) is. A run of items has no bound in length, so neither has a vector.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let rises: Vec<Vec<i32>> = Pipeline::from_data([1, 3, 2, 4, 5])
    ///     .chunk_by(|item, next| item < next)
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(rises, [vec![1, 3], vec![2, 4, 5]]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn chunk_by<F>(self, together: F) -> Pipeline<Crossed<C, ChunkBy<C::Output, F>>>
    where
        F: FnMut(&C::Output, &C::Output) -> bool + Send,
    {
        self.cross(ChunkBy { together: Guarded::new(together), chunk: Unmet(Vec::new()) }, None)
    }
}

/// Made by [`Pipeline::batch`](super::Pipeline::batch) and [`batch_by`](super::Pipeline::batch_by).
#[doc(hidden)]
pub struct Batched<T, F> {
    most: usize,
    weight: Guarded<F>,
    batch: Unmet<T>,
    weighs: usize,
}

impl<T, F> Batched<T, F> {
    fn new(most: usize, weight: F) -> Self {
        Batched { most, weight: Guarded::new(weight), batch: Unmet(Vec::new()), weighs: 0 }
    }
}

impl<T, F: FnMut(&T) -> usize> Serial<T> for Batched<T, F> {
    type Output = Vec<T>;

    fn take(&mut self, item: T, mut emit: impl FnMut(Vec<T>)) -> ControlFlow<()> {
        self.weighs = self.weighs.saturating_add((self.weight.get_mut())(&item));
        self.batch.0.push(item);
        if self.weighs >= self.most {
            self.weighs = 0;
            let room = self.batch.0.len();
            emit(mem::replace(&mut self.batch.0, Vec::with_capacity(room)));
        }
        ControlFlow::Continue(())
    }

    fn finish(&mut self, mut emit: impl FnMut(Vec<T>)) {
        if !self.batch.0.is_empty() {
            emit(mem::take(&mut self.batch.0));
        }
    }
}

/// Made by [`Pipeline::batch_within`](super::Pipeline::batch_within).
#[doc(hidden)]
pub struct Within<T> {
    items: usize,
    time: Duration,
    batch: Unmet<T>,
    /// When the time of the batch is up. A time beyond the clock's is never up.
    until: Option<Instant>,
}

impl<T> Serial<T> for Within<T> {
    type Output = Vec<T>;

    const TIMED: bool = true;

    fn flush_at(&self) -> Option<Instant> {
        self.until
    }

    fn flush(&mut self, mut emit: impl FnMut(Vec<T>)) {
        self.until = None;
        if !self.batch.0.is_empty() {
            emit(mem::take(&mut self.batch.0));
        }
    }

    fn take(&mut self, item: T, mut emit: impl FnMut(Vec<T>)) -> ControlFlow<()> {
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            self.flush(&mut emit);
        }
        if self.batch.0.is_empty() {
            self.until = now.checked_add(self.time);
        }
        self.batch.0.push(item);
        if self.batch.0.len() >= self.items {
            self.flush(emit);
        }
        ControlFlow::Continue(())
    }

    fn finish(&mut self, emit: impl FnMut(Vec<T>)) {
        self.flush(emit);
    }
}

/// Made by [`Pipeline::chunk_by`](super::Pipeline::chunk_by).
#[doc(hidden)]
pub struct ChunkBy<T, F> {
    together: Guarded<F>,
    chunk: Unmet<T>,
}

impl<T, F: FnMut(&T, &T) -> bool> Serial<T> for ChunkBy<T, F> {
    type Output = Vec<T>;

    fn take(&mut self, item: T, mut emit: impl FnMut(Vec<T>)) -> ControlFlow<()> {
        let ChunkBy { together, chunk: Unmet(chunk) } = self;
        if chunk.last().is_some_and(|last| !(together.get_mut())(last, &item)) {
            emit(mem::take(chunk));
        }
        chunk.push(item);
        ControlFlow::Continue(())
    }

    fn finish(&mut self, mut emit: impl FnMut(Vec<T>)) {
        if !self.chunk.0.is_empty() {
            emit(mem::take(&mut self.chunk.0));
        }
    }
}

impl<T, F> fmt::Debug for Batched<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batched").field("items", &self.batch.0.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Within<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within").field("items", &self.batch.0.len()).field("until", &self.until).finish_non_exhaustive()
    }
}

impl<T, F> fmt::Debug for ChunkBy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkBy").field("items", &self.chunk.0.len()).finish_non_exhaustive()
    }
}
