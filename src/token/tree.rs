//! The tree of tokens: who is cancelled with whom, and who is told.
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
//!    `cancel` sets the reason under the same lock, so it either finds what was registered or is seen by who registers.
//! 4. No thread holds the locks of two nodes, and nothing of the user's runs or is dropped under one.
//! 5. A swept node has no live descendant. So a losing `cancel` that finds its node swept is done; one that does not goes
//!    over the tree as well.
//! 6. Whoever marked a node wakes those who wait for it, once, when all that it found is marked, and runs its callbacks
//!    when all of them are woken. So a callback that cancels an ancestor does not run those that are to come after it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::Never;
use super::callback::Callback;
use super::clock::{self, Alarm};
use super::family::{Children, Parents};
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
    reason: OnceLock<CancelReason>,
    /// The earliest of its own deadline and those of its ancestors.
    deadline: Option<Instant>,
    pub(super) parents: Parents,
    /// The length of the list of children, for who has no lock.
    pub(super) listed: AtomicUsize,
    /// In a box, made for the first who registers: most nodes live and die without, and a small one is made and dropped
    /// faster (50 ns rather than 80).
    pub(super) links: Mutex<Option<Box<Links>>>,
    cancelled: Condvar,
}

/// Who has to be told of a cancellation, other than by waiting at the node.
#[derive(Default)]
pub(super) struct Links {
    pub(super) children: Children,
    callbacks: BTreeMap<u64, Arc<Callback>>,
    next_callback: u64,
    done: Option<(Sender<Never>, Receiver<Never>)>,
    alarm: Option<Alarm>,
}

impl Node {
    pub(super) fn root() -> Arc<Node> {
        Node::child_of(Parents::None, None)
    }

    /// A node that is cancelled when any of `parents` is, and at `deadline`.
    #[inline]
    pub(super) fn child_of(parents: Parents, deadline: Option<Instant>) -> Arc<Node> {
        let inherited = parents.as_slice().iter().filter_map(|parent| parent.deadline).min();
        // Where the parent's comes first, the parent tells the child.
        let own = deadline.filter(|own| inherited.is_none_or(|inherited| *own < inherited));
        let clockless = parents.as_slice().iter().any(|parent| parent.is_clockless());
        let node = Arc::new(Node {
            state: AtomicU8::new(LIVE),
            reason: OnceLock::new(),
            deadline: own.or(inherited),
            parents,
            listed: AtomicUsize::new(0),
            links: Mutex::new(None),
            cancelled: Condvar::new(),
        });
        if clockless {
            node.state.store(CLOCKLESS, Ordering::Release);
        }
        for parent in node.parents.as_slice() {
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
            (Ok(mut links), Ok(alarm)) => links.get_or_insert_default().alarm.replace(alarm),
            (Ok(_links), Err(_)) => {
                // Nobody has a child of this node yet, which would have to be told.
                self.state.store(CLOCKLESS, Ordering::Release);
                None
            }
            (Err(_), alarm) => alarm.ok(),
        };
    }

    /// Tries again to have the clock watch, for the sake of who is about to wait in a way that does not look at the node.
    fn arm_again(self: &Arc<Self>) {
        if self.is_clockless() {
            if let Some(deadline) = self.deadline {
                if self.lock_if_live().is_ok_and(|links| links.as_ref().is_none_or(|links| links.alarm.is_none())) {
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

    #[inline]
    pub(super) fn reason(self: &Arc<Self>) -> Option<CancelReason> {
        if self.is_cancelled() { self.reason.get().copied() } else { None }
    }

    /// The reason of this node; if an ancestor's `cancel` is about to reach it, when it has.
    pub(super) fn reason_to_come(self: &Arc<Self>) -> Option<CancelReason> {
        let mut above = vec![self];
        // Used from the first node with several parents on: there may be several ways up from there.
        let mut seen = BTreeSet::new();
        while let Some(node) = above.pop() {
            if node.is_cancelled() {
                // It marks all below it before it runs anything of the user's.
                return self.wait(None);
            }
            let parents = node.parents.as_slice();
            let once = parents.len() < 2 && seen.is_empty();
            above.extend(parents.iter().filter(|node| once || seen.insert(Arc::as_ptr(node))));
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Locks the node to register something with it, or returns why it is too late for that.
    pub(super) fn lock_if_live(&self) -> Result<MutexGuard<'_, Option<Box<Links>>>, CancelReason> {
        let links = self.links.lock();
        match self.reason.get() {
            None => Ok(links),
            Some(reason) => Err(*reason),
        }
    }

    /// Sets the flag if nobody has, and turns `reason` into the first one given. Returns whether this call was first, and
    /// the children, which have to be marked in turn.
    fn mark(&self, reason: &mut CancelReason) -> (bool, Vec<Arc<Node>>) {
        let links = self.links.lock();
        let first = *self.reason.get_or_init(|| *reason);
        let won = self.state.load(Ordering::Relaxed) < CANCELLED;
        if won {
            // Release pairs with the acquire in `is_cancelled`.
            self.state.store(CANCELLED, Ordering::Release);
        }
        *reason = first;
        // Upgraded under the lock, dropped after it: if the user's last token goes meanwhile, this is the last owner.
        (won, links.iter().flat_map(|links| links.children.living()).collect())
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
            let Ok(mut links) = self.lock_if_live() else { continue };
            match wake_at {
                None => self.cancelled.wait(&mut links),
                Some(time) => {
                    self.cancelled.wait_until(&mut links, time);
                }
            }
        }
    }

    pub(super) fn done(self: &Arc<Self>) -> Receiver<Never> {
        self.arm_again();
        match self.lock_if_live() {
            Ok(mut links) => links.get_or_insert_default().done.get_or_insert_with(|| bounded(0)).1.clone(),
            Err(_) => bounded(0).1,
        }
    }

    /// Registers a callback; returns its key, or why it is too late.
    pub(super) fn register(self: &Arc<Self>, callback: &Arc<Callback>) -> Result<u64, CancelReason> {
        self.arm_again();
        let mut links = self.lock_if_live()?;
        let links = links.get_or_insert_default();
        let key = links.next_callback;
        links.next_callback += 1;
        links.callbacks.insert(key, Arc::clone(callback));
        Ok(key)
    }

    pub(super) fn unregister(&self, key: u64) {
        // Once the node is cancelled the callbacks have been taken away. The handle has the callback too, so that what
        // is dropped here is a count.
        if let Some(links) = &mut *self.links.lock() {
            links.callbacks.remove(&key);
        }
    }

    /// Wakes everybody who waits for this node; returns the callbacks that are to be run.
    fn wake(&self) -> impl Iterator<Item = Arc<Callback>> + use<> {
        let (callbacks, rest) = match &mut *self.links.lock() {
            None => Default::default(),
            Some(links) => (mem::take(&mut links.callbacks), (links.done.take(), links.alarm.take())),
        };
        // Outside the lock: the channel, which is disconnected by this, wakes those who select over it.
        drop(rest);
        self.cancelled.notify_all();
        callbacks.into_values()
    }
}

/// Cancels `node` and its descendants; returns whether this call was the first for `node`.
///
/// # Panics
///
/// Resumes the first panic of a callback, when everybody has been told.
pub(super) fn cancel(node: &Arc<Node>, reason: CancelReason) -> bool {
    if node.state.load(Ordering::Acquire) == SWEPT {
        return false;
    }

    // First every flag, then every waiter: nobody who is woken finds a descendant live. This node is kept apart from those
    // below, since most often there are none, and whoever waits for it is then woken sooner.
    let mut reason = reason;
    let (won, children) = node.mark(&mut reason);
    let below = mark_below(children, reason);
    // Release pairs with the acquire of who looks: a losing `cancel` that sees it finds every descendant marked.
    node.state.store(SWEPT, Ordering::Release);
    for found in &below {
        found.node.state.store(SWEPT, Ordering::Release);
    }

    let first = won.then(|| node.wake()).into_iter().flatten();
    let mut callbacks = Vec::new();
    for found in below.into_iter().filter(|found| found.won) {
        callbacks.extend(found.node.wake().map(|callback| (callback, found.reason)));
    }
    // Last of all, since a callback may take its time.
    let mut first_panic = None;
    for (callback, reason) in first.map(|callback| (callback, reason)).chain(callbacks) {
        match callback.run(reason) {
            Err(payload) if first_panic.is_none() => first_panic = Some(payload),
            Err(payload) => panic::discard(payload),
            Ok(()) => {}
        }
    }
    if let Some(payload) = first_panic {
        panic::resume(payload);
    }
    won
}

/// Marks the nodes, which are given `reason`, and all their descendants, level by level.
fn mark_below(nodes: Vec<Arc<Node>>, reason: CancelReason) -> Vec<Found> {
    let mut all = Vec::new();
    // Only a node with several parents can be come upon more than once. What is in here is in `all` too, so that its
    // address is not used again.
    let mut seen = BTreeSet::new();
    let mut add = |all: &mut Vec<Found>, nodes: Vec<Arc<Node>>, reason| {
        all.extend(nodes.into_iter().filter_map(|node| {
            let swept = node.state.load(Ordering::Acquire) == SWEPT;
            let known = swept || matches!(node.parents, Parents::Several(_)) && !seen.insert(Arc::as_ptr(&node));
            (!known).then_some(Found { node, reason, won: false })
        }));
    };
    add(&mut all, nodes, reason);
    let mut next = 0;
    while let Some(found) = all.get_mut(next) {
        next += 1;
        let (won, children) = found.node.mark(&mut found.reason);
        found.won = won;
        let reason = found.reason;
        add(&mut all, children, reason);
    }
    all
}

/// A node that a `cancel` has come upon.
struct Found {
    node: Arc<Node>,
    /// The one it was given, or had.
    reason: CancelReason,
    /// This `cancel` marked it.
    won: bool,
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
