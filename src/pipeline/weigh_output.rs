//! [`WeighOutput`]: a bound in bytes on the outputs that wait for their turn.

use std::fmt;
use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, Crossed, Fused};
use super::serial::Pass;
use super::stage::{At, Stage};
use crate::panic::Panics;

/// The chain `C`, whose outputs are weighed, then a boundary.
type Weighed<C, F> = Crossed<Fused<<C as Chain>::Source, WeighOutput<<C as Chain>::Stage, F>>, Pass<false>>;

/// The bound in bytes on outputs.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Lets outputs of the stages so far of some `bytes` wait for their turn, where `weight` says how many bytes an
    /// output is.
    ///
    /// Use this where outputs are large and cannot be foreseen from the items: names that become files, indexes that
    /// become images, above all with [`from_data`](Pipeline::from_data), whose items no [budget](Self::budget) can
    /// weigh. While outputs of `bytes` bytes wait for an earlier one, or for the sink, no thread begins a batch. The
    /// batch whose turn it is goes on. So the memory is bounded by `bytes` and a batch in the hands of each thread.
    /// Once a few outputs are known, batches are made so small that those of all threads take a quarter of `bytes`.
    ///
    /// Set it behind the stage that makes large outputs. It ends a [section](Pipeline#sections), and outputs count
    /// until the next section has worked them. What a serial stage keeps, such as a [`batch`](Self::batch), is not
    /// counted. The many outputs of one item of a [`flat_map`](Self::flat_map) are bounded by their number as well.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0. A panic of `weight` counts as one of the item.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let lengths = Pipeline::from_data(0..100_usize)
    ///     .map(|index| vec![0_u8; 1_000 * index])
    ///     .weigh_output(1 << 20, Vec::len)
    ///     .fold(&CancellationToken::new(), 0, |sum, image| sum + image.len())?;
    /// assert_eq!(lengths, 4_950_000);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    #[track_caller]
    pub fn weigh_output<F>(self, bytes: usize, weight: F) -> Pipeline<Weighed<C, F>>
    where
        F: Fn(&C::Output) -> usize + Sync,
    {
        assert!(
            bytes > 0,
            "Pipeline::weigh_output(0, ..): no output could wait; with 1 byte one batch waits at a time"
        );
        self.add(|before, _| WeighOutput { before, bytes: bytes as u64, weight }).cross(Pass::<false>, None)
    }
}

/// Made by [`Pipeline::weigh_output`](super::Pipeline::weigh_output).
#[doc(hidden)]
pub struct WeighOutput<W, F> {
    before: W,
    bytes: u64,
    weight: F,
}

impl<W, F> fmt::Debug for WeighOutput<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeighOutput").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<T, W, F> Stage<T> for WeighOutput<W, F>
where
    W: Stage<T>,
    F: Fn(&W::Output) -> usize + Sync,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = W::Cause;
    type Local = W::Local;

    const FANS: bool = W::FANS;
    const ONE_TO_ONE: bool = W::ONE_TO_ONE;

    fn convert(cause: W::Cause) -> W::Error {
        W::convert(cause)
    }

    fn output_budget(&self) -> Option<u64> {
        Some(self.bytes)
    }

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

    #[inline]
    fn feed(
        &self,
        local: &mut W::Local,
        at: At<'_>,
        item: T,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        self.before.feed(local, at, item, |output| {
            if let Some(output) = &output {
                at.weigh((self.weight)(output) as u64);
            }
            emit(output)
        })
    }
}
