//! The stages: each is fused with those before it into one call an item.
//!
//! A stage pushes what it makes of an item to the next one, so that it may make none, one or many, and nothing is kept in
//! between. Whoever is pushed to answers with [`ControlFlow::Break`] when nothing more is wanted.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::Pipeline;
use super::claim::Source;

/// The stages of a [`Pipeline`](super::Pipeline), fused into one call an item.
///
/// Implemented by what the pipeline's methods make, and not to be implemented elsewhere; see [`Source`](crate::pipeline::Source)
/// for what it is there for.
pub trait Stage<T>: Sync {
    /// What comes out of the last stage.
    type Output;
    /// What a stage can fail with; where none can, what the source can, which is [`Cancelled`](crate::Cancelled) most often.
    type Error;

    /// Hands what becomes of `item` to `emit`; breaks off when that does. A stage that makes many items of one hands on
    /// `None` before it asks for each: making it may take long, or there may be no end to those that are filtered out,
    /// and `emit` has to see what is held and whether more is wanted. `index` is that of the source's item; by value, since
    /// behind a reference it would cost a third of a nanosecond.
    #[doc(hidden)]
    fn feed(
        &self,
        index: u64,
        item: T,
        emit: impl FnMut(Option<Self::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Self::Error>;
}

/// The stages.
impl<S: Source, W: Stage<S::Item>> Pipeline<S, W> {
    /// Adds a stage that cannot fail.
    pub fn map<R, F>(self, f: F) -> Pipeline<S, Map<W, F>>
    where
        F: Fn(W::Output) -> R + Sync,
    {
        let Pipeline { source, stage, settings } = self;
        Pipeline { source, stage: Map { before: stage, f }, settings }
    }

    /// Adds a stage that can fail; its first error, in the order of the items, ends the run and is what the end returns.
    ///
    /// Errors convert along the pipeline as `?` would: a stage's error type is made from that of the stage before, and
    /// the first one's from [`Cancelled`](crate::Cancelled). So an error type that knows nothing of cancellation, such as that of `parse`,
    /// is first made one that does: by `?` in the closure, or by `.map_err(anyhow::Error::from)`.
    ///
    /// # Examples
    ///
    /// A source whose items are results is passed on by `?`:
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

    /// Adds a stage that lets items pass of which `f` is true.
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

    /// Adds a stage that makes one item of an item, or none.
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

    /// Adds a stage that makes any number of items of one, in order.
    ///
    /// There may be no end to what is made of an item: if it takes long or is very much, it is handed to the sink as it
    /// comes. An output that took long is handed over before the next is asked for; of quick ones up to 64 may wait for
    /// the first slow one behind them.
    ///
    /// The [`window`](Pipeline::window) counts the items of the source. Of their outputs, beyond one an item, a run
    /// holds some 16 parts whose turn it is, and 16 and 4 a thread besides; then a thread waits. A part is 4096 outputs
    /// of up to 256 bytes, and fewer larger ones. Outputs that may own memory also count by the time they took to make:
    /// a part is 4096 of them at 125 ns, and 16 at 2 µs, as `Vec`s of 64 KiB take (8 threads hold 60 MB of these).
    ///
    /// The iterator is used up on the thread that made it, so it need not be [`Send`]; its items must be.
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

    /// Adds a stage that looks at each item and passes it on: for counts, logs and progress. It runs on the thread that
    /// has the item, in no order across items.
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

/// No stage yet: items pass as they are. `E` is what the source can fail with.
#[derive(Clone, Copy, Debug)]
pub struct Identity<E>(pub(super) PhantomData<fn() -> E>);

impl<T, E> Stage<T> for Identity<E> {
    type Output = T;
    type Error = E;

    #[inline]
    fn feed(
        &self,
        _index: u64,
        item: T,
        mut emit: impl FnMut(Option<T>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, E> {
        Ok(emit(Some(item)))
    }
}

/// The stages before, then one more, which is a closure.
macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<W, F> {
            pub(super) before: W,
            pub(super) f: F,
        }
    )*};
}

stages! {
    /// Made by [`Pipeline::map`](super::Pipeline::map).
    Map,
    /// Made by [`Pipeline::try_map`](super::Pipeline::try_map).
    TryMap,
    /// Made by [`Pipeline::filter`](super::Pipeline::filter).
    Filter,
    /// Made by [`Pipeline::filter_map`](super::Pipeline::filter_map).
    FilterMap,
    /// Made by [`Pipeline::flat_map`](super::Pipeline::flat_map).
    FlatMap,
    /// Made by [`Pipeline::inspect`](super::Pipeline::inspect).
    Inspect
}

impl<T, R, W, F> Stage<T> for Map<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> R + Sync,
{
    type Output = R;
    type Error = W::Error;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(index, item, |input| emit(input.map(&self.f)))
    }
}

impl<T, R, E, W, F> Stage<T> for TryMap<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> Result<R, E> + Sync,
    E: From<W::Error>,
{
    type Output = R;
    type Error = E;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, E> {
        let mut failed = None;
        let fed = self.before.feed(index, item, |input| match input.map(&self.f).transpose() {
            Ok(output) => emit(output),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(fed?),
        }
    }
}

impl<T, W, F> Stage<T> for Filter<W, F>
where
    W: Stage<T>,
    F: Fn(&W::Output) -> bool + Sync,
{
    type Output = W::Output;
    type Error = W::Error;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(index, item, |input| match input {
            Some(input) if !(self.f)(&input) => ControlFlow::Continue(()),
            input => emit(input),
        })
    }
}

impl<T, R, W, F> Stage<T> for FilterMap<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> Option<R> + Sync,
{
    type Output = R;
    type Error = W::Error;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(index, item, |input| match input.map(&self.f) {
            Some(None) => ControlFlow::Continue(()),
            output => emit(output.flatten()),
        })
    }
}

impl<T, R, W, F> Stage<T> for FlatMap<W, F>
where
    W: Stage<T>,
    R: IntoIterator,
    F: Fn(W::Output) -> R + Sync,
{
    type Output = R::Item;
    type Error = W::Error;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<R::Item>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(index, item, |input| match input {
            Some(input) => {
                let items = (self.f)(input);
                emit(None)?;
                // Not a loop around `next()`: iterators that are made of others are quicker so.
                items.into_iter().try_for_each(|output| {
                    emit(Some(output))?;
                    emit(None)
                })
            }
            None => emit(None),
        })
    }
}

impl<T, W, F> Stage<T> for Inspect<W, F>
where
    W: Stage<T>,
    F: Fn(&W::Output) + Sync,
{
    type Output = W::Output;
    type Error = W::Error;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(index, item, |input| {
            if let Some(input) = &input {
                (self.f)(input);
            }
            emit(input)
        })
    }
}
