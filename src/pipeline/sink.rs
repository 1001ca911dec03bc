//! [`Sink`]: what takes the outputs of a run, on the calling thread.

use std::vec::Drain;

use super::stop::Refused;
use crate::panic;
use crate::token::CancellationToken;

/// What takes the outputs of a run, on the calling thread.
pub(super) trait Sink<R> {
    type Error;

    /// Whether it wants to be told that the calling thread is about to wait or to work.
    const IS_TOLD: bool = false;

    fn take(&mut self, output: R) -> Result<(), Refused<Self::Error>>;

    /// Takes the outputs of a piece, as long as the token is not cancelled. Those that it leaves count for nothing.
    fn take_piece(
        &mut self,
        outputs: &mut Drain<'_, R>,
        token: &CancellationToken,
    ) -> Result<(), Refused<Self::Error>> {
        outputs.try_for_each(|output| {
            if token.is_cancelled() {
                return lose(output);
            }
            self.take(output)
        })
    }

    /// It has taken outputs, and the calling thread is about to wait or to work.
    fn tell(&mut self) -> Result<(), Refused<Self::Error>> {
        Ok(())
    }
}

/// Drops an output behind a cancel, out of line: the catch would cost the loop that calls this.
#[cold]
#[inline(never)]
fn lose<R, E>(output: R) -> Result<(), Refused<E>> {
    panic::discard(output);
    Err(Refused::Cancelled)
}

/// A sink with a state, which the run gives back if it ends well, and drops as early as the sink if not.
pub(super) trait Keeps {
    type State;

    /// Returns the state, and the rest of the sink, which is dropped first.
    fn into_parts(self) -> (Self::State, impl Sized);
}

/// A closure that takes the outputs one by one, and its state.
pub(super) struct Each<A, F> {
    pub(super) state: A,
    pub(super) f: F,
}

impl<R, A, E, F> Sink<R> for Each<A, F>
where
    F: FnMut(&mut A, R) -> Result<(), Refused<E>>,
{
    type Error = E;

    #[inline]
    fn take(&mut self, output: R) -> Result<(), Refused<E>> {
        (self.f)(&mut self.state, output)
    }
}

impl<A, F> Keeps for Each<A, F> {
    type State = A;

    fn into_parts(self) -> (A, impl Sized) {
        (self.state, self.f)
    }
}

impl<R, K: Sink<R>> Sink<R> for &mut K {
    type Error = K::Error;

    const IS_TOLD: bool = K::IS_TOLD;

    #[inline]
    fn take(&mut self, output: R) -> Result<(), Refused<K::Error>> {
        (**self).take(output)
    }

    #[inline]
    fn take_piece(&mut self, outputs: &mut Drain<'_, R>, token: &CancellationToken) -> Result<(), Refused<K::Error>> {
        (**self).take_piece(outputs, token)
    }

    fn tell(&mut self) -> Result<(), Refused<K::Error>> {
        (**self).tell()
    }
}
