//! What a member that pulls brings to the state, and the alarm of a member that sleeps meanwhile.

use std::time::Duration;

use super::super::super::source::{Chunk, Stock};
use super::super::below::{Below, Void};
use super::super::roster::Sleep;
use super::super::step::Quota;
use super::super::supply::Claimed;
use super::State;
use crate::panic::Payload;

impl<S: Stock, D: Below> State<S, D> {
    /// Puts a chunk of a blocking source into the stock, and opens the next. Returns how much to pull into that.
    pub(in super::super) fn put(&mut self, chunk: Chunk<S::Load>, elapsed: Duration, void: Void<'_>) -> Option<Quota> {
        let items = self.take_chunk(chunk);
        self.pace.learn_pull(items, elapsed);
        self.chunk.open();
        self.quota(void)
    }

    /// Puts items into the stock that a puller holds, because it waits in `next()`.
    pub(in super::super) fn take_chunk(&mut self, chunk: Chunk<S::Load>) -> usize {
        let items = self.supply.put(chunk);
        self.window.pull(items);
        items
    }

    /// The alarm of a sleeping member rings. Returns the number of the chunk whose items are to be taken from the
    /// puller, because it was open when the member fell asleep.
    pub(in super::super) fn ring_alarm(&mut self, sleep: Sleep) -> Option<u64> {
        self.is_asked = true;
        if sleep != Sleep::ToAlarm {
            return None;
        }
        self.chunk.ring(self.supply.is_pulled()).then(|| self.chunk.number())
    }

    /// Ends a pull.
    pub(in super::super) fn end_pull(&mut self, ended: Result<bool, Payload>) {
        self.supply.end_pull(ended);
    }

    /// Takes a batch that was pulled from a ready source in `elapsed`, where `asked` items were wanted.
    pub(in super::super) fn put_batch(&mut self, batch: Vec<S::Load>, asked: usize, elapsed: Duration) {
        self.window.unpull(asked - batch.len());
        self.pace.learn_pull(batch.len(), elapsed);
        self.supply.put(Chunk::List(batch));
    }

    /// Claims a batch for the member that has just put one into the stock, unless the stock should be filled first.
    pub(in super::super) fn claim_pulled(&mut self, void: Void<'_>) -> Option<Claimed<S::Batch, D::In>> {
        if self.fills_first() { None } else { self.claim(void) }
    }
}
