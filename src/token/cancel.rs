//! Cancelling: a node and its descendants are marked, then the waiters are woken, then the callbacks run.
//!
//! A waiter is a thread that waits at a node, at the channel of its `done`, which is disconnected, or at an event that
//! observes it; see [`Node::wake`].
//!
//! [`mark_and_wake`] does the first two, and runs no user code. [`Callbacks::run`] does the third, perhaps on another
//! thread.
//!
//! **One `cancel` a node.** The `cancel` that marked a node wakes its waiters and runs its callbacks. So a callback may
//! cancel an ancestor (each child that fails cancels its group, say) without running its siblings' callbacks inside its
//! own; 100,000 of them once overran the stack. A losing `cancel` waits for flags, not for callbacks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::call::Call;
use super::clock::{Timed, UserCode};
use super::nest;
use super::node::Node;
use crate::error::CancelReason;
use crate::panic;

/// Cancels `node` and its descendants; returns whether this call was the first for `node`.
///
/// # Panics
///
/// Resumes the first panic of a callback, when all callbacks have run.
pub(super) fn cancel(node: &Arc<Node>, reason: CancelReason) -> bool {
    mark_and_wake(node, reason).run()
}

/// The user code that a `cancel` has still to run when all nodes are marked and all waiters are woken.
#[must_use = "it holds callbacks that are to be run"]
#[derive(Default)]
pub(super) struct Callbacks {
    /// This `cancel` was the first for its node.
    won: bool,
    calls: Vec<(Arc<Call>, CancelReason)>,
    /// Callbacks that will never run, of nodes whose last owner was this `cancel`.
    lost: Vec<Arc<Call>>,
}

impl Callbacks {
    /// Tells whether there is no user code to run.
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.lost.is_empty()
    }

    /// Drops a node, but keeps its callbacks if this is its last owner.
    fn let_go(&mut self, node: Arc<Node>) {
        if let Some(mut last) = Arc::into_inner(node) {
            self.lost.append(&mut last.take_apart());
        }
    }

    /// Runs the callbacks; returns whether the `cancel` was the first for its node.
    fn run(self) -> bool {
        if !self.is_empty() {
            match nest::run(self.calls.into_iter().map(|(call, reason)| move || call.run(reason))) {
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

impl Timed for Node {
    fn ring(self: Arc<Self>) -> Option<UserCode> {
        let mut callbacks = mark_and_wake(&self, CancelReason::Deadline);
        callbacks.let_go(self);
        if callbacks.is_empty() { None } else { Some(Box::new(move || _ = callbacks.run())) }
    }
}

/// Marks `node` and its descendants as cancelled, and wakes all their waiters.
fn mark_and_wake(node: &Arc<Node>, reason: CancelReason) -> Callbacks {
    let mut callbacks = Callbacks::default();
    if node.is_swept() {
        return callbacks;
    }

    // First every flag, then every waiter: no waiter that is woken finds a descendant live. This node is kept apart
    // from its descendants, because most often there are none, and its waiters are then woken sooner.
    let mut reason = reason;
    let (won, children) = node.mark(&mut reason);
    callbacks.won = won;
    let descendants = mark_descendants(children, reason, &mut callbacks);
    node.set_swept();
    for found in &descendants {
        found.node.set_swept();
    }

    if won {
        node.wake(reason, &mut callbacks.calls);
    }
    for found in descendants.iter().filter(|found| found.won) {
        found.node.wake(found.reason, &mut callbacks.calls);
    }
    for found in descendants {
        callbacks.let_go(found.node);
    }
    callbacks
}

/// Marks the children, which are given `reason`, and all their descendants, level by level.
fn mark_descendants(children: Vec<Arc<Node>>, reason: CancelReason, callbacks: &mut Callbacks) -> Vec<Found> {
    let mut all = Vec::new();
    // Only a node with several ways to it can be found more than once. Without this set a diamond on a diamond would be
    // walked along every path. Each node in the set is in `all` too, so that its address is not used again.
    let mut seen = BTreeSet::new();
    let mut add = |all: &mut Vec<Found>, nodes: Vec<Arc<Node>>, reason| {
        for node in nodes {
            // Relaxed: a node that was listed a second time was flagged before, and the list's lock shows it.
            let several_ways = node.several_ways.load(Ordering::Relaxed);
            if node.is_swept() || several_ways && !seen.insert(Arc::as_ptr(&node)) {
                callbacks.let_go(node);
            } else {
                all.push(Found { node, reason, won: false });
            }
        }
    };
    add(&mut all, children, reason);
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

/// A descendant that a `cancel` has found.
struct Found {
    node: Arc<Node>,
    /// The reason that it was given, or that it had before.
    reason: CancelReason,
    /// This `cancel` marked it.
    won: bool,
}
