//! Cancelling: a node and its descendants are marked, then the waiters are woken, then the callbacks run.
//!
//! [`tell`] does the first two and runs no user code. [`Told::finish`] does the third, perhaps on another thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::callback::Callback;
use super::nest::{self, Work};
use super::tree::Node;
use crate::error::CancelReason;
use crate::panic;

/// Cancels `node` and its descendants; returns whether this call was the first for `node`.
///
/// # Panics
///
/// Resumes the first panic of a callback, when all are told.
pub(super) fn cancel(node: &Arc<Node>, reason: CancelReason) -> bool {
    tell(node, reason).finish()
}

/// What a `cancel` has left to do when all nodes are marked and all waiters are woken: the work that runs user code.
#[must_use = "it holds callbacks that are to be run"]
#[derive(Default)]
pub(super) struct Told {
    won: bool,
    calls: Vec<Work>,
    /// Callbacks that nothing will call, of nodes that were last owned by this `cancel`.
    lost: Vec<Arc<Callback>>,
}

impl Told {
    /// Tells whether no user code is left to run.
    pub(super) fn is_over(&self) -> bool {
        self.calls.is_empty() && self.lost.is_empty()
    }

    /// Drops a node, but keeps what is the user's, in case this is its last owner.
    pub(super) fn let_go(&mut self, node: Arc<Node>) {
        if let Some(mut last) = Arc::into_inner(node) {
            self.lost.append(&mut last.take_apart());
        }
    }

    /// Runs the callbacks; returns whether the `cancel` was the first for its node.
    pub(super) fn finish(self) -> bool {
        if !self.is_over() {
            match nest::run(self.calls) {
                None => nest::drop_all(self.lost),
                Some(first) => {
                    panic::discard_all(self.lost);
                    panic::resume(first);
                }
            }
        }
        self.won
    }
}

/// Marks `node` and its descendants as cancelled, and wakes all who wait for them.
pub(super) fn tell(node: &Arc<Node>, reason: CancelReason) -> Told {
    let mut told = Told::default();
    if node.is_swept() {
        return told;
    }

    // First every flag, then every waiter: no waiter that is woken finds a descendant live. This node is kept apart from
    // its descendants: most often there are none, and those who wait for it are then woken sooner.
    let mut reason = reason;
    let (won, children) = node.mark(&mut reason);
    told.won = won;
    let below = mark_below(children, reason, &mut told);
    node.set_swept();
    for found in &below {
        found.node.set_swept();
    }

    if won {
        node.wake(reason, &mut told.calls);
    }
    for found in below.iter().filter(|found| found.won) {
        found.node.wake(found.reason, &mut told.calls);
    }
    for found in below {
        told.let_go(found.node);
    }
    told
}

/// Marks the nodes, which are given `reason`, and all their descendants, level by level.
fn mark_below(nodes: Vec<Arc<Node>>, reason: CancelReason, told: &mut Told) -> Vec<Found> {
    let mut all = Vec::new();
    // Only a node with several ways to it can be come upon more than once. What is in here is in `all` too, so that its
    // address is not used again.
    let mut seen = BTreeSet::new();
    let mut add = |all: &mut Vec<Found>, nodes: Vec<Arc<Node>>, reason| {
        for node in nodes {
            // Relaxed: a node that was listed a second time was flagged before, and the list's lock shows it.
            let several_ways = node.several_ways.load(Ordering::Relaxed);
            if node.is_swept() || several_ways && !seen.insert(Arc::as_ptr(&node)) {
                told.let_go(node);
            } else {
                all.push(Found { node, reason, won: false });
            }
        }
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
