//! [`Caller`]: the calling thread. It claims, works and commits as a worker does, and it
//! alone hands outputs to the sink.
//!
//! **Where items are long, the caller does not work.** It could not output meanwhile. So it stops to claim batches once
//! an item takes more than a millisecond on average, and one more worker does its share. A caller that never works is
//! worse where items are cheap: N threads then work with N + 1.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use std::vec::Drain;

use super::super::local::MemberLocal;
use super::super::source::Feed;
use super::super::stage::Stage;
use super::super::stop::Refused;
use super::members::Members;
use super::piece::End;
use super::ring::Offers;
use super::section::{BatchOf, PieceOf, WorkedOf};
use super::step::{Answer, CallerAnswer, CallerStep, Offer, Step};
use super::supply::Claim;
use super::work::Work;
use crate::panic::{self, Payload};
use crate::token::CancellationToken;

/// The calling thread in its run.
pub(in super::super) struct Caller<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, K, E> {
    work: Work<'env, F::Item, W>,
    worked: Option<WorkedOf<F, W>>,
    outlet: Outlet<'a, 'scope, 'env, F, W, K, E>,
}

/// How the caller left its loop.
pub(in super::super) enum Exit<S, E> {
    /// The sink has taken every output. The source may have panicked behind its last item.
    Complete,
    Cancelled,
    /// The sink has cancelled the token itself: the plain loop would have come no further.
    CancelledBySink,
    /// A stage failed.
    Stage(S),
    /// The sink failed.
    Sink(E),
    /// A stage or the sink panicked.
    Panicked(Payload),
    /// A worker is gone by a panic that belongs to no item; joining it gives the payload.
    Crashed,
}

impl<'a, 'scope, 'env, F, W, K, E> Caller<'a, 'scope, 'env, F, W, K, E>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut Drain<'_, W::Output>) -> Result<(), Refused<E>>,
{
    pub(in super::super) fn new(
        members: &'a Members<'scope, 'env, F, W>,
        token: &'a CancellationToken,
        sink: K,
        due: &'a mut VecDeque<PieceOf<F, W>>,
    ) -> Self {
        let outlet = Outlet { members, token, sink, due, taken: Vec::new(), exit: None };
        Caller { work: Work::new(members.section), worked: None, outlet }
    }

    /// Works and outputs until the run is over.
    pub(in super::super) fn run(&mut self) -> Exit<W::Error, E> {
        loop {
            if let Some(exit) = self.step() {
                return exit;
            }
        }
    }

    /// Takes the next step: hands the due pieces to the sink, works a batch, or sleeps. Returns how the loop is left, if
    /// the run is over.
    pub(in super::super) fn step(&mut self) -> Option<Exit<W::Error, E>> {
        let members = self.outlet.members;
        let signal = &members.section.signal;
        let ticket = signal.caller.ticket();
        let is_cancelled = self.outlet.token.is_cancelled();
        let step = members.enter(|state, void| {
            state.commit(self.worked.take());
            self.outlet.taken.drain(..).for_each(|taken| state.close(taken));
            if is_cancelled {
                return CallerStep::Abandon;
            }
            let step = state.caller_step(self.outlet.due, void);
            signal.set_due(state.due());
            step
        });
        match step {
            CallerStep::Output => self.outlet.output_due(),
            CallerStep::As(Step::Work(claim, outputs)) => self.work(claim, outputs),
            CallerStep::As(Step::Pull(quota)) => {
                if let Some((claim, outputs)) = members.pull(quota) {
                    self.work(claim, outputs);
                }
            }
            CallerStep::As(Step::Sleep(sleep)) => members.sleep(&signal.caller, ticket, sleep),
            CallerStep::As(Step::Leave) => return Some(Exit::Complete),
            CallerStep::Abandon => return Some(self.outlet.abandon()),
        }
        let exit = self.outlet.exit.take();
        if exit.is_some() {
            panic::discard(self.worked.take());
        }
        exit
    }

    /// The [consumer](Section::enter_consumer) is back, and has taken all outputs in `elapsed`, which is time of the
    /// sink.
    pub(in super::super) fn leave_consumer(&mut self, elapsed: Duration) {
        let Outlet { members, taken, .. } = &mut self.outlet;
        members.section.signal.leave_sink();
        let items = taken.iter().map(|(piece, _)| piece.closes).sum::<usize>().max(1);
        let each = elapsed / u32::try_from(items).unwrap_or(u32::MAX);
        for (piece, time) in taken {
            *time += each * u32::try_from(piece.closes).unwrap_or(u32::MAX);
        }
    }

    /// Takes the pieces that the sink has not taken.
    pub(in super::super) fn take_due(&mut self) -> VecDeque<PieceOf<F, W>> {
        std::mem::take(self.outlet.due)
    }

    /// Gives the states of the stages back, to be dropped behind the sink.
    pub(in super::super) fn into_local(mut self) -> MemberLocal<'env, F::Item, W> {
        panic::discard(self.worked.take());
        self.work.local
    }

    fn work(&mut self, claim: Claim<BatchOf<F>>, outputs: Vec<W::Output>) {
        #[cfg(test)]
        if let Some(counts) = &self.outlet.members.section.counts {
            super::counts::add(&counts.batches);
        }
        let mut offers = Offers::default();
        self.worked = Some(self.work.run(claim, outputs, |part| self.outlet.hand_over(part, &mut offers)));
    }
}

/// The caller's way to the sink.
struct Outlet<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, K, E> {
    members: &'a Members<'scope, 'env, F, W>,
    token: &'a CancellationToken,
    /// Takes the outputs of a piece, as long as the token is not cancelled.
    sink: K,
    /// The pieces that the sink takes next. They outlive the caller: the run looks for failures in those that are left.
    due: &'a mut VecDeque<PieceOf<F, W>>,
    /// The pieces that the sink has taken since the last look at the state, and the time that each took.
    taken: Vec<(PieceOf<F, W>, Duration)>,
    /// Set where the caller has to leave its loop.
    exit: Option<Exit<W::Error, E>>,
}

impl<F, W, K, E> Outlet<'_, '_, '_, F, W, K, E>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut Drain<'_, W::Output>) -> Result<(), Refused<E>>,
{
    /// Hands a part of the caller's own batch over, and outputs due pieces until there is room for it.
    ///
    /// Breaks off when the batch is void or the caller has to leave its loop.
    fn hand_over(&mut self, part: PieceOf<F, W>, offers: &mut Offers) -> ControlFlow<(), Vec<W::Output>> {
        let members = self.members;
        let signal = &members.section.signal;
        let mut offer = Offer { first: part.first, part: Some(part), offers };
        while self.exit.is_none() {
            let ticket = signal.caller.ticket();
            let is_cancelled = self.token.is_cancelled();
            let answer = members.enter(|state, void| {
                self.taken.drain(..).for_each(|taken| state.close(taken));
                let void = if is_cancelled { 0 } else { void };
                let answer = state.caller_offers(&mut offer, self.due, void);
                signal.set_due(state.due());
                answer
            });
            match answer {
                CallerAnswer::Output => self.output_due(),
                CallerAnswer::As(Answer::Accepted(next)) => return ControlFlow::Continue(next),
                CallerAnswer::As(Answer::Wait(sleep)) => members.sleep(&signal.caller, ticket, sleep),
                CallerAnswer::As(Answer::Void) => break,
            }
        }
        ControlFlow::Break(())
    }

    /// Hands the due pieces to the sink.
    fn output_due(&mut self) {
        while self.exit.is_none()
            && let Some(piece) = self.due.pop_front()
        {
            self.output(piece);
        }
    }

    /// Hands a piece to the sink. Outputs that the sink does not take, because it fails
    /// or the run is cancelled, the plain loop would not have made.
    ///
    /// If the token is cancelled meanwhile, a failure in this piece still counts, because the cancellation may be its
    /// echo. It does not count if the sink itself cancelled, because there the plain loop ends.
    fn output(&mut self, mut piece: PieceOf<F, W>) {
        let signal = &self.members.section.signal;
        let started = Instant::now();
        let mut rest = piece.outputs.0.drain(..);
        signal.enter_sink();
        // Caught, because the rest has to be dropped one by one, and not while the panic unwinds.
        let taken = panic::catch(|| (self.sink)(&mut rest));
        signal.leave_sink();
        panic::discard_all(&mut rest);
        drop(rest);
        // An error in the piece beats a cancellation that arrives while the piece is being output.
        let exit = match taken {
            Err(payload) => Exit::Panicked(payload),
            Ok(Err(Refused::Failed(error))) => Exit::Sink(error),
            Ok(_) if signal.is_cancelled_by_sink() => Exit::CancelledBySink,
            Ok(taken) => match (piece.end.take(), taken) {
                (Some(End::Error(error)), _) => Exit::Stage(error),
                (Some(End::Panic(payload)), _) => Exit::Panicked(payload),
                (None, Err(_)) => Exit::Cancelled,
                (None, Ok(())) => {
                    self.taken.push((piece, started.elapsed()));
                    return;
                }
            },
        };
        panic::discard(piece.end);
        self.exit = Some(exit);
    }

    /// The token is cancelled, or a worker is gone.
    fn abandon(&self) -> Exit<W::Error, E> {
        if self.members.section.signal.is_cancelled_by_sink() {
            Exit::CancelledBySink
        } else if self.token.is_cancelled() {
            Exit::Cancelled
        } else {
            Exit::Crashed
        }
    }
}
