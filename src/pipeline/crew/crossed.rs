//! [`Crossed`]: the items of a section behind a boundary, as a stock.

use std::collections::VecDeque;

use super::super::source::iter::Items;
use super::super::source::{Batch, Chunk, Stock};

/// Items that have crossed, piece by piece.
#[derive(Debug)]
pub(in super::super) struct Crossed<T>(VecDeque<Items<T>>, usize);

impl<T> Crossed<T> {
    pub(super) fn new() -> Self {
        Crossed(VecDeque::new(), 0)
    }
}

impl<T: Send> Stock for Crossed<T> {
    type Item = T;
    type Load = T;
    type Batch = Items<T>;

    fn len(&self) -> usize {
        self.1
    }

    fn take(&mut self, most: usize) -> Option<(Items<T>, usize)> {
        let first = self.0.front_mut()?;
        let batch = if first.len() <= most { self.0.pop_front()? } else { first.split(most) };
        let items = batch.len();
        self.1 -= items;
        Some((batch, items))
    }

    fn put(&mut self, chunk: Chunk<T>) -> usize {
        let items = Items::from(chunk);
        let len = items.len();
        if len > 0 {
            self.1 += len;
            self.0.push_back(items);
        }
        len
    }
}
