//! Working: the stages applied to one batch.

use std::mem;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::claim::Batch;
use super::stage::Stage;
use super::window::{AIM, LARGEST};
use crate::panic::{self, Payload};

/// A batch that has been worked, or a part of one.
pub(super) struct Done<R, E> {
    /// Where in the batch it begins.
    pub(super) at: usize,
    /// How many parts of the batch came before.
    pub(super) part: usize,
    /// The outputs in order, up to where the batch ended.
    pub(super) outputs: Vec<R>,
    /// How many items came to an end in it, the failing one included.
    pub(super) items: usize,
    /// How long they took.
    pub(super) elapsed: Duration,
    /// Why it ended early, if it did.
    pub(super) end: Option<End<E>>,
}

/// What ends a run at an item.
pub(super) enum End<E> {
    Error(E),
    Panic(Payload),
    /// The item lies behind the one that ended the run, or the run was cancelled: nobody will ask for it.
    Void,
}

/// How much longer than it was meant to a batch may take before its rest is handed back.
const PATIENCE: u32 = 4;

/// How many outputs of a batch are held back until it is done. One more, and they are handed over, since there may be no
/// end to what a stage makes of an item.
pub(super) const MOST_OUTPUTS: usize = 4 * LARGEST;

/// How many outputs of a `flat_map` at most go by between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

/// The outputs of a batch that are held back, and where the batch is.
struct Held<R, H> {
    outputs: Vec<R>,
    hand_over: H,
    /// Where the next part begins, and how many were handed over before.
    at: usize,
    part: usize,
    since: Instant,
    /// How many outputs of a `flat_map` have gone by since the last look at the clock, and how many may.
    asked: usize,
    until_look: usize,
}

impl<R, H> Held<R, H> {
    /// Hands over what there is, of the items before `this`, and of `this`, which comes to its end in a later part.
    #[cold]
    fn hand_over<E>(&mut self, this: usize) -> ControlFlow<()>
    where
        H: FnMut(Done<R, E>) -> ControlFlow<(), Vec<R>>,
    {
        let Held { at, part, .. } = *self;
        let outputs = mem::take(&mut self.outputs);
        (self.at, self.part) = (this, part + 1);
        self.outputs =
            (self.hand_over)(Done { at, part, outputs, items: this - at, elapsed: Duration::ZERO, end: None })?;
        self.since = Instant::now();
        ControlFlow::Continue(())
    }

    /// Whether it is time to hand over what there is: a stage that makes many items of one has taken long over it. Asked
    /// before each of them; the clock is looked at after 1, 3, 7 and so on, and before each where they are slow.
    #[inline]
    fn is_late(&mut self) -> bool {
        self.asked += 1;
        if self.asked < self.until_look {
            return false;
        }
        self.asked = 0;
        let is_late = self.since.elapsed() > AIM * PATIENCE;
        self.until_look = if is_late { 1 } else { (self.until_look * 2).min(BETWEEN_LOOKS) };
        is_late && !self.outputs.is_empty()
    }
}

/// Works a batch of `items` items to its end or the first failure.
///
/// Where an item makes very many outputs, or takes long over them, `hand_over` is given those there are, and answers with
/// an empty vector for the next; it breaks off when nobody will ask for them.
///
/// `is_void` is asked before each item, by its place in the batch. Now and then, while there is a rest, the clock is
/// looked at, after 1, 3, 7 items and so on up to every eighth part: a batch that turns out to be much more costly than
/// its kind is left there, and so is one that has run for a while and somebody `is_idle`. The rest is still in `batch`
/// then, for whoever takes it.
pub(super) fn work<B: Batch, W: Stage<B::Item>>(
    stage: &W,
    batch: &mut B,
    first: u64,
    items: usize,
    mut outputs: Vec<W::Output>,
    is_void: impl Fn(usize) -> bool,
    is_idle: impl Fn() -> bool,
    hand_over: impl FnMut(Done<W::Output, W::Error>) -> ControlFlow<(), Vec<W::Output>>,
) -> Done<W::Output, W::Error> {
    let started = Instant::now();
    let mut elapsed = Duration::ZERO;
    outputs.reserve(items);
    let mut done = 0;
    let mut held = Held { outputs, hand_over, at: 0, part: 0, since: started, asked: 0, until_look: 1 };
    // One catch for the whole batch: outputs below the item that panics have been pushed already, and stay.
    let worked = panic::catch(|| {
        let mut next = 1;
        while done < items {
            let until = items.min(done + next);
            let run = batch.run(until - done, |item| {
                if is_void(done) {
                    return ControlFlow::Break(End::Void);
                }
                done += 1;
                let this = done - 1;
                let fed = stage.feed(first + this as u64, item, |output| match output {
                    Some(output) => {
                        if held.outputs.len() >= MOST_OUTPUTS {
                            held.hand_over(this)?;
                        }
                        held.outputs.push(output);
                        ControlFlow::Continue(())
                    }
                    None if is_void(this) => ControlFlow::Break(()),
                    None if held.is_late() => held.hand_over(this),
                    None => ControlFlow::Continue(()),
                });
                match fed {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    Ok(ControlFlow::Break(())) => ControlFlow::Break(End::Void),
                    Err(error) => ControlFlow::Break(End::Error(error)),
                }
            });
            if let ControlFlow::Break(end) = run {
                return Some(end);
            }
            // Rayon's `panic_fuse` is one that does so.
            assert!(done == until, "the data has fewer items than it said it had");
            elapsed = started.elapsed();
            if elapsed > AIM * PATIENCE || elapsed > AIM / 2 && is_idle() {
                break;
            }
            next = (next * 2).min((items / 8).max(1));
        }
        None
    });
    let end = worked.unwrap_or_else(|payload| Some(End::Panic(payload)));
    // A source may panic while it makes an item of data: that item has not been counted.
    let failed = usize::from(end.is_some() && done == 0);
    let Held { outputs, at, part, .. } = held;
    Done { at, part, outputs, items: done - at + failed, elapsed, end }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use super::super::claim::Batch;
    use super::super::stage::{Identity, Inspect};
    use super::*;

    /// Works a hundred items, of which `costly` takes longer than a whole batch should; returns how many were done.
    fn done_of_a_hundred(costly: usize, idle: bool) -> usize {
        let stage = Inspect {
            before: Identity(PhantomData::<fn() -> ()>),
            f: |item: &usize| {
                let started = Instant::now();
                while *item == costly && started.elapsed() <= AIM * PATIENCE {}
            },
        };
        let mut batch = (0..100_usize).collect::<Vec<_>>().into_iter();
        let done = work(&stage, &mut batch, 0, 100, Vec::new(), |_| false, || idle, |_| ControlFlow::Break(()));
        assert!(done.end.is_none());
        assert_eq!((done.outputs.len(), done.items + batch.len()), (done.items, 100));
        done.items
    }

    #[test]
    fn a_batch_is_left_soon_after_a_costly_item() {
        assert_eq!(done_of_a_hundred(0, false), 1);
        // At most: on a busy machine any item may seem costly. The clock is looked at every twelve items in the end.
        assert!(done_of_a_hundred(1, true) <= 3);
        assert!(done_of_a_hundred(50, false) <= 63);
    }

    #[test]
    fn the_rest_of_a_batch_can_be_split_again() {
        let mut rest = vec![1, 2, 3, 4, 5].into_iter();
        let front = rest.split(2);
        assert_eq!((front.collect::<Vec<_>>(), rest.collect::<Vec<_>>()), (vec![1, 2], vec![3, 4, 5]));
    }
}
