//! The source of data, which are split.

use std::mem;
use std::ops::ControlFlow;

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};

use super::claim::{Batch, Feed, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::panic;
use crate::token::CancellationToken;

/// The source of [`Pipeline::from_data`](super::Pipeline::from_data).
#[derive(Clone, Debug)]
pub struct FromData<P>(pub(super) P);

impl<P: IndexedParallelIterator> Source for FromData<P> {
    type Item = P::Item;
    type Error = Cancelled;

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

/// Consecutive items of the data: what no member has claimed, or a batch.
struct Data<P: Producer> {
    rest: Option<P>,
    len: usize,
    /// The `len` of the whole source.
    promised: usize,
}

impl<P: Producer> Data<P> {
    /// Whether the items may have a `Drop`. If so they are split off one by one: all that rayon can do with a part of
    /// which some items are left is to drop these together, and two whose `Drop` panics would abort the process.
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

/// What is left was not met.
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
    type Inlet = std::iter::Empty<P::Item>;
    type Plain = Each<P>;

    const READY: bool = false;

    fn split(self) -> (Self, Option<Self::Inlet>) {
        (self, None)
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
    type Load = P::Item;
    type Batch = Self;

    const PULLED: bool = false;

    fn len(&self) -> usize {
        self.len
    }

    fn take(&mut self, most: usize) -> Option<(Self, usize)> {
        let items = self.len.min(most);
        (items > 0).then(|| (self.split(most), items))
    }

    fn put(&mut self, _load: P::Item, _batch: usize) -> usize {
        unreachable!("data has no inlet to pull from")
    }

    fn put_batch(&mut self, _batch: Vec<P::Item>) {
        unreachable!("data has no inlet to pull from")
    }
}

impl<P: Producer> Batch for Data<P> {
    type Item = P::Item;

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
