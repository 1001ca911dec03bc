//! [`Rate`], [`RateLimiter`] and [`Denied`]: at most so many a second.

use std::fmt;
use std::time::Duration;

use super::bucket::Bucket;
use super::error::AcquireError;
use super::pace::{Epoch, Pace};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// How many permits a [`RateLimiter`] admits in a time, and how many of them at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::limit::Rate;
///
/// // A hundred a second, evenly; or after a pause, ten at once.
/// let rate = Rate::per_second(100).burst(10);
/// assert_eq!(rate, Rate::every(Duration::from_millis(10)).burst(10));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "a rate is a setting of a limiter"]
pub struct Rate {
    pace: Pace,
}

impl Rate {
    /// Admits `permits` permits a second, evenly.
    ///
    /// The interval between two permits is rounded up to a sixteenth of a nanosecond.
    ///
    /// # Panics
    ///
    /// If `permits` is 0, because such a limiter would admit no caller.
    pub const fn per_second(permits: u64) -> Self {
        assert!(permits > 0, "a rate of 0 permits a second admits no caller");
        Rate::of(Pace::new(permits, Duration::from_secs(1)))
    }

    /// Admits `permits` permits a minute, evenly.
    ///
    /// # Panics
    ///
    /// If `permits` is 0.
    pub const fn per_minute(permits: u64) -> Self {
        assert!(permits > 0, "a rate of 0 permits a minute admits no caller");
        Rate::of(Pace::new(permits, Duration::from_secs(60)))
    }

    /// Admits a permit in every `interval`.
    ///
    /// # Panics
    ///
    /// If `interval` is zero, or more than nine years.
    pub const fn every(interval: Duration) -> Self {
        assert!(!interval.is_zero(), "an interval of zero is no limit");
        Rate::of(Pace::new(1, interval))
    }

    const fn of(pace: Option<Pace>) -> Self {
        match pace {
            Some(pace) => Rate { pace },
            None => panic!("the interval of a rate is more than nine years"),
        }
    }

    /// Admits up to `burst` permits at once, if as many were not used before; 1 by default.
    ///
    /// It is also the most that one caller can ask for. In any time of length t, at most t times the rate, plus the
    /// burst, are admitted.
    ///
    /// # Panics
    ///
    /// If `burst` is 0, or takes more than nine years to be saved up.
    pub const fn burst(self, burst: u32) -> Self {
        assert!(burst > 0, "a burst of 0 permits admits no caller");
        match self.pace.with_burst(burst) {
            Some(pace) => Rate { pace },
            None => panic!("the burst of a rate takes more than nine years to be saved up"),
        }
    }

    pub(super) fn pace(self) -> Pace {
        self.pace
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").field("interval", &self.pace.interval()).field("burst", &self.pace.burst()).finish()
    }
}

/// The answer of [`RateLimiter::try_acquire`] to a caller for whom there is no permit yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate is used up: try again in {retry_after:?}")]
pub struct Denied {
    /// How long it takes from now until there is one, if no other caller comes.
    pub retry_after: Duration,
}

/// Admits callers at a rate.
///
/// It is a token bucket, which starts full. A caller that has to wait gets its place in the schedule when it comes, and
/// sleeps until then: callers are admitted in the order in which they came, and none of them wakes another.
///
/// # Exactness
///
/// The schedule is exact: in any time of length t it never has more than t times the rate, plus the
/// [burst](Rate::burst). What a caller sees comes later, by the time that the system takes to wake it, some 0.1 ms. The
/// rate is still reached if `callers * burst` permits cover that time. So for 100,000 a second let the burst be 100,
/// which is 1 ms.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use brigade::limit::{Rate, RateLimiter};
/// use brigade::CancellationToken;
///
/// let token = CancellationToken::new();
/// let requests = RateLimiter::new(Rate::per_second(1_000).burst(5));
/// let start = Instant::now();
/// for _ in 0..15 {
///     requests.acquire(&token)?;
/// }
/// // Five at once, and ten more a millisecond apart.
/// assert!(start.elapsed() >= Duration::from_millis(10));
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub struct RateLimiter {
    rate: Rate,
    epoch: Epoch,
    bucket: Bucket,
}

impl RateLimiter {
    /// Creates a limiter whose whole burst is free.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        RateLimiter { rate, epoch: Epoch::new(), bucket: Bucket::default() }
    }

    /// Waits for a permit.
    ///
    /// # Cancellation
    ///
    /// Fails when the token is cancelled, even if there is a permit. The callers that have come later then move up.
    ///
    /// # Errors
    ///
    /// [`Cancelled`].
    #[inline]
    pub fn acquire(&self, token: &CancellationToken) -> Result<(), Cancelled> {
        self.take(token, 1)
    }

    /// Waits for `permits` permits, which are admitted together.
    ///
    /// Use it to limit bytes or other things that come in unlike portions. A call for none is admitted with the next.
    ///
    /// # Cancellation
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// [`Cancelled`](AcquireError::Cancelled), or [`TooMany`](AcquireError::TooMany) if `permits` is more than the
    /// burst. There are no other errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::limit::{AcquireError, Rate, RateLimiter};
    /// use brigade::CancellationToken;
    ///
    /// let bytes = RateLimiter::new(Rate::per_second(1 << 20).burst(4096));
    /// bytes.acquire_many(&CancellationToken::new(), 4096)?;
    /// let error = bytes.acquire_many(&CancellationToken::new(), 4097).unwrap_err();
    /// assert_eq!(error, AcquireError::TooMany { asked: 4097, size: 4096 });
    /// # Ok::<(), AcquireError>(())
    /// ```
    pub fn acquire_many(&self, token: &CancellationToken, permits: u32) -> Result<(), AcquireError> {
        token.check()?;
        let burst = self.rate.pace.burst();
        if permits > burst {
            return Err(AcquireError::TooMany { asked: permits as usize, size: burst as usize });
        }
        Ok(self.take(token, permits)?)
    }

    /// Takes a permit if there is one, and does not look at a token.
    ///
    /// # Errors
    ///
    /// [`Denied`], with the time after which it is worth to try again. A caller that waits is not passed over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::limit::{Rate, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Rate::per_minute(1));
    /// assert!(limiter.try_acquire().is_ok());
    /// let denied = limiter.try_acquire().unwrap_err();
    /// assert!(denied.retry_after > Duration::from_secs(59));
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Denied> {
        let now = self.epoch.now();
        self.bucket.try_take(self.rate.pace, now, 1).map_err(|wait| Denied { retry_after: wait.after(now) })
    }

    /// Returns the rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    #[inline]
    fn take(&self, token: &CancellationToken, permits: u32) -> Result<(), Cancelled> {
        token.check()?;
        let pace = self.rate.pace;
        match self.bucket.take_or_queue(pace, self.epoch.now(), permits) {
            None => Ok(()),
            Some(event) => self.bucket.wait(token, pace, self.epoch, &event),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}
