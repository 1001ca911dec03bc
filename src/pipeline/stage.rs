//! [`Stage`]: the stages, each fused with those before it into one call an item.
//!
//! A stage pushes its outputs to the next stage by a call, so that it may make none, one or many of an
//! item: a `filter`, a `flat_map`. Nothing is kept in between. The next stage answers
//! [`ControlFlow::Break`] when nothing more is wanted. For the compiler the stages are one expression,
//! as a chain of iterator adaptors is, so 1:1 stages cost as much as if each returned its output.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use crate::panic::Panics;

pub(super) use super::at::{At, ItemRun};

/// The stages of a [`Pipeline`](super::Pipeline), fused into one call an item.
///
/// The pipeline's methods make the types that implement it.
#[doc(hidden)]
pub trait Stage<T>: Sync {
    /// The outputs of the last stage.
    type Output;
    /// The error of the stages; where none can fail, that of the source, most often [`Cancelled`](crate::Cancelled).
    type Error;

    /// The error of the source.
    type Cause;

    /// A member's own part of the stages: their states.
    type Local;

    /// Whether the stages may make more than one output of an item.
    const FANS: bool;

    /// Whether they make one output of each item, as far as none fails.
    const ONE_TO_ONE: bool = false;

    /// Whether they hand on the items as they are.
    const IS_NOTHING: bool = false;

    /// Makes an error of the source one of the stages, by the conversions of each.
    fn convert(cause: Self::Cause) -> Self::Error;

    /// How many bytes of outputs may wait for their turn, if they are [weighed](At::weigh).
    fn output_budget(&self) -> Option<u64> {
        None
    }

    /// A member calls this once, on its own thread. A state is built later, at its first item.
    fn local(&self) -> Self::Local;

    /// Builds the states that are missing, before an item.
    ///
    /// A stage builds its state by itself. One that catches panics of the stages before it calls this in front of the
    /// catch, because a panic of a state's `init` is no item's.
    fn prepare(&self, local: &mut Self::Local);

    /// Takes a member's part back at the end, on its own thread. Panics of `Drop` are added to `panics`.
    fn retire(&self, local: Self::Local, panics: &mut Panics);

    /// Hands the outputs of `item` to `emit`, and breaks off when that does.
    ///
    /// A stage that makes many outputs of an item hands on `None` before it asks for
    /// each. Making one may take long, or there may be no end to those that are filtered
    /// out, so `emit` has to see the outputs held back and whether more is wanted.
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        emit: impl FnMut(Option<Self::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Self::Error>;
}

/// No stage yet: items pass as they are. `E` is the error of the source.
#[derive(Clone, Copy, Debug)]
pub struct Identity<E>(pub(super) PhantomData<fn() -> E>);

impl<T, E> Stage<T> for Identity<E> {
    type Output = T;
    type Error = E;
    type Cause = E;
    type Local = ();

    const FANS: bool = false;
    const ONE_TO_ONE: bool = true;
    const IS_NOTHING: bool = true;

    fn convert(cause: E) -> E {
        cause
    }

    #[inline]
    fn local(&self) {}

    #[inline]
    fn prepare(&self, _local: &mut ()) {}

    fn retire(&self, _local: (), _panics: &mut Panics) {}

    #[inline]
    fn feed(
        &self,
        _local: &mut (),
        _at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<T>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, E> {
        Ok(emit(Some(item)))
    }
}

/// For a stage without a state: a member's part is that of the stages before it.
macro_rules! local_of_before {
    () => {
        type Local = W::Local;

        #[inline]
        fn local(&self) -> W::Local {
            self.before.local()
        }

        #[inline]
        fn prepare(&self, local: &mut W::Local) {
            self.before.prepare(local);
        }

        fn retire(&self, local: W::Local, panics: &mut Panics) {
            self.before.retire(local, panics);
        }
    };
}
pub(super) use local_of_before;

/// The stages before, then one more, which is a closure.
macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<W, F> {
            pub(super) before: W,
            pub(super) f: F,
        }
    )*};
}

stages! {
    /// Made by [`Pipeline::map`](super::Pipeline::map).
    Map,
    /// Made by [`Pipeline::try_map`](super::Pipeline::try_map).
    TryMap,
    /// Made by [`Pipeline::filter`](super::Pipeline::filter).
    Filter,
    /// Made by [`Pipeline::filter_map`](super::Pipeline::filter_map).
    FilterMap,
    /// Made by [`Pipeline::flat_map`](super::Pipeline::flat_map).
    FlatMap,
    /// Made by [`Pipeline::inspect`](super::Pipeline::inspect).
    Inspect
}

impl<T, R, W, F> Stage<T> for Map<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> R + Sync,
{
    type Output = R;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| emit(input.map(&self.f)))
    }
}

impl<T, R, E, W, F> Stage<T> for TryMap<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> Result<R, E> + Sync,
    E: From<W::Error>,
{
    type Output = R;
    type Error = E;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        E::from(W::convert(cause))
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, E> {
        let mut failed = None;
        let fed = self.before.feed(local, at, item, |input| match input.map(&self.f).transpose() {
            Ok(output) => emit(output),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(fed?),
        }
    }
}

impl<T, W, F> Stage<T> for Filter<W, F>
where
    W: Stage<T>,
    F: Fn(&W::Output) -> bool + Sync,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| match input {
            Some(input) if !(self.f)(&input) => ControlFlow::Continue(()),
            input => emit(input),
        })
    }
}

impl<T, R, W, F> Stage<T> for FilterMap<W, F>
where
    W: Stage<T>,
    F: Fn(W::Output) -> Option<R> + Sync,
{
    type Output = R;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| match input.map(&self.f) {
            Some(None) => ControlFlow::Continue(()),
            output => emit(output.flatten()),
        })
    }
}

impl<T, R, W, F> Stage<T> for FlatMap<W, F>
where
    W: Stage<T>,
    R: IntoIterator,
    F: Fn(W::Output) -> R + Sync,
{
    type Output = R::Item;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = true;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<R::Item>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| match input {
            Some(input) => {
                let items = (self.f)(input);
                emit(None)?;
                // Not a loop around `next()`: iterators that are made of others are quicker so.
                items.into_iter().try_for_each(|output| {
                    emit(Some(output))?;
                    emit(None)
                })
            }
            None => emit(None),
        })
    }
}

impl<T, W, F> Stage<T> for Inspect<W, F>
where
    W: Stage<T>,
    F: Fn(&W::Output) + Sync,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> Self::Error {
        W::convert(cause)
    }

    #[inline]
    fn feed(
        &self,
        local: &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |input| {
            if let Some(input) = &input {
                (self.f)(input);
            }
            emit(input)
        })
    }
}
