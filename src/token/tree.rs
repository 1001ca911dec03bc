//! The tree of tokens: a node's flag, its reason, and who waits for it.
//!
//! A node has one parent as a rule, several if it was made by `any_of`: strictly, the tree is a directed graph without
//! cycles.
//!
//! Invariants:
//!
//! 1. A node's `state` leaves [`LIVE`] or [`CLOCKLESS`] once, for [`CANCELLED`], under the node's lock and after the reason has been
//!    set; from there it goes to [`SWEPT`].
//! 2. A child holds its parents, a parent knows its children by weak reference. So a token that the user has dropped
//!    stays as long as a descendant needs it, and a child that is dropped leaves nothing behind.
//! 3. A node is registered with its parent, a waiter with its node, under that node's lock and only if it has no reason.
//!    `cancel` sets the reason under the same lock, so it either finds the child or waiter, or is seen by it.
//! 4. No thread holds the locks of two nodes, and no user code runs and no user value is dropped under one.
//! 5. A swept node has no live descendant. So a losing `cancel` that finds its node swept is done; one that does not goes
//!    over the tree as well.
//! 6. The `cancel` that marked a node wakes those who wait for it, once, when all that it found is marked, and runs its
//!    callbacks when all of them are woken. So a callback that cancels an ancestor does not run those that are to come
//!    after it. Marking and waking run no user code and drop no user value: the clock relies on it, and so does every
//!    waiter that comes after one whose callback panics.
//! 7. A node's parents change by [splicing](super::splice) only, and only to a set that connects it to the same ancestors,
//!    each of which already lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::Never;
use super::callback::Callback;
use super::cancel::cancel;
use super::clock::{self, Alarm};
use super::family::{Children, Parents};
use super::nest::Work;
use super::splice::Look;
use crate::error::CancelReason;
use crate::panic;
use crate::sync::{AtomicU8, Condvar, Mutex, MutexGuard};

const LIVE: u8 = 0;
/// Live, but no thread could be started to watch the clock: who looks at the node has to.
const CLOCKLESS: u8 = 1;
const CANCELLED: u8 = 2;
const SWEPT: u8 = 3;

pub(super) struct Node {
    state: AtomicU8,
    /// A `cancel` may come upon the node by more than one way. Never unset.
    pub(super) several_ways: AtomicBool,
    pub(super) look: Look,
    reason: OnceLock<CancelReason>,
    /// The earliest of its own deadline and those of its ancestors.
    pub(super) deadline: Option<Instant>,
    /// The length of the list of children, to be read without the lock.
    pub(super) listed: AtomicUsize,
    pub(super) held: Mutex<Held>,
    cancelled: Condvar,
}

/// What a node's lock guards.
pub(super) struct Held {
    pub(super) parents: Parents,
    /// In a box, made for the first that is registered: most nodes live and die without, and a small one is made and
    /// dropped faster (50 ns rather than 80).
    pub(super) links: Option<Box<Links>>,
}

/// What has to be told of a cancellation, other than those who wait at the node.
#[derive(Default)]
pub(super) struct Links {
    pub(super) children: Children,
    pub(super) callbacks: BTreeMap<u64, Arc<Callback>>,
    next_callback: u64,
    pub(super) done: Option<(Sender<Never>, Receiver<Never>)>,
    pub(super) alarm: Option<Alarm>,
}

impl Node {
    pub(super) fn root() -> Arc<Node> {
        Node::child_of(&[], None)
    }

    /// A node that is cancelled when any of `parents` is, and at `deadline`.
    #[inline]
    pub(super) fn child_of(parents: &[Arc<Node>], deadline: Option<Instant>) -> Arc<Node> {
        let inherited = parents.iter().filter_map(|parent| parent.deadline).min();
        // Where the parent's comes first, the parent tells the child.
        let own = deadline.filter(|own| inherited.is_none_or(|inherited| *own < inherited));
        let clockless = parents.iter().any(|parent| parent.is_clockless());
        let node = Arc::new(Node {
            state: AtomicU8::new(LIVE),
            several_ways: AtomicBool::new(parents.len() > 1),
            look: Look::below(parents),
            reason: OnceLock::new(),
            deadline: own.or(inherited),
            listed: AtomicUsize::new(0),
            held: Mutex::new(Held { parents: Parents::from(parents), links: None }),
            cancelled: Condvar::new(),
        });
        if clockless {
            node.state.store(CLOCKLESS, Ordering::Release);
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

    /// Has the clock watch over the deadline, or, where it cannot, all who look at the node.
    fn arm(self: &Arc<Self>, deadline: Instant) {
        let alarm = clock::arm(deadline, Arc::downgrade(self));
        // An alarm that comes too late, or second, is dropped when the lock has been released.
        let _late = match (self.lock_if_live(), alarm) {
            (Ok(mut held), Ok(alarm)) => held.links.get_or_insert_default().alarm.replace(alarm),
            (Ok(_held), Err(_)) => {
                // The node has no child yet, which would have to be told.
                self.state.store(CLOCKLESS, Ordering::Release);
                None
            }
            (Err(_), alarm) => alarm.ok(),
        };
    }

    /// Tries again to have the clock watch, for a caller that is about to wait in a way that does not look at the node.
    fn arm_again(self: &Arc<Self>) {
        if self.is_clockless() {
            if let Some(deadline) = self.deadline {
                if self.lock_if_live().is_ok_and(|held| held.links.as_ref().is_none_or(|links| links.alarm.is_none())) {
                    self.arm(deadline);
                }
            }
        }
    }

    // Acquire pairs with the release in `mark`: who sees the state sees the reason.
    #[inline]
    pub(super) fn is_cancelled(self: &Arc<Self>) -> bool {
        self.state.load(Ordering::Acquire) != LIVE && self.look()
    }

    #[inline]
    pub(super) fn state(&self) -> &AtomicU8 {
        &self.state
    }

    #[cold]
    fn look(self: &Arc<Self>) -> bool {
        if self.is_clockless() {
            let passed = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if passed {
                cancel(self, CancelReason::Deadline);
            }
            return passed;
        }
        true
    }

    /// Tells whether who waits for this node has to look at the clock for it.
    pub(super) fn is_clockless(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOCKLESS
    }

    /// Tells whether every descendant has been marked.
    // Acquire pairs with the release in `set_swept`.
    pub(super) fn is_swept(&self) -> bool {
        self.state.load(Ordering::Acquire) == SWEPT
    }

    pub(super) fn set_swept(&self) {
        self.state.store(SWEPT, Ordering::Release);
    }

    #[inline]
    pub(super) fn reason(self: &Arc<Self>) -> Option<CancelReason> {
        if self.is_cancelled() { self.reason.get().copied() } else { None }
    }

    /// The reason of this node; if an ancestor's `cancel` is about to reach it, when it has.
    pub(super) fn reason_to_come(self: &Arc<Self>) -> Option<CancelReason> {
        let mut above = vec![Arc::clone(self)];
        // Used from the first node with several parents on: there may be several ways up from there. An address that is
        // used again, by a node made since, is no ancestor's.
        let mut seen = BTreeSet::new();
        while let Some(node) = above.pop() {
            if node.is_cancelled() {
                // Its `cancel` marks all below it before it runs any user code.
                return self.wait(None);
            }
            let parents = node.parents();
            let once = parents.as_slice().len() < 2 && seen.is_empty();
            above.extend(parents.as_slice().iter().filter(|node| once || seen.insert(Arc::as_ptr(node))).cloned());
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Locks the node to register something with it, or returns why it is too late for that.
    pub(super) fn lock_if_live(&self) -> Result<MutexGuard<'_, Held>, CancelReason> {
        let held = self.held.lock();
        match self.reason.get() {
            None => Ok(held),
            Some(reason) => Err(*reason),
        }
    }

    /// Sets the flag if no `cancel` has, and turns `reason` into the first one given. Returns whether this call was first, and
    /// the children, which have to be marked in turn.
    pub(super) fn mark(&self, reason: &mut CancelReason) -> (bool, Vec<Arc<Node>>) {
        let held = self.held.lock();
        let first = *self.reason.get_or_init(|| *reason);
        let won = self.state.load(Ordering::Relaxed) < CANCELLED;
        if won {
            // Release pairs with the acquire in `is_cancelled`.
            self.state.store(CANCELLED, Ordering::Release);
        }
        *reason = first;
        // Upgraded under the lock, dropped after it: if the user's last token goes meanwhile, this is the last owner.
        (won, held.links.iter().flat_map(|links| links.children.living()).collect())
    }

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

    pub(super) fn done(self: &Arc<Self>) -> Receiver<Never> {
        self.arm_again();
        match self.lock_if_live() {
            Ok(mut held) => held.links.get_or_insert_default().done.get_or_insert_with(|| bounded(0)).1.clone(),
            Err(_) => bounded(0).1,
        }
    }

    /// Registers a callback; returns its key, or why it is too late.
    pub(super) fn register(self: &Arc<Self>, callback: &Arc<Callback>) -> Result<u64, CancelReason> {
        self.arm_again();
        let mut held = self.lock_if_live()?;
        let links = held.links.get_or_insert_default();
        let key = links.next_callback;
        links.next_callback += 1;
        links.callbacks.insert(key, Arc::clone(callback));
        Ok(key)
    }

    pub(super) fn unregister(&self, key: u64) {
        // Once the node is cancelled the callbacks have been taken away. The handle has the callback too, so that what
        // is dropped here is a count.
        if let Some(links) = &mut self.held.lock().links {
            links.callbacks.remove(&key);
        }
    }

    /// Wakes all who wait for this node, which has been cancelled for `reason`; adds the callbacks that are to be run.
    pub(super) fn wake(&self, reason: CancelReason, calls: &mut Vec<Work>) {
        let (callbacks, rest) = match &mut self.held.lock().links {
            None => Default::default(),
            Some(links) => (mem::take(&mut links.callbacks), (links.done.take(), links.alarm.take())),
        };
        // Outside the lock: the channel, which is disconnected by this, wakes those who select over it.
        drop(rest);
        self.cancelled.notify_all();
        for callback in callbacks.into_values() {
            if callback.wakes {
                // Brigade's own: it panics only if there is a bug, and then the others are to be woken all the same.
                callback.run(reason).unwrap_or_else(panic::discard);
            } else {
                calls.push(Work::Call(callback, reason));
            }
        }
    }
}

/// The flag of a token, to be polled without a call: for one, be it never made, a loop would spill its registers.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a>(pub(super) Option<&'a AtomicU8>);

impl Watch<'_> {
    /// Tells whether it is certain that the token is live.
    // Relaxed: there is nothing to be seen of a token that is.
    #[inline]
    pub(crate) fn is_surely_live(self) -> bool {
        self.0.is_none_or(|state| state.load(Ordering::Relaxed) == LIVE)
    }
}
