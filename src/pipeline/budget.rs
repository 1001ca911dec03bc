//! The budget: a bound in bytes on the items that are pulled and not yet output.
//!
//! [`Weigher`] weighs each item behind `next()`, and a gate stands in front of the stock. The weight travels with the
//! item, so that the member that works it can tell how many bytes its piece releases.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Pipeline;
use super::chain::{Chain, Fused};
use super::gate::Gate;
use super::source::iter::{FromIter, FromReady, Items, Pulled};
use super::source::line_blocks::{OpenBlocks, Together};
use super::source::open_lines::FromLines;
use super::source::reader::Reader;
use super::source::receiver::{FromReceiver, Messages};
use super::source::{Batch, Chunk, Feed, Kind, Pull, Source, Stock, Visit};
use super::stage::Identity;
use crate::error::Cancelled;
use crate::panic::Guarded;
use crate::token::CancellationToken;

/// A source that is pulled item by item.
#[doc(hidden)]
pub trait PulledSource: Source<Item: Send, Error = Cancelled> {
    type Feed: Feed<Item = Self::Item, Stock: Stock<Load = Self::Item>>;

    fn feed(self, token: &CancellationToken) -> Self::Feed;
}

impl<I: Iterator<Item: Send> + Send> PulledSource for FromIter<I> {
    type Feed = Self;

    fn feed(self, _token: &CancellationToken) -> Self {
        self
    }
}

impl<I: Iterator<Item: Send> + Send> PulledSource for FromReady<I> {
    type Feed = Self;

    fn feed(self, _token: &CancellationToken) -> Self {
        self
    }
}

impl<R: Reader> PulledSource for FromLines<R, Together> {
    type Feed = OpenBlocks<R::Opened>;

    fn feed(self, token: &CancellationToken) -> Self::Feed {
        self.blocks(token)
    }
}

impl<T: Send> PulledSource for FromReceiver<T> {
    type Feed = Messages<T>;

    fn feed(self, token: &CancellationToken) -> Self::Feed {
        self.messages(token)
    }
}

/// A chain that is a source which is pulled item by item, without stages.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a budget has no place here",
    label = "does not stand directly behind a source that is pulled",
    note = "a budget stands directly behind `from_iter`, `from_ready`, `from_receiver` or `from_line_blocks`, before all \
            stages",
    note = "lines have a `line_budget`; data have none, because their items have no weight before a thread has them: \
            `weigh_output` bounds the outputs of a stage"
)]
pub trait Bare: Chain<Source: PulledSource<Item = <Self as Chain>::Output>> {}

#[diagnostic::do_not_recommend]
impl<S: PulledSource> Bare for Fused<S, Identity<Cancelled>> {}

/// A pipeline whose source has a budget.
type BudgetedPipeline<S, F> = Pipeline<Fused<Budgeted<S, F>, Identity<Cancelled>>>;

/// The bound in bytes, which is set directly behind the source.
impl<C: Chain> Pipeline<C> {
    /// Lets items of at most `bytes` in all be pulled and not yet output, where `weight` says how many bytes an item
    /// is.
    ///
    /// Use this where items are large, or differ much: files, images, blocks to compress. The [window](Self::window)
    /// counts items, and holds beside it. An item is weighed by the thread that has pulled it. If there is no room, it
    /// waits, and no other is pulled meanwhile; it is admitted when the sink has taken the outputs of enough earlier
    /// items. An item that is larger than the whole budget is admitted when no other is held. So the memory is bounded
    /// by the budget and one item, if an item's outputs are no larger than the item. What a [`batch`](Self::batch) or
    /// another serial stage keeps is not counted, nor is freed memory that the allocator keeps: with items of 1 MiB, a
    /// budget of 64 MiB and 64 threads the resident memory was 66 MiB, and with glibc's defaults 140 to 160 MiB.
    ///
    /// It is set before all stages. Lines [weigh by themselves](Self::line_budget). Data cannot be weighed before a
    /// thread has them, so there is no budget for [`from_data`](Pipeline::from_data):
    ///
    /// ```compile_fail,E0277
    /// brigade::Pipeline::from_data(vec![1, 2, 3]).budget(10, |_: &i32| 4);
    /// ```
    ///
    /// # Panics
    ///
    /// If `bytes` is 0. A panic of `weight` counts as one of the source.
    ///
    /// # Costs
    ///
    /// Two atomic operations an item. A channel is asked for one message at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let files = ["small", "a large one", "small"].map(|text| text.repeat(1_000));
    /// let sizes: Vec<usize> = Pipeline::from_iter(files)
    ///     .budget(20_000, String::len)
    ///     .map(|text| text.len())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sizes, [5_000, 11_000, 5_000]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    #[track_caller]
    pub fn budget<F>(self, bytes: usize, weight: F) -> BudgetedPipeline<C::Source, F>
    where
        C: Bare,
        F: FnMut(&C::Output) -> usize + Send,
    {
        assert!(bytes > 0, "Pipeline::budget(0, ..): no item has room; with 1 byte one item is held at a time");
        let (source, _) = self.chain.split();
        Pipeline::new(Budgeted { source, bytes: bytes as u64, weight }, Identity(PhantomData), self.settings)
    }
}

/// A source with a budget, made by [`Pipeline::budget`](super::Pipeline::budget).
#[doc(hidden)]
#[derive(Clone)]
pub struct Budgeted<S, F> {
    source: S,
    bytes: u64,
    weight: F,
}

impl<S: fmt::Debug, F> fmt::Debug for Budgeted<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budgeted { source, bytes, .. } = self;
        f.debug_struct("Budgeted").field("source", source).field("bytes", bytes).finish_non_exhaustive()
    }
}

impl<S: PulledSource, F: FnMut(&S::Item) -> usize + Send> Source for Budgeted<S, F> {
    type Item = S::Item;
    type Error = Cancelled;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint()
    }

    fn open<V: Visit<S::Item, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        let feed = Weighing { feed: self.source.feed(token), weight: Guarded::new(self.weight) };
        visit.gated(feed, Arc::new(Gate::new(self.bytes)))
    }
}

/// An opened source whose items are weighed.
struct Weighing<D, F> {
    feed: D,
    weight: Guarded<F>,
}

impl<T, D, F> Feed for Weighing<D, F>
where
    T: Send,
    D: Feed<Item = T, Stock: Stock<Load = T>>,
    F: FnMut(&T) -> usize + Send,
{
    type Item = T;
    type Stock = WeighedStock<T>;
    type Inlet = Weigher<D::Inlet, F>;
    type Plain = PlainBudgeted<D::Plain, F>;

    const KIND: Kind = D::KIND;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.feed.waits_for()
    }

    fn split(self) -> (WeighedStock<T>, Self::Inlet) {
        let (_, inlet) = self.feed.split();
        (WeighedStock(Pulled::new()), Weigher { inlet, weight: self.weight })
    }

    /// The loop holds one item at a time. It weighs it, too, because that may panic.
    fn plain(self) -> Self::Plain {
        PlainBudgeted { items: self.feed.plain(), weight: self.weight }
    }

    fn is_ready(items: &Self::Plain) -> bool {
        D::is_ready(&items.items)
    }
}

/// For the plain loop.
struct PlainBudgeted<I, F> {
    items: I,
    weight: Guarded<F>,
}

impl<I: Iterator, F: FnMut(&I::Item) -> usize> Iterator for PlainBudgeted<I, F> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.items.next()?;
        (self.weight.get_mut())(&item);
        Some(item)
    }
}

/// An item, and how many bytes it weighs.
#[derive(Debug)]
struct Weighed<T> {
    bytes: u64,
    item: T,
}

/// An inlet that weighs the items.
struct Weigher<I, F> {
    inlet: I,
    weight: Guarded<F>,
}

impl<T, I, F> Pull for Weigher<I, F>
where
    T: Send,
    I: Pull<Load = T>,
    F: FnMut(&T) -> usize + Send,
{
    type Load = Weighed<T>;

    fn pull(&mut self, _most: usize, mut put: impl FnMut(Weighed<T>)) -> Option<usize> {
        let Weigher { inlet, weight } = self;
        inlet.pull(1, |item| put(Weighed { bytes: (weight.get_mut())(&item) as u64, item }))
    }
}

/// The stock of weighed items.
#[derive(Debug)]
struct WeighedStock<T>(Pulled<Weighed<T>>);

impl<T: Send> Stock for WeighedStock<T> {
    type Item = T;
    type Load = Weighed<T>;
    type Batch = WeighedBatch<T>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, most: usize) -> Option<(WeighedBatch<T>, usize)> {
        self.0.take(most).map(|(items, len)| (WeighedBatch { items, bytes: 0 }, len))
    }

    fn put(&mut self, chunk: Chunk<Weighed<T>>) -> usize {
        self.0.put(chunk)
    }

    fn weigh(load: &Weighed<T>) -> u64 {
        load.bytes
    }
}

/// A batch of weighed items.
#[derive(Debug)]
struct WeighedBatch<T> {
    items: Items<Weighed<T>>,
    /// How many bytes were handed on since they were taken last.
    bytes: u64,
}

impl<T: Send> Batch for WeighedBatch<T> {
    type Item = T;

    #[inline]
    fn run<B>(&mut self, most: usize, mut f: impl FnMut(T) -> ControlFlow<B>) -> ControlFlow<B> {
        let WeighedBatch { items, bytes: released } = self;
        items.run(most, |Weighed { bytes, item }| {
            *released += bytes;
            f(item)
        })
    }

    fn split(&mut self, most: usize) -> Self {
        WeighedBatch { items: self.items.split(most), bytes: 0 }
    }

    fn take_weight(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}
