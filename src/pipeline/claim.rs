//! Claiming: how a source is cut into batches.
//!
//! There are three kinds of source. *Data* is all there from the start: a batch is split off it in no time, so any worker
//! does it while it holds the state. An *inlet*, an iterator say, may block, or wait for the output of an earlier item, so
//! one worker at a time pulls it, outside the state, and puts what it got into the stock before it may have to wait again,
//! where every other worker can take it. That is what keeps a feedback loop alive: nothing that was pulled is ever in the
//! hands of a thread that is blocked. A *ready* iterator never waits, says the user: whoever needs a batch pulls it, the
//! calling thread too.

use std::ops::ControlFlow;

use super::run::{Refused, Settings, Stop};
use crate::token::CancellationToken;

/// Where the items of a [`Pipeline`](super::Pipeline) come from.
///
/// Implemented by what the pipeline's constructors make, and not to be implemented elsewhere. It is there to be named: a
/// function that returns a pipeline for its caller to end has this type.
///
/// ```
/// use brigade::pipeline::{Source, Stage};
/// use brigade::{CancellationToken, Cancelled, Pipeline};
///
/// fn doubled(
///     numbers: Vec<u32>,
/// ) -> Pipeline<impl Source<Item = u32, Error = Cancelled>, impl Stage<u32, Output = u64, Error = Cancelled>> {
///     Pipeline::from_data(numbers).map(|number| u64::from(number) * 2)
/// }
/// let sum = doubled(vec![1, 2]).threads(2).collect::<Vec<u64>>(&CancellationToken::new())?;
/// assert_eq!(sum, [2, 4]);
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub trait Source: Sized {
    /// What the source yields.
    type Item;
    /// What it can fail with: [`Cancelled`](crate::Cancelled), but behind a [`scan`](super::Pipeline::scan) what the
    /// stages before that can fail with.
    type Error;

    /// `token` is for sources that wait by means of this library.
    #[doc(hidden)]
    fn open<V: Visit<Self::Item, Self::Error>>(self, token: &CancellationToken, visit: V) -> V::Output;
}

/// What is done with an opened source, of items `T`, that can fail with `E`. A callback, because rayon hands out the parts
/// of its collections only so.
#[doc(hidden)]
pub trait Visit<T, E> {
    type Output;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> Self::Output;

    /// For a source whose items come one by one, in order, on the calling thread.
    fn drive<D: Drive<Item = T, Error = E>>(self, drive: D) -> Self::Output;
}

/// A source that runs by itself, and hands its items to a sink.
#[doc(hidden)]
pub trait Drive {
    type Item;
    type Error;

    fn drive<A, E, F>(
        self,
        settings: Settings,
        token: &CancellationToken,
        state: A,
        sink: F,
    ) -> Result<A, Stop<Self::Error, E>>
    where
        F: FnMut(&mut A, Self::Item) -> Result<(), Refused<E>>;
}

/// An opened source, which has not been touched yet.
#[doc(hidden)]
pub trait Feed {
    type Item;
    type Stock: Stock<Item = Self::Item>;
    type Inlet: Pull<Load = <Self::Stock as Stock>::Load>;
    type Plain: Iterator<Item = Self::Item>;

    /// Whether the inlet never waits, so that anybody may pull a whole batch.
    const READY: bool;

    /// What to cancel when nothing more is wanted, lest a pull go on waiting.
    fn waits_for(&self) -> Option<CancellationToken> {
        None
    }

    /// For the engine: what can be claimed, and what has to be pulled first.
    fn split(self) -> (Self::Stock, Option<Self::Inlet>);

    /// For the plain loop.
    fn plain(self) -> Self::Plain;
}

/// What items come from that may have to be waited for.
#[doc(hidden)]
pub trait Pull: Send {
    /// What it gives: an item, or several in one piece.
    type Load;

    /// Adds to `loads` what can be had without waiting more than once, `most` items at most. Returns whether there may be
    /// more: if so, it has added something.
    fn pull(&mut self, most: usize, loads: &mut Vec<Self::Load>) -> bool;
}

impl<I: Iterator + Send> Pull for I {
    type Load = I::Item;

    #[inline]
    fn pull(&mut self, _most: usize, loads: &mut Vec<I::Item>) -> bool {
        let item = self.next();
        let some = item.is_some();
        loads.extend(item);
        some
    }
}

/// Items that can be claimed without waiting. Dropped, it drops them one by one and loses panics of their `Drop`, as a
/// [`Batch`] does: the plain loop would not have met them.
#[doc(hidden)]
pub trait Stock: Send {
    type Item;
    type Load;
    type Batch: Batch<Item = Self::Item>;

    /// Whether what lies in the stock has been pulled from a source of the user's, and counts as such.
    const PULLED: bool;

    /// How many items lie here.
    fn len(&self) -> usize;

    /// Takes the next items, at most `most` of them; `None` if there are none.
    fn take(&mut self, most: usize) -> Option<(Self::Batch, usize)>;

    /// Adds what an inlet gave behind the others, in batches of `batch`; returns how many items it was.
    fn put(&mut self, load: Self::Load, batch: usize) -> usize;

    /// Adds a batch that was pulled from a ready inlet.
    fn put_batch(&mut self, batch: Vec<Self::Load>);
}

/// Consecutive items that a member has claimed.
#[doc(hidden)]
pub trait Batch: Send {
    type Item;

    /// Hands the next items to `f`, at most `most` of them, until it breaks off. The next `most` items are gone then.
    fn run<B>(&mut self, most: usize, f: impl FnMut(Self::Item) -> ControlFlow<B>) -> ControlFlow<B>;

    /// Takes the next items, at most `most` of them.
    fn split(&mut self, most: usize) -> Self;
}
