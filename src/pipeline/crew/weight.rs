//! Weights: how much memory outputs may take, as far as a library can know.
//!
//! Where a stage makes many outputs of an item, they are held in parts, and the parts of a run are counted. A
//! part is 4096 small outputs. The inline size of an output is known, but the memory that it owns besides is not,
//! such as the 64 KiB of a `Vec`. It takes time to fill, however: a core writes 64 GB/s at the very most, so an
//! output that was made in 62 ns is smaller than 4 KiB, and one of 64 KiB took 1 µs. So outputs that own nothing
//! (they have no `Drop`) weigh by their size alone, and others also by the square of the time they took, up to
//! 256 times the lightest. A part is then 16 outputs of 64 KiB, or 4096 short strings. By the time itself, rather
//! than its square, parts of strings would be so short that items of 250,000 of them would wait for each other.

use std::mem::{needs_drop, size_of};
use std::time::Duration;

/// The weight of a part.
pub(super) const PART: usize = 4096;

/// How many parts of the due batch may wait for the sink, and how many of all others together for their turn, to which
/// each thread adds [`PARTS_A_THREAD`].
pub(super) const PARTS: usize = 16;

/// See [`PARTS`].
pub(super) const PARTS_A_THREAD: usize = 2;

/// How many bytes inline weigh 1.
const BYTES: usize = 256;

/// The time, in ns, in which the largest output is made that weighs 1.
const QUICK: u128 = 62;

/// The largest weight of an output for the time it took.
const MOST: u128 = 256;

/// The largest weight of a part for the time it took: more outputs than these are never made between two looks at the
/// clock. A member that the system took off its core for a while has made nothing meanwhile.
const MOST_OF_PART: usize = 4 * PART;

/// The weight of `some` of the `outputs` that took `elapsed` to make.
pub(super) fn of_some<R>(some: usize, outputs: usize, elapsed: Duration) -> usize {
    let timed = some.saturating_mul(of_each::<R>(outputs, elapsed)).min(MOST_OF_PART);
    timed.max(some.saturating_mul(inline::<R>()))
}

fn inline<R>() -> usize {
    size_of::<R>().div_ceil(BYTES).clamp(1, PART)
}

/// The weight of each of the `outputs` that took `elapsed` to make.
pub(super) fn of_each<R>(outputs: usize, elapsed: Duration) -> usize {
    let inline = inline::<R>();
    if !needs_drop::<R>() {
        return inline;
    }
    let mean = elapsed.as_nanos() / outputs.max(1) as u128 / QUICK;
    let timed = mean.saturating_mul(mean).clamp(1, MOST) as usize;
    inline.max(timed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_owns_nothing_weighs_by_its_size() {
        let second = Duration::from_secs(1);
        assert_eq!((of_each::<u64>(1, second), of_each::<&[u8]>(1, second)), (1, 1));
        assert_eq!((of_each::<[u8; 65_536]>(1, second), of_each::<[u8; 1 << 21]>(1, second)), (256, PART));
    }

    #[test]
    fn a_part_whose_member_was_off_its_core_weighs_no_more_than_one_that_was_made_slowly() {
        let second = Duration::from_secs(1);
        assert_eq!(of_some::<String>(4_096, 4_096, second), MOST_OF_PART);
        assert_eq!(of_some::<String>(10, 10, second), 2_560);
        assert_eq!(of_some::<[u8; 1 << 21]>(10, 10, second), 10 * PART);
    }

    #[test]
    fn what_may_own_memory_weighs_by_the_time_it_took_too() {
        let took = |nanoseconds| of_each::<Vec<u8>>(1_000, Duration::from_nanos(nanoseconds) * 1_000);
        assert_eq!([took(60), took(249), took(500), took(2_000), took(1_000_000)], [1, 16, 64, 256, 256]);
        assert_eq!(of_each::<Vec<u8>>(0, Duration::ZERO), 1);
    }
}
