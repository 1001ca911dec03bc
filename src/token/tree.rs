//! The tree of tokens: who is cancelled with whom, and who is told.
//!
//! Invariants:
//!
//! 1. A node's `state` only grows: live, cancelled, swept. The reason is set before the state leaves live.
//! 2. A child holds its parent, a parent knows its children by weak reference. So a token that the user has dropped
//!    stays as long as a descendant needs it, and a child that is dropped leaves nothing behind.
//! 3. A node is registered with its parent, a waiter with its node, under that node's lock and only if the state read
//!    under the lock is live. `cancel` sets the state first and takes the lock after, so it either finds what was
//!    registered or is seen by who registers.
//! 4. No thread holds the locks of two nodes, and nothing of the user's runs or is dropped under one.
//! 5. A swept node has no live descendant, and all who wait for it or for a descendant have been told, save by
//!    callbacks that another `cancel` took and is still running. So a losing `cancel` that finds its node swept is
//!    done; one that does not goes over the whole tree again, and telling twice does no harm.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Never;
use crate::error::CancelReason;

const LIVE: u8 = 0;
const CANCELLED: u8 = 1;
const SWEPT: u8 = 2;

pub(super) struct Node {
    state: AtomicU8,
    reason: OnceLock<CancelReason>,
    links: Mutex<Links>,
    cancelled: Condvar,
    /// The parent and this node's key among its children; `None` in a root, and in a node born cancelled.
    parent: Option<(Arc<Node>, u64)>,
}

#[derive(Default)]
struct Links {
    children: Registry<Weak<Node>>,
    callbacks: Registry<Callback>,
    done: Option<(Sender<Never>, Receiver<Never>)>,
}

pub(super) type Callback = Box<dyn FnOnce() + Send>;

impl Node {
    pub(super) fn root() -> Arc<Node> {
        Arc::new(Node::new(None))
    }

    fn new(parent: Option<(Arc<Node>, u64)>) -> Node {
        Node {
            state: AtomicU8::new(LIVE),
            reason: OnceLock::new(),
            links: Mutex::new(Links::default()),
            cancelled: Condvar::new(),
            parent,
        }
    }

    pub(super) fn child_of(parent: &Arc<Node>) -> Arc<Node> {
        match parent.lock_if_live() {
            Ok(mut links) => {
                // The child is whole before the lock is released: a weak reference that cannot be upgraded yet would let
                // a `cancel` pass it by.
                let mut child = None;
                links.children.insert_with(|key| {
                    let node = Arc::new(Node::new(Some((Arc::clone(parent), key))));
                    Arc::downgrade(child.insert(node))
                });
                child.expect("it was registered")
            }
            Err(reason) => {
                let child = Node::root();
                child.mark(reason);
                child
            }
        }
    }

    // Acquire pairs with the release in `mark`: who sees the state sees the reason.
    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) != LIVE
    }

    #[inline]
    pub(super) fn reason(&self) -> Option<CancelReason> {
        if self.is_cancelled() { self.reason.get().copied() } else { None }
    }

    /// Locks the node to register something with it, or returns why it is too late for that.
    fn lock_if_live(&self) -> Result<MutexGuard<'_, Links>, CancelReason> {
        let links = self.links.lock();
        match self.reason() {
            None => Ok(links),
            Some(reason) => Err(reason),
        }
    }

    /// Sets the flag; returns whether this call was the first.
    fn mark(&self, reason: CancelReason) -> bool {
        let won = self.reason.set(reason).is_ok();
        // The loser sets the state too: its caller is promised a token that reads cancelled, and the winner may not have
        // got this far. It must not take back SWEPT, hence no plain store.
        let _ = self.state.compare_exchange(LIVE, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
        won
    }

    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<CancelReason> {
        let mut links = match self.lock_if_live() {
            Ok(links) => links,
            Err(reason) => return Some(reason),
        };
        loop {
            let timed_out = match deadline {
                None => {
                    self.cancelled.wait(&mut links);
                    false
                }
                Some(deadline) => self.cancelled.wait_until(&mut links, deadline).timed_out(),
            };
            let reason = self.reason();
            if reason.is_some() || timed_out {
                return reason;
            }
        }
    }

    pub(super) fn done(&self) -> Receiver<Never> {
        match self.lock_if_live() {
            Ok(mut links) => links.done.get_or_insert_with(|| bounded(0)).1.clone(),
            Err(_) => bounded(0).1,
        }
    }

    /// Tells everybody who waits for this node that it is cancelled.
    fn tell(&self) {
        let callbacks = {
            let mut links = self.links.lock();
            // Disconnected under the lock, so that a losing `cancel`, which finds nothing here, does not return before.
            // That wakes who selects over it, and runs nothing of the user's: the channel holds no message.
            links.done = None;
            std::mem::take(&mut links.callbacks)
        };
        self.cancelled.notify_all();
        for callback in callbacks.into_values() {
            callback();
        }
    }
}

/// A chain of tokens can be long: each node takes its parent out of the last one that held it, so that dropping needs no
/// stack.
impl Drop for Node {
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some((parent, key)) = next {
            parent.links.lock().children.remove(key);
            next = Arc::into_inner(parent).and_then(|mut parent| parent.parent.take());
        }
    }
}

/// Cancels `node` and its descendants; returns whether this call was the first for `node`.
pub(super) fn cancel(node: &Arc<Node>, reason: CancelReason) -> bool {
    let won = node.mark(reason);
    if node.state.load(Ordering::Acquire) == SWEPT {
        return won;
    }

    // First every flag, level by level, then every waiter: nobody who is woken finds a descendant live.
    let mut nodes = vec![Arc::clone(node)];
    let mut next = 0;
    while let Some(parent) = nodes.get(next).cloned() {
        next += 1;
        // Upgraded under the lock, dropped after it: if the user's last token goes meanwhile, this is the last owner.
        let children: Vec<Arc<Node>> = parent.links.lock().children.values().filter_map(Weak::upgrade).collect();
        let inherited = parent.reason().unwrap_or(reason);
        for child in children {
            child.mark(inherited);
            if child.state.load(Ordering::Acquire) != SWEPT {
                nodes.push(child);
            }
        }
    }
    for node in &nodes {
        node.tell();
    }
    // Not before all are told: a losing `cancel` would return too early. Release pairs with the acquire of its look.
    for node in &nodes {
        node.state.store(SWEPT, Ordering::Release);
    }
    won
}

/// A registered callback; dropping it unregisters the callback.
pub(crate) struct Watch {
    node: Option<(Arc<Node>, u64)>,
}

pub(super) fn watch(node: &Arc<Node>, callback: Callback) -> Watch {
    if let Ok(mut links) = node.lock_if_live() {
        let key = links.callbacks.insert_with(|_| callback);
        return Watch { node: Some((Arc::clone(node), key)) };
    }
    callback();
    Watch { node: None }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((node, key)) = self.node.take() {
            // Once the node is cancelled the callbacks have been taken away.
            let callback = node.links.lock().callbacks.remove(key);
            drop(callback);
        }
    }
}

/// Values under keys that are never used again, in the order in which they came.
///
/// A map, so that one that stays keeps nothing of a crowd that has gone. A vector of slots with a list of free ones,
/// tried instead, makes and drops a child in 60 ns rather than 85, but a child made last keeps the slots of all before
/// it, and each `cancel` walks them.
struct Registry<T> {
    values: BTreeMap<u64, T>,
    next_key: u64,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { values: BTreeMap::new(), next_key: 0 }
    }
}

impl<T> Registry<T> {
    fn insert_with(&mut self, value: impl FnOnce(u64) -> T) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.values.insert(key, value(key));
        key
    }

    fn remove(&mut self, key: u64) -> Option<T> {
        self.values.remove(&key)
    }

    fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }

    fn into_values(self) -> impl Iterator<Item = T> {
        self.values.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_stays_keeps_nothing_of_a_crowd_that_has_gone() {
        for stays in [0, 500, 999] {
            let root = Node::root();
            let mut crowd: Vec<_> = (0..1_000).map(|_| Node::child_of(&root)).collect();
            let kept = crowd.swap_remove(stays);
            drop(crowd);
            assert_eq!(root.links.lock().children.values().count(), 1);
            cancel(&root, CancelReason::Requested);
            assert!(kept.is_cancelled());
        }
    }
}
