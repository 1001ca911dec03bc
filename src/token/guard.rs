//! [`DropGuard`]: cancels its token unless it is disarmed.

use super::CancellationToken;
use crate::error::CancelReason;
use crate::panic;

/// Cancels its token when dropped. Made by [`CancellationToken::drop_guard`].
///
/// If it is dropped by a panic and a callback of the token panics too, the callback's panic is dropped: a second one
/// would abort the process.
#[must_use = "dropping the guard cancels the token"]
#[derive(Debug)]
pub struct DropGuard {
    token: Option<CancellationToken>,
}

impl DropGuard {
    pub(super) fn new(token: CancellationToken) -> Self {
        DropGuard { token: Some(token) }
    }

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
