//! [`Source`]: the items of a pipeline, and the questions that the crew asks of their source.
//!
//! A source is of one of three [kinds](Kind). *Data* exist from the start: any member splits a batch off
//! in no time, under the state's lock. A *blocking* source may wait in `next()`, even for the output of an
//! earlier item. So one worker at a time pulls it, outside of the state's lock, into a chunk that others can
//! reach: that keeps a feedback loop alive, because an item that was pulled is worked though the puller waits.
//! A *ready* source never waits, because the user says so: any member that needs a batch pulls one, the calling
//! thread too.
//!
//! # Decisions
//!
//! **The caller never pulls from a blocking source while there is a worker**, because it alone can run the
//! sink. With N threads the other N - 1 pull, one at a time, up to half a window ahead, and work in between. On
//! two threads that makes one puller, and while an item keeps it busy for long the caller has no more than the
//! stock. `from_ready` is the remedy where the iterator never waits: any member pulls a whole batch under one
//! lock, and claims it at once. Where pulling takes more than a sixteenth of the time, as in a walk through
//! directories, a few batches are pulled ahead of need, so that no member waits for another's pull while there
//! is something to claim (a program that hashes 7,200 files on two threads ran 1.90 times as fast as on one,
//! and 1.84 without; for cheap pulls the way by the stock cost 1 % at 1.6 µs an item and 5 % at 40 ns).

pub(super) mod queue;

mod blocks;
mod cut;
mod form;
pub(super) mod gated;
mod line;
pub(super) mod open_lines;
mod stock;

pub(super) mod data;
#[cfg(all(unix, feature = "io"))]
pub(super) mod input;
pub(super) mod iter;
pub(super) mod line_blocks;
mod line_budget;
pub(super) mod lines;
pub(super) mod reader;
pub(super) mod receiver;

pub use line::Line;
pub use line_blocks::LineBlock;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::queue::Queues;
use super::gate::Gate;
use super::serial::Serial;
use super::stage::Stage;
use crate::token::CancellationToken;

/// Where the items of a [`Pipeline`](super::Pipeline) come from.
///
/// The pipeline's constructors make the types that implement it.
#[doc(hidden)]
pub trait Source: Sized {
    /// The type of its items.
    type Item;
    /// The error of the source: [`Cancelled`](crate::Cancelled), but behind a
    /// [`scan`](super::Pipeline::scan) the error of the stages before that.
    type Error;

    /// How many items it will give, as far as it knows: at least, and at most.
    #[doc(hidden)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, None)
    }

    /// `token` is for sources that wait by means of this library.
    #[doc(hidden)]
    fn open<V: Visit<Self::Item, Self::Error>>(self, token: &CancellationToken, visit: V) -> V::Output;
}

/// The use of an opened source of items `T` that can fail with `E`.
///
/// A callback, because rayon hands out the parts of its collections only so.
#[doc(hidden)]
pub trait Visit<T, E> {
    type Output;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> Self::Output;

    /// For a source whose loads, one a pull, wait in front of a gate.
    fn gated<F: Feed<Item = T>>(self, feed: F, gate: Arc<Gate>) -> Self::Output;

    /// For a source that is itself a pipeline: behind it a section begins.
    fn cross<S, V, Q>(self, before: Before<S, V, Q>) -> Self::Output
    where
        S: Source<Item: Send>,
        V: Stage<S::Item, Output: Send, Error = E, Cause = S::Error>,
        Q: Serial<V::Output, Output = T> + Send,
        E: Send;
}

/// What comes before a section: a source, its stages, and what stands at the boundary.
#[doc(hidden)]
pub struct Before<S, V, Q> {
    pub(super) source: S,
    pub(super) stage: V,
    pub(super) serial: Q,
    /// How many workers the section has of its own.
    pub(super) own: Option<NonZeroUsize>,
}

impl<S, V, Q> Source for Before<S, V, Q>
where
    S: Source<Item: Send>,
    V: Stage<S::Item, Output: Send, Error: Send, Cause = S::Error>,
    Q: Serial<V::Output, Output: Send> + Send,
{
    type Item = Q::Output;
    type Error = V::Error;

    /// That of the first source.
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint()
    }

    fn open<U: Visit<Q::Output, V::Error>>(self, _token: &CancellationToken, visit: U) -> U::Output {
        visit.cross(self)
    }
}

impl<S: fmt::Debug, V, Q> fmt::Debug for Before<S, V, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Before").field("source", &self.source).field("own", &self.own).finish_non_exhaustive()
    }
}

/// The three kinds of a source; see the head of this module.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All items exist; a batch is split off.
    Data,
    /// Never waits: any member pulls a whole batch.
    Ready,
    /// May wait: one worker at a time pulls.
    Blocking,
}

/// An opened source, which has not been touched yet.
#[doc(hidden)]
pub trait Feed {
    type Item;
    type Stock: Stock<Item = Self::Item>;
    type Inlet: Pull<Load = <Self::Stock as Stock>::Load>;
    type Plain: Iterator<Item = Self::Item>;

    const KIND: Kind;

    /// The token to cancel when the run wants no more items, lest a pull go on waiting.
    fn waits_for(&self) -> Option<CancellationToken> {
        None
    }

    /// The bound in bytes on its items, which its inlet observes.
    fn gate(&self) -> Option<Arc<Gate>> {
        None
    }

    /// For the crew: the stock to claim from, and the inlet that fills it.
    fn split(self) -> (Self::Stock, Self::Inlet);

    /// For the plain loop.
    fn plain(self) -> Self::Plain;

    /// Whether the plain loop gets the next item without waiting.
    fn is_ready(_items: &Self::Plain) -> bool {
        Self::KIND != Kind::Blocking
    }
}

/// The side of a source that is pulled.
#[doc(hidden)]
pub trait Pull: Send {
    /// One pull's gain: an item, or several in one piece.
    type Load;

    /// Gives the items that can be had without waiting more than once, `most` at most, to `put`.
    ///
    /// Returns how many they are, or `None` at the end of the source. They are 0 only where the next item waits for
    /// room in the budget.
    fn pull(&mut self, most: usize, put: impl FnMut(Self::Load)) -> Option<usize>;
}

impl<I: Iterator + Send> Pull for I {
    type Load = I::Item;

    #[inline]
    fn pull(&mut self, _most: usize, put: impl FnMut(I::Item)) -> Option<usize> {
        self.next().map(put).map(|()| 1)
    }
}

/// Loads that were pulled, in order.
#[doc(hidden)]
#[derive(Debug)]
pub enum Chunk<L> {
    /// Of a ready source, or taken out of a queue by another member.
    List(Vec<L>),
    /// Of a blocking source, filled by the puller.
    Queues(Queues<L>),
}

impl<L> Chunk<L> {
    pub(super) fn for_each(self, f: impl FnMut(L)) {
        match self {
            Chunk::List(list) => list.into_iter().for_each(f),
            Chunk::Queues(mut queues) => std::iter::from_fn(|| queues.pop()).for_each(f),
        }
    }
}

/// Items that can be claimed without waiting.
///
/// When it is dropped, it drops them one by one and loses panics of their `Drop`, as a [`Batch`] does: the plain loop
/// would not have met them.
#[doc(hidden)]
pub trait Stock: Send {
    type Item;
    type Load: Send;
    type Batch: Batch<Item = Self::Item>;

    /// How many items lie here.
    fn len(&self) -> usize;

    /// Takes the next items, at most `most` of them; `None` if there are none.
    fn take(&mut self, most: usize) -> Option<(Self::Batch, usize)>;

    /// Adds a chunk behind the others; returns how many items it has.
    fn put(&mut self, chunk: Chunk<Self::Load>) -> usize;

    /// How many bytes a load weighs against the budget, if it weighs by itself.
    fn weigh(load: &Self::Load) -> u64 {
        let _ = load;
        0
    }
}

/// Consecutive items that a member has claimed.
#[doc(hidden)]
pub trait Batch: Send {
    type Item;

    /// Hands the next items to `f`, at most `most` of them, until it breaks off.
    ///
    /// After that the next `most` items are gone, also those that `f` was not given.
    fn run<B>(&mut self, most: usize, f: impl FnMut(Self::Item) -> ControlFlow<B>) -> ControlFlow<B>;

    /// Takes the next items, at most `most` of them.
    fn split(&mut self, most: usize) -> Self;

    /// How many bytes the items weigh against the budget that were handed on since the last call.
    fn take_weight(&mut self) -> u64 {
        0
    }
}
