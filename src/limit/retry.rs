//! [`Retry`]: a closure that is run again until it works.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cancelled, FromError};
use crate::failure::{Failure, Panic};
use crate::panic;
use crate::token::CancellationToken;

/// Runs a fallible closure again if it fails, with a pause before each new attempt.
///
/// The pauses double, from the first up to the longest: by default from 10 ms to 1 s. Each is shortened by chance, by
/// up to a half, so that callers that failed together do not come back together.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::CancellationToken;
/// use brigade::limit::Retry;
///
/// let mut attempts = 0;
/// let value = Retry::new(5).backoff(Duration::from_millis(1), Duration::from_millis(8)).run(
///     &CancellationToken::new(),
///     || {
///         attempts += 1;
///         anyhow::ensure!(attempts == 3, "busy");
///         Ok(attempts)
///     },
/// )?;
/// assert_eq!(value, 3);
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// Components that are started again when they fail, each at a pace of its own. One that fails for good is listed, and
/// does not disturb the others:
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use brigade::limit::Retry;
/// use brigade::{CancellationToken, ScopeBuilder};
///
/// let restart = Retry::new(4).backoff(Duration::from_millis(1), Duration::from_millis(4));
/// let starts = AtomicU32::new(0);
/// let (result, failures) = ScopeBuilder::new().supervise(&CancellationToken::new(), |s| {
///     let reader = s.named("reader").spawn(|s| {
///         restart.run(s.token(), || {
///             let start = 1 + starts.fetch_add(1, Ordering::Relaxed);
///             anyhow::ensure!(start == 3, "start {start} failed");
///             Ok(start)
///         })
///     })?;
///     s.named("writer").spawn(|s| restart.run(s.token(), || -> anyhow::Result<()> { anyhow::bail!("no disk") }))?;
///     Ok::<_, anyhow::Error>(reader.join()?)
/// });
/// assert_eq!(result?, 3);
/// assert_eq!(failures.count(), 1);
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a setting does nothing until it runs a closure"]
pub struct Retry {
    attempts: u32,
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// Creates a setting of `attempts` attempts in all, the first included.
    ///
    /// # Panics
    ///
    /// If `attempts` is 0.
    pub const fn new(attempts: u32) -> Self {
        assert!(attempts > 0, "0 attempts would not run the closure at all");
        Retry { attempts, first: Duration::from_millis(10), longest: Duration::from_secs(1) }
    }

    /// Sets the pause after the first attempt, and the longest pause.
    ///
    /// A longest pause that is shorter than the first bounds that one too. Pauses of zero are none.
    pub const fn backoff(self, first: Duration, longest: Duration) -> Self {
        Retry { first, longest, ..self }
    }

    /// Runs `f` until it returns a value, or has failed in all attempts.
    ///
    /// # Cancellation
    ///
    /// Fails when the token is cancelled before an attempt or during a pause. An attempt that runs is not disturbed,
    /// but is the last one.
    ///
    /// # Errors
    ///
    /// The error of the last attempt; or [`Cancelled`], as an `E`, if there was to be another one.
    ///
    /// # Panics
    ///
    /// A panic of `f` is not caught, and ends the attempts. [`supervise`](Self::supervise) goes on after a panic.
    pub fn run<T, E: FromError<Cancelled>>(
        &self,
        token: &CancellationToken,
        f: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_if(token, |_error| true, f)
    }

    /// Runs a component until it ends well, or has failed or panicked in all attempts.
    ///
    /// It is [`run`](Self::run) for a long-lived part of a program, in a task of a supervised
    /// [scope](crate::ScopeBuilder::supervise): a panic counts as a failure, after which `f` is called again. So values
    /// that `f` has captured may be half changed by then; what `f` makes itself is new each time.
    ///
    /// # Cancellation
    ///
    /// As [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// The [`Failure`] of the last attempt, with `name` and the number of the attempt, counted from 0; or
    /// [`Failure::Cancelled`], if there was to be another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::limit::Retry;
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let restart = Retry::new(3).backoff(Duration::from_millis(1), Duration::from_millis(4));
    /// let (result, failures) = ScopeBuilder::new().supervise(&CancellationToken::new(), |s| {
    ///     let reader = s.named("reader").spawn(|s| {
    ///         let mut start = 0;
    ///         Ok(restart.supervise(s.token(), "reader", || {
    ///             start += 1;
    ///             assert!(start > 1, "a bug at the first start");
    ///             anyhow::Ok(start)
    ///         })?)
    ///     })?;
    ///     s.named("writer").spawn(|s| {
    ///         Ok(restart.supervise(s.token(), "writer", || -> anyhow::Result<()> { panic!("a bug") })?)
    ///     })?;
    ///     Ok::<_, anyhow::Error>(reader.join()?)
    /// });
    /// assert_eq!(result?, 2);
    /// let shown: Vec<String> = failures.iter().map(ToString::to_string).collect();
    /// assert_eq!(shown, ["writer#1 failed: writer#2 panicked: a bug"]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn supervise<T, E>(
        &self,
        token: &CancellationToken,
        name: impl AsRef<str>,
        mut f: impl FnMut() -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        let name: Arc<str> = name.as_ref().into();
        let mut attempts = 0..;
        self.run(token, || {
            let index = attempts.next().unwrap_or(usize::MAX);
            match panic::catch(&mut f) {
                Ok(ended) => ended.map_err(|error| Failure::new(Arc::clone(&name), index, error)),
                Err(payload) => Err(Failure::Panic(Panic::new(Arc::clone(&name), index, payload))),
            }
        })
        .map_err(|failure| match failure {
            Failure::Cancelled { cancelled, .. } => Failure::Cancelled { name, index: attempts.start, cancelled },
            failure => failure,
        })
    }

    /// Runs `f` again only after errors of which `is_worth_it` says so; otherwise like [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// The error of the last attempt, which is the first that is not worth another one; or [`Cancelled`], as an `E`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    /// use brigade::CancellationToken;
    /// use brigade::limit::Retry;
    ///
    /// let mut kinds = [ErrorKind::TimedOut, ErrorKind::NotFound].into_iter();
    /// let result = Retry::new(5).run_if(
    ///     &CancellationToken::new(),
    ///     |error: &Error| error.kind() == ErrorKind::TimedOut,
    ///     || kinds.next().map_or(Ok(()), |kind| Err(Error::from(kind))),
    /// );
    /// assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    /// ```
    pub fn run_if<T, E: FromError<Cancelled>>(
        &self,
        token: &CancellationToken,
        mut is_worth_it: impl FnMut(&E) -> bool,
        mut f: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut pause = self.first;
        for _ in 1..self.attempts {
            token.check()?;
            match f() {
                Err(error) if is_worth_it(&error) => {
                    // An error that came after the cancel is the attempt's own account of it.
                    if token.is_cancelled() {
                        return Err(error);
                    }
                }
                last => return last,
            }
            token.sleep(shortened(pause.min(self.longest)))?;
            pause = pause.saturating_mul(2);
        }
        token.check()?;
        f()
    }
}

/// A random time between the half and the whole of `pause`.
fn shortened(pause: Duration) -> Duration {
    // The standard library's only source of chance: each state has keys of its own.
    let chance = u32::try_from(RandomState::new().hash_one(0) >> 32).expect("half of the bits");
    let half = pause / 2;
    half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
