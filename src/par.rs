//! Parallel maps on rayon that observe a token and end as the sequential loop does.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::error::Cancelled;
use crate::panic::{self, Payload};
use crate::token::CancellationToken;

/// Maps `items` in parallel, into a vector in their order.
///
/// Takes what rayon knows the length of: slices, vectors by value, mutable slices, ranges of up to 32 bits or `usize`,
/// zips of these. A range of 64-bit integers has no length that rayon trusts: use `usize`. Runs in the rayon pool it is
/// called in.
///
/// # Cancellation
///
/// Once `token` is cancelled no further item is started; the call returns when the items in hand are done.
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before every item was mapped.
///
/// # Panics
///
/// If `f` panics, the panic of the lowest item is resumed, payload intact, and items above it that have not been started
/// are skipped.
///
/// # Costs
///
/// That of rayon's own `map().collect()` from some 40 ns an item on.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, par_map};
///
/// let token = CancellationToken::new();
/// let lengths = par_map(&token, &["one", "three"], |word| word.len())?;
/// assert_eq!(lengths, [3, 5]);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_map<I, R, F>(token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    R: Send,
    F: Fn(I::Item) -> R + Send + Sync,
{
    try_par_map(token, items, |item| Ok(f(item)))
}

/// Maps `items` in parallel until one fails, into a vector in their order.
///
/// Of several failing items the lowest counts, always: its error is the one that the sequential loop would return.
///
/// Takes the same items as [`par_map`], and runs in the rayon pool it is called in.
///
/// # Cancellation
///
/// Once `token` is cancelled no further item is started; the call returns when the items in hand are done.
///
/// # Errors
///
/// The error of the lowest failing item; items above it that have not been started are skipped. [`Cancelled`],
/// converted, if `token` was cancelled before every item was mapped and none had failed.
///
/// # Panics
///
/// If the lowest failing item is one that `f` panics at, its panic is resumed, payload intact; a panic above an item
/// that failed is dropped, and the sequential loop would not have met it. If the token is cancelled too, the lowest
/// failing item among those that were started counts, error or panic: the cancellation hides neither.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, try_par_map};
///
/// let token = CancellationToken::new();
/// let parsed = try_par_map(&token, &["1", "2", "x", "y"], |text| {
///     text.parse::<u32>().map_err(|error| anyhow::anyhow!("{text}: {error}"))
/// });
/// assert_eq!(parsed.unwrap_err().to_string(), "x: invalid digit found in string");
/// ```
pub fn try_par_map<I, R, E, F>(token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    R: Send,
    E: From<Cancelled> + Send,
    F: Fn(I::Item) -> Result<R, E> + Send + Sync,
{
    let run = Run { token, lowest: AtomicUsize::new(usize::MAX), end: Mutex::new(None) };
    let outputs = collect(items.into_par_iter().enumerate(), |(index, item)| run.step(index, || f(item)));
    match (outputs, run.end.into_inner()) {
        (_, Some((_, End::Panic(payload)))) => panic::resume(payload),
        (_, Some((_, End::Error(error)))) => Err(error),
        (Some(outputs), None) => Ok(outputs),
        (None, None) => {
            token.check()?;
            unreachable!("a map stops by an error, a panic or its token")
        }
    }
}

/// One call's shared state.
struct Run<'a, E> {
    token: &'a CancellationToken,
    /// The lowest index that has failed; items above it are skipped.
    lowest: AtomicUsize,
    end: Mutex<Option<(usize, End<E>)>>,
}

enum End<E> {
    Error(E),
    Panic(Payload),
}

impl<E> Run<'_, E> {
    /// Runs one item; `None` ends the job it belongs to.
    #[inline]
    fn step<R>(&self, index: usize, f: impl FnOnce() -> Result<R, E>) -> Option<R> {
        // Relaxed: a late look costs one item more. The lock orders what matters.
        if index > self.lowest.load(Ordering::Relaxed) || self.token.is_cancelled() {
            return None;
        }
        match panic::catch(f) {
            Ok(Ok(output)) => Some(output),
            Ok(Err(error)) => self.fail(index, End::Error(error)),
            Err(payload) => self.fail(index, End::Panic(payload)),
        }
    }

    /// Keeps the end with the lowest index.
    #[cold]
    fn fail<R>(&self, index: usize, end: End<E>) -> Option<R> {
        let mut lost = Some((index, end));
        {
            let mut kept = self.end.lock();
            if kept.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                self.lowest.store(index, Ordering::Relaxed);
                lost = kept.replace((index, lost.take()?.1));
            }
        }
        if let Some((_, End::Panic(payload))) = lost {
            panic::discard(payload);
        }
        None
    }
}

/// Collects by rayon's own indexed collect, which writes each output to its place and allocates once; `None` if `f` gave
/// up anywhere. Leaving by unwinding is what makes that possible: it stops the rest of a job, runs no hook, and rayon
/// drops what was written. Tried instead and dropped, at 1 ns an item: a vector a job (3 times rayon's time), a vector
/// of options (12 times).
#[cfg(panic = "unwind")]
fn collect<I, R, F>(items: I, f: F) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    R: Send,
    F: Fn(I::Item) -> Option<R> + Send + Sync,
{
    match panic::catch(|| items.map(|item| f(item).unwrap_or_else(|| panic::leave())).collect()) {
        Ok(outputs) => Some(outputs),
        Err(payload) if panic::is_leave(&payload) => None,
        // A source or a `Drop` panicked, outside of `f`.
        Err(payload) => panic::resume(payload),
    }
}

/// Where nothing unwinds, each job fills a vector of its own and stops by itself.
#[cfg(not(panic = "unwind"))]
fn collect<I, R, F>(items: I, f: F) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    R: Send,
    F: Fn(I::Item) -> Option<R> + Send + Sync,
{
    let append = |mut left: Vec<R>, mut right: Vec<R>| {
        left.append(&mut right);
        Some(left)
    };
    let jobs = items.try_fold(Vec::new, |mut outputs, item| {
        outputs.push(f(item)?);
        Some(outputs)
    });
    jobs.try_reduce(Vec::new, append)
}
