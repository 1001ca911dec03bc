//! A source whose items are put together in leaves, for `reduce_by`.
//!
//! Data are split at the ends of leaves. From any other source the member that pulls takes a whole leaf. So a batch has
//! whole leaves at every number of threads and every pace.

use std::mem;
use std::ops::ControlFlow;

use super::serial::Serial;
use super::source::iter::{Items, Pulled};
use super::source::{Batch, Chunk, Feed, Kind, Pull, Stock};
use crate::panic::{self, Payload, Unmet};
use crate::token::CancellationToken;

/// Consecutive items that one member works.
pub(super) trait Leaf: Send {
    type Item;

    /// Hands the next items to `f`, at most `most` of them, until it breaks off.
    fn run(&mut self, most: usize, f: impl FnMut(Self::Item) -> ControlFlow<()>) -> ControlFlow<()>;
}

/// A leaf of a source.
pub(super) struct Whole<B> {
    batch: B,
    /// How many bytes it weighs against the budget.
    bytes: u64,
}

impl<B: Batch> Leaf for Whole<B> {
    type Item = B::Item;

    #[inline]
    fn run(&mut self, most: usize, f: impl FnMut(B::Item) -> ControlFlow<()>) -> ControlFlow<()> {
        self.batch.run(most, f)
    }
}

/// A leaf of items that have crossed a boundary.
///
/// Those behind a break or a panic are dropped as items are that were not met.
pub(super) struct Group<T>(Items<T>);

impl<T> Group<T> {
    fn of(items: &mut Unmet<T>) -> Self {
        Group(Items::from(Chunk::List(mem::take(&mut items.0))))
    }
}

impl<T: Send> Leaf for Group<T> {
    type Item = T;

    fn run(&mut self, most: usize, f: impl FnMut(T) -> ControlFlow<()>) -> ControlFlow<()> {
        self.0.run(most, f)
    }
}

/// A serial stage, and behind it the leaves.
pub(super) struct Grouped<Q, T> {
    serial: Q,
    leaf: usize,
    group: Unmet<T>,
}

impl<Q, T> Grouped<Q, T> {
    pub(super) fn new(serial: Q, leaf: usize) -> Self {
        Grouped { serial, leaf, group: Unmet(Vec::new()) }
    }
}

impl<I, T, Q: Serial<I, Output = T>> Serial<I> for Grouped<Q, T> {
    type Output = Group<T>;

    const HAS_OWN_WORKERS: bool = Q::HAS_OWN_WORKERS;

    fn limit(&self) -> Option<u64> {
        self.serial.limit()
    }

    fn take(&mut self, item: I, mut emit: impl FnMut(Group<T>)) -> ControlFlow<()> {
        let Grouped { serial, leaf, group } = self;
        serial.take(item, |output| {
            group.0.push(output);
            if group.0.len() >= *leaf {
                emit(Group::of(group));
            }
        })
    }

    fn finish(&mut self, mut emit: impl FnMut(Group<T>)) {
        let Grouped { serial, leaf, group } = self;
        serial.finish(|output| {
            group.0.push(output);
            if group.0.len() >= *leaf {
                emit(Group::of(group));
            }
        });
        if !group.0.is_empty() {
            emit(Group::of(group));
        }
    }
}

/// An opened source of leaves of `leaf` items; the last one may have fewer.
pub(super) struct Leaves<F> {
    pub(super) feed: F,
    pub(super) leaf: usize,
}

impl<F: Feed<Item: Send>> Feed for Leaves<F> {
    type Item = Whole<<F::Stock as Stock>::Batch>;
    type Stock = LeafStock<F::Stock>;
    type Inlet = LeafInlet<F::Stock, F::Inlet>;
    type Plain = PlainLeaves<F::Stock, F::Inlet>;

    const KIND: Kind = F::KIND;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.feed.waits_for()
    }

    fn split(self) -> (Self::Stock, Self::Inlet) {
        let Leaves { feed, leaf } = self;
        let (stock, inlet) = feed.split();
        match F::KIND {
            Kind::Data => (LeafStock::Data { stock, leaf }, LeafInlet { pulled: None, leaf, panic: None }),
            Kind::Ready | Kind::Blocking => {
                (LeafStock::Pulled(Pulled::new()), LeafInlet { pulled: Some((stock, inlet)), leaf, panic: None })
            }
        }
    }

    fn plain(self) -> Self::Plain {
        let (stock, inlet) = self.split();
        PlainLeaves { stock, inlet }
    }
}

/// Leaves that can be claimed.
pub(super) enum LeafStock<S: Stock> {
    Data { stock: S, leaf: usize },
    Pulled(Pulled<Whole<S::Batch>>),
}

impl<S: Stock> Stock for LeafStock<S> {
    type Item = Whole<S::Batch>;
    type Load = Whole<S::Batch>;
    type Batch = LeafBatch<S::Batch>;

    fn len(&self) -> usize {
        match self {
            LeafStock::Data { stock, leaf } => stock.len().div_ceil(*leaf),
            LeafStock::Pulled(leaves) => leaves.len(),
        }
    }

    fn take(&mut self, most: usize) -> Option<(Self::Batch, usize)> {
        match self {
            LeafStock::Data { stock, leaf } => {
                let (batch, items) = stock.take(most.saturating_mul(*leaf))?;
                let leaves = items.div_ceil(*leaf);
                Some((LeafBatch::Data { batch, leaf: *leaf, leaves }, leaves))
            }
            LeafStock::Pulled(pulled) => {
                pulled.take(most).map(|(items, leaves)| (LeafBatch::Pulled { items, bytes: 0 }, leaves))
            }
        }
    }

    fn put(&mut self, chunk: Chunk<Self::Load>) -> usize {
        match self {
            LeafStock::Data { .. } => 0,
            LeafStock::Pulled(pulled) => pulled.put(chunk),
        }
    }

    fn weigh(leaf: &Self::Load) -> u64 {
        leaf.bytes
    }
}

/// Consecutive leaves.
pub(super) enum LeafBatch<B> {
    Data {
        batch: B,
        leaf: usize,
        leaves: usize,
    },
    /// `bytes` is the weight of the leaves that were handed on since it was taken last.
    Pulled {
        items: Items<Whole<B>>,
        bytes: u64,
    },
}

impl<B: Batch> Batch for LeafBatch<B> {
    type Item = Whole<B>;

    #[inline]
    fn run<X>(&mut self, most: usize, mut f: impl FnMut(Whole<B>) -> ControlFlow<X>) -> ControlFlow<X> {
        match self {
            LeafBatch::Data { batch, leaf, leaves } => {
                for _ in 0..most.min(*leaves) {
                    *leaves -= 1;
                    f(Whole { batch: batch.split(*leaf), bytes: 0 })?;
                }
                ControlFlow::Continue(())
            }
            LeafBatch::Pulled { items, bytes } => items.run(most, |leaf| {
                *bytes += leaf.bytes;
                f(leaf)
            }),
        }
    }

    fn split(&mut self, most: usize) -> Self {
        match self {
            LeafBatch::Data { batch, leaf, leaves } => {
                let front = most.min(*leaves);
                *leaves -= front;
                LeafBatch::Data { batch: batch.split(front.saturating_mul(*leaf)), leaf: *leaf, leaves: front }
            }
            LeafBatch::Pulled { items, .. } => LeafBatch::Pulled { items: items.split(most), bytes: 0 },
        }
    }

    fn take_weight(&mut self) -> u64 {
        match self {
            LeafBatch::Data { .. } => 0,
            LeafBatch::Pulled { bytes, .. } => mem::take(bytes),
        }
    }
}

/// Takes the items of a leaf from a source that is pulled.
pub(super) struct LeafInlet<S, I> {
    /// The stock holds the leaf that is being pulled. Data have no inlet.
    pulled: Option<(S, I)>,
    leaf: usize,
    /// The source has panicked behind items of a leaf, which come first.
    panic: Option<Payload>,
}

impl<S: Stock, I: Pull<Load = S::Load>> Iterator for LeafInlet<S, I> {
    type Item = Whole<S::Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(payload) = self.panic.take() {
            panic::resume(payload);
        }
        let (stock, inlet) = self.pulled.as_mut()?;
        let (mut loads, mut items, mut is_over) = (Vec::new(), 0, false);
        while items < self.leaf && !is_over && self.panic.is_none() {
            match panic::catch(|| inlet.pull(self.leaf - items, |load| loads.push(load))) {
                Ok(Some(pulled)) => items += pulled,
                Ok(None) => is_over = true,
                Err(payload) if loads.is_empty() => panic::resume(payload),
                Err(payload) => self.panic = Some(payload),
            }
        }
        let bytes = loads.iter().map(S::weigh).sum();
        stock.put(Chunk::List(loads));
        let leaf = stock.take(self.leaf).map(|(batch, _)| Whole { batch, bytes });
        if is_over {
            self.pulled = None;
        }
        leaf
    }
}

/// The leaves one after the other, for the plain loop.
pub(super) struct PlainLeaves<S: Stock, I> {
    stock: LeafStock<S>,
    inlet: LeafInlet<S, I>,
}

impl<S: Stock, I: Pull<Load = S::Load>> Iterator for PlainLeaves<S, I> {
    type Item = Whole<S::Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.stock {
            LeafStock::Data { stock, leaf } => stock.take(*leaf).map(|(batch, _)| Whole { batch, bytes: 0 }),
            LeafStock::Pulled(_) => self.inlet.next(),
        }
    }
}
