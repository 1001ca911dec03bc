//! Folds whose tree is shaped by the number of items alone, so that the same items give the same bits, however many threads
//! there are and whichever comes first.

use std::cell::Cell;
use std::iter::Peekable;
use std::num::NonZeroUsize;

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};

use super::claims::claim_all;
use super::pool;
use super::progress::{Count, count};
use super::run::Run;
use crate::panic;

/// How many leaves a tree has at most: enough for 64 threads to share uneven work evenly, and so few that the joins cost
/// nothing where each item takes a nanosecond.
const LEAVES: usize = 1_024;

/// Why a leaf is not run on.
enum Pause<A, T, E, I> {
    Failed(usize, E),
    /// The token has to be looked at more closely, before this item and the rest.
    Look(A, usize, T, I),
}

/// What is done with the items.
pub(super) struct Fold<'a, E, N, F, C> {
    pub(super) run: &'a Run<'a, E>,
    pub(super) identity: N,
    pub(super) step: F,
    pub(super) combine: C,
    pub(super) count: Option<&'a Count<'a>>,
}

impl<E, N, F, C> Fold<'_, E, N, F, C>
where
    E: Send,
    N: Sync,
    F: Sync,
    C: Sync,
{
    /// Folds the items; `None` if it was cancelled, or an item failed.
    pub(super) fn all<I, A>(&self, items: I, limit: Option<NonZeroUsize>) -> Option<A>
    where
        I: IndexedParallelIterator,
        A: Send,
        N: Fn() -> A,
        F: Fn(A, I::Item) -> Result<A, E>,
        C: Fn(A, A) -> Result<A, E>,
    {
        let len = items.len();
        let leaf = len.div_ceil(LEAVES).max(1);
        match pool::jobs(limit) {
            Some(jobs) => {
                // The leaves are those of the tree, whatever parts the items themselves ask for.
                let share = |at, _, _, _| leaf_at(at, len, leaf);
                let work = |(): &mut (), at, len, items: &mut dyn Iterator<Item = I::Item>| self.leaf(items, at, len);
                let (leaves, _) = claim_all(items, jobs, share, || (), work);
                if len == 0 {
                    return self.leaf(std::iter::empty(), 0, 0);
                }
                // Where a leaf is missing too, for what lies below it may fail when it is combined, and counts more.
                self.join(&mut leaves.into_iter().peekable(), 0, len, leaf)
            }
            None => items.with_producer(Tree { fold: self, len, leaf }),
        }
    }

    /// The items of a leaf, one after the other. A panic is caught for all of them, and told to be that of the one it came
    /// from: a catch for each would double the time of those that take a nanosecond.
    fn leaf<A, T>(&self, items: impl Iterator<Item = T>, at: usize, len: usize) -> Option<A>
    where
        N: Fn() -> A,
        F: Fn(A, T) -> Result<A, E>,
    {
        // The next item, for the panic and the end alone: read for each item, it would be a chain through memory.
        let next = Cell::new(at);
        let step = |folded, index, item| {
            let folded = (self.step)(folded, item);
            next.set(index + 1);
            folded
        };
        let folded = panic::catch(|| {
            let (mut items, mut folded) = ((at..).zip(items), (self.identity)());
            loop {
                let (so_far, index, item, rest) = match self.run_on(items, folded, step) {
                    Ok(_) if next.get() != at + len => return self.run.misfits(next.get(), at + len),
                    Ok(folded) => {
                        // At once: that and the index for each item would be a fifth of the time of a sum of floats.
                        count(self.count.map(Count::shard), len);
                        return Some(folded);
                    }
                    Err(Pause::Failed(index, error)) => return self.run.failed(index, error),
                    Err(Pause::Look(_folded, index, item, rest)) if self.run.skips(index) => {
                        // The plain loop would not have met them, and a panic of the folded value's `Drop` comes alone.
                        panic::discard(item);
                        panic::discard(rest);
                        return None;
                    }
                    Err(Pause::Look(folded, index, item, rest)) => (folded, index, item, rest),
                };
                folded = match step(so_far, index, item) {
                    Ok(folded) => folded,
                    Err(error) => return self.run.failed(index, error),
                };
                items = rest;
            }
        });
        folded.unwrap_or_else(|payload| self.run.panicked(next.get(), payload))
    }

    /// Goes on for as long as nothing is in the way. Not inlined, and makes no call but the user's: beside one, be it never made,
    /// a sum of floats would be kept in memory, and take four times as long.
    #[inline(never)]
    fn run_on<A, T, I: Iterator<Item = (usize, T)>>(
        &self,
        mut items: I,
        mut folded: A,
        step: impl Fn(A, usize, T) -> Result<A, E>,
    ) -> Result<A, Pause<A, T, E, I>> {
        let watch = self.run.watch();
        while let Some((index, item)) = items.next() {
            if !watch.surely_runs(index) {
                return Err(Pause::Look(folded, index, item, items));
            }
            folded = step(folded, index, item).map_err(|error| Pause::Failed(index, error))?;
        }
        Ok(folded)
    }

    /// Combines two halves; a panic or an error there counts as that of the first item of the second.
    fn pair<A>(&self, left: Option<A>, right: Option<A>, middle: usize) -> Option<A>
    where
        C: Fn(A, A) -> Result<A, E>,
    {
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) if !self.run.skips(middle) => (left, right),
            (left, right) => {
                // Caught: unwinding from here would drop what the halves around these hold, whose `Drop` may panic too.
                if let Err(payload) = panic::catch(|| panic::drop_each(left.into_iter().chain(right))) {
                    self.run.dropped(payload);
                }
                return None;
            }
        };
        match panic::catch(|| (self.combine)(left, right)) {
            Ok(Ok(both)) => Some(both),
            Ok(Err(error)) => self.run.failed(middle, error),
            Err(payload) => self.run.panicked(middle, payload),
        }
    }

    /// Combines leaves as the tree does.
    fn join<A>(
        &self,
        leaves: &mut Peekable<impl Iterator<Item = (usize, A)>>,
        at: usize,
        len: usize,
        leaf: usize,
    ) -> Option<A>
    where
        C: Fn(A, A) -> Result<A, E>,
    {
        if len <= leaf {
            return leaves.next_if(|(start, _)| *start == at).map(|(_, leaf)| leaf);
        }
        let half = len / 2;
        let left = self.join(leaves, at, half, leaf);
        let right = self.join(leaves, at + half, len - half, leaf);
        self.pair(left, right, at + half)
    }

    /// A part of the tree.
    fn part<A, P>(&self, items: P, at: usize, len: usize, leaf: usize) -> Option<A>
    where
        P: Producer,
        A: Send,
        N: Fn() -> A,
        F: Fn(A, P::Item) -> Result<A, E>,
        C: Fn(A, A) -> Result<A, E>,
    {
        if len <= leaf {
            return self.leaf(items.into_iter(), at, len);
        }
        if self.run.skips(at) {
            return None;
        }
        let half = len / 2;
        let (left, right) = items.split_at(half);
        let (left, right) =
            rayon::join(|| self.part(left, at, half, leaf), || self.part(right, at + half, len - half, leaf));
        self.pair(left, right, at + half)
    }
}

/// How long the leaf is that begins at an index.
fn leaf_at(at: usize, len: usize, leaf: usize) -> usize {
    let (mut start, mut len) = (0, len);
    while len > leaf {
        let half = len / 2;
        if at < start + half {
            len = half;
        } else {
            start += half;
            len -= half;
        }
    }
    len
}

struct Tree<'a, T> {
    fold: &'a T,
    len: usize,
    leaf: usize,
}

impl<T, E, N, F, C, A> ProducerCallback<T> for Tree<'_, Fold<'_, E, N, F, C>>
where
    E: Send,
    N: Fn() -> A + Sync,
    F: Fn(A, T) -> Result<A, E> + Sync,
    C: Fn(A, A) -> Result<A, E> + Sync,
    A: Send,
{
    type Output = Option<A>;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> Option<A> {
        self.fold.part(producer, 0, self.len, self.leaf)
    }
}
