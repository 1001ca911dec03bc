//! A loop without outputs.

use std::cell::Cell;
use std::iter;

use rayon::iter::plumbing::{Consumer, Folder, Reducer};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::builder::ParBuilder;
use super::call::{Call, Stop};
use super::collect::collect_parts;
use super::mapper::Mapper;
use super::pool;
use crate::error::{Cancelled, FromError};
use crate::panic;
use crate::token::CancellationToken;

/// Calls `f` with each of the items, in parallel.
///
/// The items, the cancellation, the panics and the threads are those of [`par_map`](super::par_map).
///
/// # Errors
///
/// [`Cancelled`] if `token` was cancelled before every item was done.
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
/// The items, the cancellation, the panics and the threads are those of [`try_par_map`](super::try_par_map).
///
/// # Errors
///
/// As [`try_par_map`](super::try_par_map).
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
    E: FromError<Cancelled> + Send,
    F: Fn(I::Item) -> Result<(), E> + Send + Sync,
{
    ParBuilder::new().try_for_each(token, items, f)
}

#[expect(clippy::missing_errors_doc, reason = "a shorthand has the errors of the function it links to")]
impl ParBuilder<'_> {
    /// Runs [`par_for_each`] with the switches of this builder.
    pub fn for_each<I, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Cancelled>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        F: Fn(I::Item) + Send + Sync,
    {
        self.try_for_each(token, items, |item| {
            f(item);
            Ok(())
        })
    }

    /// Runs [`try_par_for_each`] with the switches of this builder.
    pub fn try_for_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), E>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: FromError<Cancelled> + Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        self.run_for_each(token, items, f).map_err(Stop::into_error)
    }

    pub(super) fn run_for_each<I, E, F>(&self, token: &CancellationToken, items: I, f: F) -> Result<(), Stop<E>>
    where
        I: IntoParallelIterator<Iter: IndexedParallelIterator>,
        E: Send,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync,
    {
        let items = items.into_par_iter();
        let (call, counted) = (Call::new(token, items.len()), self.counted(items.len()));
        let mapper = Mapper { call: &call, count: counted.as_ref(), local: || (), f: |(): &mut (), _, item| f(item) };
        let done = match pool::jobs(self.limit) {
            // A vector of `()` takes no memory.
            Some(jobs) => collect_parts(&mapper, items, jobs).map(|_: Vec<()>| ()),
            None => each(&mapper, items),
        };
        call.finish(done)
    }
}

/// Runs all items through rayon; `None` if one failed or was skipped.
///
/// A job without outputs ends by itself, so no job need be left by unwinding.
fn each<I, E, L, M, F>(mapper: &Mapper<'_, E, M, F>, items: I) -> Option<()>
where
    I: IndexedParallelIterator,
    E: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, I::Item) -> Result<(), E> + Sync,
{
    let end = items.len();
    items.drive(Each { mapper, start: 0, end }).then_some(())
}

/// The consumer of the items from the index `start` to `end`.
struct Each<'a, S> {
    mapper: &'a S,
    start: usize,
    end: usize,
}

impl<'a, 's, T, E, L, M, F> Consumer<T> for Each<'a, Mapper<'s, E, M, F>>
where
    E: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, T) -> Result<(), E> + Sync,
{
    type Folder = EachFolder<'a, L, Mapper<'s, E, M, F>>;
    type Reducer = Both;
    type Result = bool;

    fn split_at(self, index: usize) -> (Self, Self, Both) {
        let middle = self.start + index;
        (Each { end: middle, ..self }, Each { start: middle, ..self }, Both)
    }

    fn into_folder(self) -> Self::Folder {
        let mapper = self.mapper;
        EachFolder { local: (mapper.local)(), mapper, index: self.start, end: self.end, goes_on: true }
    }

    fn full(&self) -> bool {
        self.mapper.call.skips(self.start)
    }
}

/// One job.
struct EachFolder<'a, L, S> {
    local: L,
    mapper: &'a S,
    index: usize,
    end: usize,
    goes_on: bool,
}

impl<T, E, L, M, F> Folder<T> for EachFolder<'_, L, Mapper<'_, E, M, F>>
where
    E: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, T) -> Result<(), E> + Sync,
{
    type Result = bool;

    fn consume(self, item: T) -> Self {
        self.consume_iter(iter::once(item))
    }

    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        if !self.goes_on {
            return self;
        }
        let EachFolder { mut local, mapper, index, end, .. } = self;
        let view = mapper.view();
        // One catch for all items, because a catch for each costs as much as an item of 1 ns does.
        let running = Cell::new(index);
        let done = panic::catch(|| {
            for item in items {
                mapper.run_item(&mut local, view, running.get(), item)?;
                running.set(running.get() + 1);
            }
            Some(())
        });
        let done = done.unwrap_or_else(|payload| mapper.call.panicked(running.get(), payload));
        EachFolder { local, mapper, index: running.get(), end, goes_on: done.is_some() }
    }

    fn complete(self) -> bool {
        // If the part was full from the start, no item has run, and the part is not done.
        if self.goes_on && self.index != self.end {
            self.mapper.call.misfits::<()>(self.index, self.end);
        }
        self.index == self.end
    }

    fn full(&self) -> bool {
        !self.goes_on
    }
}

/// Combines two parts: both are done, or not.
struct Both;

impl Reducer<bool> for Both {
    fn reduce(self, left: bool, right: bool) -> bool {
        left && right
    }
}
