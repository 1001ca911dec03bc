//! [`DropGuard`]: cancels its token unless it is disarmed.

use super::CancellationToken;
use crate::error::CancelReason;
use crate::panic;

/// A guard that cancels its token when it is dropped.
///
/// [`CancellationToken::drop_guard`] makes it.
///
/// If a panic drops the guard and a callback of the token panics too, the callback's panic is dropped, because a second
/// panic would abort the process.
#[must_use = "dropping the guard cancels the token"]
#[derive(Debug)]
pub struct DropGuard {
    token: Option<CancellationToken>,
}

impl CancellationToken {
    /// Returns a guard that cancels this token when it is dropped, with the reason [`Dropped`](CancelReason::Dropped).
    ///
    /// It keeps helper threads from outliving an early return or a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancelReason, CancellationToken};
    ///
    /// let token = CancellationToken::new();
    /// {
    ///     let _guard = token.drop_guard();
    /// }
    /// assert_eq!(token.reason(), Some(CancelReason::Dropped));
    /// ```
    pub fn drop_guard(&self) -> DropGuard {
        DropGuard { token: Some(self.clone()) }
    }
}

impl DropGuard {
    /// Gives up the guard without cancelling, and returns its token.
    ///
    /// # Examples
    ///
    /// ```
    /// let token = brigade::CancellationToken::new();
    /// let guard = token.drop_guard();
    /// guard.disarm();
    /// assert!(!token.is_cancelled());
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "the token is taken by this method and by drop only")]
    pub fn disarm(mut self) -> CancellationToken {
        self.token.take().expect("a guard holds its token until it is disarmed")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        if std::thread::panicking() {
            if let Err(second) = panic::catch(|| token.cancel_with(CancelReason::Dropped)) {
                panic::discard(second);
            }
        } else {
            token.cancel_with(CancelReason::Dropped);
        }
    }
}
