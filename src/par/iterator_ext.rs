//! [`ParallelIteratorExt`]: the adaptors that stop any chain of rayon's.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use super::or_cancelled::OrCancelled;
use super::until_cancelled::UntilCancelled;
#[cfg(doc)]
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Cancellation for any of rayon's parallel iterators.
///
/// An adaptor governs the stages after it. Put it in front of the costly `map`. Put it after a `flat_map`, because an
/// item of a `flat_map` that has begun runs to its end.
pub trait ParallelIteratorExt: ParallelIterator {
    /// Ends the iterator soon after `token` is cancelled: no further item is taken from it.
    ///
    /// The result is not indexed, like that of a `filter`, because it may be shorter than the iterator. For `collect`
    /// and `zip` with an index there is [`or_cancelled`](Self::or_cancelled).
    ///
    /// # Cancellation
    ///
    /// The adaptor looks at `token` before each item, by one atomic load. It is not specified which items get through,
    /// and the result does not tell that it was cut short: ask the token by [`check`](CancellationToken::check)
    /// afterwards.
    ///
    /// # Costs
    ///
    /// The adaptor makes a sum of items of 1 ns 1.0 to 1.3 times as slow, depending on how the compiler treats the
    /// loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, ParallelIteratorExt};
    /// use rayon::prelude::*;
    ///
    /// fn primes_below(limit: u32, token: &CancellationToken) -> Result<usize, Cancelled> {
    ///     let is_prime = |number: &u32| (2..*number).all(|divisor| number % divisor != 0);
    ///     let count = (2..limit).into_par_iter().until_cancelled(token).filter(is_prime).count();
    ///     token.check()?;
    ///     Ok(count)
    /// }
    ///
    /// assert_eq!(primes_below(100, &CancellationToken::new())?, 25);
    /// # Ok::<(), Cancelled>(())
    /// ```
    fn until_cancelled(self, token: &CancellationToken) -> UntilCancelled<'_, Self> {
        UntilCancelled::new(self, token)
    }

    /// Makes each item a `Result`, which is [`Cancelled`] once `token` is cancelled; the iterator stays indexed.
    ///
    /// Cancelled items are not taken from the iterator, so the stages in front do not run for them. The number of items
    /// stays the same, so `zip`, `enumerate`, `chunks` and `collect` into a vector still work. A `collect` into a
    /// `Result` ends at the first cancelled item, and so does [`try_for_each`](ParallelIterator::try_for_each).
    ///
    /// # Cancellation
    ///
    /// The adaptor looks at `token` before each item, by one atomic load. It is not specified which items get through.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, ParallelIteratorExt};
    /// use rayon::prelude::*;
    ///
    /// let token = CancellationToken::new();
    /// let doubles = (0..5).into_par_iter().or_cancelled(&token).map(|item| Ok(item? * 2));
    /// assert_eq!(doubles.collect::<Result<Vec<u32>, Cancelled>>()?, [0, 2, 4, 6, 8]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    fn or_cancelled(self, token: &CancellationToken) -> OrCancelled<'_, Self>
    where
        Self: IndexedParallelIterator,
    {
        OrCancelled::new(self, token)
    }
}

impl<I: ParallelIterator> ParallelIteratorExt for I {}
