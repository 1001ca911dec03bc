//! [`Plain`]: the loop that this library promises to equal.

use std::ops::ControlFlow;

use super::local::MemberLocal;
use super::stage::{At, Stage};
use super::stop::{Refused, Stop};
use crate::panic::{self, Panics};
use crate::token::CancellationToken;

/// A plain loop over items `T`, on the calling thread.
pub(super) struct Plain<'a, T, W: Stage<T>, E> {
    stage: &'a W,
    local: MemberLocal<'a, T, W>,
    token: &'a CancellationToken,
    /// The index of the next item.
    index: u64,
    /// Why it has ended early.
    stopped: Option<Stop<W::Error, E>>,
}

impl<'a, T, W: Stage<T>, E> Plain<'a, T, W, E> {
    pub(super) fn new(stage: &'a W, token: &'a CancellationToken) -> Self {
        Plain { stage, local: MemberLocal::new(stage), token, index: 0, stopped: None }
    }

    /// Runs the whole loop, with the same end as a run on threads.
    pub(super) fn run<A, K>(
        mut self,
        mut items: impl Iterator<Item = T>,
        mut state: A,
        mut sink: K,
    ) -> Result<A, Stop<W::Error, E>>
    where
        K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
    {
        let looped = panic::catch(|| self.feed_all(&mut items, |output| sink(&mut state, output)));
        let mut panics = Panics::default();
        match looped {
            // Dropped behind the end: the rest of an iterator, one of whose items the sink has refused.
            Err(payload) if self.stopped.is_some() => panic::discard(payload),
            Err(payload) => panics.add(payload),
            Ok(()) => {}
        }
        panics.drop(sink);
        let result = match self.stopped {
            None => Ok(state),
            Some(stop) => {
                panics.drop(state);
                Err(stop)
            }
        };
        self.local.retire(&mut panics);
        panics.drop(items);
        panics.resume_or(result)
    }

    /// Takes the states back, if this is not [run](Self::run) as a whole.
    pub(super) fn retire(&mut self, panics: &mut Panics) {
        self.local.retire(panics);
    }

    fn feed_all(
        &mut self,
        items: &mut impl Iterator<Item = T>,
        mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
    ) {
        if !self.token.is_cancelled() {
            for item in items {
                if self.token.is_cancelled() {
                    panic::discard(item);
                    break;
                }
                self.feed(item, &mut sink);
                if self.stopped.is_some() || self.token.is_cancelled() {
                    break;
                }
            }
        }
        // A source that observes the token ends early, and looks as if it had come to its end.
        if self.stopped.is_none() && self.token.is_cancelled() {
            self.stopped = Some(Stop::Cancelled);
        }
    }

    /// Applies the stages to one item, and hands their outputs to the sink.
    fn feed(&mut self, item: T, mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>) {
        let at = At::new(self.index);
        self.index += 1;
        let (token, stopped) = (self.token, &mut self.stopped);
        let fed = self.stage.feed(self.local.get_mut(), at, item, |output| {
            let taken = match output {
                output if token.is_cancelled() => {
                    panic::discard(output);
                    Err(Refused::Cancelled)
                }
                Some(output) => sink(output),
                None => Ok(()),
            };
            match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(refused) => {
                    *stopped = Some(refused.into());
                    ControlFlow::Break(())
                }
            }
        });
        // An error of a stage while the run is cancelled may be an echo, but the loop ends with it.
        if let (Err(error), None) = (fed, &self.stopped) {
            self.stopped = Some(Stop::Stage(error));
        }
    }

    /// Applies the stages to one item that a pipeline before this one makes, and answers that one as its sink.
    pub(super) fn take(
        &mut self,
        item: T,
        sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
    ) -> Result<(), Refused<Stop<W::Error, E>>> {
        self.feed(item, sink);
        match self.stopped.take() {
            None => Ok(()),
            Some(Stop::Cancelled) => Err(Refused::Cancelled),
            Some(stop) => Err(Refused::Failed(stop)),
        }
    }
}
