//! [`Tokens`]: the tokens that stages have asked for, each of a batch in a member's hands.
//!
//! A token is cancelled as soon as the outcomes of the batch's items are void. It is a child of the token that the run
//! was given, so a cancellation of that reaches it by itself; all else that voids items calls [`Tokens::cancel_from`].
//!
//! Invariant: a thread that voids items sets the mark first, then looks for tokens. A member adds a token first, then
//! looks at the mark. So one of the two cancels it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::signal::Marks;
use crate::panic;
use crate::token::CancellationToken;

/// Those of a run.
#[derive(Debug)]
pub(in super::super) struct Tokens {
    /// The token that the run was given.
    root: CancellationToken,
    /// Whether any was asked for.
    any: AtomicBool,
    /// By section and first item.
    given: Mutex<BTreeMap<(usize, u64), CancellationToken>>,
}

impl Tokens {
    pub(super) fn new(root: &CancellationToken) -> Self {
        Tokens { root: root.clone(), any: AtomicBool::new(false), given: Mutex::default() }
    }

    /// Makes a token for the batch of a section that begins with the item `first`.
    #[cold]
    pub(super) fn give(&self, section: usize, first: u64, marks: &Marks) -> CancellationToken {
        let token = self.root.child_token();
        self.any.store(true, Ordering::SeqCst);
        self.given.lock().insert((section, first), token.clone());
        if marks.is_void(first) {
            token.cancel();
        }
        token
    }

    /// The batch is done.
    pub(super) fn forget(&self, section: usize, first: u64) {
        self.given.lock().remove(&(section, first));
    }

    /// Cancels the tokens of the items of a section from `item` on, and all of the sections before it.
    pub(super) fn cancel_from(&self, section: usize, item: u64) {
        // SeqCst, as the store in `give`, and so is the mark by the lock of the events: the one is seen or the other.
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let void: Vec<_> = {
            let given = self.given.lock();
            let before = given.range(..(section, 0));
            let own = given.range((section, item)..=(section, u64::MAX));
            before.chain(own).map(|(_, token)| token.clone()).collect()
        };
        for token in void {
            // A panic of a callback of the user's is no failure of an item.
            if let Err(payload) = panic::catch(|| token.cancel()) {
                panic::discard(payload);
            }
        }
    }
}
