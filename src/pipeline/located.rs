//! The stages before, whose error says which item of the source failed.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::stage::Stage;
use crate::failure::Failure;

/// Made by [`Pipeline::located`](super::Pipeline::located) and [`Pipeline::located_by`](super::Pipeline::located_by).
#[derive(Clone, Debug)]
pub struct Located<W, L> {
    pub(super) before: W,
    pub(super) name: Arc<str>,
    pub(super) label: L,
}

/// What the program calls an item.
pub trait Label<T>: Sync {
    /// What is taken of each item for it.
    type Key;

    fn key(&self, item: &T) -> Self::Key;

    /// The label, once the item has failed.
    fn show(key: Self::Key) -> Option<Box<str>>;
}

/// Items have no label.
#[derive(Clone, Copy, Debug)]
pub struct NoLabel;

impl<T> Label<T> for NoLabel {
    type Key = ();

    #[inline]
    fn key(&self, _item: &T) {}

    fn show((): ()) -> Option<Box<str>> {
        None
    }
}

/// A closure makes something of each item that can be shown.
#[derive(Clone, Copy, Debug)]
pub struct By<F>(pub(super) F);

impl<T, K: Display, F: Fn(&T) -> K + Sync> Label<T> for By<F> {
    type Key = K;

    #[inline]
    fn key(&self, item: &T) -> K {
        (self.0)(item)
    }

    fn show(key: K) -> Option<Box<str>> {
        Some(key.to_string().into())
    }
}

impl<T, W: Stage<T>, L: Label<T>> Stage<T> for Located<W, L> {
    type Output = W::Output;
    type Error = Failure<W::Error>;

    #[inline]
    fn feed(
        &self,
        index: u64,
        item: T,
        emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Self::Error> {
        let key = self.label.key(&item);
        self.before.feed(index, item, emit).map_err(|error| self.locate(index, key, error))
    }
}

impl<W, L> Located<W, L> {
    #[cold]
    fn locate<T, E>(&self, index: u64, key: L::Key, error: E) -> Failure<E>
    where
        L: Label<T>,
    {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Failure::new(Arc::clone(&self.name), index, error).labelled(L::show(key))
    }
}
