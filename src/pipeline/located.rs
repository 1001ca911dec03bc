//! [`Located`]: the stages before it, whose error says which item of the source failed.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Pipeline;
use super::chain::{Chain, With};
use super::source::Source;
use super::stage::{At, Stage, local_of_before};
use crate::failure::Failure;
use crate::panic::Panics;

/// Errors that say where.
impl<C: Chain> Pipeline<C> {
    /// Makes the error of the stages so far a [`Failure`], which says which item of the source failed.
    ///
    /// It has the item's index, counted from 0, and the [name](Pipeline::named) that the pipeline was given before
    /// this call, or `item`. The error of the stages needs no `From<Cancelled>` here, because a `Failure` has a variant
    /// for a cancelled run, [`Failure::Cancelled`]. A panic is resumed as ever. An error of the sink is not located,
    /// because it is not an item's.
    ///
    /// Put it in front of a [`scan`](Pipeline::scan); behind one, indices count the scan's outputs. On a
    /// `Pipeline<impl Chain<..>>` it can be called if that names its [`Cause`](Chain::Cause).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Failure, Pipeline};
    ///
    /// let failure = Pipeline::from_iter("3\n4\nx\n5".lines())
    ///     .named("line")
    ///     .try_map(|line| line.parse::<u64>().map_err(anyhow::Error::from))
    ///     .located()
    ///     .count(&CancellationToken::new())
    ///     .unwrap_err();
    /// assert_eq!(failure.to_string(), "line#2 failed: invalid digit found in string");
    /// // Or as people count:
    /// if let Failure::Error { index, error, .. } = failure {
    ///     assert_eq!(format!("line {}: {error}", index + 1), "line 3: invalid digit found in string");
    /// }
    /// ```
    pub fn located(self) -> With<C, Located<C::Stage, NoLabel>> {
        self.labelled(NoLabel)
    }

    /// [`located`](Self::located) with a label of the program's for the item, such as the name of a file.
    ///
    /// `label` makes it of each item before the stages take the item, so it should be cheap. The label may be any value
    /// that can be shown, and is shown for the failing item alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::PathBuf;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let failure = Pipeline::from_iter(["Cargo.toml", "missing.toml"].map(PathBuf::from))
    ///     .named("file")
    ///     .try_map(|path| Ok::<_, std::io::Error>(std::fs::read(path)?.len()))
    ///     .located_by(|path| path.display().to_string())
    ///     .count(&CancellationToken::new())
    ///     .unwrap_err();
    /// assert!(failure.to_string().starts_with("file#1 (missing.toml) failed: "));
    /// ```
    pub fn located_by<K, F>(self, label: F) -> With<C, Located<C::Stage, By<F>>>
    where
        F: Fn(&<C::Source as Source>::Item) -> K + Sync,
        K: Display,
    {
        self.labelled(By(label))
    }

    fn labelled<L>(self, label: L) -> With<C, Located<C::Stage, L>> {
        self.add(|before, settings| {
            let name = settings.name.clone().unwrap_or_else(|| "item".into());
            Located { before, name, label }
        })
    }
}

/// Made by [`Pipeline::located`](super::Pipeline::located) and [`Pipeline::located_by`](super::Pipeline::located_by).
#[derive(Clone, Debug)]
pub struct Located<W, L> {
    pub(super) before: W,
    pub(super) name: Arc<str>,
    pub(super) label: L,
}

/// How the program labels an item.
pub trait Label<T>: Sync {
    /// The value that is kept of each item for its label.
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

/// A closure makes a value of each item that can be shown.
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

impl<T, W, L> Stage<T> for Located<W, L>
where
    W: Stage<T>,
    L: Label<T>,
    Failure<W::Error>: From<W::Cause>,
{
    type Output = W::Output;
    type Error = Failure<W::Error>;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;

    fn convert(cause: W::Cause) -> Failure<W::Error> {
        cause.into()
    }

    #[inline]
    fn feed(
        &self,
        local: &mut W::Local,
        at: At<'_>,
        item: T,
        emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Self::Error> {
        let key = self.label.key(&item);
        self.before.feed(local, at, item, emit).map_err(|error| self.locate(at.index, key, error))
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
