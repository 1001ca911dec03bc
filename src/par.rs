//! Parallel maps on rayon that observe a token and end as the sequential loop does.

mod adapt;
mod builder;
mod claims;
mod collect;
mod collect_all;
mod each;
mod fold;
#[cfg(panic = "unwind")]
mod indexed;
mod located;
mod pool;
mod progress;
mod reduce;
mod run;
mod states;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use crate::error::Cancelled;
use crate::token::CancellationToken;

pub use adapt::{OrCancelled, ParallelIteratorExt, UntilCancelled};
pub use builder::ParBuilder;
pub use located::Located;
pub use progress::Progress;
pub use reduce::{par_fold, par_reduce, try_par_fold, try_par_reduce};

/// Maps `items` in parallel, into a vector in their order.
///
/// Takes what rayon knows the length of: slices, vectors by value, mutable slices, ranges of up to 32 bits or `usize`,
/// zips of these. A range of 64-bit integers has no length that rayon trusts: use `usize`. Runs in the rayon pool it is
/// called in, else in the global one. A [`ParBuilder`] has what else there is: a limit, a progress count, a list of all
/// failures.
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
/// are skipped. A panic of what the items come from, such as a `map` in front, counts as that of the item it was to make; one
/// that comes when they are split, from a `Clone` in `map_with` for example, has no index and counts more than any.
///
/// The call panics if the source has fewer or more items than its `len` promises. An error, a panic of an item or a
/// cancel that has ended the call counts more.
///
/// A call that ends early leaves rayon's jobs by unwinding, without a panic and its hook; what is dropped meanwhile finds
/// `std::thread::panicking()` to be true, and a `Drop` that panics then ends the process. For the same reason rayon's
/// `panic_fuse` has no place in front: it would take the end for a panic, and items below a failure would not be run. With a
/// [limit](ParBuilder::limit) nothing is left so.
///
/// # Threads and their stacks
///
/// Outside of any pool, the first map of a program starts rayon's global pool with rayon's own settings, as rayon's
/// first use does. A program that wants other settings calls rayon's `ThreadPoolBuilder::build_global` before that. If
/// the system refuses the threads of the global pool, maps outside of a pool run as the plain loop, on the calling
/// thread; rayon's own functions panic then.
///
/// A thread of rayon's has a stack of 2 MiB; the main thread of a program has 8 MiB on most systems. So a deep
/// recursion that works in the plain loop may overflow the stack in a map. Ask rayon for larger stacks: by
/// `ThreadPoolBuilder::stack_size` with `build_global` at the start of the program, or with `build` and `install`
/// around the call. The environment's `RUST_MIN_STACK` does the same from outside.
///
/// # Within other parts
///
/// Within another map, and in a pipeline's stage, this is a job of the same pool, of a pool of one thread too. In a
/// [`scope`](crate::scope()) it is no problem either. A closure of a map must not wait for what another one does, by a lock that is
/// held across a call of rayon or by a channel: the worker that waits may be the one that would do it.
///
/// # Costs
///
/// That of rayon's own `map().collect()`, and 3 to 4 % more for items of 1 to 40 ns.
///
/// The call asks for the memory of all outputs before it runs the first item. If the system refuses that, the outputs
/// are collected in parts that grow, as the vector of the plain loop does, and moved once more at the end: so a call
/// that ends early ends with its own error.
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
    ParBuilder::new().map(token, items, f)
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
/// A closure that fails returns its error and need not cancel anything: the call starts no later item, and runs the
/// earlier ones to their end, because one of them may fail too. If the closure cancels `token` by hand, so that the
/// waits within other items end, those items fail as well, with an error made from [`Cancelled`]. The call cannot tell
/// that error from any other, and the earliest failing item counts. Where a failure is to end the waits of the others,
/// use a [`scope`](crate::scope()): it cancels its tasks at the first failure, and returns that.
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
/// Also panics, as [`par_map`] does, if the source has fewer or more items than its `len` promises.
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
    ParBuilder::new().try_map(token, items, f)
}

/// Calls `f` with each of the items, in parallel.
///
/// Takes the same items as [`par_map`], and runs in the rayon pool it is called in.
///
/// # Cancellation
///
/// As for [`par_map`].
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before every item was done.
///
/// # Panics
///
/// As for [`par_map`].
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, par_for_each};
///
/// let mut samples = vec![0.5_f32, -2.0, 1.5];
/// par_for_each(&CancellationToken::new(), &mut samples, |sample| *sample = sample.clamp(-1.0, 1.0))?;
/// assert_eq!(samples, [0.5, -1.0, 1.0]);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_for_each<I, F>(token: &CancellationToken, items: I, f: F) -> Result<(), Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    F: Fn(I::Item) + Send + Sync,
{
    ParBuilder::new().for_each(token, items, f)
}

/// Calls `f` with each of the items, in parallel, until one fails.
///
/// Takes the same items as [`par_map`], and runs in the rayon pool it is called in.
///
/// # Cancellation
///
/// As for [`try_par_map`].
///
/// # Errors
///
/// As for [`try_par_map`].
///
/// # Panics
///
/// As for [`try_par_map`].
///
/// # Examples
///
/// ```
/// use std::io;
/// use brigade::{CancellationToken, try_par_for_each};
///
/// let missing = try_par_for_each(&CancellationToken::new(), ["Cargo.toml", "no such file"], |name| {
///     std::fs::metadata(name).map(drop)
/// });
/// assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
/// ```
pub fn try_par_for_each<I, E, F>(token: &CancellationToken, items: I, f: F) -> Result<(), E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    E: From<Cancelled> + Send,
    F: Fn(I::Item) -> Result<(), E> + Send + Sync,
{
    ParBuilder::new().try_for_each(token, items, f)
}

/// Maps `items` in parallel with a state for each worker, such as a buffer, a parser or a connection.
///
/// `init` makes a state when a worker first needs one, at most once for each thread of the pool; once more each time that a
/// worker whose closure calls rayon is given another part of this very call meanwhile, which a [limit](ParBuilder::limit)
/// bounds. All are handed back at the end, beside the outputs: counters to be summed, files to be closed.
///
/// Takes the same items as [`par_map`], and runs in the rayon pool it is called in. Which items a state has met is not
/// specified, so the outputs should not depend on it.
///
/// # Cancellation
///
/// As for [`par_map`].
///
/// # Errors
///
/// As for [`par_map`]; the states are dropped then.
///
/// # Panics
///
/// As for [`par_map`]; a panic of `init` counts as that of the item it was called for.
///
/// # Examples
///
/// ```
/// use brigade::par::par_map_init;
/// use brigade::CancellationToken;
///
/// // One buffer a thread, not one an item.
/// let (hexes, buffers) = par_map_init(&CancellationToken::new(), 0..1_000_u32, String::new, |buffer, number| {
///     use std::fmt::Write;
///     buffer.clear();
///     write!(buffer, "{number:x}").expect("memory");
///     buffer.len()
/// })?;
/// assert_eq!(hexes[255], 2);
/// assert!(buffers.len() <= rayon::current_num_threads());
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub fn par_map_init<I, S, R, N, F>(
    token: &CancellationToken,
    items: I,
    init: N,
    f: F,
) -> Result<(Vec<R>, Vec<S>), Cancelled>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    S: Send,
    R: Send,
    N: Fn() -> S + Send + Sync,
    F: Fn(&mut S, I::Item) -> R + Send + Sync,
{
    ParBuilder::new().map_init(token, items, init, f)
}

/// Maps `items` in parallel with a state for each worker, until one fails; see [`par_map_init`] and [`try_par_map`].
///
/// # Cancellation
///
/// As for [`try_par_map`].
///
/// # Errors
///
/// As for [`try_par_map`]; the states are dropped then.
///
/// # Panics
///
/// As for [`try_par_map`]; a panic of `init` counts as that of the item it was called for.
///
/// # Examples
///
/// ```
/// use brigade::par::try_par_map_init;
/// use brigade::CancellationToken;
///
/// let parse = |count: &mut usize, word: &str| {
///     *count += 1;
///     word.parse::<u32>().map_err(anyhow::Error::from)
/// };
/// let (numbers, counts) = try_par_map_init(&CancellationToken::new(), ["1", "2", "3"], || 0, parse)?;
/// assert_eq!((numbers, counts.into_iter().sum()), (vec![1, 2, 3], 3));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn try_par_map_init<I, S, R, E, N, F>(
    token: &CancellationToken,
    items: I,
    init: N,
    f: F,
) -> Result<(Vec<R>, Vec<S>), E>
where
    I: IntoParallelIterator<Iter: IndexedParallelIterator>,
    S: Send,
    R: Send,
    E: From<Cancelled> + Send,
    N: Fn() -> S + Send + Sync,
    F: Fn(&mut S, I::Item) -> Result<R, E> + Send + Sync,
{
    ParBuilder::new().try_map_init(token, items, init, f)
}
