//! The stages that can fail and make any number of outputs: `try_filter` and its kind.
//!
//! Each of them is a [`TryMap`], and behind it the stage that does not fail.

use super::Pipeline;
use super::chain::{Chain, With};
use super::init::{Init, MapInit};
use super::stage::{FilterMap, FlatMap, TryMap};
use crate::error::FromError;

/// The chain `C`, then a stage that can fail, then one for its closure's results: `G` hands them on as they are.
type TryFilterMap<C, F, G> = With<C, FilterMap<TryMap<<C as Chain>::Stage, F>, G>>;
type TryFlatMap<C, F, G> = With<C, FlatMap<TryMap<<C as Chain>::Stage, F>, G>>;
type TryFilterMapInit<C, N, F, G, H> = With<C, FilterMap<TryMap<MapInit<<C as Chain>::Stage, N, F>, G>, H>>;
type TryFlatMapInit<C, N, F, G, H> = With<C, FlatMap<TryMap<MapInit<<C as Chain>::Stage, N, F>, G>, H>>;

/// Stages that can fail, with errors as in [`try_map`](Pipeline::try_map).
impl<C: Chain> Pipeline<C> {
    /// Adds a stage that passes the items for which `f` returns true, and that can fail.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs;
    /// use std::io;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let folder = tempfile::tempdir()?;
    /// fs::write(folder.path().join("small"), "a")?;
    /// fs::write(folder.path().join("large"), "many bytes")?;
    /// let large = Pipeline::from_ready(fs::read_dir(folder.path())?)
    ///     .try_map(|entry| entry)
    ///     .try_filter(|entry| Ok::<_, io::Error>(entry.metadata()?.len() > 5))
    ///     .count(&CancellationToken::new())?;
    /// assert_eq!(large, 1);
    /// # Ok::<(), io::Error>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closures have no names")]
    pub fn try_filter<E, F>(
        self,
        f: F,
    ) -> TryFilterMap<
        C,
        impl Fn(C::Output) -> Result<Option<C::Output>, E> + Sync,
        impl Fn(Option<C::Output>) -> Option<C::Output> + Sync,
    >
    where
        F: Fn(&C::Output) -> Result<bool, E> + Sync,
        E: FromError<C::Error>,
    {
        self.try_filter_map(move |item| Ok(f(&item)?.then_some(item)))
    }

    /// Adds a stage that makes one output of an item, or none, and that can fail.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let sum = |text: &str| {
    ///     Pipeline::from_iter(text.lines())
    ///         .try_filter_map(|line| match line.split_once('#') {
    ///             Some(("", _comment)) => Ok(None),
    ///             _ => line.parse::<u32>().map(Some).map_err(anyhow::Error::from),
    ///         })
    ///         .sum::<u32>(&CancellationToken::new())
    /// };
    /// assert_eq!(sum("# numbers\n1\n2")?, 3);
    /// assert!(sum("1\nx").is_err());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn try_filter_map<R, E, F>(self, f: F) -> TryFilterMap<C, F, impl Fn(Option<R>) -> Option<R> + Sync>
    where
        F: Fn(C::Output) -> Result<Option<R>, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| FilterMap { before: TryMap { before, f }, f: |output| output })
    }

    /// Adds a stage that makes any number of outputs of an item, in order, or fails before the first.
    ///
    /// Outputs are those of [`flat_map`](Self::flat_map). Where the iterator's own items are results, use `flat_map`
    /// and a `try_map(|result| result)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let numbers: Vec<u32> = Pipeline::from_data(["2-4", "7-8"])
    ///     .try_flat_map(|range| {
    ///         let (first, last) = range.split_once('-').ok_or_else(|| anyhow::anyhow!("{range} is no range"))?;
    ///         anyhow::Ok(first.parse()?..=last.parse()?)
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(numbers, [2, 3, 4, 7, 8]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn try_flat_map<R, E, F>(self, f: F) -> TryFlatMap<C, F, impl Fn(R) -> R + Sync>
    where
        R: IntoIterator,
        F: Fn(C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| FlatMap { before: TryMap { before, f }, f: |outputs| outputs })
    }

    /// Adds a stage as [`try_filter_map`](Self::try_filter_map) does, with a state as in [`map_init`](Self::map_init).
    #[expect(clippy::type_complexity, reason = "the closures that hand results on have no names")]
    pub fn try_filter_map_init<N, R, E, F>(
        self,
        init: N,
        f: F,
    ) -> TryFilterMapInit<
        C,
        N,
        F,
        impl Fn(Result<Option<R>, E>) -> Result<Option<R>, E> + Sync,
        impl Fn(Option<R>) -> Option<R> + Sync,
    >
    where
        N: Init,
        F: Fn(&mut N::State, C::Output) -> Result<Option<R>, E> + Sync,
        E: FromError<C::Error>,
    {
        let tried = |before| TryMap { before: MapInit { before, init, f }, f: |result| result };
        self.add(|before, _| FilterMap { before: tried(before), f: |output| output })
    }

    /// Adds a stage as [`try_flat_map`](Self::try_flat_map) does, with a state as in [`map_init`](Self::map_init).
    ///
    /// The closure's iterator cannot borrow the state.
    #[expect(clippy::type_complexity, reason = "the closures that hand results on have no names")]
    pub fn try_flat_map_init<N, R, E, F>(
        self,
        init: N,
        f: F,
    ) -> TryFlatMapInit<C, N, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync, impl Fn(R) -> R + Sync>
    where
        N: Init,
        R: IntoIterator,
        F: Fn(&mut N::State, C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        let tried = |before| TryMap { before: MapInit { before, init, f }, f: |result| result };
        self.add(|before, _| FlatMap { before: tried(before), f: |outputs| outputs })
    }
}
