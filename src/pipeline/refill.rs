//! [`Refill`]: a run whose outputs are asked for, and its consumer.
//!
//! The ends of a pipeline push outputs into a sink. An iterator needs the reverse: its user has control, and asks for
//! the next output. The source is opened within a callback, and with threads of a scope, so the user cannot be handed
//! the run. The run hands a [`Refill`] to the [`Consume`] in its midst instead.

use std::collections::VecDeque;
use std::mem;

use crate::error::CancelReason;
use crate::panic::{self, Panics, Payload};
use crate::token::CancellationToken;

/// The reason of a token that was cancelled because nothing more is wanted of its run: then its failures do not count.
pub(super) const LEFT: CancelReason = CancelReason::Other("the iterator was dropped");

/// A run that makes outputs when it is asked.
pub(super) trait Refill<R, E> {
    /// Adds the outputs that come next, at least one, unless the run has ended.
    ///
    /// A panic of the user's is no panic of this call, but an end, because the outputs before it come first. Before it
    /// returns an end, all threads are joined. It is not called again then.
    fn refill(&mut self, outputs: &mut VecDeque<R>) -> Option<Ended<E>>;

    /// Ends the run, if it has not ended, because nothing more is wanted. Returns the panics of `Drop`s.
    fn leave(&mut self) -> Panics;

    /// Whether the consumer itself has cancelled the token: the plain loop would have met no failure behind that.
    fn is_cancelled_by_consumer(&self) -> bool;
}

/// The use of a run's outputs, which is called once.
///
/// Behind a reference, lest each use of a pipeline be compiled with the whole run.
pub(super) type Consume<'a, R, E> = &'a mut dyn FnMut(&mut dyn Refill<R, E>);

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ended<E> {
    Complete,
    Cancelled,
    Failed(E),
    Panicked(Panics),
}

impl<E> Ended<E> {
    /// Leaves the run at this end. The panics of the `Drop`s that `leave` meets are resumed in place of an error, but
    /// not of a panic.
    ///
    /// A run whose iterator was dropped is left later, by its consumer, for which those panics alone count.
    pub(super) fn and(self, token: &CancellationToken, leave: impl FnOnce() -> Panics) -> Ended<E> {
        match self {
            Ended::Cancelled if token.reason() == Some(LEFT) => Ended::Cancelled,
            ended => ended.behind(leave()),
        }
    }

    pub(super) fn behind(self, dropped: Panics) -> Ended<E> {
        if dropped.is_empty() {
            return self;
        }
        match self {
            Ended::Panicked(mut panics) => {
                panics.append(dropped);
                Ended::Panicked(panics)
            }
            ended => {
                panic::discard(ended);
                Ended::Panicked(dropped)
            }
        }
    }
}

impl<E> From<Payload> for Ended<E> {
    fn from(payload: Payload) -> Self {
        let mut panics = Panics::default();
        panics.add(payload);
        Ended::Panicked(panics)
    }
}

/// Resumes the panic of a consumer, or else the first of `dropped`.
pub(super) fn finish(consumed: Result<(), Payload>, dropped: Panics) {
    match consumed {
        Ok(()) => dropped.resume_or(()),
        Err(payload) => {
            dropped.discard();
            panic::resume(payload)
        }
    }
}

/// The consumer's side of a run: its outputs one by one, then its end.
pub(super) struct Upstream<'a, R, E> {
    run: &'a mut (dyn Refill<R, E> + 'a),
    ready: VecDeque<R>,
    /// The end of the run behind the outputs that are ready.
    ended: Option<Ended<E>>,
    /// The end was given.
    is_over: bool,
}

impl<'a, R, E> Upstream<'a, R, E> {
    pub(super) fn new(run: &'a mut (dyn Refill<R, E> + 'a)) -> Self {
        Upstream { run, ready: VecDeque::new(), ended: None, is_over: false }
    }

    /// Returns the next output, or the end, which is `Cancelled` or a failure that was met before if `token` is
    /// cancelled. After the end it returns `Complete`.
    #[inline]
    pub(super) fn next_until(&mut self, token: &CancellationToken) -> Result<R, Ended<E>> {
        if !token.is_cancelled()
            && let Some(output) = self.ready.pop_front()
        {
            return Ok(output);
        }
        self.refill(token)
    }

    /// Adds the next outputs to `outputs`, until there are `most` of them or the run has ended.
    ///
    /// It takes all that are ready at once, so they cost a copy, not a call, each.
    pub(super) fn gather(&mut self, outputs: &mut Vec<R>, most: usize, token: &CancellationToken) -> Option<Ended<E>> {
        while outputs.len() < most {
            match self.next_until(token) {
                Ok(output) => outputs.push(output),
                Err(ended) => return Some(ended),
            }
            outputs.extend(self.ready.drain(..));
        }
        None
    }

    /// Puts the outputs back that were given so far.
    pub(super) fn put_back(&mut self, given: Vec<R>) {
        let ready = mem::replace(&mut self.ready, given.into());
        self.ready.extend(ready);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, token: &CancellationToken) -> Result<R, Ended<E>> {
        if self.is_over {
            return Err(Ended::Complete);
        }
        // Where the consumer cancels before it comes to the end, the plain loop comes no further.
        if token.is_cancelled() && self.ended.is_some() && self.run.is_cancelled_by_consumer() {
            panic::discard(self.ended.replace(Ended::Cancelled));
        }
        loop {
            if token.is_cancelled() {
                // The plain loop would not have made them.
                panic::discard_all(self.ready.drain(..));
            } else if let Some(output) = self.ready.pop_front() {
                return Ok(output);
            }
            if let Some(ended) = self.ended.take() {
                self.is_over = true;
                // A source that observes the token ends early, and looks as if it had come to its end.
                return Err(if let (Ended::Complete, true) = (&ended, token.is_cancelled()) {
                    Ended::Cancelled
                } else {
                    ended
                });
            }
            self.ended = self.run.refill(&mut self.ready);
        }
    }
}

/// The consumer has not met what is left.
impl<R, E> Drop for Upstream<'_, R, E> {
    fn drop(&mut self) {
        panic::discard_all(self.ready.drain(..));
        panic::discard(self.ended.take());
    }
}
