//! Splicing out generations: `token = token.child_token()` without end, in bounded memory.
//!
//! A node whose handles are all gone stays because a child holds it. If it has one child, and nothing but its ancestors can
//! cancel it, then the child can as well hang at its parents, and the node is freed. Such a node is called *worn* here.
//!
//! Every [`STRIDE`] generations or more, a call that makes a child goes up the tree, and splices out the worn nodes that it
//! comes by. A node carries in its [`Look`] how many generations are left until then. A look passes one node for each [`PACE`]
//! generations since the last; worn ones do not count. If it comes to the top of the tree, the next look is due when that many
//! generations have been made again for each node it passed; else in twice the time. So a look costs a sixteenth of a step
//! for each child, and a million generations keep some 100 nodes, or some 30 for each that the user holds. (Weighed and
//! left: that each child which is made looks at its parent's parent, and at that alone. It fails a user who always holds
//! the last two generations, and each child would read a counter that other threads write.)
//!
//! How a worn node M goes from between its child C and its parents, with no two locks held at a time:
//!
//! 1. Under C's lock: M is a parent of C. It has two owners, C and this call. So no handle of M exists, none can be made
//!    any more, and no other thread is splicing M.
//! 2. Under M's lock: it is live and has no callback, no `done` channel and no alarm that C relies on. No one can register
//!    any, by 1. Its parents are noted.
//! 3. Each of them adopts C, under its own lock. One that is cancelled refuses, and all stays as it was: its `cancel`
//!    reaches C through M. From here on a `cancel` may come upon C twice, so `several_ways` is set before.
//! 4. Under C's lock M is replaced by the noted parents. Whichever `cancel` marks one of them later finds C in its list.
//! 5. M is dropped.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::family::Parents;
use super::tree::Node;

const STRIDE: u32 = 64;
const PACE: u32 = 16;
/// In a model each generation looks.
const SPACES: (u32, u32) = if cfg!(brigade_loom) { (1, 1) } else { (STRIDE, 1 << 30) };

/// When the descendants of a node look next.
pub(super) struct Look {
    /// In so many generations.
    left: u32,
    /// So many are between two looks.
    space: u32,
    /// The look at this node's first child is over. A node may have many children, and one look for them is enough.
    looked: AtomicBool,
}

impl Look {
    fn new(space: u32) -> Self {
        Look { left: space, space, looked: AtomicBool::new(false) }
    }

    /// How many generations are left, for the next child.
    // Relaxed: it guards nothing.
    #[inline]
    fn left(&self) -> u32 {
        if self.left == 1 && self.looked.load(Ordering::Relaxed) { self.space + 1 } else { self.left }
    }

    /// That of a node that is about to be made below `parents`. It may be the time to look.
    #[inline]
    pub(super) fn below(parents: &[Arc<Node>]) -> Self {
        // Of several the longest line counts: the others may be short, and always the same.
        let line = parents.iter().map(|parent| &parent.look).min_by_key(|look| (Reverse(look.space), look.left()));
        let Some(parent) = line else { return Look::new(SPACES.0) };
        let left = parent.left();
        if left > 1 {
            return Look { left: left - 1, space: parent.space, looked: AtomicBool::new(false) };
        }
        // Relaxed: it guards nothing.
        let is_due = !parent.looked.swap(true, Ordering::Relaxed);
        Look::new(if is_due { shorten(parents, parent.space) } else { parent.space })
    }
}

/// Splices out the worn ancestors of `parents`, as far as this look goes. Returns how many generations later the next is due.
#[cold]
fn shorten(parents: &[Arc<Node>], space: u32) -> u32 {
    let most = (space / PACE).max(4);
    let mut passed = 0;
    let mut above = parents.to_vec();
    // Used from the first node with several parents on.
    let mut seen = BTreeSet::new();
    while let Some(node) = above.pop() {
        if passed == most {
            return (2 * space).clamp(SPACES.0, SPACES.1);
        }
        passed += 1;
        let mut parents = node.parents();
        while node.splice(&parents) {
            parents = node.parents();
        }
        match parents {
            Parents::One(parent) if seen.is_empty() => above.push(parent),
            parents => {
                let new = parents.as_slice().iter().filter(|parent| seen.insert(Arc::as_ptr(parent)));
                above.extend(new.cloned());
            }
        }
    }
    (PACE * passed).clamp(SPACES.0, SPACES.1)
}

impl Node {
    /// Splices out one worn parent, if there is one among `own`, the parents at this moment.
    fn splice(self: &Arc<Self>, own: &Parents) -> bool {
        for middle in own.as_slice() {
            // This node's and that in `own`.
            if Arc::strong_count(middle) == 2 {
                if let Some(above) = middle.parents_if_idle(self.deadline) {
                    return self.hang_at(&above, own) && self.replace_parent(middle, &above);
                }
            }
        }
        false
    }

    /// The parents, if nothing but they can cancel this node, and nothing but a child waits for it, whose deadline is
    /// given.
    fn parents_if_idle(&self, child: Option<Instant>) -> Option<Parents> {
        if self.is_clockless() {
            return None;
        }
        let held = self.lock_if_live().ok()?;
        let is_idle = held.links.as_ref().is_none_or(|links| {
            // A child whose deadline is earlier has an alarm of its own, or from another parent.
            let alarm_counts = links.alarm.is_some() && child >= self.deadline;
            links.callbacks.is_empty() && links.done.is_none() && !alarm_counts
        });
        is_idle.then(|| held.parents.clone())
    }

    /// Has each of `above` list this node, but those that do because they are in `own`. Returns false if one is cancelled.
    fn hang_at(self: &Arc<Self>, above: &Parents, own: &Parents) -> bool {
        // Relaxed: the locks taken in `adopt` show it to every `cancel` that finds this node by a new way.
        self.several_ways.store(true, Ordering::Relaxed);
        let known: BTreeSet<_> = own.as_slice().iter().map(Arc::as_ptr).collect();
        above
            .as_slice()
            .iter()
            .filter(|parent| !known.contains(&Arc::as_ptr(parent)))
            .all(|new| new.adopt(self).is_ok())
    }

    /// Holds `above` in place of `middle`. Returns false if it does not hold that any more.
    fn replace_parent(&self, middle: &Arc<Node>, above: &Parents) -> bool {
        let mut held = self.held.lock();
        let own = held.parents.as_slice();
        if !own.iter().any(|parent| Arc::ptr_eq(parent, middle)) {
            return false;
        }
        let mut known = BTreeSet::from([Arc::as_ptr(middle)]);
        let all: Vec<_> =
            own.iter().chain(above.as_slice()).filter(|parent| known.insert(Arc::as_ptr(parent))).cloned().collect();
        let before = mem::replace(&mut held.parents, Parents::from(&*all));
        // Not under the lock.
        drop(held);
        drop((before, all));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::slice;

    use super::*;

    /// How many nodes there are from this one up.
    fn nodes(leaf: &Arc<Node>) -> usize {
        let mut above = vec![Arc::clone(leaf)];
        let mut seen = BTreeSet::from([Arc::as_ptr(leaf)]);
        while let Some(node) = above.pop() {
            above.extend(node.parents().as_slice().iter().filter(|parent| seen.insert(Arc::as_ptr(parent))).cloned());
        }
        seen.len()
    }

    #[test]
    fn a_million_generations_keep_few_nodes_for_each_that_is_held() {
        for held in [1, 2, 3, 20, 1_000] {
            let root = Node::root();
            let mut window = VecDeque::from([Arc::clone(&root)]);
            let mut most = 0;
            for generation in 0..if held == 1 { 1_000_000 } else { 100_000_u32 } {
                let next = Node::child_of(slice::from_ref(&window[window.len() - 1]), None);
                window.push_back(next);
                if window.len() > held {
                    window.pop_front();
                }
                if generation % 9_973 == 0 {
                    most = most.max(nodes(&window[window.len() - 1]));
                }
            }
            assert!(most <= 2 * STRIDE as usize + 34 * held, "{most} nodes with {held} held");
        }
    }
}
