//! Serial stages that leave items out at an end: `take`, `take_while`, `skip_while`.

use std::fmt;
use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, Crossed};
use super::serial::Serial;

/// Stages that leave items out at an end.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Ends the run as if the source had ended behind the item that makes the `items`-th output here.
    ///
    /// With `take(0)` nothing is pulled. Directly behind a source and stages that make one output of each item, no more
    /// than `items` are pulled. Behind others, such as [`filter`](Self::filter), items beyond the last one may have
    /// been pulled and worked, up to the [`window`](Self::window); a `next()` of the source that is under way is waited
    /// for.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let odd: Vec<u64> = Pipeline::from_iter(0..)
    ///     .filter(|number| number % 2 == 1)
    ///     .take(3)
    ///     .map(|number| number * 10)
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(odd, [10, 30, 50]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn take(self, items: usize) -> Pipeline<Crossed<C, Take>> {
        self.cross(Take { left: items }, None)
    }

    /// Ends the run as if the source had ended before the first item that `wants` refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let squares: Vec<u64> = Pipeline::from_iter(0_u64..)
    ///     .map(|number| number * number)
    ///     .take_while(|square| *square < 10)
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn take_while<F>(self, wants: F) -> Pipeline<Crossed<C, TakeWhile<F>>>
    where
        F: FnMut(&C::Output) -> bool + Send,
    {
        self.cross(TakeWhile { wants }, None)
    }

    /// Drops the items before the first one that `skips` refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let body: Vec<&str> = Pipeline::from_iter("#a\n#b\nc\n#d".lines())
    ///     .skip_while(|line| line.starts_with('#'))
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(body, ["c", "#d"]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn skip_while<F>(self, skips: F) -> Pipeline<Crossed<C, SkipWhile<F>>>
    where
        F: FnMut(&C::Output) -> bool + Send,
    {
        self.cross(SkipWhile { skips: Some(skips) }, None)
    }
}

/// Made by [`Pipeline::take`](super::Pipeline::take).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Take {
    left: usize,
}

impl<T> Serial<T> for Take {
    type Output = T;

    fn limit(&self) -> Option<u64> {
        Some(self.left as u64)
    }

    fn take(&mut self, item: T, mut emit: impl FnMut(T)) -> ControlFlow<()> {
        emit(item);
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Made by [`Pipeline::take_while`](super::Pipeline::take_while).
#[doc(hidden)]
pub struct TakeWhile<F> {
    wants: F,
}

impl<T, F: FnMut(&T) -> bool> Serial<T> for TakeWhile<F> {
    type Output = T;

    fn take(&mut self, item: T, mut emit: impl FnMut(T)) -> ControlFlow<()> {
        if !(self.wants)(&item) {
            return ControlFlow::Break(());
        }
        emit(item);
        ControlFlow::Continue(())
    }
}

/// Made by [`Pipeline::skip_while`](super::Pipeline::skip_while).
#[doc(hidden)]
pub struct SkipWhile<F> {
    /// Nothing once it has refused an item.
    skips: Option<F>,
}

impl<T, F: FnMut(&T) -> bool> Serial<T> for SkipWhile<F> {
    type Output = T;

    fn take(&mut self, item: T, mut emit: impl FnMut(T)) -> ControlFlow<()> {
        if self.skips.as_mut().is_some_and(|skips| skips(&item)) {
            return ControlFlow::Continue(());
        }
        self.skips = None;
        emit(item);
        ControlFlow::Continue(())
    }
}

impl<F> fmt::Debug for TakeWhile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeWhile").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for SkipWhile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkipWhile").finish_non_exhaustive()
    }
}
