//! A map that lists every failure.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use crate::error::CancelReason;
use crate::failure::{Failure, Panic};
use crate::failures::{Bounds, Failures, Listing};
use crate::panic;
use crate::token::CancellationToken;

impl ParBuilder<'_> {
    /// Maps all items and goes on past failures; returns the outputs, or a list of the failures.
    ///
    /// The outputs beside failures are dropped. A program that wants both takes [`map`](Self::map), with a closure that
    /// returns a `Result`, and has a vector of results; a panic then ends the call.
    ///
    /// # Cancellation
    ///
    /// Once `token` is cancelled, no further item is started. The call returns when the items in hand are done.
    ///
    /// # Errors
    ///
    /// Every failure, error or panic, in the order of the items, with the [name](Self::named) and the index. The list
    /// has a [bound](Self::failures). If `token` was cancelled before every item was started, or
    /// [enough](Self::fail_after) items failed, the list says how many items were skipped. An error that an item
    /// returned after the cancel counts as cancelled, not as failed; see [`Failures`].
    ///
    /// # Panics
    ///
    /// A panic of an item is listed. A panic of the source is resumed, and the list is dropped. The call also panics if
    /// the source has fewer or more items than its `len` promises, unless `token` was cancelled.
    ///
    /// # Costs
    ///
    /// The call costs some nanoseconds an item more than [`try_map`](Self::try_map), because each item may have an
    /// output or not.
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
    /// A failure knows the index of its item, not the item. Put the user's name for the item into the error, such as
    /// the name of a file, or give the items [labels](Self::labelled):
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
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (len, ended) = (items.len(), AtomicUsize::new(0));
        let call = Call::new(token, len);
        let failed = Mutex::new(Failed::new(self.bounds));
        let fail = |index, failure: Failure<E>, after: Option<CancelReason>| {
            let mut failed = failed.lock();
            let lost = failed.keep(index, failure, after);
            if let Some(last) = failed.last() {
                call.skip_after(last);
            }
            drop(failed);
            panic::discard(lost);
            Ok::<_, Infallible>(None)
        };
        let name = || Arc::clone(&self.name);
        let outputs = self.outputs(
            &call,
            items,
            || Tally { ended: &ended, own: 0 },
            |tally, index, item| {
                let result = panic::catch(|| f(item));
                tally.own += 1;
                match result {
                    Ok(Ok(output)) => Ok(Some(output)),
                    Ok(Err(error)) => fail(index, Failure::new(name(), index, error), token.reason()),
                    Err(payload) => fail(index, Failure::Panic(Panic::new(name(), index, payload)), None),
                }
            },
        );
        let failed = failed.into_inner();
        let (last, mut listing) = (failed.last(), failed.listing);
        let (is_whole, first_skipped) = (outputs.is_some(), call.first_skipped());
        // A call that stops after enough failures has no outputs, and no other reason to give.
        let outputs = match call.finish_caught(outputs.or_else(|| last.map(|_| Vec::new()))) {
            Ok(Ok(outputs)) => outputs,
            Ok(Err(Stop::Cancelled(_))) => Vec::new(),
            Ok(Err(Stop::Failed(_, never))) => match never {},
            Err(payload) => {
                listing.into_failures().discard();
                panic::resume(payload)
            }
        };
        match last {
            // All items before the last failure have run. The plain loop would not have met the items after it, so they
            // count as skipped, even if all of them have run as well.
            Some(last) if first_skipped > last => {
                let cancelled = failed.cancelled.iter().filter(|index| **index < last).count();
                panic::discard_all(listing.truncate(last, failed.first.len(), cancelled));
                listing.skip(len - 1 - last, CancelReason::Failed);
            }
            // The subtraction saturates, because a source may have more items than it says.
            _ if !is_whole => {
                listing.skip(len.saturating_sub(ended.into_inner()), token.reason().unwrap_or(CancelReason::Failed));
            }
            _ => {}
        }
        let failures = listing.into_failures().labelled(|index| self.label(index));
        if is_whole && failures.is_empty() {
            return Ok(outputs.into_iter().flatten().collect());
        }
        panic::discard_all(outputs.into_iter().flatten());
        Err(failures)
    }
}

/// The failures so far, within the two bounds of a call.
struct Failed<E> {
    /// The list, which keeps the first failures up to [`ParBuilder::failures`].
    listing: Listing<E>,
    /// How many failures stop the call.
    fail_after: Option<NonZeroUsize>,
    /// The earliest items that failed, at most as many as stop the call.
    first: BTreeSet<usize>,
    /// The items that returned an error after the cancel: no more than ran when it came.
    cancelled: Vec<usize>,
}

impl<E> Failed<E> {
    fn new(Bounds { kept, fail_after }: Bounds) -> Self {
        Failed { listing: Listing::new(kept), fail_after, first: BTreeSet::new(), cancelled: Vec::new() }
    }

    /// Lists a failure; returns the one that the list has no room for.
    ///
    /// `after` says why the call had been cancelled before.
    fn keep(&mut self, index: usize, failure: Failure<E>, after: Option<CancelReason>) -> Option<Failure<E>> {
        let counts = after.is_none() || failure.panic().is_some();
        if let Some(most) = self.fail_after.filter(|_| counts) {
            self.first.insert(index);
            if self.first.len() > most.get() {
                self.first.pop_last();
            }
        }
        if !counts {
            self.cancelled.push(index);
        }
        self.listing.keep(index, failure, after)
    }

    /// Returns the item of the last failure that counts, if enough items have failed to stop the call.
    fn last(&self) -> Option<usize> {
        let most = self.fail_after?;
        self.first.last().copied().filter(|_| self.first.len() == most.get())
    }
}

/// Counts the items that a job has ended.
struct Tally<'a> {
    ended: &'a AtomicUsize,
    own: usize,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.ended.fetch_add(self.own, Ordering::Relaxed);
    }
}
