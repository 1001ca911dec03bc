//! Stages that are given the token of their item.

use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, With};
use super::init::{Init, Slot, local_with_slot};
use super::stage::{At, Stage, TryMap, local_of_before};
use crate::error::FromError;
use crate::panic::{self, Panics};
use crate::token::CancellationToken;

/// The chain `C`, then a stage with a token, then one for its closure's results: `G` hands them on as they are.
type TryMapWithToken<C, F, G> = With<C, TryMap<MapWithToken<<C as Chain>::Stage, F>, G>>;
type TryMapInitWithToken<C, N, F, G> = With<C, TryMap<MapInitWithToken<<C as Chain>::Stage, N, F>, G>>;

/// Stages that are given a token.
impl<C: Chain> Pipeline<C> {
    /// Adds a stage that can fail, whose closure is given a token of its item.
    ///
    /// The token is cancelled the moment the outcome of the item is no longer wanted:
    ///
    /// - when the token of the run is cancelled, for the same reason;
    /// - when the run ends, because the sink has enough or fails, or a stage wants no more: as
    ///   [`Finished`](crate::CancelReason::Finished);
    /// - in an ordered run, when an earlier item fails; in an [unordered](Self::unordered) one, when any fails: as
    ///   [`Failed`](crate::CancelReason::Failed).
    ///
    /// The calling thread, which outputs, also works items unless they take long on average. While it is in a long one
    /// itself, no sink sees that it has enough: see [`dedicated_caller`](Self::dedicated_caller), and
    /// [`blocking`](Self::blocking) for stages that wait.
    ///
    /// A failure of a later item never cancels it. Give it to all that may take long: inner runs, waits, child
    /// processes. What such a call returns then counts for nothing, so the error of the run stays the real one. Items
    /// that are worked one after the other may share a token. It is made when it is first asked for.
    ///
    /// # Errors
    ///
    /// As for [`try_map`](Self::try_map).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// // The second item fails. The third, which would wait for an hour, is told so.
    /// let ended = Pipeline::from_data([0, 1, 2])
    ///     .threads(3)
    ///     .try_map_with_token(|token, item| match item {
    ///         1 => Err(anyhow::anyhow!("item 1")),
    ///         2 => Ok(token.sleep(Duration::from_secs(3600))?),
    ///         _ => Ok(()),
    ///     })
    ///     .for_each(&CancellationToken::new(), drop);
    /// assert_eq!(ended.unwrap_err().to_string(), "item 1");
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    pub fn try_map_with_token<R, E, F>(
        self,
        f: F,
    ) -> TryMapWithToken<C, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>
    where
        F: Fn(&CancellationToken, C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| TryMap { before: MapWithToken { before, f }, f: |result| result })
    }

    /// Adds a stage that cannot fail, whose closure is given a token as in
    /// [`try_map_with_token`](Self::try_map_with_token).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let sums: Vec<u32> = Pipeline::from_data([10_u32, 20])
    ///     .map_with_token(|token, most| (0..most).take_while(|_| !token.is_cancelled()).sum())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sums, [45, 190]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn map_with_token<R, F>(self, f: F) -> With<C, MapWithToken<C::Stage, F>>
    where
        F: Fn(&CancellationToken, C::Output) -> R + Sync,
    {
        self.add(|before, _| MapWithToken { before, f })
    }

    /// Adds a stage that cannot fail, whose closure has a state as in [`map_init`](Self::map_init), and is given a
    /// token as in [`try_map_with_token`](Self::try_map_with_token).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let counts: Vec<usize> = Pipeline::from_data([10_u32, 20])
    ///     .map_init_with_token(Vec::new, |found, token, most| {
    ///         found.clear();
    ///         found.extend((0..most).take_while(|_| !token.is_cancelled()));
    ///         found.len()
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(counts, [10, 20]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn map_init_with_token<N, R, F>(self, init: N, f: F) -> With<C, MapInitWithToken<C::Stage, N, F>>
    where
        N: Init,
        F: Fn(&mut N::State, &CancellationToken, C::Output) -> R + Sync,
    {
        self.add(|before, _| MapInitWithToken { before, init, f })
    }

    /// Adds a stage that can fail, whose closure has a state as in [`map_init`](Self::map_init), and is given a token
    /// as in [`try_map_with_token`](Self::try_map_with_token).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let lengths: Vec<usize> = Pipeline::from_data(["a", "bb"])
    ///     .try_map_init_with_token(String::new, |buffer, token, word| {
    ///         token.check()?;
    ///         buffer.clear();
    ///         buffer.push_str(word);
    ///         Ok::<_, Cancelled>(buffer.len())
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [1, 2]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that hands results on has no name")]
    pub fn try_map_init_with_token<N, R, E, F>(
        self,
        init: N,
        f: F,
    ) -> TryMapInitWithToken<C, N, F, impl Fn(Result<R, E>) -> Result<R, E> + Sync>
    where
        N: Init,
        F: Fn(&mut N::State, &CancellationToken, C::Output) -> Result<R, E> + Sync,
        E: FromError<C::Error>,
    {
        self.add(|before, _| TryMap { before: MapInitWithToken { before, init, f }, f: |result| result })
    }
}

/// Made by [`Pipeline::map_with_token`](super::Pipeline::map_with_token) and its kind.
#[derive(Clone, Copy, Debug)]
pub struct MapWithToken<W, F> {
    pub(super) before: W,
    pub(super) f: F,
}

impl<T, R, W, F> Stage<T> for MapWithToken<W, F>
where
    W: Stage<T>,
    F: Fn(&CancellationToken, W::Output) -> R + Sync,
{
    type Output = R;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| emit(input.map(|input| (self.f)(at.token(), input))))
    }
}

/// Made by [`Pipeline::try_map_init_with_token`](super::Pipeline::try_map_init_with_token).
#[derive(Clone, Copy, Debug)]
pub struct MapInitWithToken<W, N, F> {
    pub(super) before: W,
    pub(super) init: N,
    pub(super) f: F,
}

impl<T, R, W, N, F> Stage<T> for MapInitWithToken<W, N, F>
where
    W: Stage<T>,
    N: Init,
    F: Fn(&mut N::State, &CancellationToken, W::Output) -> R + Sync,
{
    type Output = R;
    type Error = W::Error;
    type Cause = W::Cause;

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    local_with_slot!();

    #[inline]
    fn feed(
        &self,
        (before, slot): &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(before, at, item, |input| {
            emit(input.map(|input| slot.lend(&self.init, |state| (self.f)(state, at.token(), input))))
        })
    }
}
