//! [`Then`]: two stages on both sides of a boundary that needs no section of its own, made one.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::serial::Serial;
use super::stage::{At, Stage};
use crate::panic::Panics;

/// The stages before a boundary, what stands there, and the stages behind it.
///
/// Where `Q` counts items, the index of an item is that among the items of the section, so `V` makes one output of
/// each.
pub(super) struct Then<'a, V, Q, W> {
    before: &'a V,
    behind: &'a W,
    boundary: PhantomData<fn() -> Q>,
}

impl<'a, V, Q, W> Then<'a, V, Q, W> {
    pub(super) fn new(before: &'a V, behind: &'a W) -> Self {
        Then { before, behind, boundary: PhantomData }
    }
}

impl<T, V, Q, W> Stage<T> for Then<'_, V, Q, W>
where
    V: Stage<T>,
    Q: Serial<V::Output>,
    W: Stage<Q::Output, Cause = V::Error>,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = V::Cause;
    type Local = (V::Local, W::Local);

    const FANS: bool = V::FANS || W::FANS;
    const ONE_TO_ONE: bool = V::ONE_TO_ONE && W::ONE_TO_ONE;

    fn convert(cause: V::Cause) -> W::Error {
        W::convert(V::convert(cause))
    }

    fn output_budget(&self) -> Option<u64> {
        self.before.output_budget()
    }

    #[inline]
    fn local(&self) -> Self::Local {
        (self.before.local(), self.behind.local())
    }

    #[inline]
    fn prepare(&self, (before, behind): &mut Self::Local) {
        self.before.prepare(before);
        self.behind.prepare(behind);
    }

    fn retire(&self, (before, behind): Self::Local, panics: &mut Panics) {
        self.before.retire(before, panics);
        self.behind.retire(behind, panics);
    }

    #[inline]
    fn feed(
        &self,
        (before, behind): &mut Self::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        let mut failed = None;
        let fed = self.before.feed(before, at, item, |output| {
            let Some(output) = output else { return emit(None) };
            match self.behind.feed(behind, at, Q::fuse(at.index, output), &mut emit) {
                Ok(flow) => flow,
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        match (failed, fed) {
            (Some(error), _) => Err(error),
            (None, Ok(flow)) => Ok(flow),
            (None, Err(error)) => Err(W::convert(error)),
        }
    }
}
