//! [`Below`]: the ring that a section fills, and the sections behind it, as the state sees them.
//!
//! They nest: behind a section is either the [`Last`] ring, whose pieces the caller takes, or a [`Behind`], which is a
//! ring, the next section and all that is below that. All of it lies under one lock. A lock for each section would have
//! each choice of whom to wake look at several, and there is one entry a batch with either.

use std::convert::Infallible;
use std::mem;
use std::time::{Duration, Instant};

use super::credits::Release;
use super::piece::Piece;
use super::ring::Ring;
use super::roster::{Arrival, Workers};
use super::signal::Marks;

/// The void marks, as a section looks at them under the lock.
#[derive(Clone, Copy)]
pub(in super::super) struct Void<'a> {
    /// The index from which on the items of this section are void.
    pub(super) own: u64,
    /// Of the sections behind.
    behind: &'a [Marks],
}

impl<'a> Void<'a> {
    /// `marks` are those of this section and of all behind it.
    pub(super) fn new(marks: &'a [Marks]) -> Self {
        match marks {
            [first, behind @ ..] => Void { own: first.void(), behind },
            [] => Void { own: u64::MAX, behind: &[] },
        }
    }

    /// Of a section that has none behind.
    #[cfg(test)]
    pub(super) fn of(own: u64) -> Void<'static> {
        Void { own, behind: &[] }
    }

    /// For the section behind.
    pub(super) fn next(self) -> Self {
        Void::new(self.behind)
    }

    /// The run is cancelled.
    pub(super) fn of_all(self) -> Self {
        Void { own: 0, ..self }
    }
}

/// The next step of a worker that serves one section alone.
pub(in super::super) enum OwnStep<T> {
    Work(T),
    Sleep,
    Leave,
}

/// How many batches are in the hands of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct InHand {
    pub(super) all: usize,
    /// But for those of sections with workers of their own.
    pub(super) shared: usize,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    /// A serial stage wants no more.
    Well,
    Failed,
}

/// Whether more comes into a ring than lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Coming {
    More,
    Nothing,
    /// Nothing, because a panic ended the run: the serial stages give out nothing that they hold.
    NothingForPanic,
}

/// The workers of its own that a section has, to be woken or started: the number of the section, and which.
pub(in super::super) type Calls = Vec<(usize, Workers)>;

/// A ring, and the sections behind it.
pub(in super::super) trait Below {
    /// The outputs in the ring, and their error.
    type In;
    type InError;
    /// Those in the last ring.
    type Out;
    type OutError;
    /// A step of a member for a section behind, and its result.
    type Task;
    type Done;

    /// How many sections there are behind.
    const SECTIONS: usize;

    /// Whether a serial stage may hold items for a time.
    const TIMED: bool;

    fn ring(&self) -> &Ring<Self::In, Self::InError>;

    fn ring_mut(&mut self) -> &mut Ring<Self::In, Self::InError>;

    /// Takes the piece that is due at the sink. It closes items of the source.
    fn take_due(&mut self) -> Option<Piece<Self::Out, Self::OutError>>;

    /// Takes back an emptied vector of the outputs that the sink has taken, and their weight in bytes.
    fn recycle(&mut self, outputs: Vec<Self::Out>, output_bytes: u64);

    /// Whether a piece is due at the sink.
    fn is_ready(&self) -> bool;

    /// Items of the source are closed, without an output that would carry that.
    fn free(&mut self, items: Release);

    /// Those of them that have come to the end, since the last call.
    fn take_freed(&mut self) -> Release;

    fn commit(&mut self, done: Self::Done);

    /// The next step of a member for one of these sections: the last section comes first.
    fn step(&mut self, void: Void<'_>) -> Option<Self::Task>;

    /// Whether there is one.
    fn can_step(&self, void: Void<'_>) -> bool;

    /// Moves the pieces that cross a boundary without the user's code. `coming` says whether more comes into the ring.
    fn settle(&mut self, coming: Coming, void: Void<'_>);

    /// When the next serial stage wants to hand its items on.
    fn flush_at(&self) -> Option<Instant>;

    /// Tells those whose time has come.
    fn tell_time(&mut self, now: Instant);

    /// Whether anything has changed since the last call.
    fn take_changed(&mut self) -> bool;

    /// How long members have worked for these sections since the last call, but for workers of a section's own.
    fn take_spent(&mut self) -> Duration;

    /// Whether no member has a step here any more, now and later.
    fn is_over(&self, is_above_over: bool, void: Void<'_>) -> bool;

    /// Whether the last ring has given out all pieces.
    fn is_complete(&self, is_above_complete: bool) -> bool;

    /// How the run ends, if that is known from a boundary: the last one counts, because what it knows is earlier in the
    /// sequence. Where no order is kept, a failure counts as soon as it has arrived in a ring.
    fn outcome(&self) -> Option<Outcome>;

    /// Whether a failure in a section before the last ends the run.
    fn has_failed(&self) -> bool {
        self.outcome() == Some(Outcome::Failed)
    }

    fn in_hand(&self) -> InHand;

    /// How many members are in serial stages.
    fn crossing(&self) -> usize;

    /// Whether the items of a section keep a member long.
    fn are_items_long(&self) -> bool;

    /// Tells the marks which index is due in each ring. The first is that of the section before.
    fn publish(&self, marks: &[Marks]);

    /// The next step of a worker of the section `at` sections further.
    fn own_step(
        &mut self,
        at: usize,
        arrival: Option<Arrival>,
        is_above_over: bool,
        void: Void<'_>,
    ) -> OwnStep<Self::Task>;

    /// The system has refused to start such a worker.
    fn own_refused(&mut self, at: usize);

    /// Chooses the workers of single sections to wake or start. `section` is the number of the next.
    fn calls(&mut self, section: usize, is_above_over: bool, void: Void<'_>, calls: &mut Calls);
}

/// A state with sections, or only a ring, below it.
pub(in super::super) trait Down {
    type Below: Below;

    fn down(&mut self) -> &mut Self::Below;
}

/// The ring that the caller takes from.
#[cfg_attr(test, derive(Debug))]
pub(in super::super) struct Last<R, E> {
    ring: Ring<R, E>,
    freed: Release,
}

impl<R, E> Last<R, E> {
    pub(super) fn new(ring: Ring<R, E>) -> Self {
        Last { ring, freed: Release::default() }
    }

    /// The pieces that are left.
    pub(super) fn into_ring(self) -> Ring<R, E> {
        self.ring
    }
}

impl<R, E> Below for Last<R, E> {
    type In = R;
    type InError = E;
    type Out = R;
    type OutError = E;
    type Task = Infallible;
    type Done = Infallible;

    const SECTIONS: usize = 0;
    const TIMED: bool = false;

    fn ring(&self) -> &Ring<R, E> {
        &self.ring
    }

    fn ring_mut(&mut self) -> &mut Ring<R, E> {
        &mut self.ring
    }

    fn take_due(&mut self) -> Option<Piece<R, E>> {
        self.ring.take()
    }

    fn recycle(&mut self, outputs: Vec<R>, output_bytes: u64) {
        self.ring.release(output_bytes);
        self.ring.recycle(outputs);
    }

    fn is_ready(&self) -> bool {
        self.ring.is_ready()
    }

    fn free(&mut self, items: Release) {
        self.freed += items;
    }

    fn take_freed(&mut self) -> Release {
        mem::take(&mut self.freed)
    }

    fn commit(&mut self, done: Self::Done) {
        match done {}
    }

    fn step(&mut self, _void: Void<'_>) -> Option<Self::Task> {
        None
    }

    fn can_step(&self, _void: Void<'_>) -> bool {
        false
    }

    fn settle(&mut self, _coming: Coming, _void: Void<'_>) {}

    fn flush_at(&self) -> Option<Instant> {
        None
    }

    fn tell_time(&mut self, _now: Instant) {}

    fn take_changed(&mut self) -> bool {
        false
    }

    fn take_spent(&mut self) -> Duration {
        Duration::ZERO
    }

    fn is_over(&self, is_above_over: bool, _void: Void<'_>) -> bool {
        is_above_over
    }

    fn is_complete(&self, is_above_complete: bool) -> bool {
        is_above_complete && self.ring.is_empty()
    }

    fn outcome(&self) -> Option<Outcome> {
        None
    }

    fn in_hand(&self) -> InHand {
        InHand { all: 0, shared: 0 }
    }

    fn crossing(&self) -> usize {
        0
    }

    fn are_items_long(&self) -> bool {
        false
    }

    fn publish(&self, marks: &[Marks]) {
        if let Some(marks) = marks.first() {
            marks.set_due(self.ring.due());
        }
    }

    fn own_step(
        &mut self,
        _at: usize,
        _arrival: Option<Arrival>,
        _is_above_over: bool,
        _void: Void<'_>,
    ) -> OwnStep<Self::Task> {
        OwnStep::Leave
    }

    fn own_refused(&mut self, _at: usize) {}

    fn calls(&mut self, _section: usize, _is_above_over: bool, _void: Void<'_>, _calls: &mut Calls) {}
}
