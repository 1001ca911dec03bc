//! The ends that make one value of the outputs: `try_fold`, `reduce`, `last`, `min`, `max`, `sum`.

use std::cmp;
use std::iter::Sum;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::on_demand::Role;
use super::super::stop::Refused;
use super::{cancellation, consume, error};
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

/// Ends that make one value. They take the outputs in order, on the calling thread.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Runs the pipeline and makes one value of its outputs, as [`fold`](Self::fold) does, until `f` fails.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// As for [`try_for_each`](Self::try_for_each). The value made so far is dropped.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use anyhow::Context;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let total = |prices: [u8; 3]| {
    ///     Pipeline::from_data(prices)
    ///         .try_fold(&CancellationToken::new(), 0_u8, |sum, price| sum.checked_add(price).context("too dear"))
    /// };
    /// assert_eq!(total([1, 2, 3])?, 6);
    /// assert_eq!(total([100, 100, 100]).unwrap_err().to_string(), "too dear");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn try_fold<A, E, F>(self, token: &CancellationToken, initial: A, mut f: F) -> Result<A, E>
    where
        F: FnMut(A, C::Output) -> Result<A, E>,
        E: FromError<C::Error> + FromError<Cancelled>,
    {
        // Empty only while `f` has it, and for good if that fails or panics.
        let folded = self.run(token, Some(initial), move |folded: &mut Option<A>, output| {
            let Some(so_far) = folded.take() else { unreachable!("the run ends with the first failure") };
            *folded = Some(f(so_far, output).map_err(Refused::Failed)?);
            Ok(())
        });
        match folded {
            Ok(folded) => Ok(folded.unwrap_or_else(|| unreachable!("the closure has not failed"))),
            Err(stop) => Err(error(stop, token)),
        }
    }

    /// Runs the pipeline and makes one output of two, from the first to the last; `None` if there is none.
    ///
    /// `f` runs on the calling thread. Where it is dear, use [`reduce_by`](Self::reduce_by).
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let longest = Pipeline::from_data(["a", "few", "odd", "of"])
    ///     .map(str::to_uppercase)
    ///     .reduce(&CancellationToken::new(), |longest, word| if word.len() > longest.len() { word } else { longest
    ///     })?;
    /// assert_eq!(longest.as_deref(), Some("FEW"));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn reduce<F>(self, token: &CancellationToken, mut f: F) -> Result<Option<C::Output>, C::Error>
    where
        F: FnMut(C::Output, C::Output) -> C::Output,
        C::Error: FromError<Cancelled>,
    {
        self.gather(token, None, move |reduced: &mut Option<C::Output>, output| {
            *reduced = Some(match reduced.take() {
                Some(so_far) => f(so_far, output),
                None => output,
            });
        })
    }

    /// Runs the pipeline to its end and returns its last output, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    pub fn last(self, token: &CancellationToken) -> Result<Option<C::Output>, C::Error>
    where
        C::Error: FromError<Cancelled>,
    {
        self.gather(token, None, |last, output| *last = Some(output))
    }

    /// Runs the pipeline and returns its least output, the first of several, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let least = Pipeline::from_data([30, 10, 20]).map(|number| number / 10).min(&CancellationToken::new())?;
    /// assert_eq!(least, Some(1));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn min(self, token: &CancellationToken) -> Result<Option<C::Output>, C::Error>
    where
        C: Chain<Output: Ord, Error: FromError<Cancelled>>,
    {
        self.reduce(token, cmp::min)
    }

    /// Runs the pipeline and returns its greatest output, the last of several, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    pub fn max(self, token: &CancellationToken) -> Result<Option<C::Output>, C::Error>
    where
        C: Chain<Output: Ord, Error: FromError<Cancelled>>,
    {
        self.reduce(token, cmp::max)
    }

    /// Runs the pipeline and adds up its outputs, as [`Iterator::sum`] does: in order, so the sum of floats has the
    /// same bits at any number of threads.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let letters: usize = Pipeline::from_iter("three little words".split(' '))
    ///     .map(str::len)
    ///     .sum(&CancellationToken::new())?;
    /// assert_eq!(letters, 16);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn sum<S>(self, token: &CancellationToken) -> Result<S, C::Error>
    where
        S: Sum<C::Output>,
        C::Error: FromError<Cancelled>,
    {
        self.run_on_demand(token, Role::Works, |run| consume(run, token, |outputs| outputs.sum()))
            .map_err(|error| error.unwrap_or_else(|| cancellation(token).into()))
    }
}
