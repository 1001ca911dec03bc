//! A fold: the items into accumulators, and the accumulators into one.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use super::tree::Tree;
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Folds `items` in parallel into accumulators, and combines those in order.
///
/// The items are cut into some thousand parts at most. Each part is folded item by item into an accumulator of its own,
/// which `identity` makes, and `combine` joins the accumulators in pairs. The parts and the pairs depend on the number
/// of items alone. So the same items give the same bits in every run and at any number of threads.
///
/// The result is that of the plain loop if `combine` is associative, and if combining with an `identity()` changes
/// nothing.
///
/// The items, the cancellation and the threads are those of [`par_map`](super::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before all items were folded.
///
/// # Panics
///
/// If a closure panics, the call resumes the panic of the earliest item, payload intact. A panic of `combine` counts as
/// that of the first item of its second argument. The panics of the source are those of [`par_map`](super::par_map).
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use brigade::par::par_fold;
/// use brigade::CancellationToken;
///
/// let words = ["to", "be", "or", "not", "to", "be"];
/// let counts = par_fold(
///     &CancellationToken::new(),
///     &words,
///     BTreeMap::new,
///     |mut counts, word| {
///         *counts.entry(*word).or_insert(0) += 1;
///         counts
///     },
///     |mut left, right| {
///         right.into_iter().for_each(|(word, count)| *left.entry(word).or_insert(0) += count);
///         left
///     },
/// )?;
/// assert_eq!(counts["be"], 2);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_fold<I, A, N, F, C>(
    token: &CancellationToken,
    items: I,
    identity: N,
    fold: F,
    combine: C,
) -> Result<A, Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    A: Send,
    N: Fn() -> A + Send + Sync,
    F: Fn(A, I::Item) -> A + Send + Sync,
    C: Fn(A, A) -> A + Send + Sync,
{
    ParBuilder::new().fold(token, items, identity, fold, combine)
}

/// Folds `items` in parallel into accumulators, and combines those in order, until a closure fails.
///
/// The parts and the result are those of [`par_fold`].
///
/// # Errors
///
/// The error of the earliest item. An error of `combine` counts as that of the first item of its second argument.
/// [`Cancelled`], converted, if `token` was cancelled before all items were folded and no closure had failed.
///
/// # Panics
///
/// As [`par_fold`], if no error came at an earlier item.
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_fold;
/// use brigade::CancellationToken;
///
/// let total = try_par_fold(
///     &CancellationToken::new(),
///     ["1", "2", "x"],
///     || 0_u32,
///     |total, word| Ok(total + word.parse::<u32>()?),
///     |left, right| Ok::<_, anyhow::Error>(left + right),
/// );
/// assert_eq!(total.unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub fn try_par_fold<I, A, E, N, F, C>(
    token: &CancellationToken,
    items: I,
    identity: N,
    fold: F,
    combine: C,
) -> Result<A, E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    A: Send,
    E: From<Cancelled> + Send,
    N: Fn() -> A + Send + Sync,
    F: Fn(A, I::Item) -> Result<A, E> + Send + Sync,
    C: Fn(A, A) -> Result<A, E> + Send + Sync,
{
    ParBuilder::new().try_fold(token, items, identity, fold, combine)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`par_fold`] with the switches of this builder, none of which changes the result.
    pub fn fold<I, A, N, F, C>(
        &self,
        token: &CancellationToken,
        items: I,
        identity: N,
        fold: F,
        combine: C,
    ) -> Result<A, Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        A: Send,
        N: Fn() -> A + Send + Sync,
        F: Fn(A, I::Item) -> A + Send + Sync,
        C: Fn(A, A) -> A + Send + Sync,
    {
        self.try_fold(
            token,
            items,
            identity,
            |folded, item| Ok(fold(folded, item)),
            |left, right| Ok(combine(left, right)),
        )
    }

    /// Runs [`try_par_fold`] with the switches of this builder, none of which changes the result.
    pub fn try_fold<I, A, E, N, F, C>(
        &self,
        token: &CancellationToken,
        items: I,
        identity: N,
        fold: F,
        combine: C,
    ) -> Result<A, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        A: Send,
        E: From<Cancelled> + Send,
        N: Fn() -> A + Send + Sync,
        F: Fn(A, I::Item) -> Result<A, E> + Send + Sync,
        C: Fn(A, A) -> Result<A, E> + Send + Sync,
    {
        self.run_fold(token, items, identity, fold, combine).map_err(Stop::into_error)
    }

    pub(super) fn run_fold<I, A, E, N, F, C>(
        &self,
        token: &CancellationToken,
        items: I,
        identity: N,
        fold: F,
        combine: C,
    ) -> Result<A, Stop<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        A: Send,
        E: Send,
        N: Fn() -> A + Send + Sync,
        F: Fn(A, I::Item) -> Result<A, E> + Send + Sync,
        C: Fn(A, A) -> Result<A, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (call, counted) = (Call::new(token, items.len()), self.counted(items.len()));
        let tree = Tree { call: &call, count: counted.as_ref(), identity, step: fold, combine };
        let folded = tree.fold(items, self.limit);
        call.finish(folded)
    }
}
