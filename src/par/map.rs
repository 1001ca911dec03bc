//! A map: an output for each item, in the order of the items.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

/// Maps `items` in parallel, into a vector in their order.
///
/// The items are any that rayon knows the number of: slices, vectors by value, mutable slices, ranges of up to 32 bits
/// or of `usize`, zips of these. A range of 64-bit integers has no length that rayon trusts: use `usize`. A
/// [`ParBuilder`] adds a limit, a progress count, or a list of all failures.
///
/// # Cancellation
///
/// Once `token` is cancelled, no further item is started. The call returns when the items in hand are done.
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before every item was mapped.
///
/// # Panics
///
/// If `f` panics, the call resumes the panic of the earliest such item, payload intact. Later items that have not been
/// started are skipped.
///
/// A panic of the source, of a `map` in front for example, counts as a panic of the item that the source was to make. A
/// panic that comes while the source is split, from a `Clone` in `map_with` for example, has no index, and counts more
/// than any other.
///
/// The call panics if the source has fewer or more items than its `len` promises, unless an error, a panic of an item
/// or a cancel has ended the call.
///
/// A call that ends early leaves rayon's jobs by unwinding, without a panic and without the panic hook. A value that is
/// dropped meanwhile finds `std::thread::panicking()` to be true, and if its `Drop` panics, the process is aborted. Do
/// not put rayon's `panic_fuse` in front: it would take the unwinding for a panic, and items before a failure would not
/// run. With a [limit](ParBuilder::limit) no job is left by unwinding.
///
/// # Threads and their stacks
///
/// The call runs in the rayon pool it is called in, else in the global one. Outside of any pool, the first map of a
/// program starts rayon's global pool with rayon's own settings, as rayon's first use does. A program that wants other
/// settings calls rayon's `ThreadPoolBuilder::build_global` before that. If the system refuses the threads of the
/// global pool, maps outside of a pool run as the plain loop, on the calling thread; rayon's own functions panic then.
///
/// A thread of rayon's has a stack of 2 MiB; the main thread of a program has 8 MiB on most systems. So a deep
/// recursion that works in the plain loop may overflow the stack in a map. Ask rayon for larger stacks: by
/// `ThreadPoolBuilder::stack_size` with `build_global` at the start of the program, or with `build` and `install`
/// around the call. The environment variable `RUST_MIN_STACK` does the same from outside.
///
/// # Within other parts
///
/// Within another map, and within a stage of a pipeline, the call is a job of the same pool, also in a pool of one
/// thread. A task of a [`scope`](crate::scope()) may call it as well. A closure of a map must not wait for the closure
/// of another item, by a channel or by a lock that is held across a call of rayon: the worker that waits may be the one
/// to run that item.
///
/// # Costs
///
/// The call costs as much as rayon's own `map().collect()`, and 3 to 4 % more for items of 1 to 40 ns.
///
/// The call asks for the memory of all outputs before it runs the first item. If the system refuses that, the outputs
/// are collected in parts that grow, as the vector of the plain loop does, and moved once more at the end. So a call
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
/// If several items fail, the earliest of them counts, always: its error is the one that the sequential loop would
/// return. The items, the threads and the costs are those of [`par_map`].
///
/// # Cancellation
///
/// Once `token` is cancelled, no further item is started. The call returns when the items in hand are done.
///
/// A closure that fails returns its error and need not cancel anything: the call starts no later item, and runs the
/// earlier ones to their end, because one of them may fail too. If the closure cancels `token` by hand, so that the
/// waits within other items end, those items fail as well, with an error made from [`Cancelled`]. The call cannot tell
/// that error from any other, and the earliest failing item counts. If a failure is to end the waits of later items,
/// use [`try_par_map_with_token`](super::try_par_map_with_token).
///
/// # Errors
///
/// The error of the earliest failing item; later items that have not been started are skipped. [`Cancelled`],
/// converted, if `token` was cancelled before every item was mapped and none had failed.
///
/// # Panics
///
/// If `f` panicked at the earliest failing item, that panic is resumed, payload intact. A panic of an item after that
/// one is dropped, because the sequential loop would not have met it. If the token is cancelled too, the earliest
/// failing item among those that were started counts, error or panic: the cancellation hides neither.
///
/// The panics of the source are those of [`par_map`].
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
    E: FromError<Cancelled> + Send,
    F: Fn(I::Item) -> Result<R, E> + Send + Sync,
{
    ParBuilder::new().try_map(token, items, f)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`par_map`] with the switches of this builder.
    pub fn map<I, R, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        F: Fn(I::Item) -> R + Send + Sync,
    {
        self.try_map(token, items, |item| Ok(f(item)))
    }

    /// Runs [`try_par_map`] with the switches of this builder.
    pub fn try_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: FromError<Cancelled> + Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        self.run_map(token, items, f).map_err(Stop::into_error)
    }

    pub(super) fn run_map<I, R, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<Vec<R>, Stop<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        R: Send,
        E: Send,
        F: Fn(I::Item) -> Result<R, E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let call = Call::new(token, items.len());
        let outputs = self.outputs(&call, items, || (), |(), _, item| f(item));
        call.finish(outputs)
    }
}
