//! [`Pace`] and [`Epoch`]: how fast a bucket fills, and the time in which it counts.
//!
//! Times are counted in sixteenths of a nanosecond since the bucket was made, which lasts for 36 years. The interval
//! between two tokens is rounded up, so that never more than the rate passes.

use std::time::{Duration, Instant};

/// How many units of time a nanosecond has.
const UNITS: u64 = 16;

/// The longest time that a full bucket may stand for, in units: nine years.
pub(super) const LONGEST: u64 = 1 << 62;

/// How fast a bucket fills, and how much it holds, in units of time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two tokens.
    pub(super) interval: u64,
    /// That a full bucket stands for.
    pub(super) span: u64,
}

impl Pace {
    /// The pace of `tokens` tokens in each `period`, and one in a full bucket.
    ///
    /// Returns `None` if a token takes too long.
    #[expect(clippy::cast_possible_truncation, reason = "it is no more than `LONGEST`")]
    pub(super) const fn new(tokens: u64, period: Duration) -> Option<Self> {
        let interval = (period.as_nanos() * UNITS as u128).div_ceil(tokens as u128);
        if interval > LONGEST as u128 {
            return None;
        }
        Some(Pace { interval: interval as u64, span: interval as u64 })
    }

    /// The same pace with `burst` tokens in a full bucket, or `None` if it takes too long to fill.
    pub(super) const fn with_burst(self, burst: u32) -> Option<Self> {
        match self.interval.checked_mul(burst as u64) {
            Some(span) if span <= LONGEST => Some(Pace { span, ..self }),
            _ => None,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it came from a `u32`")]
    pub(super) const fn burst(self) -> u32 {
        (self.span / self.interval) as u32
    }

    pub(super) fn interval(self) -> Duration {
        duration(self.interval)
    }
}

/// The time in which a bucket counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch(Instant);

impl Epoch {
    pub(super) fn new() -> Self {
        Epoch(Instant::now())
    }

    #[inline]
    pub(super) fn now(self) -> u64 {
        let elapsed = self.0.elapsed();
        // Both products fit for 36 years.
        (elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())) * UNITS
    }

    pub(super) fn instant(self, time: u64) -> Instant {
        self.0 + duration(time)
    }
}

/// A time in units as a duration, rounded up.
pub(super) fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.div_ceil(UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_rounded_up() {
        let pace = Pace::new(3, Duration::from_nanos(1)).unwrap();
        assert_eq!((pace.interval, pace.span, pace.burst()), (6, 6, 1));
        assert_eq!(Pace::new(u64::MAX, Duration::from_secs(1)).unwrap().interval, 1);
        assert_eq!(Pace::new(1, Duration::MAX).map(|pace| pace.interval), None);
    }
}
