//! The budget of lines, which weigh by themselves: by the bytes of the blocks that they come in.

use std::sync::Arc;

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::gate::Gate;
use super::super::serial::Serial;
use super::super::stage::{Identity, Stage};
use super::form::Form;
use super::gated::GatedFeed;
use super::open_lines::FromLines;
use super::reader::Reader;
use super::{Before, Feed, Source, Visit};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Lines with a budget, before all stages.
type Budgeted<S> = Pipeline<Fused<BudgetedLines<S>, Identity<Cancelled>>>;

/// The bound in bytes of lines, which is set directly behind the source.
impl<R: Reader, F: Form> Pipeline<Fused<FromLines<R, F>, Identity<Cancelled>>> {
    /// Lets lines of at most `bytes` in all be read and not yet output, as a [`budget`](Pipeline::budget) does, by
    /// their own length.
    ///
    /// They are admitted block by block, so the bound is that of the budget and one block: 64 KiB, or a longer line.
    /// Set [`delimiter`](Self::delimiter) and its kind before.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let text: &[u8] = b"one\na longer one\nthree\n";
    /// let lengths: Vec<usize> = Pipeline::from_byte_lines(text)
    ///     .line_budget(10)
    ///     .try_map(|line| line.map(|line| line.len()))
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [3, 12, 5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn line_budget(self, bytes: usize) -> Budgeted<FromLines<R, F>> {
        assert!(bytes > 0, "Pipeline::line_budget(0): no line has room; with 1 byte one block is held at a time");
        self.replace_source(|source| BudgetedLines { source, bytes: bytes as u64 })
    }
}

/// Lines with a budget, made by [`Pipeline::line_budget`](super::super::Pipeline::line_budget).
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct BudgetedLines<S> {
    source: S,
    bytes: u64,
}

impl<S: Source> Source for BudgetedLines<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.source.size_hint()
    }

    fn open<V: Visit<S::Item, S::Error>>(self, token: &CancellationToken, visit: V) -> V::Output {
        self.source.open(token, Gating { visit, gate: Arc::new(Gate::new(self.bytes)) })
    }
}

/// Puts a gate in front of an opened source.
struct Gating<V> {
    visit: V,
    gate: Arc<Gate>,
}

impl<T, E, V: Visit<T, E>> Visit<T, E> for Gating<V> {
    type Output = V::Output;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> V::Output {
        self.visit.gated(feed, self.gate)
    }

    fn gated<F: Feed<Item = T>>(self, feed: F, gate: Arc<Gate>) -> V::Output {
        self.visit.gated(GatedFeed::new(feed, gate), self.gate)
    }

    fn cross<S, W, Q>(self, before: Before<S, W, Q>) -> V::Output
    where
        S: Source<Item: Send>,
        W: Stage<S::Item, Output: Send, Error = E, Cause = S::Error>,
        Q: Serial<W::Output, Output = T> + Send,
        E: Send,
    {
        self.visit.cross(before)
    }
}
