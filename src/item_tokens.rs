//! [`ItemTokens`]: the tokens that closures have asked for, each of consecutive items in a thread's hands.
//!
//! A token is cancelled as soon as the outcomes of its items are not wanted any more. It is a child of the token that
//! the run was given, so a cancellation of that reaches it by itself; all else calls [`ItemTokens::cancel_from`].
//!
//! Invariant: a thread that voids items sets the mark first, then looks for tokens. A thread that asks adds its token
//! first, then looks at the mark. So one of the two cancels it. The mark is set and read so that one total order has
//! it and `any`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::CancelReason;
use crate::panic;
use crate::token::CancellationToken;

/// Those of a run.
#[derive(Debug)]
pub(crate) struct ItemTokens {
    /// The token that the run was given.
    root: CancellationToken,
    /// Whether any was asked for.
    any: AtomicBool,
    /// Whether a failure, and not the end of the run, was the first to void items.
    has_failed: AtomicBool,
    /// By section and first item.
    given: Mutex<BTreeMap<(usize, u64), CancellationToken>>,
}

impl ItemTokens {
    pub(crate) fn new(root: &CancellationToken) -> Self {
        ItemTokens {
            root: root.clone(),
            any: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            given: Mutex::default(),
        }
    }

    /// Makes a token for consecutive items of a section, of which `first` is the first. `is_void` tells whether they
    /// are void already.
    #[cold]
    pub(crate) fn give(&self, section: usize, first: u64, is_void: impl FnOnce() -> bool) -> CancellationToken {
        let token = self.root.child_token();
        self.any.store(true, Ordering::SeqCst);
        self.given.lock().insert((section, first), token.clone());
        if is_void() {
            let has_failed = self.has_failed.load(Ordering::SeqCst);
            token.cancel_with(if has_failed { CancelReason::Failed } else { CancelReason::Finished });
        }
        token
    }

    /// An item has failed, and is about to void others.
    pub(crate) fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    /// The items are done.
    pub(crate) fn forget(&self, section: usize, first: u64) {
        self.given.lock().remove(&(section, first));
    }

    /// Cancels the tokens of the items of a section from `item` on, and all of the sections before it.
    pub(crate) fn cancel_from(&self, section: usize, item: u64, reason: CancelReason) {
        // SeqCst, as the store in `give` and the mark: the one is seen or the other.
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
            if let Err(payload) = panic::catch(|| token.cancel_with(reason)) {
                panic::discard(payload);
            }
        }
    }
}
