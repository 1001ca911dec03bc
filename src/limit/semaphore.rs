//! [`Semaphore`]: at most so many at once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{AcquireError, TryAcquireError};
use super::permit::{OwnedPermit, Permit};
use super::permits::{MOST, Permits};
use crate::token::CancellationToken;

/// A number of permits, which callers acquire, hold and give back.
///
/// Use it to bound how many tasks do a thing at once, or how much memory they hold: a caller acquires as many permits
/// as its share is large.
///
/// # Order
///
/// Callers that wait are served in the order in which they came, however much they ask for. A caller that comes later
/// and finds its permits free may pass them over, until the first of them has waited for 1 ms; from then on all
/// newcomers queue. (If the first one is just being woken, the time until it runs comes on top.) So no caller starves,
/// and a thread that acquires and releases in a loop need not wait for another one to wake up each time.
///
/// # Deadlocks
///
/// A caller that holds permits and waits for more of the same semaphore may wait for ever, as with any lock: acquire
/// all at once. The module has a warning about [rayon's threads](super#waiting-in-rayons-jobs).
///
/// # Costs
///
/// To acquire and to give back takes two atomic operations while permits are free.
///
/// # Examples
///
/// At most two files are open at once, on however many threads:
///
/// ```
/// use brigade::{CancellationToken, Semaphore, scope};
///
/// let files = Semaphore::new(2);
/// let sizes = scope(&CancellationToken::new(), |s| {
///     let tasks = ["Cargo.toml", "README.md", "CHANGELOG.md"].map(|name| {
///         let files = &files;
///         s.spawn(move |s| {
///             let _permit = files.acquire(s.token(), 1)?;
///             Ok(std::fs::read(name)?.len())
///         })
///     });
///     tasks.into_iter().map(|task| Ok::<_, anyhow::Error>(task?.join()?)).collect::<Result<Vec<_>, _>>()
/// })?;
/// assert!(sizes.iter().all(|size| *size > 0));
/// assert_eq!(files.available(), 2);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct Semaphore {
    permits: Arc<Permits>,
}

impl Semaphore {
    /// The most permits that a semaphore can have: 2^61 - 1 on machines of 64 bits.
    pub const MAX_PERMITS: usize = MOST;

    /// Creates a semaphore of `permits` permits, all of them free.
    ///
    /// # Panics
    ///
    /// If `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Semaphore { permits: Arc::new(Permits::new(permits)) }
    }

    /// Waits for `permits` permits, and takes them all at once.
    ///
    /// A call that asks for none succeeds at once, unless it fails.
    ///
    /// # Cancellation
    ///
    /// Fails when the token is cancelled, even if permits are free. A caller that gives up waiting makes room for those
    /// behind it.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](AcquireError::Cancelled); [`Closed`](AcquireError::Closed) if the semaphore is closed before the
    /// call or during the wait; [`TooMany`](AcquireError::TooMany) if it has fewer permits in all, or is made so small
    /// during the wait.
    #[inline]
    pub fn acquire(&self, token: &CancellationToken, permits: usize) -> Result<Permit<'_>, AcquireError> {
        self.permits.acquire(token, permits, || None)?;
        Ok(Permit::new(&self.permits, permits))
    }

    /// Takes `permits` permits if they are free, and does not look at a token.
    ///
    /// # Errors
    ///
    /// [`NoPermits`](TryAcquireError::NoPermits) if they are not free, or a caller has waited for 1 ms and is next;
    /// [`Closed`](TryAcquireError::Closed); [`TooMany`](TryAcquireError::TooMany) if they never will be.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Semaphore;
    /// use brigade::limit::TryAcquireError;
    ///
    /// let semaphore = Semaphore::new(1);
    /// let permit = semaphore.try_acquire(1)?;
    /// assert_eq!(semaphore.try_acquire(1).unwrap_err(), TryAcquireError::NoPermits);
    /// drop(permit);
    /// assert!(semaphore.try_acquire(1).is_ok());
    /// # Ok::<(), TryAcquireError>(())
    /// ```
    #[inline]
    pub fn try_acquire(&self, permits: usize) -> Result<Permit<'_>, TryAcquireError> {
        self.permits.try_acquire(permits)?;
        Ok(Permit::new(&self.permits, permits))
    }

    /// Waits for `permits` permits, up to `timeout`.
    ///
    /// A timeout too long for the clock to hold is no timeout. With a timeout of zero this call does not wait, but
    /// looks at the token.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), or [`Timeout`](AcquireError::Timeout). A cancel at the same time wins.
    #[inline]
    pub fn acquire_timeout(
        &self,
        token: &CancellationToken,
        permits: usize,
        timeout: Duration,
    ) -> Result<Permit<'_>, AcquireError> {
        self.permits.acquire(token, permits, || Instant::now().checked_add(timeout))?;
        Ok(Permit::new(&self.permits, permits))
    }

    /// Waits for `permits` permits, up to `deadline`.
    ///
    /// # Errors
    ///
    /// Those of [`acquire_timeout`](Self::acquire_timeout).
    #[inline]
    pub fn acquire_deadline(
        &self,
        token: &CancellationToken,
        permits: usize,
        deadline: Instant,
    ) -> Result<Permit<'_>, AcquireError> {
        self.permits.acquire(token, permits, || Some(deadline))?;
        Ok(Permit::new(&self.permits, permits))
    }

    /// Waits like [`acquire`](Self::acquire), and gives permits that do not borrow the semaphore.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// A buffer that counts against a budget as long as it lives, in whatever queue it waits:
    ///
    /// ```
    /// use brigade::limit::{AcquireError, OwnedPermit};
    /// use brigade::{CancellationToken, Semaphore};
    ///
    /// struct Buffer {
    ///     bytes: Vec<u8>,
    ///     _share: OwnedPermit,
    /// }
    ///
    /// fn read(token: &CancellationToken, budget: &Semaphore, bytes: &[u8]) -> Result<Buffer, AcquireError> {
    ///     let share = budget.acquire_owned(token, bytes.len())?;
    ///     Ok(Buffer { bytes: bytes.to_vec(), _share: share })
    /// }
    ///
    /// let budget = Semaphore::new(1 << 20);
    /// let buffer = read(&CancellationToken::new(), &budget, b"some bytes")?;
    /// assert_eq!(budget.available(), budget.size() - buffer.bytes.len());
    /// drop(buffer);
    /// assert_eq!(budget.available(), budget.size());
    /// # Ok::<(), AcquireError>(())
    /// ```
    pub fn acquire_owned(&self, token: &CancellationToken, permits: usize) -> Result<OwnedPermit, AcquireError> {
        self.permits.acquire(token, permits, || None)?;
        Ok(OwnedPermit::new(Arc::clone(&self.permits), permits))
    }

    /// Takes permits like [`try_acquire`](Self::try_acquire), which do not borrow the semaphore.
    ///
    /// # Errors
    ///
    /// Those of [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self, permits: usize) -> Result<OwnedPermit, TryAcquireError> {
        self.permits.try_acquire(permits)?;
        Ok(OwnedPermit::new(Arc::clone(&self.permits), permits))
    }

    /// Returns how many permits are free at this moment; another thread may take them before the caller looks.
    #[must_use]
    pub fn available(&self) -> usize {
        self.permits.free()
    }

    /// Returns how many permits there are, free and held.
    ///
    /// If the semaphore was made smaller, and permits beyond the new size are still held, it is the new size.
    #[must_use]
    pub fn size(&self) -> usize {
        self.permits.size()
    }

    /// Sets how many permits there are.
    ///
    /// A larger semaphore serves callers that wait at once. A smaller one takes permits away as they are free and as
    /// they are given back; holders keep theirs. A caller that waits for more than the new size gets
    /// [`TooMany`](AcquireError::TooMany).
    ///
    /// # Panics
    ///
    /// If `size` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// let permit = semaphore.try_acquire(3)?;
    /// semaphore.resize(1);
    /// assert_eq!((semaphore.size(), semaphore.available()), (1, 0));
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), brigade::limit::TryAcquireError>(())
    /// ```
    pub fn resize(&self, size: usize) {
        self.permits.resize(size);
    }

    /// Closes the semaphore: callers that wait and all later calls fail with [`Closed`](AcquireError::Closed).
    ///
    /// Permits that are held stay valid. A semaphore cannot be opened again.
    pub fn close(&self) {
        self.permits.close();
    }

    /// Tells whether the semaphore is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("size", &self.size())
            .field("closed", &self.is_closed())
            .finish()
    }
}
