//! [`Serial`]: what stands between two sections: a stage that takes the items one after the other.

use std::ops::ControlFlow;
use std::time::Instant;

/// A stage that takes the items one after the other, in order, or unordered as they arrive.
///
/// One member at a time calls it, and which one changes.
#[doc(hidden)]
pub trait Serial<T> {
    type Output;

    /// Whether it hands on the items as they are, so that it need not be called.
    const PASSES: bool = false;

    /// Whether the section behind has workers of its own.
    const HAS_OWN_WORKERS: bool = false;

    /// Whether [`fuse`](Self::fuse) can do what it does, where the stages before it make one output of each item.
    const FUSES: bool = false;

    /// Whether it may hold items for a time.
    const TIMED: bool = false;

    /// Hands on an item, of which the index is known.
    fn fuse(index: u64, item: T) -> Self::Output {
        let _ = (index, item);
        unreachable!("PASSES and FUSES say whether there is such a method")
    }

    /// How many items it wants at most. It is asked before the first.
    fn limit(&self) -> Option<u64> {
        None
    }

    /// Takes the next item. Breaks off if no more items are wanted: then the run ends as if the source had ended behind
    /// this one, and [`finish`](Self::finish) is called.
    fn take(&mut self, item: T, emit: impl FnMut(Self::Output)) -> ControlFlow<()>;

    /// When the items that it holds are to be handed on, if no others come before.
    fn flush_at(&self) -> Option<Instant> {
        None
    }

    /// Hands them on.
    fn flush(&mut self, emit: impl FnMut(Self::Output)) {
        let _ = emit;
    }

    /// The items have come to their end, or to an error.
    fn finish(&mut self, emit: impl FnMut(Self::Output)) {
        let _ = emit;
    }
}

/// Nothing stands between two sections. `OWN` says whether the second has workers of its own.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Pass<const OWN: bool>;

impl<T, const OWN: bool> Serial<T> for Pass<OWN> {
    type Output = T;

    const PASSES: bool = true;
    const HAS_OWN_WORKERS: bool = OWN;

    fn fuse(_index: u64, item: T) -> T {
        item
    }

    fn take(&mut self, item: T, mut emit: impl FnMut(T)) -> ControlFlow<()> {
        emit(item);
        ControlFlow::Continue(())
    }
}
