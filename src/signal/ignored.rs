//! Which signals are ignored, and which have a handler.
//!
//! Linux tells in `/proc/self/status`. Elsewhere only the system's `sigaction` does, which needs `unsafe`; there no
//! signal counts as ignored, and none as handled.

use std::fs;

/// Tells whether the process ignores the signal.
pub(super) fn is_ignored(signal: i32) -> bool {
    has_bit("SigIgn:", signal)
}

/// Tells whether the signal has a handler.
pub(super) fn has_handler(signal: i32) -> bool {
    has_bit("SigCgt:", signal)
}

fn has_bit(label: &str, signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(label)?.trim(), 16).ok());
    mask.is_some_and(|mask| mask.checked_shr(signal.unsigned_abs() - 1).is_some_and(|rest| rest & 1 == 1))
}
