//! [`Node`]: a token's flag, its reason, its waiters, and its place in the tree.
//!
//! A node has one parent as a rule, and several if `any_of` made it: strictly, the tree is a directed graph without
//! cycles.
//!
//! Invariants:
//!
//! 1. A node's `state` leaves [`LIVE`] or [`CLOCKLESS`] once, for [`CANCELLED`], under the node's lock and after the
//!    reason has been set. From there it goes to [`SWEPT`].
//! 2. A child holds its parents, a parent knows its children by weak reference. So a token that the user has dropped
//!    stays as long as a descendant needs it, and a child that is dropped leaves nothing behind.
//! 3. A node is registered with its parent, and a waiter with its node, under that node's lock and only if it has no
//!    reason. `cancel` sets the reason under the same lock. So `cancel` finds the child or waiter, or the child or
//!    waiter finds the reason.
//! 4. No thread holds the locks of two nodes. No user code runs and no user value is dropped under a node's lock.
//! 5. No descendant of a swept node is live. A `cancel` that lost may return at once if its node is swept; otherwise it
//!    first marks the descendants itself.
//! 6. The `cancel` that marked a node wakes its waiters, once, when all nodes that it found are marked. It runs the
//!    node's callbacks when all those waiters are woken. So a callback that cancels an ancestor does not run the
//!    callbacks that come after it. Marking and waking run no user code and drop no user value. The clock relies on
//!    that, and so does every waiter that is woken after another one's callback has panicked.
//! 7. A node's parents change by [splicing](super::splice) only, and only to a set that connects it to the same
//!    ancestors, each of which already lists it.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender};

use super::call::{Call, Kind};
use super::clock::Alarm;
use super::family::{Children, Parents, SPARE};
use super::nest;
use super::never::Never;
use crate::error::CancelReason;
use crate::panic;
use crate::sync::{AtomicU8, Condvar, Mutex, MutexGuard};

const LIVE: u8 = 0;
/// Live, but the clock's thread could not be started: each caller that looks at the node looks at the time.
const CLOCKLESS: u8 = 1;
const CANCELLED: u8 = 2;
/// Cancelled, and so is every descendant.
const SWEPT: u8 = 3;

pub(super) struct Node {
    state: AtomicU8,
    /// A `cancel` may come upon the node by more than one way. Never unset.
    pub(super) several_ways: AtomicBool,
    pub(super) look: Look,
    pub(super) reason: OnceLock<CancelReason>,
    /// The earliest of its own deadline and those of its ancestors.
    pub(super) deadline: Option<Instant>,
    /// The length of the list of children, to be read without the lock.
    listed: AtomicUsize,
    pub(super) held: Mutex<Held>,
    pub(super) cancelled: Condvar,
}

/// When the descendants of a node look for ancestors to splice out; see [`splice`](super::splice).
pub(super) struct Look {
    /// How many generations are left until the next look.
    pub(super) left: u32,
    /// How many generations are between two looks.
    pub(super) space: u32,
    /// The look at this node's first child is done. A node may have many children, and one look for them is enough.
    pub(super) done: AtomicBool,
}

/// The part of a node that its lock guards.
pub(super) struct Held {
    pub(super) parents: Parents<Node>,
    /// In a box, which the first registration makes: most nodes live and die without, and a small node is made and
    /// dropped faster (in 50 ns, not 80).
    pub(super) links: Option<Box<Links>>,
}

/// Everything that a `cancel` has to tell, except the threads that wait at the node.
#[derive(Default)]
pub(super) struct Links {
    pub(super) children: Children<Node>,
    pub(super) callbacks: BTreeMap<u64, Arc<Call>>,
    pub(super) next_callback: u64,
    pub(super) done: Option<(Sender<Never>, Receiver<Never>)>,
    pub(super) alarm: Option<Alarm>,
}

impl Node {
    /// Makes a live node, which its parents do not list yet.
    #[inline]
    pub(super) fn new(parents: &[Arc<Node>], deadline: Option<Instant>, look: Look) -> Arc<Node> {
        Arc::new(Node {
            state: AtomicU8::new(LIVE),
            several_ways: AtomicBool::new(parents.len() > 1),
            look,
            reason: OnceLock::new(),
            deadline,
            listed: AtomicUsize::new(0),
            held: Mutex::new(Held { parents: Parents::from(parents), links: None }),
            cancelled: Condvar::new(),
        })
    }

    /// Returns a view of the flag for a loop that polls it.
    #[inline]
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch(Some(&self.state))
    }

    // Acquire pairs with the release in `mark`: a caller that sees the state sees the reason.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }

    /// Tells whether each caller that looks at this node has to look at the time.
    pub(super) fn is_clockless(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOCKLESS
    }

    /// Called under the lock, or before the node is shared.
    pub(super) fn set_clockless(&self) {
        self.state.store(CLOCKLESS, Ordering::Release);
    }

    /// Tells whether every descendant has been marked.
    // Acquire pairs with the release in `set_swept`.
    pub(super) fn is_swept(&self) -> bool {
        self.state.load(Ordering::Acquire) == SWEPT
    }

    pub(super) fn set_swept(&self) {
        self.state.store(SWEPT, Ordering::Release);
    }

    /// Locks the node to register something with it, or returns the reason if it is too late for that.
    pub(super) fn lock_if_live(&self) -> Result<MutexGuard<'_, Held>, CancelReason> {
        let held = self.held.lock();
        match self.reason.get() {
            None => Ok(held),
            Some(reason) => Err(*reason),
        }
    }

    /// Sets the flag if no `cancel` has, and turns `reason` into the first one given.
    ///
    /// Returns whether this call was first, and the children, which have to be marked in turn.
    pub(super) fn mark(&self, reason: &mut CancelReason) -> (bool, Vec<Arc<Node>>) {
        let held = self.held.lock();
        let first = *self.reason.get_or_init(|| *reason);
        let won = self.state.load(Ordering::Relaxed) < CANCELLED;
        if won {
            // Release pairs with the acquire in `is_live`.
            self.state.store(CANCELLED, Ordering::Release);
        }
        *reason = first;
        // Upgraded under the lock and dropped after it: if the user drops the last token meanwhile, this is the last
        // owner.
        (won, held.links.iter().flat_map(|links| links.children.living()).collect())
    }

    /// Wakes all waiters of this node, which has been cancelled for `reason`; adds the callbacks that are to be run.
    pub(super) fn wake(&self, reason: CancelReason, callbacks: &mut Vec<(Arc<Call>, CancelReason)>) {
        let (calls, rest) = match &mut self.held.lock().links {
            None => Default::default(),
            Some(links) => (mem::take(&mut links.callbacks), (links.done.take(), links.alarm.take())),
        };
        // Dropped outside the lock: this disconnects the channel, which wakes the threads that select over it.
        drop(rest);
        self.cancelled.notify_all();
        for call in calls.into_values() {
            match call.kind {
                // It panics only if brigade has a bug, and then the other waiters are woken all the same.
                Kind::Wake => call.run(reason).unwrap_or_else(panic::discard),
                Kind::User => callbacks.push((call, reason)),
            }
        }
    }

    pub(super) fn unregister(&self, key: u64) {
        // A `cancel` has taken the callbacks away. Before it, the handle has the callback too, so only a count is
        // dropped under the lock.
        if let Some(links) = &mut self.held.lock().links {
            links.callbacks.remove(&key);
        }
    }

    /// Returns the parents at this moment; see invariant 7.
    pub(super) fn parents(&self) -> Parents<Node> {
        self.held.lock().parents.clone()
    }

    /// Lists `child`, or returns the reason if it is too late for that.
    #[inline]
    pub(super) fn adopt(&self, child: &Arc<Node>) -> Result<(), CancelReason> {
        let mut held = self.lock_if_live()?;
        let children = &mut held.links.get_or_insert_default().children;
        children.add(child);
        self.listed.store(children.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Called by each child that is dropped, while it still holds its parent.
    fn lose_a_child(self: &Arc<Self>) {
        // Each living child owns its parent, so the children listed beyond the owners are dead.
        if self.listed.load(Ordering::Relaxed) > 2 * Arc::strong_count(self) + SPARE {
            if let Some(links) = &mut self.held.lock().links {
                links.children.clear_away_the_dead();
                self.listed.store(links.children.len(), Ordering::Relaxed);
            }
        }
    }

    /// Takes the parents out of a node that has no owner any more, and out of each ancestor whose last owner this was.
    ///
    /// So the drop of a long chain needs no stack. Returns the callbacks of all these nodes, because their drop runs
    /// user code.
    pub(super) fn take_apart(&mut self) -> Vec<Arc<Call>> {
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
    fn take_parents(&mut self, callbacks: &mut Vec<Arc<Call>>) -> Parents<Node> {
        let held = self.held.get_mut();
        // Most nodes have no callbacks, and taking an empty map is slow.
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

/// The flag of a token, to be polled without a call: a loop that contains a call, even one never made, spills its
/// registers.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a>(pub(super) Option<&'a AtomicU8>);

impl Watch<'_> {
    /// Tells whether it is certain that the token is live.
    // Relaxed: a live token has published nothing that could be read.
    #[inline]
    pub(crate) fn is_surely_live(self) -> bool {
        self.0.is_none_or(|state| state.load(Ordering::Relaxed) == LIVE)
    }
}
