//! [`Caller`]: the calling thread. It claims, works and commits as a worker does, and it
//! alone hands outputs to the sink.
//!
//! **Where items are long, the caller does not work.** It could not output meanwhile. So it stops to claim batches once
//! an item takes more than a millisecond on average, and one more worker does its share. A caller that never works is
//! worse where items are cheap: N threads then work with N + 1.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::super::local::MemberLocal;
use super::super::report;
use super::super::sink::Sink;
use super::super::source::Feed;
use super::super::stage::Stage;
use super::super::stop::Refused;
use super::below::{Below, Void};
use super::hands::Hands;
use super::members::Members;
use super::onward::{Onward, hand_over};
use super::piece::End;
use super::ring::Offers;
use super::roster::Sleep;
use super::section::{BatchOf, DoneOf, LocalOf, PieceOf, Section, StateOf, TaskOf, WorkedOf};
use super::step::{CallerStep, Look, Step};
use super::supply::Claim;
use super::work::Work;
use crate::event::Ticket;
use crate::panic::{self, Panics, Payload};
use crate::token::CancellationToken;

/// The calling thread in its run.
pub(in super::super) struct Caller<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>, K, E> {
    local: MemberLocal<'env, F::Item, W>,
    behind: LocalOf<F, W, N>,
    worked: Option<WorkedOf<F, W>>,
    done: Option<DoneOf<F, W, N>>,
    outlet: Outlet<'a, 'scope, 'env, F, W, N, K, E>,
}

/// How the caller left its loop.
pub(in super::super) enum Exit<S, E> {
    /// The sink has taken every output. The source may have panicked behind its last item.
    Complete,
    Cancelled,
    /// The sink has cancelled the token itself: the plain loop would have come no further.
    CancelledBySink,
    /// A stage of the last section failed.
    Stage(S),
    /// A section before it failed: the remains have the failure.
    Before,
    /// The sink failed.
    Sink(E),
    /// A stage or the sink panicked.
    Panicked(Payload),
    /// A worker is gone by a panic that belongs to no item; joining it gives the payload.
    Crashed,
}

impl<'a, 'scope, 'env, F, W, N, K, E> Caller<'a, 'scope, 'env, F, W, N, K, E>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
    K: Sink<N::Output, Error = E>,
{
    pub(in super::super) fn new(
        members: &'a Members<'scope, 'env, F, W, N>,
        token: &'a CancellationToken,
        sink: K,
        due: &'a mut VecDeque<PieceOf<F, W, N>>,
    ) -> Self {
        let outlet = Outlet { members, token, sink, due, taken: Vec::new(), is_untold: false, exit: None };
        let Section { stage, next, .. } = members.section;
        Caller { local: MemberLocal::new(*stage), behind: next.local(), worked: None, done: None, outlet }
    }

    /// Works and outputs until the run is over.
    pub(in super::super) fn run(&mut self) -> Exit<N::Error, E> {
        loop {
            if let Some(exit) = self.step() {
                return exit;
            }
        }
    }

    /// Takes the next step: hands the due pieces to the sink, works a batch, or sleeps. Returns how the loop is left,
    /// if the run is over.
    pub(in super::super) fn step(&mut self) -> Option<Exit<N::Error, E>> {
        let members = self.outlet.members;
        let signal = &members.section.signal;
        let ticket = signal.caller.ticket();
        let is_cancelled = self.outlet.token.is_cancelled();
        let (step, lack) = members.enter(|state, void| {
            state.commit(self.worked.take());
            if let Some(done) = self.done.take() {
                state.down.commit(done);
            }
            self.outlet.taken.drain(..).for_each(|taken| state.close(taken));
            if is_cancelled {
                return (CallerStep::Abandon, None);
            }
            let step = state.caller_step(self.outlet.due, void);
            signal.marks(0).set_due(state.due());
            let sleeps = matches!(step, CallerStep::As(Step::Sleep(_)));
            (step, if sleeps { state.caller_lack(void) } else { None })
        });
        if !matches!(step, CallerStep::Output | CallerStep::Abandon | CallerStep::Fail) {
            self.outlet.tell();
            if let Some(exit) = self.outlet.exit.take() {
                panic::discard(step);
                return Some(exit);
            }
        }
        match step {
            CallerStep::Output => self.outlet.output_due(),
            CallerStep::As(Step::Work(claim, outputs)) => self.work(claim, outputs),
            CallerStep::As(Step::Behind(task)) => self.work_behind(task),
            CallerStep::As(Step::Pull(quota)) => {
                if let Some((claim, outputs)) = members.pull(quota) {
                    self.work(claim, outputs);
                }
            }
            CallerStep::As(Step::Sleep(sleep)) => {
                members.idle(&signal.caller, ticket, sleep, lack.map(|lack| (0, lack)));
            }
            CallerStep::As(Step::Leave) => return Some(Exit::Complete),
            CallerStep::Abandon => return Some(self.outlet.abandon()),
            CallerStep::Fail => return Some(Exit::Before),
        }
        let exit = self.outlet.exit.take();
        if exit.is_some() {
            self.lose_work();
        }
        exit
    }

    /// The [consumer](Section::enter_consumer) is back, and has taken all outputs in `elapsed`, which is time of the
    /// sink.
    pub(in super::super) fn leave_consumer(&mut self, elapsed: Duration) {
        let Outlet { members, taken, .. } = &mut self.outlet;
        members.section.signal.leave_sink();
        if let Some(times) = members.times() {
            times.end(report::Step::Sink, elapsed);
        }
        let items = taken.iter().map(|(piece, _)| piece.closes).sum::<usize>().max(1);
        let each = elapsed / u32::try_from(items).unwrap_or(u32::MAX);
        for (piece, time) in taken {
            *time += each * u32::try_from(piece.closes).unwrap_or(u32::MAX);
        }
    }

    /// Takes the pieces that the sink has not taken.
    pub(in super::super) fn take_due(&mut self) -> VecDeque<PieceOf<F, W, N>> {
        mem::take(self.outlet.due)
    }

    fn lose_work(&mut self) {
        panic::discard(self.worked.take());
        panic::discard(self.done.take());
    }

    /// Hands the states of the stages back, behind the sink.
    pub(in super::super) fn retire(mut self, panics: &mut Panics) {
        self.lose_work();
        self.local.retire(panics);
        self.outlet.members.section.next.retire(self.behind, panics);
    }

    fn work(&mut self, claim: Claim<BatchOf<F>>, outputs: Vec<W::Output>) {
        let Caller { local, behind, outlet, .. } = self;
        let section = outlet.members.section;
        let (place, mut offers) = (outlet.members.place(), Offers::default());
        let work = Work { stage: section.stage, local, place };
        let hand_over = |part| hand_over(part, &mut offers, &section.next, behind, place, outlet);
        self.worked = Some(work.run(claim, outputs, hand_over));
    }

    fn work_behind(&mut self, task: TaskOf<F, W, N>) {
        let members = self.outlet.members;
        let place = members.place();
        self.done = Some(members.section.next.work(task, &mut self.behind, place, &mut self.outlet));
    }
}

/// The caller's way to the sink.
struct Outlet<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>, K, E> {
    members: &'a Members<'scope, 'env, F, W, N>,
    token: &'a CancellationToken,
    sink: K,
    /// The pieces that the sink takes next. They outlive the caller: the run looks for failures in those that are left.
    due: &'a mut VecDeque<PieceOf<F, W, N>>,
    /// The pieces that the sink has taken since the last look at the state, and the time that each took.
    taken: Vec<(PieceOf<F, W, N>, Duration)>,
    /// The sink has taken outputs since it was told last that the caller would wait or work.
    is_untold: bool,
    /// Set where the caller has to leave its loop.
    exit: Option<Exit<N::Error, E>>,
}

impl<F, W, N, K, E> Hands for Outlet<'_, '_, '_, F, W, N, K, E>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
    K: Sink<N::Output, Error = E>,
{
    type State = StateOf<F, W, N>;

    fn ticket(&self) -> Ticket {
        self.members.section.signal.caller.ticket()
    }

    /// The caller outputs what is due, too. Its batch counts as void once it has to leave its loop.
    fn look<R, T>(&mut self, look: impl FnOnce(&mut Self::State, Void<'_>) -> Look<R, T>) -> Look<R, T> {
        if self.exit.is_some() {
            return Look::Void;
        }
        let members = self.members;
        let is_cancelled = self.token.is_cancelled();
        let found = members.enter(|state, void| {
            self.taken.drain(..).for_each(|taken| state.close(taken));
            let void = if is_cancelled { void.of_all() } else { void };
            let found = state.caller_offers(self.due, |state| look(state, void));
            members.section.signal.marks(0).set_due(state.due());
            found
        });
        self.output_due();
        self.tell();
        if self.exit.is_some() { Look::Void } else { found }
    }

    fn sleep(&self, ticket: Ticket, sleep: Sleep) {
        self.members.sleep(&self.members.section.signal.caller, ticket, sleep);
    }
}

impl<F, W, N, K, E> Outlet<'_, '_, '_, F, W, N, K, E>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
    K: Sink<N::Output, Error = E>,
{
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
    fn output(&mut self, mut piece: PieceOf<F, W, N>) {
        let Section { signal, recording, .. } = self.members.section;
        let started = Instant::now();
        if let Some(times) = self.members.times() {
            times.begin(report::Step::Sink, started);
        }
        let mut rest = piece.outputs.0.drain(..);
        let outputs = rest.len();
        signal.enter_sink();
        // Caught, because the rest has to be dropped one by one, and not while the panic unwinds.
        let taken = panic::catch(|| self.sink.take_piece(&mut rest, self.token));
        signal.leave_sink();
        let elapsed = started.elapsed();
        if let Some(times) = self.members.times() {
            times.end(report::Step::Sink, elapsed);
        }
        // It has not taken the output at which it failed, or found the token cancelled.
        let refused = usize::from(!matches!(taken, Ok(Ok(()))));
        recording.took_outputs((outputs - rest.len()).saturating_sub(refused));
        panic::discard_all(&mut rest);
        drop(rest);
        // An error in the piece beats a cancellation that arrives while the piece is being output.
        let exit = match taken {
            Err(payload) => Exit::Panicked(payload),
            Ok(Err(Refused::Failed(error))) => Exit::Sink(error),
            Ok(_) if signal.is_cancelled_by_sink() => Exit::CancelledBySink,
            Ok(taken) => match (piece.end.take(), taken) {
                (Some(end), _) => {
                    // Its last item has failed.
                    recording.took_items(piece.closes.saturating_sub(1));
                    match end {
                        End::Error(error) => Exit::Stage(error),
                        End::Panic(payload) => Exit::Panicked(payload),
                    }
                }
                (None, Err(_)) => Exit::Cancelled,
                (None, Ok(())) => {
                    recording.took_items(piece.closes);
                    self.is_untold |= outputs > 0;
                    self.taken.push((piece, elapsed));
                    return;
                }
            },
        };
        panic::discard(piece.end);
        self.exit = Some(exit);
    }

    /// Tells a sink that has taken outputs that the caller is about to wait or to work.
    fn tell(&mut self) {
        if !K::IS_TOLD || self.exit.is_some() || !mem::take(&mut self.is_untold) {
            return;
        }
        let signal = &self.members.section.signal;
        signal.enter_sink();
        let told = panic::catch(|| self.sink.tell());
        signal.leave_sink();
        self.exit = match told {
            Err(payload) => Some(Exit::Panicked(payload)),
            Ok(Err(Refused::Failed(error))) => Some(Exit::Sink(error)),
            Ok(_) if signal.is_cancelled_by_sink() => Some(Exit::CancelledBySink),
            Ok(Err(Refused::Cancelled)) => Some(Exit::Cancelled),
            Ok(Ok(())) => None,
        };
    }

    /// The token is cancelled, or a worker is gone.
    fn abandon(&self) -> Exit<N::Error, E> {
        if self.members.section.signal.is_cancelled_by_sink() {
            Exit::CancelledBySink
        } else if self.token.is_cancelled() {
            Exit::Cancelled
        } else {
            Exit::Crashed
        }
    }
}
