//! [`Supply`]: the items that no member has claimed yet, and the inlet that they come through.
//!
//! Invariants:
//!
//! 1. Items are claimed in the order of their indices: each item before `next` is in a member's hands, in the
//!    ring, with the sink, or among the returned rests. Rests are earlier than `next`, so they are claimed first.
//! 2. `in_hand` counts the batches that were claimed and neither committed nor given up. Each of them may still hand a
//!    rest back.
//! 3. The inlet of a blocking source is `Busy` while one worker pulls. A closed inlet never opens again.

use std::collections::BTreeMap;

use super::super::source::{Batch, Chunk, Kind, Stock};
use crate::panic::Payload;

/// The items that can be claimed, now or later.
#[cfg_attr(test, derive(Debug))]
pub(in super::super) struct Supply<S: Stock> {
    kind: Kind,
    stock: S,
    /// Rests of batches that were handed back, by the index of their first item.
    returned: BTreeMap<u64, Rest<S::Batch>>,
    inlet: Inlet,
    /// The index of the first item that was never claimed.
    next: u64,
    in_hand: usize,
    /// How many batches fill the stock: half the default window. The puller of a full stock turns to other work.
    full: usize,
}

/// Items of a batch, and how many they are.
pub(in super::super) type Rest<B> = (B, usize);

/// The inlet of a source.
pub(in super::super) enum Inlet {
    /// Of a blocking source: there is more to pull, and no worker does.
    Idle,
    /// Of a blocking source: a worker pulls.
    Busy,
    /// How many members pull from a ready source, or wait to pull.
    Ready(usize),
    /// There is nothing more to pull, or `next()` has panicked. The run ends with that
    /// panic once the outputs of all items before it are with the sink.
    Closed(Option<Payload>),
}

#[cfg(test)]
impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Inlet::Idle => f.write_str("Idle"),
            Inlet::Busy => f.write_str("Busy"),
            Inlet::Ready(pulling) => write!(f, "Ready({pulling})"),
            Inlet::Closed(payload) => write!(f, "Closed({})", payload.is_some()),
        }
    }
}

/// A batch that a member has claimed.
pub(in super::super) struct Claim<B> {
    /// The index of the first item.
    pub(super) first: u64,
    pub(super) batch: B,
    pub(super) items: usize,
}

/// A batch that was claimed, and a vector for its outputs.
pub(in super::super) type Claimed<B, R> = (Claim<B>, Vec<R>);

impl<S: Stock> Supply<S> {
    pub(super) fn new(kind: Kind, stock: S, threads: usize) -> Self {
        let inlet = match kind {
            Kind::Data => Inlet::Closed(None),
            Kind::Ready => Inlet::Ready(0),
            Kind::Blocking => Inlet::Idle,
        };
        let full = threads.saturating_mul(2);
        Supply { kind, stock, returned: BTreeMap::new(), inlet, next: 0, in_hand: 0, full }
    }

    pub(super) fn stock(&self) -> &S {
        &self.stock
    }

    /// Whether nothing is left to claim before `void`.
    pub(super) fn is_drained(&self, void: u64) -> bool {
        let is_returned = self.returned.first_key_value().is_some_and(|(first, _)| *first < void);
        !is_returned && (self.stock.len() == 0 || self.next >= void)
    }

    /// How many batches fill the stock.
    pub(super) fn full(&self) -> usize {
        self.full
    }

    /// The index of the first item that was never claimed.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether items count as pulled from their claim on, because they come from no inlet.
    pub(super) fn is_data(&self) -> bool {
        self.kind == Kind::Data
    }

    /// Whether an item can be claimed, up to `fresh` of them for the first time.
    pub(super) fn can_claim(&self, fresh: usize, void: u64) -> bool {
        match self.returned.first_key_value() {
            Some((first, _)) => *first < void,
            None => self.stock.len() > 0 && fresh > 0 && self.next < void,
        }
    }

    /// Claims the next items, up to `wanted`, and up to `fresh` of them for the first time.
    pub(super) fn claim(&mut self, wanted: usize, fresh: usize, void: u64) -> Option<Claim<S::Batch>> {
        if !self.can_claim(fresh, void) {
            return None;
        }
        let claim = if let Some((first, (mut batch, items))) = self.returned.pop_first() {
            if items > wanted {
                let front = batch.split(wanted);
                self.returned.insert(first + wanted as u64, (batch, items - wanted));
                Claim { first, batch: front, items: wanted }
            } else {
                Claim { first, batch, items }
            }
        } else {
            // Towards the end of data batches become small, so that no member waits long for the one with the last.
            let share = if self.is_data() { self.stock.len().div_ceil(self.full) } else { wanted };
            let (batch, items) = self.stock.take(wanted.min(share).min(fresh))?;
            let first = self.next;
            self.next += items as u64;
            Claim { first, batch, items }
        };
        self.in_hand += 1;
        Some(claim)
    }

    /// A claimed batch is worked; its rest, if there is one, begins at `first`.
    pub(super) fn put_back(&mut self, first: u64, rest: Option<Rest<S::Batch>>) {
        self.in_hand -= 1;
        if let Some(rest) = rest {
            let before = self.returned.insert(first, rest);
            debug_assert!(before.is_none(), "an item is in one place");
        }
    }

    /// How many items may be pulled now, and should be: as many as the stock lacks, of a ready source a batch.
    pub(super) fn may_pull(&self, batch: usize, room: usize, void: u64) -> Option<usize> {
        if self.next >= void {
            return None;
        }
        let lacking = self.full.saturating_mul(batch).saturating_sub(self.stock.len());
        let wanted = match self.inlet {
            Inlet::Idle => lacking,
            Inlet::Ready(_) if lacking >= batch => batch,
            Inlet::Ready(_) | Inlet::Busy | Inlet::Closed(_) => 0,
        };
        Some(wanted.min(room)).filter(|items| *items > 0)
    }

    /// How many items the puller of a blocking source may pull in addition, and should.
    pub(super) fn may_go_on(&self, batch: usize, room: usize, void: u64) -> Option<usize> {
        if self.next >= void {
            return None;
        }
        let lacking = self.full.saturating_mul(batch).saturating_sub(self.stock.len());
        Some(lacking.min(room)).filter(|items| *items > 0)
    }

    /// Whether to fill the stock before claiming anything, so that no member has to wait for it.
    ///
    /// A rest that was handed back is due before anything else. A batch that is pulled from a ready source in no time
    /// need not go by way of the stock, nor does a member wait to pull from one while there is something to claim.
    pub(super) fn fills_first(&self, pulls_are_dear: bool) -> bool {
        self.returned.is_empty()
            && match self.inlet {
                Inlet::Idle => true,
                Inlet::Ready(pulling) => pulling == 0 && pulls_are_dear,
                Inlet::Busy | Inlet::Closed(_) => false,
            }
    }

    /// Whether any member may pull.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.inlet, Inlet::Ready(_))
    }

    /// Whether the inlet of a blocking source waits for a puller.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.inlet, Inlet::Idle)
    }

    /// Whether a puller of a blocking source may have items in hand, now or later.
    pub(super) fn may_hold(&self) -> bool {
        matches!(self.inlet, Inlet::Idle | Inlet::Busy)
    }

    /// Whether a member pulls from a blocking source.
    pub(super) fn is_pulled(&self) -> bool {
        matches!(self.inlet, Inlet::Busy)
    }

    /// How many members pull, or wait to.
    pub(super) fn pulling(&self) -> usize {
        match self.inlet {
            Inlet::Idle | Inlet::Closed(_) => 0,
            Inlet::Busy => 1,
            Inlet::Ready(pulling) => pulling,
        }
    }

    /// A member begins to pull.
    pub(super) fn start_pull(&mut self) {
        match &mut self.inlet {
            Inlet::Ready(pulling) => *pulling += 1,
            inlet => *inlet = Inlet::Busy,
        }
    }

    /// A pull has ended: with whether the source has, or with the panic of its `next()`.
    pub(super) fn end_pull(&mut self, ended: Result<bool, Payload>) {
        match (&mut self.inlet, ended) {
            (Inlet::Ready(pulling), Ok(false)) => *pulling -= 1,
            (Inlet::Closed(_), Ok(_)) => {}
            (inlet, Ok(false)) => *inlet = Inlet::Idle,
            (inlet, Ok(true)) => *inlet = Inlet::Closed(None),
            (inlet, Err(payload)) => *inlet = Inlet::Closed(Some(payload)),
        }
    }

    /// Adds a chunk behind the others; returns how many items it has.
    pub(super) fn put(&mut self, chunk: Chunk<S::Load>) -> usize {
        self.stock.put(chunk)
    }

    /// How many batches are in the hands of members.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    /// Whether a pull or a claim of data would be wanted, were there room.
    pub(super) fn wants_room(&self, batch: usize, void: u64) -> bool {
        self.next < void
            && self.returned.is_empty()
            && match self.inlet {
                Inlet::Closed(_) => self.is_data() && self.stock.len() > 0,
                Inlet::Busy => false,
                Inlet::Idle | Inlet::Ready(_) => self.stock.len() < batch,
            }
    }

    /// Whether every item has been pulled and claimed once.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self.inlet, Inlet::Closed(_)) && self.stock.len() == 0
    }

    /// Whether nothing is left to claim, now and later.
    pub(super) fn is_over(&self, fresh: usize, void: u64) -> bool {
        let none_comes = self.next >= void || self.is_exhausted();
        void == 0 || none_comes && self.in_hand == 0 && !self.can_claim(fresh, void)
    }

    /// Whether `next()` has panicked.
    pub(super) fn has_panicked(&self) -> bool {
        matches!(self.inlet, Inlet::Closed(Some(_)))
    }

    /// Takes the panic of the source.
    pub(super) fn take_panic(&mut self) -> Option<Payload> {
        match &mut self.inlet {
            Inlet::Closed(payload) => payload.take(),
            Inlet::Idle | Inlet::Busy | Inlet::Ready(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::source::iter::{Items, Pulled};
    use super::*;

    const NEVER: u64 = u64::MAX;

    fn supply(kind: Kind, items: u64) -> Supply<Pulled<u64>> {
        let mut supply = Supply::new(kind, Pulled::new(), 1);
        supply.put(Chunk::List((0..items).collect()));
        supply
    }

    #[test]
    fn a_rest_is_claimed_before_items_that_were_never_claimed_and_is_split_if_it_is_large() {
        let mut supply = supply(Kind::Ready, 5);
        let claim = supply.claim(5, 5, NEVER).unwrap();
        assert_eq!((claim.first, claim.items, supply.next()), (0, 5, 5));
        supply.put(Chunk::List(vec![5]));
        supply.put_back(2, Some((Items::List(vec![2, 3, 4].into_iter()), 3)));
        let claims: Vec<_> =
            std::iter::from_fn(|| supply.claim(2, 9, NEVER)).map(|claim| (claim.first, claim.items)).collect();
        assert_eq!(claims, [(2, 2), (4, 1), (5, 1)]);
    }

    #[test]
    fn void_items_are_not_claimed_and_a_run_is_over_when_the_last_batch_is_back() {
        let mut supply = supply(Kind::Blocking, 3);
        supply.end_pull(Ok(true));
        assert!(supply.claim(3, 9, 0).is_none() && supply.is_over(9, 0));
        assert_eq!(supply.claim(3, 9, 1).map(|claim| claim.items), Some(3));
        assert!(supply.is_exhausted() && !supply.is_over(9, NEVER));
        supply.put_back(1, None);
        assert!(supply.is_over(9, NEVER));
    }

    #[test]
    fn one_worker_pulls_from_a_blocking_source_and_any_from_a_ready_one() {
        for (kind, second) in [(Kind::Blocking, None), (Kind::Ready, Some(1)), (Kind::Data, None)] {
            let mut supply = supply(kind, 0);
            assert_eq!(supply.may_pull(1, 9, NEVER).is_some(), kind != Kind::Data);
            if kind != Kind::Data {
                supply.start_pull();
                assert_eq!(supply.may_pull(1, 9, NEVER), second);
                supply.end_pull(Ok(true));
            }
            assert_eq!(supply.may_pull(1, 9, NEVER), None);
        }
    }

    #[test]
    fn an_end_that_a_second_puller_meets_does_not_hide_the_panic_of_the_first() {
        let mut supply = supply(Kind::Ready, 0);
        supply.start_pull();
        supply.start_pull();
        supply.end_pull(Err(crate::panic::catch(|| panic!("once")).unwrap_err()));
        supply.end_pull(Ok(true));
        assert!(supply.take_panic().is_some());
    }
}
