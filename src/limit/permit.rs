//! [`Permit`] and [`OwnedPermit`]: permits of a semaphore, which their drop gives back.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::permits::Permits;

/// Permits of a [`Semaphore`](super::Semaphore), which borrow it: dropping them gives them back.
///
/// [`Semaphore::acquire`](super::Semaphore::acquire) and its kind make it. A panic drops it too, so no permit is lost.
/// A permit that is leaked, by [`mem::forget`] say, is never given back.
#[must_use = "dropping it gives the permits back"]
pub struct Permit<'a> {
    of: &'a Permits,
    permits: usize,
}

/// Permits of a [`Semaphore`](super::Semaphore) that can be sent anywhere and outlive it: dropping them gives them
/// back.
///
/// [`Semaphore::acquire_owned`](super::Semaphore::acquire_owned) and its kind make it. In all else it is a [`Permit`].
#[must_use = "dropping it gives the permits back"]
pub struct OwnedPermit {
    of: Arc<Permits>,
    permits: usize,
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn new(of: &'a Permits, permits: usize) -> Self {
        Permit { of, permits }
    }

    /// Returns how many permits this is.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Splits `permits` off, to be given back apart from the others, or returns `None` if there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Semaphore};
    ///
    /// let bytes = Semaphore::new(100);
    /// let mut whole = bytes.acquire(&CancellationToken::new(), 100)?;
    /// // The half that has been written is given back, and the other half kept.
    /// drop(whole.split(50));
    /// assert_eq!((whole.permits(), bytes.available()), (50, 50));
    /// # Ok::<(), brigade::limit::AcquireError>(())
    /// ```
    pub fn split(&mut self, permits: usize) -> Option<Permit<'a>> {
        self.permits = self.permits.checked_sub(permits)?;
        Some(Permit { of: self.of, permits })
    }

    /// Takes the permits out of the semaphore for good: its [size](super::Semaphore::size) shrinks by as many.
    ///
    /// It is as if the semaphore were [made smaller](super::Semaphore::resize), with what that means for callers that
    /// wait for more.
    pub fn forget(mut self) {
        self.of.forget(mem::take(&mut self.permits));
    }
}

impl OwnedPermit {
    pub(super) fn new(of: Arc<Permits>, permits: usize) -> Self {
        OwnedPermit { of, permits }
    }

    /// Returns how many permits this is.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Splits `permits` off, as [`Permit::split`] does.
    pub fn split(&mut self, permits: usize) -> Option<OwnedPermit> {
        self.permits = self.permits.checked_sub(permits)?;
        Some(OwnedPermit { of: Arc::clone(&self.of), permits })
    }

    /// Takes the permits out of the semaphore for good, as [`Permit::forget`] does.
    pub fn forget(mut self) {
        self.of.forget(mem::take(&mut self.permits));
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.of.release(self.permits);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.of.release(self.permits);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("permits", &self.permits).finish_non_exhaustive()
    }
}
