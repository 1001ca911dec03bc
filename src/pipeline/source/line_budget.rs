//! The budget of lines, which weigh by themselves: by the bytes of the blocks that they come in.

use std::sync::Arc;

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::gate::Gate;
use super::super::serial::Serial;
use super::super::stage::{Identity, Stage};
use super::form::Form;
use super::open_lines::FromLines;
use super::reader::Reader;
use super::{Before, Feed, Kind, Pull, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::panic::Unmet;
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
        self.visit.visit(GatedFeed { feed, gate: self.gate })
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

/// An opened source whose loads weigh by themselves.
struct GatedFeed<D> {
    feed: D,
    gate: Arc<Gate>,
}

impl<D: Feed> Feed for GatedFeed<D> {
    type Item = D::Item;
    type Stock = D::Stock;
    type Inlet = GatedLoads<D::Stock, D::Inlet>;
    type Plain = D::Plain;

    const KIND: Kind = D::KIND;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.feed.waits_for()
    }

    fn gate(&self) -> Option<Arc<Gate>> {
        Some(Arc::clone(&self.gate))
    }

    fn split(self) -> (D::Stock, Self::Inlet) {
        let (stock, inlet) = self.feed.split();
        (stock, GatedLoads { inlet, gate: self.gate, waits: Unmet(Vec::new()) })
    }

    fn plain(self) -> D::Plain {
        self.feed.plain()
    }

    fn is_ready(items: &D::Plain) -> bool {
        D::is_ready(items)
    }
}

/// An inlet in front of which a load waits for room in the budget.
struct GatedLoads<S: Stock, I> {
    inlet: I,
    gate: Arc<Gate>,
    /// At most one load, and how many items it has.
    waits: Unmet<(S::Load, usize)>,
}

impl<S: Stock, I: Pull<Load = S::Load>> Pull for GatedLoads<S, I> {
    type Load = S::Load;

    fn pull(&mut self, most: usize, mut put: impl FnMut(S::Load)) -> Option<usize> {
        let GatedLoads { inlet, gate, waits: Unmet(waits) } = self;
        if waits.is_empty() {
            let mut pulled = None;
            // A reader gives one block at a time.
            let items = inlet.pull(most, |load| pulled = Some(load))?;
            waits.extend(pulled.map(|load| (load, items)));
        }
        let (load, items) = waits.pop()?;
        if !gate.admit(S::weigh(&load)) {
            waits.push((load, items));
            return Some(0);
        }
        put(load);
        Some(items)
    }
}
