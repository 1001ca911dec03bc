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
//! 5. A swept node has no live descendant: a losing `cancel` that finds its node swept is done.

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
    parent: Option<(Arc<Node>, usize)>,
}

#[derive(Default)]
struct Links {
    children: Slots<Weak<Node>>,
    callbacks: Slots<Callback>,
    done: Option<(Sender<Never>, Receiver<Never>)>,
}

pub(super) type Callback = Box<dyn FnOnce() + Send>;

impl Node {
    pub(super) fn root() -> Arc<Node> {
        Arc::new(Node::new(None))
    }

    fn new(parent: Option<(Arc<Node>, usize)>) -> Node {
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
                child.expect("the slot was filled")
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
        let (done, callbacks) = {
            let mut links = self.links.lock();
            (links.done.take(), std::mem::take(&mut links.callbacks))
        };
        self.cancelled.notify_all();
        drop(done);
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
        node.state.store(SWEPT, Ordering::Release);
    }
    for node in &nodes {
        node.tell();
    }
    won
}

/// A registered callback; dropping it unregisters the callback.
pub(crate) struct Watch {
    node: Option<(Arc<Node>, usize)>,
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
            // Once the node is cancelled the slots have been taken away, and the callback with them.
            let callback = node.links.lock().callbacks.remove(key);
            drop(callback);
        }
    }
}

/// Values under keys that stay valid until they are removed.
struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn insert_with(&mut self, value: impl FnOnce(usize) -> T) -> usize {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[key] = Some(value(key));
        key
    }

    /// Empties a slot; once all are empty, gives the memory of a crowd back.
    fn remove(&mut self, key: usize) -> Option<T> {
        const KEPT: usize = 64;
        let value = self.slots.get_mut(key)?.take()?;
        self.free.push(key);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Slots::default();
        }
        Some(value)
    }

    fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().flatten()
    }
}
