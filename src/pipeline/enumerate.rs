//! Serial stages that count or compare: `enumerate`, `dedup`.

use std::fmt;
use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, Crossed};
use super::serial::Serial;
use crate::panic::Guarded;

/// The chain `C`, then its outputs without repetitions.
type Deduped<C, F, K> = Crossed<C, Dedup<F, K>>;

/// Stages that count or compare.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Pairs each item with its index among the items that arrive here.
    ///
    /// Directly behind a source and stages that make one output of each item, this costs next to nothing, and the index
    /// is that of the source's item. Behind a [`filter`](Self::filter) or a [`flat_map`](Self::flat_map) it is a serial
    /// stage as [`scan`](Self::scan) is, which [unordered](Self::unordered) counts the items as they arrive.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let long: Vec<(usize, &str)> = Pipeline::from_data(["one", "three", "eleven"])
    ///     .filter(|word| word.len() > 3)
    ///     .enumerate()
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(long, [(0, "three"), (1, "eleven")]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn enumerate(self) -> Pipeline<Crossed<C, Enumerate>> {
        self.cross(Enumerate { next: 0 }, None)
    }

    /// Drops each item that equals the one before it.
    ///
    /// It keeps a clone of the last item; [`dedup_by_key`](Self::dedup_by_key) keeps a key instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let changes: Vec<i32> = Pipeline::from_data([1, 1, 2, 2, 1]).dedup().collect(&CancellationToken::new())?;
    /// assert_eq!(changes, [1, 2, 1]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the closure that clones an item has no name")]
    pub fn dedup(self) -> Pipeline<Deduped<C, impl FnMut(&C::Output) -> C::Output + Send, C::Output>>
    where
        C::Output: PartialEq + Clone,
    {
        self.dedup_by_key(Clone::clone)
    }

    /// Drops each item whose key equals that of the one before it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let firsts: Vec<&str> = Pipeline::from_data(["ant", "ape", "bee", "ass"])
    ///     .dedup_by_key(|word| word.as_bytes()[0])
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(firsts, ["ant", "bee", "ass"]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn dedup_by_key<K, F>(self, key: F) -> Pipeline<Deduped<C, F, K>>
    where
        F: FnMut(&C::Output) -> K + Send,
        K: PartialEq + Send,
    {
        self.cross(Dedup { key: Guarded::new(key), last: Guarded::new(None) }, None)
    }
}

/// Made by [`Pipeline::enumerate`](super::Pipeline::enumerate).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Enumerate {
    next: usize,
}

impl<T> Serial<T> for Enumerate {
    type Output = (usize, T);

    const FUSES: bool = true;

    #[inline]
    fn fuse(index: u64, item: T) -> (usize, T) {
        (usize::try_from(index).unwrap_or(usize::MAX), item)
    }

    fn take(&mut self, item: T, mut emit: impl FnMut((usize, T))) -> ControlFlow<()> {
        emit((self.next, item));
        self.next += 1;
        ControlFlow::Continue(())
    }
}

/// Made by [`Pipeline::dedup`](super::Pipeline::dedup) and its kind.
#[doc(hidden)]
pub struct Dedup<F, K> {
    key: Guarded<F>,
    last: Guarded<Option<K>>,
}

impl<T, F, K> Serial<T> for Dedup<F, K>
where
    F: FnMut(&T) -> K,
    K: PartialEq,
{
    type Output = T;

    fn take(&mut self, item: T, mut emit: impl FnMut(T)) -> ControlFlow<()> {
        let key = Some((self.key.get_mut())(&item));
        if key != *self.last.get() {
            *self.last.get_mut() = key;
            emit(item);
        }
        ControlFlow::Continue(())
    }
}

impl<F, K> fmt::Debug for Dedup<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup").finish_non_exhaustive()
    }
}
