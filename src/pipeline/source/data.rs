//! Data as a source, which are split.
//!
//! **Data are rayon's.** `Pipeline::from_data` takes any data that rayon can split by index, through
//! rayon's `with_producer`. That splits a vector by value without copying an item and without
//! `unsafe` of ours, which no iterator of std can, and brings `zip`, `chunks` and `enumerate` along.
//! The price is that rayon decides which data have a length: ranges of 64-bit integers have none.
//!
//! **Owned data are split item by item.** The items behind the end of a run count for
//! nothing, their `Drop` included, so they are dropped one by one, each caught: two that
//! panic together would abort. Owned data pay for this with a split an item.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::{iter, mem};

use rayon::iter::plumbing::{Producer, ProducerCallback};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::{Batch, Chunk, Feed, Kind, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::panic;
use crate::token::CancellationToken;

impl<P: IndexedParallelIterator> Pipeline<Fused<FromData<P>, Identity<Cancelled>>> {
    /// Starts from data that exist: slices, vectors, arrays, ranges of up to 32 bits or `usize`, and
    /// all else that rayon knows the length of, such as `chunks`, `zip` or `enumerate` of these.
    ///
    /// Batches are split off without copying an item. A range of 64-bit integers, or an inclusive one of more than
    /// 16 bits, has no length that rayon trusts: use a range of `usize`, or [`from_iter`](Pipeline::from_iter).
    ///
    /// # Panics
    ///
    /// The run panics if the data has fewer or more items than its `len` says. The words are
    /// the same at every number of threads, and the outputs before that have been taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    /// use rayon::slice::ParallelSlice;
    ///
    /// let bytes = [1_u8, 2, 3, 4, 5];
    /// let sums: Vec<u32> = Pipeline::from_data(bytes.par_chunks(2))
    ///     .map(|chunk| chunk.iter().copied().map(u32::from).sum())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sums, [3, 7, 5]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn from_data<T: IntoParallelIterator<Iter = P>>(data: T) -> Self {
        Pipeline::from_source(FromData(data.into_par_iter()))
    }
}

/// The source of [`Pipeline::from_data`].
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FromData<P>(P);

impl<P: IndexedParallelIterator> Source for FromData<P> {
    type Item = P::Item;
    type Error = Cancelled;

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }

    fn open<V: Visit<P::Item, Cancelled>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        let len = self.0.len();
        self.0.with_producer(OpenData { visit, len })
    }
}

struct OpenData<V> {
    visit: V,
    len: usize,
}

impl<T: Send, V: Visit<T, Cancelled>> ProducerCallback<T> for OpenData<V> {
    type Output = V::Output;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> V::Output {
        self.visit.visit(Data { rest: Some(producer), len: self.len, promised: self.len })
    }
}

/// Consecutive items of the data: those that no member has claimed, or a batch.
struct Data<P: Producer> {
    rest: Option<P>,
    len: usize,
    /// The `len` of the whole source.
    promised: usize,
}

impl<P: Producer> Data<P> {
    /// Whether the items may have a `Drop`. If so they are split off one by one, because rayon drops the items that are
    /// left of a part together, and two whose `Drop` panics would abort the process.
    const ONE_BY_ONE: bool = mem::needs_drop::<P>();

    fn take_front(&mut self, most: usize) -> Option<P> {
        let rest = self.rest.take()?;
        if most >= self.len {
            self.len = 0;
            return Some(rest);
        }
        self.len -= most;
        let (front, rest) = rest.split_at(most);
        self.rest = Some(rest);
        Some(front)
    }

    /// Takes the next item, if there should be one.
    #[inline]
    fn take_one(&mut self) -> Option<P::Item> {
        if self.len == 0 {
            return None;
        }
        let mut items = self.take_front(1)?.into_iter();
        let Some(item) = items.next() else { panic::short_source(self.promised) };
        if items.next().is_some() {
            panic::long_source(self.promised);
        }
        Some(item)
    }
}

/// The plain loop would not have met the items that are left.
impl<P: Producer> Drop for Data<P> {
    fn drop(&mut self) {
        if Self::ONE_BY_ONE {
            while self.len > 1 {
                match panic::catch(|| self.take_front(1)) {
                    Ok(front) => panic::discard(front),
                    Err(payload) => {
                        panic::discard(payload);
                        break;
                    }
                }
            }
            panic::discard(self.rest.take());
        }
    }
}

impl<P: Producer> Feed for Data<P>
where
    P::Item: Send,
{
    type Item = P::Item;
    type Stock = Self;
    type Inlet = iter::Empty<Infallible>;
    type Plain = Each<P>;

    const KIND: Kind = Kind::Data;

    fn split(self) -> (Self, Self::Inlet) {
        (self, iter::empty())
    }

    fn plain(mut self) -> Each<P> {
        let together = if Self::ONE_BY_ONE { None } else { self.rest.take().map(P::into_iter) };
        Each { together, data: self }
    }
}

/// The items of data, one after the other.
struct Each<P: Producer> {
    /// Nothing where they are taken one by one.
    together: Option<P::IntoIter>,
    data: Data<P>,
}

impl<P: Producer> Iterator for Each<P> {
    type Item = P::Item;

    #[inline]
    fn next(&mut self) -> Option<P::Item> {
        let Some(items) = &mut self.together else { return self.data.take_one() };
        let item = items.next();
        match (&item, self.data.len) {
            (None, 0) => {}
            (None, _) => panic::short_source(self.data.promised),
            (Some(_), 0) => panic::long_source(self.data.promised),
            (Some(_), _) => self.data.len -= 1,
        }
        item
    }
}

impl<P: Producer> Stock for Data<P> {
    type Item = P::Item;
    type Load = Infallible;
    type Batch = Self;

    fn len(&self) -> usize {
        self.len
    }

    fn take(&mut self, most: usize) -> Option<(Self, usize)> {
        let items = self.len.min(most);
        (items > 0).then(|| (self.split(most), items))
    }

    fn put(&mut self, _chunk: Chunk<Infallible>) -> usize {
        0
    }
}

impl<P: Producer> Batch for Data<P> {
    type Item = P::Item;

    #[inline]
    fn run<B>(&mut self, most: usize, mut f: impl FnMut(P::Item) -> ControlFlow<B>) -> ControlFlow<B> {
        let items = self.len.min(most);
        if Self::ONE_BY_ONE {
            for _ in 0..items {
                let Some(item) = self.take_one() else { break };
                f(item)?;
            }
            return ControlFlow::Continue(());
        }
        let Some(front) = self.take_front(items) else { return ControlFlow::Continue(()) };
        let mut left = items;
        front.into_iter().try_for_each(|item| {
            if left == 0 {
                panic::long_source(self.promised);
            }
            left -= 1;
            f(item)
        })?;
        if left > 0 {
            panic::short_source(self.promised);
        }
        ControlFlow::Continue(())
    }

    fn split(&mut self, most: usize) -> Self {
        let len = self.len.min(most);
        Data { rest: self.take_front(most), len, promised: self.promised }
    }
}
