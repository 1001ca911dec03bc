//! Parents and children: how nodes know each other, and how those that have been dropped are forgotten.
//!
//! A child that is dropped does not lock its parent. It leaves a dead weak reference behind, and looks whether so many of
//! them have gathered that they outnumber the living: then it clears them away. So making and dropping a child costs a
//! constant on average, and a crowd that has gone leaves [`SPARE`] behind. (Tried before: a map by number, 75 ns for a
//! child made and dropped rather than 50; and a list in which each child knows its place, which costs the same as this,
//! but takes the parent's lock twice and has to tell children that they were moved.)

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::{mem, slice};

use super::callback::Callback;
use super::nest;
use super::tree::Node;
use crate::error::CancelReason;

/// How many dead children a list may have beyond twice the owners of its node. The allocator keeps about as many blocks
/// at hand.
const SPARE: usize = 8;

#[derive(Clone, Default)]
pub(super) enum Parents {
    #[default]
    None,
    One(Arc<Node>),
    Several(Box<[Arc<Node>]>),
}

impl From<&[Arc<Node>]> for Parents {
    #[inline]
    fn from(parents: &[Arc<Node>]) -> Self {
        match parents {
            [] => Parents::None,
            [parent] => Parents::One(Arc::clone(parent)),
            several => Parents::Several(several.into()),
        }
    }
}

impl Parents {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Arc<Node>] {
        match self {
            Parents::None => &[],
            Parents::One(parent) => slice::from_ref(parent),
            Parents::Several(parents) => parents,
        }
    }
}

#[derive(Default)]
pub(super) struct Children(Vec<Weak<Node>>);

impl Children {
    pub(super) fn living(&self) -> impl Iterator<Item = Arc<Node>> {
        self.0.iter().filter_map(Weak::upgrade)
    }

    fn clear_away_the_dead(&mut self) {
        self.0.retain(|child| child.strong_count() > 0);
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(2 * self.0.len() + 2 * SPARE);
        }
    }
}

impl Node {
    /// The parents at this moment; see invariant 7 of the tree.
    pub(super) fn parents(&self) -> Parents {
        self.held.lock().parents.clone()
    }

    /// Makes `child` known to this node, or returns why it is too late for that.
    #[inline]
    pub(super) fn adopt(&self, child: &Arc<Node>) -> Result<(), CancelReason> {
        let mut held = self.lock_if_live()?;
        let children = &mut held.links.get_or_insert_default().children.0;
        children.push(Arc::downgrade(child));
        self.listed.store(children.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Called by each child that is dropped, while it still holds its parent.
    fn lose_a_child(self: &Arc<Self>) {
        // Each living child owns its parent, so what is listed beyond the owners is dead.
        if self.listed.load(Ordering::Relaxed) > 2 * Arc::strong_count(self) + SPARE {
            if let Some(links) = &mut self.held.lock().links {
                links.children.clear_away_the_dead();
                self.listed.store(links.children.0.len(), Ordering::Relaxed);
            }
        }
    }

    /// Takes the parents out of a node that has no owner any more, and out of each ancestor whose last owner this was. So
    /// the drop of a long chain needs no stack. Returns the callbacks of all of them, whose drop is the user's.
    pub(super) fn take_apart(&mut self) -> Vec<Arc<Callback>> {
        let mut callbacks = Vec::new();
        let mut next = match self.take_parents(&mut callbacks) {
            Parents::None => return callbacks,
            parents => Some(parents),
        };
        let mut orphans = Vec::new();
        while let Some(parents) = next {
            let mut leave = |parent: Arc<Node>| {
                parent.lose_a_child();
                Arc::into_inner(parent).map(|mut last| last.take_parents(&mut callbacks))
            };
            next = match parents {
                Parents::None => None,
                Parents::One(parent) => leave(parent),
                Parents::Several(parents) => {
                    orphans.extend(parents.into_iter().filter_map(leave));
                    None
                }
            };
            next = next.or_else(|| orphans.pop());
        }
        callbacks
    }

    #[inline]
    fn take_parents(&mut self, callbacks: &mut Vec<Arc<Callback>>) -> Parents {
        let held = self.held.get_mut();
        // Most have none, and an empty map is slow to be taken.
        if let Some(links) = held.links.as_mut().filter(|links| !links.callbacks.is_empty()) {
            callbacks.extend(mem::take(&mut links.callbacks).into_values());
        }
        mem::take(&mut held.parents)
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        nest::drop_all(self.take_apart());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(node: &Node) -> usize {
        node.held.lock().links.as_ref().map_or(0, |links| links.children.0.len())
    }

    #[test]
    fn a_child_that_stays_keeps_nothing_of_a_crowd_that_has_gone() {
        for stays in [0, 500, 999] {
            let root = Node::root();
            let mut crowd: Vec<_> = (0..1_000).map(|_| Node::child_of(slice::from_ref(&root), None)).collect();
            let kept = crowd.swap_remove(stays);
            drop(crowd);
            assert!(listed(&root) <= 6 + SPARE, "{} are listed", listed(&root));
            assert!(root.held.lock().links.as_ref().unwrap().children.0.capacity() <= 100);
            assert_eq!(root.held.lock().links.as_ref().unwrap().children.living().count(), 1);
            drop(kept);
        }
    }
}
