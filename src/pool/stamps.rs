//! [`Stamps`]: when each job was accepted, without a look at the clock for each of many trivial ones.
//!
//! A look takes 35 ns where a trivial job takes 130 in all. So where jobs come in less than a microsecond each, one of
//! 32 has the time, and the others have that of the last one that has. A job that finds the queue empty always has a
//! time of its own, so a time is shared only while jobs wait. After a burst that still waits, up to 31 later jobs have
//! a time that is too early.

/// How many jobs share a look at the clock, when they come fast.
const SHARED: u32 = 32;

/// Jobs that come in less time than this, in nanoseconds, come fast.
const FAST: u64 = 1_000;

#[derive(Default)]
pub(super) struct Stamps {
    /// The time of the last look.
    last: u64,
    /// How many jobs have had that time.
    jobs: u32,
    is_fast: bool,
}

impl Stamps {
    /// Returns the time for a job, which finds the queue empty or not.
    #[inline]
    pub(super) fn next(&mut self, is_alone: bool, clock: impl FnOnce() -> u64) -> u64 {
        if self.is_fast && self.jobs < SHARED && !is_alone {
            self.jobs += 1;
        } else {
            let now = clock();
            self.is_fast = now.saturating_sub(self.last) < FAST * u64::from(self.jobs.max(1));
            (self.last, self.jobs) = (now, 1);
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{FAST, SHARED, Stamps};

    #[test]
    fn jobs_that_come_slowly_have_the_time_of_the_clock() {
        let mut stamps = Stamps::default();
        for now in (1..20).map(|step| 10 * step * FAST) {
            assert_eq!(stamps.next(false, || now), now);
        }
    }

    #[test]
    fn jobs_that_come_fast_share_a_look_and_a_slow_one_ends_that() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.next(false, || 10 * FAST), 10 * FAST);
        assert_eq!(stamps.next(false, || 10 * FAST + 1), 10 * FAST + 1);
        let looks = (1..=10 * SHARED).filter(|_| {
            let mut looked = false;
            stamps.next(false, || {
                looked = true;
                10 * FAST + 2
            });
            looked
        });
        assert_eq!(looks.count(), 10);
        (0..SHARED).for_each(|_| _ = stamps.next(false, || 100 * FAST));
        assert_eq!(stamps.next(false, || 200 * FAST), 200 * FAST);
    }

    #[test]
    fn a_job_that_finds_the_queue_empty_has_the_time_of_the_clock() {
        let mut stamps = Stamps::default();
        (0..3).for_each(|now| _ = stamps.next(false, || now));
        assert_eq!((stamps.next(false, || 50 * FAST), stamps.next(true, || 50 * FAST)), (0, 50 * FAST));
    }
}
