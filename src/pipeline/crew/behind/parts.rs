//! A section behind a boundary at the beginning and at the end of a run.

#[cfg(test)]
use std::fmt;

use super::super::super::serial::Serial;
use super::super::crossing::Input;
use super::super::piece::End;
use super::super::ring::Ring;
use super::Behind;

impl<I, E, Q: Serial<I, Output: Send>, D> Behind<I, E, Q, D> {
    /// Takes apart the remains: the pieces that have not crossed, the failure that has crossed last, whether the serial
    /// stage wanted no more, the items, and the rest below.
    pub(in super::super) fn into_parts(self) -> (Ring<I, E>, Option<End<E>>, bool, impl Sized, D) {
        let (end, is_ended) = match self.input {
            Input::Open => (None, false),
            Input::Closed(end) => (end, false),
            Input::Ended => (None, true),
        };
        (self.ring, end, is_ended, self.supply, self.down)
    }

    /// Nothing is to cross at all.
    pub(in super::super) fn end_input(&mut self) {
        self.input = Input::Ended;
    }
}

#[cfg(test)]
impl<I, E, Q: Serial<I, Output: Send>, D> fmt::Debug for Behind<I, E, Q, D>
where
    I: fmt::Debug,
    E: fmt::Debug,
    Q::Output: fmt::Debug + Send,
    D: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Behind { ring, is_crossing, coming, supply, pace, own, down, .. } = self;
        let input = match &self.input {
            Input::Open => "open",
            Input::Closed(None) => "closed",
            Input::Closed(Some(_)) => "failed",
            Input::Ended => "ended",
        };
        write!(f, "{ring:?} {input} {is_crossing} {coming:?} {supply:?} {pace:?} {own:?} {down:?}")
    }
}
