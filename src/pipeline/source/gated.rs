//! [`GatedFeed`]: a source with a budget. Each load waits in front of the gate until it is admitted by its weight.

use std::sync::Arc;

use super::super::gate::Gate;
use super::{Feed, Kind, Pull, Stock};
use crate::panic::Unmet;
use crate::token::CancellationToken;

/// An opened source in front of whose loads a gate stands.
pub(in super::super) struct GatedFeed<D> {
    feed: D,
    gate: Arc<Gate>,
}

impl<D> GatedFeed<D> {
    /// A pull of `feed` gives one load.
    pub(in super::super) fn new(feed: D, gate: Arc<Gate>) -> Self {
        GatedFeed { feed, gate }
    }
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
pub(in super::super) struct GatedLoads<S: Stock, I> {
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
