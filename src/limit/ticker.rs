//! [`Ticker`] and [`Tick`]: a thing done every so often, without drift.

use std::fmt;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, at, never};

use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Ticks at fixed times: one period after it was made, two periods after, and so on.
///
/// The times are those of an absolute schedule, so a late tick makes no later one late. (crossbeam's `tick` counts each
/// period from the tick before, and drifts.) Ticks that a caller misses, because it was busy or the machine was
/// suspended, come as one, which [counts](Tick::missed) them.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::CancellationToken;
/// use brigade::limit::Ticker;
///
/// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(50));
/// let mut ticker = Ticker::new(Duration::from_millis(5));
/// let first = ticker.tick(&token)?;
/// let second = ticker.tick(&token)?;
/// assert_eq!(second.at - first.at, Duration::from_millis(5) * u32::try_from(1 + second.missed)?);
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// In a `select!`:
///
/// ```
/// use std::time::Duration;
/// use brigade::CancellationToken;
/// use brigade::limit::Ticker;
/// use crossbeam::channel::{bounded, select};
///
/// let token = CancellationToken::new();
/// let (sender, lines) = bounded::<&str>(4);
/// let mut ticker = Ticker::new(Duration::from_millis(1));
/// let (mut reports, mut count) = (0, 0);
/// sender.send("a line")?;
/// while reports < 3 {
///     select! {
///         recv(lines) -> line => count += usize::from(line.is_ok()),
///         recv(ticker.due()) -> _ => {
///             ticker.advance();
///             reports += 1;
///         }
///         recv(token.done()) -> _ => break,
///     }
/// }
/// assert_eq!(count, 1);
/// # drop(sender);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct Ticker {
    period: Duration,
    /// The time of the next tick, or `None` if the clock cannot hold it.
    next: Option<Instant>,
    due: Receiver<Instant>,
}

/// One tick of a [`Ticker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The time of the schedule, which is earlier than that at which the caller gets the tick.
    ///
    /// If ticks were missed, it is the time of the last of them, so that it is the latest time of the schedule.
    pub at: Instant,
    /// How many ticks before this one no caller has got.
    pub missed: u64,
}

impl Ticker {
    /// Creates a ticker whose first tick is one period from now.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        assert!(!period.is_zero(), "a ticker with a period of zero would never wait");
        let mut ticker = Ticker { period, next: None, due: never() };
        ticker.set(Instant::now().checked_add(period));
        ticker
    }

    /// Waits for the next tick, which may have come already.
    ///
    /// # Cancellation
    ///
    /// Fails when the token is cancelled, even if a tick has come. The tick is not lost then: the next call has it.
    ///
    /// # Errors
    ///
    /// [`Cancelled`].
    pub fn tick(&mut self, token: &CancellationToken) -> Result<Tick, Cancelled> {
        let cancelled = match self.next {
            Some(next) => token.wait_deadline(next),
            None => Some(token.wait()),
        };
        match cancelled {
            Some(reason) => Err(Cancelled::new(reason)),
            None => Ok(self.advance()),
        }
    }

    /// Returns a channel that has a message from the time of the next tick on, for
    /// [`select!`](crossbeam::channel::select).
    ///
    /// It is the same channel until the ticker [advances](Self::advance), and has one message.
    #[must_use]
    pub fn due(&self) -> &Receiver<Instant> {
        &self.due
    }

    /// Ends the current tick, and returns it: call this when [`due`](Self::due) has had its message.
    ///
    /// If the tick has not come yet, it is left out.
    pub fn advance(&mut self) -> Tick {
        let now = Instant::now();
        let Some(next) = self.next else { return Tick { at: now, missed: 0 } };
        let missed = now.saturating_duration_since(next).as_nanos() / self.period.as_nanos();
        // More than 584 years of periods are not missed.
        let late = u64::try_from(missed * self.period.as_nanos()).unwrap_or(u64::MAX);
        let at = next + Duration::from_nanos(late);
        self.set(at.checked_add(self.period));
        Tick { at, missed: u64::try_from(missed).unwrap_or(u64::MAX) }
    }

    /// Returns the time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    fn set(&mut self, next: Option<Instant>) {
        self.next = next;
        self.due = next.map_or_else(never, at);
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("period", &self.period).field("next", &self.next).finish_non_exhaustive()
    }
}
