//! [`Caller`]: the calling thread. It claims, works and commits as a worker does, and it
//! alone hands outputs to the sink.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::super::source::{Feed, Stock};
use super::super::stage::Stage;
use super::super::stop::Refused;
use super::piece::{End, lose};
use super::ring::Offers;
use super::section::{PieceOf, Section, WorkedOf};
use super::state::{Answer, CallerAnswer, CallerStep, Haste, Step};
use super::supply::Claim;
use super::work::Work;
use crate::event::Ticket;
use crate::panic::{self, Payload};
use crate::token::CancellationToken;

/// How long the caller sleeps before it asks for the outputs that are held back.
const ALARM: Duration = Duration::from_millis(1);

/// The calling thread in its run.
pub(in super::super) struct Caller<'a, F: Feed, W: Stage<F::Item>, K, E> {
    work: Work<'a, F::Item, W>,
    haste: Haste,
    worked: Option<WorkedOf<F, W>>,
    outlet: Outlet<'a, F, W, K, E>,
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

impl<'a, F, W, K, E> Caller<'a, F, W, K, E>
where
    F: Feed,
    W: Stage<F::Item>,
    K: FnMut(W::Output) -> Result<(), Refused<E>>,
{
    /// `workers` is how many threads were started.
    pub(in super::super) fn new(
        section: &'a Section<'a, F, W>,
        token: &'a CancellationToken,
        workers: usize,
        sink: K,
    ) -> Self {
        section.enter(|state, _| state.roster().set_started(workers));
        let outlet = Outlet { section, token, sink, taken: None, alarm: Alarm::Armed, exit: None };
        let work = Work::new(section.stage, &section.signal, section.order);
        Caller { work, haste: Haste::MayLinger, worked: None, outlet }
    }

    /// Works and outputs until the run is over.
    pub(in super::super) fn run(mut self) -> Exit<W::Error, E> {
        let section = self.outlet.section;
        loop {
            let ticket = section.signal.caller.ticket();
            let is_cancelled = self.outlet.token.is_cancelled();
            let step = section.enter(|state, void| {
                state.commit(self.worked.take());
                state.close(self.outlet.taken.take());
                if is_cancelled {
                    return CallerStep::Abandon;
                }
                let step = state.caller_step(self.haste, void);
                section.signal.set_due(state.due());
                step
            });
            self.haste = Haste::MayLinger;
            match step {
                CallerStep::Output(piece) => self.outlet.output(piece),
                CallerStep::As(Step::Work(claim, outputs)) => self.work(claim, outputs),
                CallerStep::As(Step::Linger(wanted)) => {
                    section.linger(wanted);
                    self.haste = Haste::HasLingered;
                }
                CallerStep::As(Step::Pull(items)) => {
                    if let Some((claim, outputs)) = section.pull(items) {
                        self.work(claim, outputs);
                    }
                }
                CallerStep::As(Step::Sleep) => self.outlet.wait(ticket),
                CallerStep::As(Step::Leave) => return Exit::Complete,
                CallerStep::Abandon => return self.outlet.abandon(),
            }
            if let Some(exit) = self.outlet.exit.take() {
                panic::discard(self.worked);
                return exit;
            }
        }
    }

    fn work(&mut self, claim: Claim<<F::Stock as Stock>::Batch>, outputs: Vec<W::Output>) {
        let mut offers = Offers::default();
        self.worked = Some(self.work.run(claim, outputs, |part| self.outlet.hand_over(part, &mut offers)));
    }
}

/// The caller's way to the sink.
struct Outlet<'a, F: Feed, W: Stage<F::Item>, K, E> {
    section: &'a Section<'a, F, W>,
    token: &'a CancellationToken,
    sink: K,
    /// The piece that the sink has taken last, and the time that it took.
    taken: Option<(PieceOf<F, W>, Duration)>,
    alarm: Alarm,
    /// Set where the caller has to leave its loop.
    exit: Option<Exit<W::Error, E>>,
}

/// Whether the caller's sleep still has an alarm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    Armed,
    /// It has asked for the outputs that are held back, and sleeps on until one comes.
    Given,
}

impl<F, W, K, E> Outlet<'_, F, W, K, E>
where
    F: Feed,
    W: Stage<F::Item>,
    K: FnMut(W::Output) -> Result<(), Refused<E>>,
{
    /// Hands a part of the caller's own batch over, and outputs due pieces until there is room for it.
    ///
    /// Breaks off when the batch is void or the caller has to leave its loop.
    fn hand_over(&mut self, part: PieceOf<F, W>, offers: &mut Offers) -> ControlFlow<(), Vec<W::Output>> {
        let first = part.first;
        let mut part = Some(part);
        while self.exit.is_none() {
            let ticket = self.section.signal.caller.ticket();
            let is_cancelled = self.token.is_cancelled();
            let answer = self.section.enter(|state, void| {
                state.close(self.taken.take());
                let void = if is_cancelled { 0 } else { void };
                let answer = state.caller_offers(first, &mut part, offers, void);
                self.section.signal.set_due(state.due());
                answer
            });
            match answer {
                CallerAnswer::Output(piece) => self.output(piece),
                CallerAnswer::As(Answer::Accepted(next)) => return ControlFlow::Continue(next),
                CallerAnswer::As(Answer::Wait) => self.wait(ticket),
                CallerAnswer::As(Answer::Void) => break,
            }
        }
        ControlFlow::Break(())
    }

    /// Hands a piece to the sink. Outputs that the sink does not take, because it fails
    /// or the run is cancelled, the plain loop would not have made.
    ///
    /// If the token is cancelled meanwhile, a failure in this piece still counts, because the cancellation may be its
    /// echo. It does not count if the sink itself cancelled, because there the plain loop ends.
    fn output(&mut self, mut piece: PieceOf<F, W>) {
        let signal = &self.section.signal;
        let started = Instant::now();
        let mut rest = piece.outputs.0.drain(..);
        signal.enter_sink();
        // Caught, because the rest has to be dropped one by one, and not while the panic unwinds.
        let taken = panic::catch(|| {
            for output in rest.by_ref() {
                if self.token.is_cancelled() {
                    lose(output);
                    return Err(Refused::Cancelled);
                }
                (self.sink)(output)?;
            }
            Ok(())
        });
        signal.leave_sink();
        panic::discard_all(&mut rest);
        drop(rest);
        let exit = match taken {
            Err(payload) => Exit::Panicked(payload),
            Ok(Err(Refused::Failed(error))) => Exit::Sink(error),
            Ok(_) if signal.is_cancelled_by_sink() => Exit::CancelledBySink,
            Ok(taken) => match (piece.end.take(), taken) {
                (Some(End::Error(error)), _) => Exit::Stage(error),
                (Some(End::Panic(payload)), _) => Exit::Panicked(payload),
                (None, Err(_)) => Exit::Cancelled,
                (None, Ok(())) => {
                    self.taken = Some((piece, started.elapsed()));
                    self.alarm = Alarm::Armed;
                    return;
                }
            },
        };
        panic::discard(piece.end);
        self.exit = Some(exit);
    }

    /// Waits until the caller is notified. After a millisecond it asks for the outputs that are held back, once.
    fn wait(&mut self, ticket: Ticket) {
        let signal = &self.section.signal;
        if self.alarm == Alarm::Given {
            return signal.caller.wait(ticket);
        }
        let end = Instant::now() + ALARM;
        signal.caller.wait_until(ticket, Some(end));
        if Instant::now() >= end {
            self.alarm = Alarm::Given;
            signal.alarm();
        }
    }

    /// The token is cancelled, or a worker is gone.
    fn abandon(&self) -> Exit<W::Error, E> {
        if self.section.signal.is_cancelled_by_sink() {
            Exit::CancelledBySink
        } else if self.token.is_cancelled() {
            Exit::Cancelled
        } else {
            Exit::Crashed
        }
    }
}
