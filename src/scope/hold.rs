//! [`Hold`]: where a task keeps its closure and its value, in itself or in a box.
//!
//! A value passes through several functions on its way from the task's closure to `join`, and each may keep a copy on
//! its stack. A closure passes through as many on its way to its thread. So large ones are boxed: a value of 128 KiB
//! overflowed a stack of 2 MiB without optimisation, and a value of 384 KiB did with it.

use std::mem::size_of;

/// A closure or a value that is larger than this, in bytes, lies in a box.
const LARGE: usize = 2 << 10;

/// Returns whether a task with this closure and this value keeps both in boxes.
pub(super) const fn is_large<F, T>() -> bool {
    size_of::<F>() > LARGE || size_of::<T>() > LARGE
}

pub(super) trait Hold {
    type Value;

    fn hold(value: Self::Value) -> Self;

    fn out(self) -> Self::Value;
}

pub(super) struct Inline<T>(T);

impl<T> Hold for Inline<T> {
    type Value = T;

    #[inline]
    fn hold(value: T) -> Self {
        Inline(value)
    }

    #[inline]
    fn out(self) -> T {
        self.0
    }
}

impl<T> Hold for Box<T> {
    type Value = T;

    #[inline]
    fn hold(value: T) -> Self {
        Box::new(value)
    }

    #[inline]
    fn out(self) -> T {
        *self
    }
}
