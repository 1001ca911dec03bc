//! The end that takes outputs in slices: `for_each_batch`.

use std::vec::Drain;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::sink::{Keeps, Sink};
use super::super::stop::Refused;
use crate::error::{Cancelled, FromError};
use crate::panic;
use crate::token::CancellationToken;

/// Outputs in slices.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Runs the pipeline and calls `f` with outputs that are there together, on the calling thread, until it fails.
    ///
    /// Use this where taking many outputs at once costs less: a vectored write, one lock, one transaction for all. How
    /// many outputs come together is not specified, at least one: in a run on threads most often those of a batch, in
    /// the plain loop one. Outputs that `f` leaves in the `Drain` are dropped one by one. The vector goes back to the
    /// threads that fill it.
    ///
    /// # Cancellation
    ///
    /// Notices between slices.
    ///
    /// # Errors
    ///
    /// As for [`try_for_each`](Self::try_for_each). An error of `f` stands for the whole slice.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let shared = Mutex::new(Vec::new());
    /// Pipeline::from_data(0..1_000_u32).map(|number| number * 2).for_each_batch(
    ///     &CancellationToken::new(),
    ///     |outputs| {
    ///         // One lock for the slice.
    ///         shared.lock().unwrap().extend(outputs);
    ///         Ok::<_, Cancelled>(())
    ///     },
    /// )?;
    /// assert_eq!(shared.into_inner().unwrap().last(), Some(&1_998));
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn for_each_batch<E, F>(self, token: &CancellationToken, f: F) -> Result<(), E>
    where
        F: FnMut(&mut Drain<'_, C::Output>) -> Result<(), E>,
        E: FromError<C::Error> + FromError<Cancelled>,
    {
        self.run_into(token, Slices { f, one: Vec::new() }).map_err(|stop| super::error(stop, token))
    }
}

/// A closure that takes outputs in slices.
struct Slices<F, R> {
    f: F,
    /// For outputs that come one by one.
    one: Vec<R>,
}

impl<R, E, F> Sink<R> for Slices<F, R>
where
    F: FnMut(&mut Drain<'_, R>) -> Result<(), E>,
{
    type Error = E;

    fn take(&mut self, output: R) -> Result<(), Refused<E>> {
        let Slices { f, one } = self;
        one.push(output);
        let mut outputs = one.drain(..);
        let taken = panic::catch(|| f(&mut outputs));
        panic::discard_all(outputs);
        taken.unwrap_or_else(|payload| panic::resume(payload)).map_err(Refused::Failed)
    }

    fn take_piece(&mut self, outputs: &mut Drain<'_, R>, token: &CancellationToken) -> Result<(), Refused<E>> {
        if outputs.len() == 0 {
            return Ok(());
        }
        if token.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        (self.f)(outputs).map_err(Refused::Failed)
    }
}

impl<F, R> Keeps for Slices<F, R> {
    type State = ();

    fn into_parts(self) -> ((), impl Sized) {
        ((), self)
    }
}
