//! [`ParBuilder::collect_all`]: every failure, not the first.

use std::sync::Arc;

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::run::{End, Run};
use crate::error::{Cancelled, Failure};
use crate::panic;
use crate::scope::{Failures, Listing};
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
    /// # Panics
    ///
    /// A panic of an item is listed. A panic of what the items come from is resumed, and the list is dropped. The call
    /// also panics if the source has fewer or more items than its `len` promises, unless `token` was cancelled.
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
    ///
    /// A failure knows the index of its item, not the item. Put what the user knows the item by into the error, such as
    /// the name of a file:
    ///
    /// ```
    /// use anyhow::Context;
    /// use brigade::{CancellationToken, ParBuilder};
    ///
    /// let names = ["Cargo.toml", "missing.toml"];
    /// let failures = ParBuilder::new()
    ///     .named("file")
    ///     .collect_all(&CancellationToken::new(), names, |name| std::fs::read(name).context(name))
    ///     .unwrap_err();
    /// // `{:#}` shows the causes too: "file#1 failed: missing.toml: No such file or directory (os error 2)".
    /// assert!(format!("{:#}", failures.as_slice()[0]).starts_with("file#1 failed: missing.toml: "));
    /// ```
    pub fn collect_all<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Failures<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: From<Cancelled> + Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (run, listing) = (Run::new(token, items.len()), Mutex::new(Listing::new(self.failures)));
        let fail = |index, failure| {
            let lost = listing.lock().keep(index, failure);
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
                Ok(Err(error)) => fail(index, Failure::Error { component: component(), index, error }),
                Err(payload) => fail(index, Failure::Panic(panic::value(component(), index, payload))),
            },
        );
        let mut failures = listing.into_inner().into_failures();
        let skipped = run.skipped();
        match run.ending(outputs) {
            Ok(outputs) if failures.is_empty() => Ok(outputs.into_iter().flatten().collect()),
            Ok(outputs) => {
                panic::discard_all(outputs.into_iter().flatten());
                Err(failures)
            }
            // No item ends the call by its error, so this is the cancellation.
            Err(End::Error(error)) => {
                failures.push(Failure::Error { component: component(), index: skipped, error });
                Err(failures)
            }
            Err(End::Panic(payload)) => {
                panic::discard_all(failures);
                panic::resume(payload)
            }
        }
    }
}
