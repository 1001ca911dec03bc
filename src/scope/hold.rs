//! [`Hold`]: where a task keeps its closure and its value, in itself or in a box.
//!
//! A value passes through some functions on its way from the task's closure to the one who joins it, and each may keep it on
//! its stack; so does a closure on its way to its thread. Without optimisation a value of 128 KiB overflowed a stack of 2 MiB
//! so, and with it one of 384 KiB.

use std::mem::size_of;

/// What is larger than this, in bytes, lies in a box.
const LARGE: usize = 2 << 10;

/// Whether a task with this closure and this value keeps them in boxes.
pub(super) const fn is_large<F, T>() -> bool {
    size_of::<F>() > LARGE || size_of::<T>() > LARGE
}

pub(super) trait Hold<T> {
    fn hold(value: T) -> Self;

    fn out(self) -> T;
}

pub(super) struct Inline<T>(T);

impl<T> Hold<T> for Inline<T> {
    #[inline]
    fn hold(value: T) -> Self {
        Inline(value)
    }

    #[inline]
    fn out(self) -> T {
        self.0
    }
}

impl<T> Hold<T> for Box<T> {
    #[inline]
    fn hold(value: T) -> Self {
        Box::new(value)
    }

    #[inline]
    fn out(self) -> T {
        *self
    }
}
