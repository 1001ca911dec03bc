//! The reductions.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::ParBuilder;
use super::fold::Fold;
use super::run::{Run, Stopped};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Reduces `items` in parallel to one, by an `op` that is associative; `None` if there are no items.
///
/// The tree of calls is shaped by the number of items alone and their order is kept, so the result is the same in every run
/// and with any number of threads, even where `op` is associative but nearly, as the sum of floats is: the same bits. (They
/// are not those of the plain loop: some thousand parts are reduced one by one, and their results in pairs.)
///
/// Takes the same items as [`par_map`](crate::par_map), and runs in the rayon pool it is called in. What is to be done to the items first is
/// said by rayon's own `map`.
///
/// # Cancellation
///
/// As for [`par_map`](crate::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before all was reduced.
///
/// # Panics
///
/// Resumes a panic of `op`, payload intact; of several, that at the lowest item. Where two halves are combined, that is
/// the first of the second. Also panics, as [`par_map`](crate::par_map) does, if the source has fewer or more items
/// than its `len` promises.
///
/// # Costs
///
/// That of rayon's own `reduce`, and 3 % more for ten million floats.
///
/// # Examples
///
/// ```
/// use brigade::par::par_reduce;
/// use brigade::CancellationToken;
/// use rayon::prelude::*;
///
/// let token = CancellationToken::new();
/// let inverses = (1..1_000_000_usize).into_par_iter().map(|number| 1.0 / number as f64);
/// let sum = par_reduce(&token, inverses.clone(), |a, b| a + b)?;
/// let again = par_reduce(&token, inverses, |a, b| a + b)?;
/// assert_eq!(sum.map(f64::to_bits), again.map(f64::to_bits));
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_reduce<I, F>(token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    F: Fn(I::Item, I::Item) -> I::Item + Send + Sync,
{
    ParBuilder::new().reduce(token, items, op)
}

/// Reduces `items` in parallel to one, until `op` fails; see [`par_reduce`].
///
/// # Cancellation
///
/// As for [`par_map`](crate::par_map).
///
/// # Errors
///
/// The error at the lowest item; where two halves are combined, that is the first of the second. [`Cancelled`], converted, if
/// `token` was cancelled before all was reduced and nothing had failed.
///
/// # Panics
///
/// As for [`par_reduce`], if no error came at a lower item.
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_reduce;
/// use brigade::CancellationToken;
///
/// let add = |a: u8, b: u8| a.checked_add(b).ok_or_else(|| anyhow::anyhow!("{a} + {b} is too much"));
/// let sum = try_par_reduce(&CancellationToken::new(), vec![100, 50, 100, 50], add);
/// assert_eq!(sum.unwrap_err().to_string(), "150 + 150 is too much");
/// ```
pub fn try_par_reduce<I, E, F>(token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    E: From<Cancelled> + Send,
    F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
{
    ParBuilder::new().try_reduce(token, items, op)
}

/// Folds `items` in parallel: parts of them one by one into an accumulator, which `identity` makes, and the accumulators by
/// `combine`, in order.
///
/// As for [`par_reduce`], the tree is shaped by the number of items alone: the same items give the same bits in every run and
/// with any number of threads. It is the result of the plain loop where `combine` is associative, and combining with an
/// `identity()` changes nothing. There are some thousand accumulators at most, but no more than items.
///
/// # Cancellation
///
/// As for [`par_map`](crate::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before all was folded.
///
/// # Panics
///
/// As for [`par_reduce`], of the three closures.
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

/// Folds `items` in parallel until a closure fails; see [`par_fold`].
///
/// # Cancellation
///
/// As for [`par_map`](crate::par_map).
///
/// # Errors
///
/// As for [`try_par_reduce`].
///
/// # Panics
///
/// As for [`try_par_reduce`], of the three closures.
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

impl ParBuilder<'_> {
    /// As [`par_reduce`](crate::par::par_reduce), with what this builder says. A limit does not change the result.
    ///
    /// # Cancellation
    ///
    /// As for [`par_reduce`](crate::par::par_reduce).
    ///
    /// # Errors
    ///
    /// As for [`par_reduce`](crate::par::par_reduce).
    ///
    /// # Panics
    ///
    /// As for [`par_reduce`](crate::par::par_reduce).
    pub fn reduce<I, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        F: Fn(I::Item, I::Item) -> I::Item + Send + Sync,
    {
        self.try_reduce(token, items, |left, right| Ok(op(left, right)))
    }

    /// As [`try_par_reduce`](crate::par::try_par_reduce), with what this builder says. A limit does not change the result.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_reduce`](crate::par::try_par_reduce).
    ///
    /// # Errors
    ///
    /// As for [`try_par_reduce`](crate::par::try_par_reduce).
    ///
    /// # Panics
    ///
    /// As for [`try_par_reduce`](crate::par::try_par_reduce).
    pub fn try_reduce<I, E, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: From<Cancelled> + Send,
        F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
    {
        self.run_reduce(token, items, op).map_err(Stopped::bare)
    }

    /// As [`par_fold`](crate::par::par_fold), with what this builder says. A limit does not change the result.
    ///
    /// # Cancellation
    ///
    /// As for [`par_fold`](crate::par::par_fold).
    ///
    /// # Errors
    ///
    /// As for [`par_fold`](crate::par::par_fold).
    ///
    /// # Panics
    ///
    /// As for [`par_fold`](crate::par::par_fold).
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

    /// As [`try_par_fold`](crate::par::try_par_fold), with what this builder says. A limit does not change the result.
    ///
    /// # Cancellation
    ///
    /// As for [`try_par_fold`](crate::par::try_par_fold).
    ///
    /// # Errors
    ///
    /// As for [`try_par_fold`](crate::par::try_par_fold).
    ///
    /// # Panics
    ///
    /// As for [`try_par_fold`](crate::par::try_par_fold).
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
        self.run_fold(token, items, identity, fold, combine).map_err(Stopped::bare)
    }
}

/// What the forms are, whose errors are the caller's own or located.
impl ParBuilder<'_> {
    pub(super) fn run_reduce<I, E, F>(
        &self,
        token: &CancellationToken,
        items: I,
        op: F,
    ) -> Result<Option<I::Item>, Stopped<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
    {
        let pair = |left, right| match (left, right) {
            (Some(left), Some(right)) => op(left, right).map(Some),
            (left, None) => Ok(left),
            (None, right) => Ok(right),
        };
        self.run_fold(token, items, || None, |left, item| pair(left, Some(item)), pair)
    }

    pub(super) fn run_fold<I, A, E, N, F, C>(
        &self,
        token: &CancellationToken,
        items: I,
        identity: N,
        fold: F,
        combine: C,
    ) -> Result<A, Stopped<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        A: Send,
        E: Send,
        N: Fn() -> A + Send + Sync,
        F: Fn(A, I::Item) -> Result<A, E> + Send + Sync,
        C: Fn(A, A) -> Result<A, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (run, counted) = (Run::new(token, items.len()), self.counted(items.len()));
        let folded = Fold { run: &run, identity, step: fold, combine, count: counted.as_ref() }.all(items, self.limit);
        run.end(folded, Vec::<()>::new()).map(|(folded, _)| folded)
    }
}
