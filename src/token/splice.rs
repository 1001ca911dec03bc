//! Splicing out generations: `token = token.child_token()` without end, in bounded memory.
//!
//! A node whose handles are all gone stays because a child holds it. If it has one child, and nothing but its ancestors
//! can cancel it, then the child can as well hang at its parents, and the node is freed. Such a node is called *worn*
//! here.
//!
//! Every [`STRIDE`] generations or more, a call that makes a child goes up the tree, and splices out the worn nodes on
//! its way. This is called a *look*. A node's [`Look`] carries how many generations are left until the next one. A look
//! passes one node for each [`PACE`] generations since the last; worn nodes do not count. If a look reaches the top of
//! the tree, the next one is due after `PACE` generations for each node that it passed; otherwise after twice the time.
//! So a look costs a sixteenth of a step for each child, and a million generations keep some 100 nodes, or some 30 for
//! each that the user holds. (Weighed and left: each child that is made looks at its parent's parent only. That fails a
//! user who always holds the last two generations, and each child would read a counter that other threads write.)
//!
//! A worn node M leaves its place between its child C and its parents in five steps, with no two locks held at a time:
//!
//! 1. Under C's lock: M is a parent of C. It has two owners, C and this call. So no handle of M exists, none can be
//!    made any more, and no other thread is splicing M.
//! 2. Under M's lock: it is live and has no callback, no `done` channel and no alarm that C relies on. By step 1, none
//!    of these can be registered any more. The call notes M's parents.
//! 3. Each of these parents adopts C, under its own lock. If one is cancelled it refuses, and all stays as it was: its
//!    `cancel` reaches C through M. From here on a `cancel` may come upon C twice, so `several_ways` is set before.
//! 4. Under C's lock the noted parents replace M. A `cancel` that marks one of them later finds C in its list.
//! 5. M is dropped.
//!
//! A splice takes one lock at a time, where tokio-util's tree takes two. It costs `child_token` nothing that could be
//! measured (0.95 to 1.04 times the cost without, in a noisy run). A chain of generations, each held until the next is
//! made, costs 1.2 to 1.3 times as much and keeps some hundred nodes, where it kept them all.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::family::Parents;
use super::node::{Look, Node};

pub(super) const STRIDE: u32 = 64;
const PACE: u32 = 16;
/// The least and the greatest space between two looks. In a model each generation looks.
const SPACES: (u32, u32) = if cfg!(brigade_loom) { (1, 1) } else { (STRIDE, 1 << 30) };

impl Look {
    fn new(left: u32, space: u32) -> Self {
        Look { left, space, done: AtomicBool::new(false) }
    }

    /// Returns how many generations are left, for the next child.
    // Relaxed: it guards nothing.
    #[inline]
    fn left_for_child(&self) -> u32 {
        if self.left == 1 && self.done.load(Ordering::Relaxed) { self.space + 1 } else { self.left }
    }

    /// Returns the look of a node that is about to be made as a child of `parents`.
    ///
    /// It may be the time to look.
    #[inline]
    pub(super) fn of_child(parents: &[Arc<Node>]) -> Self {
        // Of several parents the longest line counts, because the others may be short, and always the same.
        let longest =
            parents.iter().map(|parent| &parent.look).min_by_key(|look| (Reverse(look.space), look.left_for_child()));
        let Some(parent) = longest else { return Look::new(SPACES.0, SPACES.0) };
        let left = parent.left_for_child();
        if left > 1 {
            return Look::new(left - 1, parent.space);
        }
        // Relaxed: it guards nothing.
        let is_due = !parent.done.swap(true, Ordering::Relaxed);
        let space = if is_due { shorten(parents, parent.space) } else { parent.space };
        Look::new(space, space)
    }
}

/// Splices out the worn ancestors of `parents`, as far as this look goes; returns how many generations later the next
/// look is due.
#[cold]
fn shorten(parents: &[Arc<Node>], space: u32) -> u32 {
    let most = (space / PACE).max(4);
    let mut passed = 0;
    let mut ancestors = parents.to_vec();
    // Used from the first node with several parents on.
    let mut seen = BTreeSet::new();
    while let Some(node) = ancestors.pop() {
        if passed == most {
            return (2 * space).clamp(SPACES.0, SPACES.1);
        }
        passed += 1;
        let mut parents = node.parents();
        while node.splice(&parents) {
            parents = node.parents();
        }
        match parents {
            Parents::One(parent) if seen.is_empty() => ancestors.push(parent),
            parents => {
                let new = parents.as_slice().iter().filter(|parent| seen.insert(Arc::as_ptr(parent)));
                ancestors.extend(new.cloned());
            }
        }
    }
    (PACE * passed).clamp(SPACES.0, SPACES.1)
}

impl Node {
    /// Splices out one worn parent, if there is one among `own`, the parents at this moment.
    fn splice(self: &Arc<Self>, own: &Parents<Node>) -> bool {
        for middle in own.as_slice() {
            // One owner is this node, the other is `own`.
            if Arc::strong_count(middle) == 2 {
                if let Some(upper) = middle.parents_if_idle(self.deadline) {
                    return self.hang_at(&upper, own) && self.replace_parent(middle, &upper);
                }
            }
        }
        false
    }

    /// Returns the parents, if only they can cancel this node and only a child waits for it.
    ///
    /// `child` is the child's deadline.
    fn parents_if_idle(&self, child: Option<Instant>) -> Option<Parents<Node>> {
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

    /// Has each node of `upper` list this one, except those that list it already because they are in `own`.
    ///
    /// Returns false if one is cancelled.
    fn hang_at(self: &Arc<Self>, upper: &Parents<Node>, own: &Parents<Node>) -> bool {
        // Relaxed: the locks taken in `adopt` show it to every `cancel` that finds this node by a new way.
        self.several_ways.store(true, Ordering::Relaxed);
        let known: BTreeSet<_> = own.as_slice().iter().map(Arc::as_ptr).collect();
        upper
            .as_slice()
            .iter()
            .filter(|parent| !known.contains(&Arc::as_ptr(parent)))
            .all(|new| new.adopt(self).is_ok())
    }

    /// Replaces the parent `middle` by `upper`.
    ///
    /// Returns false if `middle` is no parent any more.
    fn replace_parent(&self, middle: &Arc<Node>, upper: &Parents<Node>) -> bool {
        let mut held = self.held.lock();
        let own = held.parents.as_slice();
        if !own.iter().any(|parent| Arc::ptr_eq(parent, middle)) {
            return false;
        }
        let mut known = BTreeSet::from([Arc::as_ptr(middle)]);
        let all: Vec<_> =
            own.iter().chain(upper.as_slice()).filter(|parent| known.insert(Arc::as_ptr(parent))).cloned().collect();
        let before = mem::replace(&mut held.parents, Parents::from(&*all));
        // The old parents are dropped outside the lock.
        drop(held);
        drop((before, all));
        true
    }
}
