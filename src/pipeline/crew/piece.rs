//! [`Piece`]: the outputs of a batch, on their whole way from the member that made them to the sink.

use crate::panic::{self, Payload, Unmet};

/// The outputs of a batch, or of a part of it, in order.
#[cfg_attr(test, derive(Debug))]
pub(in super::super) struct Piece<R, E> {
    /// The index of the first item that it has outputs of.
    pub(super) first: u64,
    /// How many pieces of the same batch came before it.
    pub(super) part: usize,
    pub(in super::super) outputs: Unmet<R>,
    /// How many items of its section end in it, a failing one included. The last item may end in a later piece. Once it
    /// has left the ring, the items of the source are meant that it closes.
    pub(super) closes: usize,
    /// How many bytes these, or items of a batch before them, weigh against the [budget](super::super::gate).
    pub(super) bytes: u64,
    /// How many bytes its outputs weigh, if they are weighed.
    pub(super) output_bytes: u64,
    /// How much of it counts against the bound on parts; see [`weight`](super::weight).
    pub(super) weight: usize,
    /// The failure behind its last output.
    pub(in super::super) end: Option<End<E>>,
}

/// The failure of an item, which ends the run.
pub(in super::super) enum End<E> {
    Error(E),
    Panic(Payload),
}

#[cfg(test)]
impl<R, E> Piece<R, E> {
    /// Without outputs.
    pub(super) fn empty(first: u64, part: usize, closes: usize) -> Self {
        Piece { first, part, outputs: Unmet(Vec::new()), closes, bytes: 0, output_bytes: 0, weight: 0, end: None }
    }
}

#[cfg(test)]
impl<E> std::fmt::Debug for End<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            End::Error(_) => "Error",
            End::Panic(_) => "Panic",
        })
    }
}

/// Drops a value that the plain loop would not have met, out of line: the catch would cost the loops that call this.
#[cold]
#[inline(never)]
pub(in super::super) fn lose<T>(lost: T) {
    panic::discard(lost);
}
