//! Growing the tree of tokens, looking at its nodes, and waiting at them.
//!
//! **Several parents.** A token made by `any_of` is a child of several parents, not a token that callbacks cancel. So
//! it reads cancelled, like every descendant, before the first waiter is woken.
//!
//! **Where the clock cannot be started**, the flag has a third state. A poll of such a node looks at the time, and
//! every wait of brigade's has a time to wake at. The threads of a pipeline poll a flag of the run, not the token; so a
//! pipeline with such a token runs as the plain loop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::{Receiver, bounded};

use super::call::Call;
use super::cancel::cancel;
use super::clock;
use super::never::Never;
use super::node::{Look, Node};
use crate::error::CancelReason;

impl Node {
    pub(super) fn root() -> Arc<Node> {
        Node::child_of(&[], None)
    }

    /// Makes a node that is cancelled when any of `parents` is, and at `deadline`.
    #[inline]
    pub(super) fn child_of(parents: &[Arc<Node>], deadline: Option<Instant>) -> Arc<Node> {
        let inherited = parents.iter().filter_map(|parent| parent.deadline).min();
        // If a parent's deadline comes first, the parent cancels the child.
        let own = deadline.filter(|own| inherited.is_none_or(|inherited| *own < inherited));
        let clockless = parents.iter().any(|parent| parent.is_clockless());
        let node = Node::new(parents, own.or(inherited), Look::of_child(parents));
        if clockless {
            node.set_clockless();
        }
        for parent in parents {
            if let Err(reason) = parent.adopt(&node) {
                cancel(&node, reason);
                break;
            }
        }
        if let Some(deadline) = own {
            if Instant::now() >= deadline {
                cancel(&node, CancelReason::Deadline);
            } else {
                node.arm(deadline);
            }
        }
        node
    }

    /// Arms the clock for the deadline; if that fails, makes the node clockless.
    fn arm(self: &Arc<Self>, deadline: Instant) {
        let node = Arc::downgrade(self);
        let alarm = clock::arm(deadline, node);
        // An alarm that comes too late, or second, is dropped when the lock has been released.
        let _late = match (self.lock_if_live(), alarm) {
            (Ok(mut held), Ok(alarm)) => held.links.get_or_insert_default().alarm.replace(alarm),
            (Ok(_held), Err(_)) => {
                // The node has no child yet, so there is none to be told.
                self.set_clockless();
                None
            }
            (Err(_), alarm) => alarm.ok(),
        };
    }

    /// Tries again to arm the clock, for a caller that is about to wait in a way that does not look at the node.
    fn arm_again(self: &Arc<Self>) {
        if self.is_clockless() {
            if let Some(deadline) = self.deadline {
                if self.lock_if_live().is_ok_and(|held| held.links.as_ref().is_none_or(|links| links.alarm.is_none())) {
                    self.arm(deadline);
                }
            }
        }
    }

    #[inline]
    pub(super) fn is_cancelled(self: &Arc<Self>) -> bool {
        !self.is_live() && self.is_cancelled_by_now()
    }

    /// Tells whether a node that is not `LIVE` is cancelled; a clockless one is cancelled here if its time has come.
    #[cold]
    fn is_cancelled_by_now(self: &Arc<Self>) -> bool {
        if self.is_clockless() {
            let passed = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if passed {
                cancel(self, CancelReason::Deadline);
            }
            return passed;
        }
        true
    }

    #[inline]
    pub(super) fn reason(self: &Arc<Self>) -> Option<CancelReason> {
        if self.is_cancelled() { self.reason.get().copied() } else { None }
    }

    /// Returns the reason of this node; if an ancestor's `cancel` is about to reach it, waits for that first.
    pub(super) fn reason_to_come(self: &Arc<Self>) -> Option<CancelReason> {
        let mut ancestors = vec![Arc::clone(self)];
        // Used from the first node with several parents on, because several ways may lead up from there. An address
        // that is used again, by a node made since, is no ancestor's.
        let mut seen = BTreeSet::new();
        while let Some(node) = ancestors.pop() {
            if node.is_cancelled() {
                // Its `cancel` marks all descendants before it runs any user code.
                return self.wait(None);
            }
            let parents = node.parents();
            let once = parents.as_slice().len() < 2 && seen.is_empty();
            ancestors.extend(parents.as_slice().iter().filter(|node| once || seen.insert(Arc::as_ptr(node))).cloned());
        }
        None
    }

    /// Waits until the node is cancelled, or until `until`; returns the reason, or `None` at that time.
    pub(super) fn wait(self: &Arc<Self>, until: Option<Instant>) -> Option<CancelReason> {
        let own = if self.is_clockless() { self.deadline } else { None };
        let wake_at = [until, own].into_iter().flatten().min();
        loop {
            if let Some(reason) = self.reason() {
                return Some(reason);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            let Ok(mut held) = self.lock_if_live() else { continue };
            match wake_at {
                None => self.cancelled.wait(&mut held),
                Some(time) => {
                    self.cancelled.wait_until(&mut held, time);
                }
            }
        }
    }

    /// Returns the channel that disconnects when the node is cancelled.
    pub(super) fn done(self: &Arc<Self>) -> Receiver<Never> {
        self.arm_again();
        match self.lock_if_live() {
            Ok(mut held) => held.links.get_or_insert_default().done.get_or_insert_with(|| bounded(0)).1.clone(),
            Err(_) => bounded(0).1,
        }
    }

    /// Registers a callback; returns its key, or the reason if it is too late.
    pub(super) fn register(self: &Arc<Self>, call: &Arc<Call>) -> Result<u64, CancelReason> {
        self.arm_again();
        let mut held = self.lock_if_live()?;
        let links = held.links.get_or_insert_default();
        let key = links.next_callback;
        links.next_callback += 1;
        links.callbacks.insert(key, Arc::clone(call));
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::slice;

    use super::super::family::SPARE;
    use super::super::splice::STRIDE;
    use super::*;

    fn listed(node: &Node) -> usize {
        node.held.lock().links.as_ref().map_or(0, |links| links.children.len())
    }

    #[test]
    fn a_child_that_stays_keeps_nothing_of_a_crowd_that_has_gone() {
        for stays in [0, 500, 999] {
            let root = Node::root();
            let mut crowd: Vec<_> = (0..1_000).map(|_| Node::child_of(slice::from_ref(&root), None)).collect();
            let kept = crowd.swap_remove(stays);
            drop(crowd);
            assert!(listed(&root) <= 6 + SPARE, "{} are listed", listed(&root));
            assert!(root.held.lock().links.as_ref().unwrap().children.capacity() <= 100);
            assert_eq!(root.held.lock().links.as_ref().unwrap().children.living().count(), 1);
            drop(kept);
        }
    }

    /// Returns how many nodes there are from this one up.
    fn nodes(leaf: &Arc<Node>) -> usize {
        let mut ancestors = vec![Arc::clone(leaf)];
        let mut seen = BTreeSet::from([Arc::as_ptr(leaf)]);
        while let Some(node) = ancestors.pop() {
            ancestors
                .extend(node.parents().as_slice().iter().filter(|parent| seen.insert(Arc::as_ptr(parent))).cloned());
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
