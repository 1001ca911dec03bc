//! [`Parents`] and [`Children`]: how nodes know each other.
//!
//! A parent knows its children by weak reference, and a child holds its parents.
//!
//! A child that is dropped does not lock its parent. It leaves a dead weak reference behind, and looks whether the dead
//! outnumber the living; then it clears them away. So making and dropping a child costs a constant on average, and a
//! crowd of dropped children leaves [`SPARE`] references behind. Two designs were tried before. A map by number took 75
//! ns for a child made and dropped, in place of 50 ns. A list in which each child knows its place costs the same as
//! this one, but takes the parent's lock twice and has to tell children that they were moved.

use std::slice;
use std::sync::{Arc, Weak};

/// How many dead children a list may have beyond twice the owners of its node. The allocator keeps about as many blocks
/// at hand.
pub(super) const SPARE: usize = 8;

pub(super) enum Parents<N> {
    None,
    One(Arc<N>),
    Several(Box<[Arc<N>]>),
}

// By hand, because the derived one would ask for `N: Clone`.
impl<N> Clone for Parents<N> {
    #[inline]
    fn clone(&self) -> Self {
        Parents::from(self.as_slice())
    }
}

impl<N> Default for Parents<N> {
    #[inline]
    fn default() -> Self {
        Parents::None
    }
}

impl<N> From<&[Arc<N>]> for Parents<N> {
    #[inline]
    fn from(parents: &[Arc<N>]) -> Self {
        match parents {
            [] => Parents::None,
            [parent] => Parents::One(Arc::clone(parent)),
            several => Parents::Several(several.into()),
        }
    }
}

impl<N> Parents<N> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Arc<N>] {
        match self {
            Parents::None => &[],
            Parents::One(parent) => slice::from_ref(parent),
            Parents::Several(parents) => parents,
        }
    }
}

pub(super) struct Children<N>(Vec<Weak<N>>);

impl<N> Default for Children<N> {
    #[inline]
    fn default() -> Self {
        Children(Vec::new())
    }
}

impl<N> Children<N> {
    pub(super) fn living(&self) -> impl Iterator<Item = Arc<N>> {
        self.0.iter().filter_map(Weak::upgrade)
    }

    #[inline]
    pub(super) fn add(&mut self, child: &Arc<N>) {
        self.0.push(Arc::downgrade(child));
    }

    /// Returns how many children are listed, living or dead.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear_away_the_dead(&mut self) {
        self.0.retain(|child| child.strong_count() > 0);
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(2 * self.0.len() + 2 * SPARE);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
