//! A fold: the items into accumulators, and the accumulators into one.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use super::tree::Tree;
use crate::error::{Cancelled, FromError};
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
/// # Costs
///
/// Each of the parts has an accumulator, so this is for small ones: sums, bounds, histograms. For large ones, such as
/// the counts of words, take a table for each worker by [`par_map_init`](super::par_map_init) and merge the tables at
/// the end: a fold took 17 to 27 % longer there. Which items a table meets is not specified then, so the merge must not
/// depend on that.
///
/// # Examples
///
/// Number, sum and bounds of some measurements, with the same bits in every run:
///
/// ```
/// use brigade::par::par_fold;
/// use brigade::CancellationToken;
///
/// #[derive(Debug, PartialEq)]
/// struct Summary {
///     count: usize,
///     sum: f64,
///     least: f64,
///     most: f64,
/// }
///
/// let summary = par_fold(
///     &CancellationToken::new(),
///     &[1.5, 0.25, 4.0],
///     || Summary { count: 0, sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY },
///     |Summary { count, sum, least, most }, value| Summary {
///         count: count + 1,
///         sum: sum + value,
///         least: least.min(*value),
///         most: most.max(*value),
///     },
///     |left, right| Summary {
///         count: left.count + right.count,
///         sum: left.sum + right.sum,
///         least: left.least.min(right.least),
///         most: left.most.max(right.most),
///     },
/// )?;
/// assert_eq!(summary, Summary { count: 3, sum: 5.75, least: 0.25, most: 4.0 });
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
    E: FromError<Cancelled> + Send,
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
        E: FromError<Cancelled> + Send,
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
