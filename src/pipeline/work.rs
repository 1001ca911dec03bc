//! Working: the stages, fused into one call, applied to one batch.

use std::time::{Duration, Instant};

use crate::error::Cancelled;
use crate::panic::{self, Payload};

/// The stages of a [`Pipeline`](super::Pipeline), fused into one call an item.
///
/// Implemented by what the pipeline's methods make; not meant for implementing or calling elsewhere.
pub trait Stage<T> {
    /// What comes out of the last stage.
    type Output;
    /// What a stage can fail with; [`Cancelled`] where none can.
    type Error;

    #[doc(hidden)]
    fn apply(&self, item: T) -> Result<Self::Output, Self::Error>;
}

/// No stage yet: items pass as they are.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

impl<T> Stage<T> for Identity {
    type Output = T;
    type Error = Cancelled;

    #[inline]
    fn apply(&self, item: T) -> Result<T, Cancelled> {
        Ok(item)
    }
}

/// The stages before, then one that cannot fail. Made by [`Pipeline::map`](super::Pipeline::map).
#[derive(Clone, Copy, Debug)]
pub struct Map<W, F> {
    pub(super) before: W,
    pub(super) f: F,
}

impl<T, R, W, F> Stage<T> for Map<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> R,
{
    type Output = R;
    type Error = W::Error;

    #[inline]
    fn apply(&self, item: T) -> Result<R, W::Error> {
        Ok((self.f)(self.before.apply(item)?))
    }
}

/// The stages before, then one that can fail. Made by [`Pipeline::try_map`](super::Pipeline::try_map).
#[derive(Clone, Copy, Debug)]
pub struct TryMap<W, F> {
    pub(super) before: W,
    pub(super) f: F,
}

impl<T, R, E, W, F> Stage<T> for TryMap<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> Result<R, E>,
    E: From<W::Error>,
{
    type Output = R;
    type Error = E;

    #[inline]
    fn apply(&self, item: T) -> Result<R, E> {
        (self.f)(self.before.apply(item)?)
    }
}

/// A batch that has been worked.
pub(super) struct Done<R, E> {
    /// The outputs in order, up to where the batch ended.
    pub(super) outputs: Vec<R>,
    /// How many items were claimed.
    pub(super) items: usize,
    /// How long they took.
    pub(super) elapsed: Duration,
    /// Why the batch ended early, if it did.
    pub(super) end: Option<End<E>>,
}

/// What ends a run at an item.
pub(super) enum End<E> {
    Error(E),
    Panic(Payload),
    /// The batch lies behind the item that ended the run, or the run was cancelled: nobody will ask for it.
    Void,
}

/// Works a batch until its end, the first failure, or `is_void`.
pub(super) fn work<T, W: Stage<T>>(
    stage: &W,
    batch: impl IntoIterator<Item = T>,
    items: usize,
    mut outputs: Vec<W::Output>,
    is_void: impl Fn() -> bool,
) -> Done<W::Output, W::Error> {
    let started = Instant::now();
    outputs.reserve(items);
    // One catch for the whole batch: outputs below the item that panics have been pushed already, and stay.
    let worked = panic::catch(|| {
        for item in batch {
            if is_void() {
                return Err(End::Void);
            }
            outputs.push(stage.apply(item).map_err(End::Error)?);
        }
        Ok(())
    });
    let end = match worked {
        Ok(Ok(())) => None,
        Ok(Err(end)) => Some(end),
        Err(payload) => Some(End::Panic(payload)),
    };
    Done { outputs, items, elapsed: started.elapsed(), end }
}
