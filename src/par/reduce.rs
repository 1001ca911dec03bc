//! A reduction: the items into one of their own type.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::Stop;
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

/// Reduces `items` in parallel to one by an associative `op`; `None` if there are no items.
///
/// The items are reduced in their order, in parts and pairs that depend on their number alone. So the result is the
/// same in every run and at any number of threads: the same bits, even if `op` is only nearly associative, as the sum
/// of floats is. They are not the bits of the plain loop, because some thousand parts are reduced one by one, and their
/// results in pairs.
///
/// To do something to the items first, put rayon's own `map` in front. The items, the cancellation and the threads are
/// those of [`par_map`](super::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before all items were reduced.
///
/// # Panics
///
/// As [`par_fold`](super::par_fold).
///
/// # Costs
///
/// The call costs as much as rayon's own `reduce`, and 3 % more for ten million floats.
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

/// Reduces `items` in parallel to one, until `op` fails.
///
/// The parts and the result are those of [`par_reduce`].
///
/// # Errors
///
/// As [`try_par_fold`](super::try_par_fold).
///
/// # Panics
///
/// As [`try_par_fold`](super::try_par_fold).
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
    E: FromError<Cancelled> + Send,
    F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
{
    ParBuilder::new().try_reduce(token, items, op)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`par_reduce`] with the switches of this builder, none of which changes the result.
    pub fn reduce<I, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        F: Fn(I::Item, I::Item) -> I::Item + Send + Sync,
    {
        self.try_reduce(token, items, |left, right| Ok(op(left, right)))
    }

    /// Runs [`try_par_reduce`] with the switches of this builder, none of which changes the result.
    pub fn try_reduce<I, E, F>(&self, token: &CancellationToken, items: I, op: F) -> Result<Option<I::Item>, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: FromError<Cancelled> + Send,
        F: Fn(I::Item, I::Item) -> Result<I::Item, E> + Send + Sync,
    {
        self.run_reduce(token, items, op).map_err(Stop::into_error)
    }

    pub(super) fn run_reduce<I, E, F>(
        &self,
        token: &CancellationToken,
        items: I,
        op: F,
    ) -> Result<Option<I::Item>, Stop<E>>
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
}
