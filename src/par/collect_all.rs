//! [`ParBuilder::collect_all`]: every failure, not the first.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::run::{Ended, Run, Stopped};
use crate::error::CancelReason;
use crate::failure::{Failure, Panic};
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
    /// [a bound](Self::failures). If `token` was cancelled before every item was started, or enough [failed](Self::fail_after),
    /// the list says how many items were skipped. An error that an item returned after the cancel counts as cancelled, not as
    /// failed; see [`Failures`].
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
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (len, ended) = (items.len(), AtomicUsize::new(0));
        let run = Run::new(token, len);
        let failed =
            Mutex::new(Failed { listing: Listing::new(self.failures), first: BTreeSet::new(), cancelled: Vec::new() });
        let fail = |index, failure: Failure<E>, after: Option<CancelReason>| {
            let mut failed = failed.lock();
            let counts = after.is_none() || failure.panic().is_some();
            let lost = failed.listing.keep(index, failure, after);
            if !counts {
                failed.cancelled.push(index);
            }
            if let Some(most) = self.fail_after.filter(|_| counts) {
                if let Some(last) = failed.note(index, most.get()) {
                    run.skip_behind(last);
                }
            }
            drop(failed);
            panic::discard(lost);
            Ok::<_, Infallible>(None)
        };
        let name = || Arc::clone(&self.name);
        let outputs = self.outputs(
            &run,
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
        let Failed { mut listing, first, cancelled } = failed.into_inner();
        let skipped = run.skipped();
        let ending = run.ending(outputs);
        match (self.fail_after.map(NonZeroUsize::get), first.last()) {
            // All items before the last failure have been run, so what the plain loop would not have met is left out, though
            // it may all have been run as well.
            (Some(most), Some(last)) if first.len() == most && skipped > *last => {
                let cancelled = cancelled.iter().filter(|index| *index < last).count();
                panic::discard_all(listing.truncate(*last, most, cancelled));
                listing.skip(len - 1 - last, CancelReason::Failed);
            }
            _ if matches!(ending, Err(Ended::Stopped(_) | Ended::Enough)) => {
                // Saturating: a source may have more items than it says.
                listing.skip(len.saturating_sub(ended.into_inner()), token.reason().unwrap_or(CancelReason::Failed));
            }
            _ => {}
        }
        let failures = listing.into_failures().labelled(|index| self.label(index));
        match ending {
            Ok(outputs) if failures.is_empty() => Ok(outputs.into_iter().flatten().collect()),
            Ok(outputs) => {
                panic::discard_all(outputs.into_iter().flatten());
                Err(failures)
            }
            Err(Ended::Stopped(Stopped::Cancelled(_)) | Ended::Enough) => Err(failures),
            Err(Ended::Stopped(Stopped::Failed(_, never))) => match never {},
            Err(Ended::Panicked(payload)) => {
                failures.discard();
                panic::resume(payload)
            }
        }
    }
}

/// What has failed.
struct Failed<E> {
    listing: Listing<E>,
    /// The lowest indices that failed, as many as the call bears.
    first: BTreeSet<usize>,
    /// The items that returned an error after the cancel: no more than ran when it came.
    cancelled: Vec<usize>,
}

impl<E> Failed<E> {
    /// Notes that an item failed. If that makes `most`, returns the index of the last that counts.
    fn note(&mut self, index: usize, most: usize) -> Option<usize> {
        self.first.insert(index);
        if self.first.len() > most {
            self.first.pop_last();
        }
        self.first.last().copied().filter(|_| self.first.len() == most)
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
