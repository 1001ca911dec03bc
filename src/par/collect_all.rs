//! [`ParBuilder::collect_all`]: every failure, not the first.

use std::sync::Arc;

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::run::Run;
use crate::error::Cancelled;
use crate::failure::Failure;
use crate::failures::{Failures, Listing};
use crate::panic;
use crate::token::CancellationToken;

impl ParBuilder<'_> {
    /// Maps all items, whichever fail, and lists those that do.
    ///
    /// # Cancellation
    ///
    /// Once `token` is cancelled no further item is started; the call returns when the items in hand are done.
    ///
    /// # Errors
    ///
    /// Every failure, error or panic, in the order of the items, with the [name](Self::named) and the index, up to
    /// [a bound](Self::failures). If `token` was cancelled before every item was started, [`Cancelled`], converted, is the last
    /// of them, with the index of the first item that was not.
    ///
    /// # Costs
    ///
    /// Some nanoseconds an item more than [`try_map`](Self::try_map): there may be outputs or not.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ParBuilder};
    ///
    /// let words = ["1", "two", "3", "four"];
    /// let failures = ParBuilder::new()
    ///     .named("word")
    ///     .collect_all(&CancellationToken::new(), words, |word| Ok::<_, anyhow::Error>(word.parse::<u32>()?))
    ///     .unwrap_err();
    /// let failed: Vec<usize> = failures.iter().map(|failure| failure.index()).collect();
    /// assert_eq!(failed, [1, 3]);
    /// assert_eq!(failures.to_string(), "word#1 failed: invalid digit found in string, and 1 other failure");
    /// ```
    pub fn collect_all<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Failures<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: From<Cancelled> + Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let (run, listing) = (Run::new(token), Mutex::new(Listing::new(self.failures)));
        let fail = |index, failure| {
            let lost = listing.lock().keep(index, failure, None);
            panic::discard(lost);
            Ok::<_, E>(None)
        };
        let component = || Arc::clone(&self.name);
        let outputs = self.outputs(
            &run,
            items,
            || (),
            |(), index, item| match panic::catch(|| f(item)) {
                Ok(Ok(output)) => Ok(Some(output)),
                Ok(Err(error)) => fail(index, Failure::new(component(), index, error)),
                Err(payload) => fail(index, Failure::Panic(panic::value(component(), index, payload))),
            },
        );
        let mut failures = listing.into_inner().into_failures();
        if let (None, Err(cancelled)) = (&outputs, token.check()) {
            let (component, index) = (component(), run.skipped());
            failures.push(Failure::new(component, index, cancelled.into()), None);
        }
        match outputs {
            Some(outputs) if failures.is_empty() => Ok(outputs.into_iter().flatten().collect()),
            outputs => {
                panic::discard_all(outputs.into_iter().flatten());
                Err(failures)
            }
        }
    }
}
