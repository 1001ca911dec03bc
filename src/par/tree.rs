//! [`Tree`]: a fold whose tree is shaped by the number of items alone.
//!
//! The same items give the same bits, at any number of threads and in any order of events. rayon's own tree would not:
//! it splits when a worker is idle, so its tree differs from run to run, and with it the last bits of a sum of floats.
//! So the items are halved, and halved again, until there are some thousand leaves. Each leaf is folded item by item,
//! and the results are combined in pairs.
//!
//! The loop of a leaf looks at its call before each item, without calling a function. A function for the case that the
//! token may be cancelled is called once in a run, if ever. But with such a call in the loop, the compiler kept a sum
//! of floats in memory, and the loop was four times as slow. So the loop is left if it finds something odd, and the
//! caller of the loop takes the closer look.

use std::cell::Cell;
use std::iter::{self, Peekable};
use std::num::NonZeroUsize;

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};

use super::call::Call;
use super::claims::{Claims, Part, Rest};
use super::pool;
use super::progress::{Count, count};
use crate::panic;

/// The most leaves of a tree.
///
/// This is enough for 64 threads to share uneven work evenly, and so few that the joins cost nothing even if an item
/// takes one nanosecond.
const LEAVES: usize = 1_024;

/// The closures of a fold, and everything that a job needs to run a part of it.
pub(super) struct Tree<'a, E, N, F, C> {
    pub(super) call: &'a Call<'a, E>,
    pub(super) count: Option<&'a Count>,
    /// Makes an accumulator.
    pub(super) identity: N,
    /// Folds an item into an accumulator.
    pub(super) step: F,
    /// Combines two accumulators.
    pub(super) combine: C,
}

/// A node of the tree: consecutive items.
#[derive(Clone, Copy)]
struct Node {
    /// The index of its first item.
    start: usize,
    len: usize,
    /// The most items of a leaf.
    leaf_len: usize,
}

impl Node {
    fn root(len: usize) -> Self {
        Node { start: 0, len, leaf_len: len.div_ceil(LEAVES).max(1) }
    }

    /// Returns the two halves; `None` if the node is a leaf.
    fn halves(self) -> Option<(Node, Node)> {
        if self.len <= self.leaf_len {
            return None;
        }
        let half = self.len / 2;
        Some((Node { len: half, ..self }, Node { start: self.start + half, len: self.len - half, ..self }))
    }

    /// Returns the leaf that begins at this index.
    fn leaf_at(self, start: usize) -> Node {
        let mut node = self;
        while let Some((left, right)) = node.halves() {
            node = if start < right.start { left } else { right };
        }
        node
    }
}

/// Why the loop of a leaf was left.
enum Pause<A, T, E, I> {
    /// The item of this index failed.
    Failed(usize, E),
    /// A closer look at the call is needed before the item of this index, and the rest.
    Look(A, usize, T, I),
}

impl<E, N, F, C> Tree<'_, E, N, F, C>
where
    E: Send,
    N: Sync,
    F: Sync,
    C: Sync,
{
    /// Folds the items; `None` if the call was cancelled, or an item failed.
    pub(super) fn fold<I, A>(&self, items: I, limit: Option<NonZeroUsize>) -> Option<A>
    where
        I: IndexedParallelIterator,
        A: Send,
        N: Fn() -> A,
        F: Fn(A, I::Item) -> Result<A, E>,
        C: Fn(A, A) -> Result<A, E>,
    {
        let root = Node::root(items.len());
        match pool::jobs(limit) {
            Some(jobs) => {
                // The parts are the leaves of the tree, even if the source asks for parts of another length.
                let share = |rest: Rest| root.leaf_at(rest.start).len;
                let work = |(): &mut (), part: Part<'_, I::Item>| {
                    self.leaf(part.items, Node { start: part.start, len: part.len, ..root })
                };
                let leaves = Claims { jobs, share, local: || (), work }.run(items).parts;
                if root.len == 0 {
                    return self.leaf(iter::empty(), root);
                }
                // The leaves are joined even if one is missing, because an earlier failure may come when earlier leaves
                // are combined, and that one counts.
                self.join(&mut leaves.into_iter().peekable(), root)
            }
            None => items.with_producer(Callback { tree: self, root }),
        }
    }

    /// Folds the items of a leaf, one after the other.
    ///
    /// A panic is caught once for all of them, and counts as that of the item it came from. A catch for each item would
    /// double the time of items of 1 ns.
    fn leaf<A, T>(&self, items: impl Iterator<Item = T>, node: Node) -> Option<A>
    where
        N: Fn() -> A,
        F: Fn(A, T) -> Result<A, E>,
    {
        let (start, len) = (node.start, node.len);
        // The index of the running item. It is read after a panic and at the end alone, because reading it for each
        // item would make the loop wait for memory.
        let next = Cell::new(start);
        let step = |folded, index, item| {
            let folded = (self.step)(folded, item);
            next.set(index + 1);
            folded
        };
        let folded = panic::catch(|| {
            let (mut items, mut folded) = ((start..).zip(items), (self.identity)());
            loop {
                let (so_far, index, item, rest) = match self.run_on(items, folded, step) {
                    Ok(_) if next.get() != start + len => return self.call.misfits(next.get(), start + len),
                    Ok(folded) => {
                        // The items of a leaf are counted at once. Counting each of them would take a fifth of the time
                        // of a sum of floats.
                        count(self.count.map(Count::shard), len);
                        return Some(folded);
                    }
                    Err(Pause::Failed(index, error)) => return self.call.failed(index, error),
                    Err(Pause::Look(_folded, index, item, rest)) if self.call.skips(index) => {
                        // The plain loop would not have met them. A panic of the folded value's `Drop` comes alone.
                        panic::discard(item);
                        panic::discard(rest);
                        return None;
                    }
                    Err(Pause::Look(folded, index, item, rest)) => (folded, index, item, rest),
                };
                folded = match step(so_far, index, item) {
                    Ok(folded) => folded,
                    Err(error) => return self.call.failed(index, error),
                };
                items = rest;
            }
        });
        folded.unwrap_or_else(|payload| self.call.panicked(next.get(), payload))
    }

    /// Folds items until something odd is found.
    ///
    /// It is not inlined and calls no function but the user's; the head of this module says why.
    #[inline(never)]
    fn run_on<A, T, I: Iterator<Item = (usize, T)>>(
        &self,
        mut items: I,
        mut folded: A,
        step: impl Fn(A, usize, T) -> Result<A, E>,
    ) -> Result<A, Pause<A, T, E, I>> {
        let watch = self.call.watch();
        while let Some((index, item)) = items.next() {
            if !watch.surely_runs(index) {
                return Err(Pause::Look(folded, index, item, items));
            }
            folded = step(folded, index, item).map_err(|error| Pause::Failed(index, error))?;
        }
        Ok(folded)
    }

    /// Combines two halves.
    ///
    /// A panic or an error of `combine` counts as that of the first item of the right half.
    fn pair<A>(&self, left: Option<A>, right: Option<A>, middle: usize) -> Option<A>
    where
        C: Fn(A, A) -> Result<A, E>,
    {
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) if !self.call.skips(middle) => (left, right),
            (left, right) => {
                // Caught, because unwinding from here would drop the values of the outer halves, and their `Drop` may
                // panic too.
                if let Err(payload) = panic::catch(|| panic::drop_each(left.into_iter().chain(right))) {
                    self.call.dropped(payload);
                }
                return None;
            }
        };
        match panic::catch(|| (self.combine)(left, right)) {
            Ok(Ok(both)) => Some(both),
            Ok(Err(error)) => self.call.failed(middle, error),
            Err(payload) => self.call.panicked(middle, payload),
        }
    }

    /// Combines the leaves of a node as [`part`](Self::part) does.
    fn join<A>(&self, leaves: &mut Peekable<impl Iterator<Item = (usize, A)>>, node: Node) -> Option<A>
    where
        C: Fn(A, A) -> Result<A, E>,
    {
        let Some((left, right)) = node.halves() else {
            return leaves.next_if(|(start, _)| *start == node.start).map(|(_, leaf)| leaf);
        };
        let middle = right.start;
        let left = self.join(leaves, left);
        let right = self.join(leaves, right);
        self.pair(left, right, middle)
    }

    /// Folds the items of a node, whose halves rayon may give to two workers.
    fn part<A, P>(&self, items: P, node: Node) -> Option<A>
    where
        P: Producer,
        A: Send,
        N: Fn() -> A,
        F: Fn(A, P::Item) -> Result<A, E>,
        C: Fn(A, A) -> Result<A, E>,
    {
        let Some((left, right)) = node.halves() else {
            return self.leaf(items.into_iter(), node);
        };
        if self.call.skips(node.start) {
            return None;
        }
        let middle = right.start;
        let (left_items, right_items) = items.split_at(left.len);
        let (left, right) = rayon::join(|| self.part(left_items, left), || self.part(right_items, right));
        self.pair(left, right, middle)
    }
}

struct Callback<'a, T> {
    tree: &'a T,
    root: Node,
}

impl<T, E, N, F, C, A> ProducerCallback<T> for Callback<'_, Tree<'_, E, N, F, C>>
where
    E: Send,
    N: Fn() -> A + Sync,
    F: Fn(A, T) -> Result<A, E> + Sync,
    C: Fn(A, A) -> Result<A, E> + Sync,
    A: Send,
{
    type Output = Option<A>;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> Option<A> {
        self.tree.part(producer, self.root)
    }
}
