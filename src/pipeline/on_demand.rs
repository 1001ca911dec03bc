//! [`OnDemand`]: a run whose outputs are asked for by the calling thread.
//!
//! The calling thread is the caller of the crew, as in a run into a sink, but it takes its steps when the consumer asks
//! for an output. The sink only stores the outputs. While the consumer has control, the pieces that it works through
//! count as not yet taken, so the window and the size of the batches are those of a run into a sink that takes as long.
//!
//! **The source is dropped when the consumer is done**, though the run may have ended before, because the members
//! borrow the source for as long as their scope is open. A plain iterator does so, too.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::ops::ControlFlow;
use std::time::Instant;
use std::vec::Drain;

use super::crew::{Caller, Exit, Members, Onward, Section, Worker};
use super::opening::{Launch, Opening};
use super::plain::{self, Beyond, Plain, PlainItems, Way};
use super::refill::{self, Consume, Ended, LEFT, Refill};
use super::report::Step;
use super::run;
use super::sink::Sink;
use super::source::Feed;
use super::stage::Stage;
use super::stop::{Refused, Stop};
use crate::panic::{self, Panics};
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// A run for a consumer that asks for its outputs.
pub(super) struct OnDemand<'a, R, E> {
    pub(super) role: Role,
    pub(super) consume: Consume<'a, R, E>,
}

/// What the calling thread does while it waits for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It only outputs, and one more thread works.
    Outputs,
    /// It works as the others do, unless stages make many outputs of an item: those of an item in its own hands would
    /// have no bound.
    Works,
}

impl<R: Send, E: Send> Launch<R, E> for OnDemand<'_, R, E> {
    type Output = ();

    fn launch<F, W, N>(opening: Opening<'_, W, N, Self>, feed: F)
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output: Send, Error: Send>,
        N: Beyond<W::Output, W::Error, Output = R, Error = E, State: Send>,
    {
        let fans = W::FANS || N::FANS;
        // One thread of its own is worth its start only if it is the only one to work.
        let is_lone = opening.run.role == Role::Works && !fans && opening.is_for_one_thread();
        let is_plain = is_lone || opening.must_be_plain();
        let meter = is_plain.then(|| opening.meter());
        let Opening { stage, next, mut settings, token, run: OnDemand { role, consume } } = opening;
        if let Some(meter) = meter {
            let plain = Some(Plain::new(stage, &next));
            let mut inline = Inline { plain, items: feed.plain(), all_items: PlainItems::new(token, meter), token };
            let consumed = panic::catch(|| consume(&mut inline));
            let mut dropped = inline.leave();
            dropped.drop(inline.items);
            return refill::finish(consumed, dropped);
        }
        settings.is_caller_reserved |= role == Role::Outputs || fans;
        let waits_for = feed.waits_for();
        let name = settings.name.as_deref().unwrap_or("pipeline");
        let spec = Spec { name, index: 0, stack: settings.stack };
        let section = Section::new(stage, next, &settings, token, feed);
        let watch = section.observe(token);
        let (consumed, mut dropped) = thread::scope(|scope| {
            let members = Members::new(&section, scope, spec, Worker::run);
            let (mut due, stored) = (VecDeque::new(), RefCell::new(VecDeque::new()));
            let caller = Some(Caller::new(&members, token, Store(&stored), &mut due));
            let mut run =
                Crewed { section: &section, members: &members, token, waits_for, stored: &stored, caller, since: None };
            let consumed = panic::catch(|| consume(&mut run));
            (consumed, run.leave())
        });
        drop(watch);
        dropped.drop(section.into_remains([]).leftovers);
        refill::finish(consumed, dropped);
    }
}

/// Stores the outputs. Those of a cancelled run the consumer drops.
struct Store<'a, R>(&'a RefCell<VecDeque<R>>);

impl<R> Sink<R> for Store<'_, R> {
    type Error = Infallible;

    fn take(&mut self, output: R) -> Result<(), Refused<Infallible>> {
        self.0.borrow_mut().push_back(output);
        Ok(())
    }

    fn take_piece(&mut self, outputs: &mut Drain<'_, R>, _: &CancellationToken) -> Result<(), Refused<Infallible>> {
        self.0.borrow_mut().extend(outputs);
        Ok(())
    }
}

/// Adds the outputs of the plain loop.
struct Append<'a, R>(&'a mut VecDeque<R>);

impl<R> Sink<R> for Append<'_, R> {
    type Error = Infallible;

    fn take(&mut self, output: R) -> Result<(), Refused<Infallible>> {
        self.0.push_back(output);
        Ok(())
    }
}

/// The plain loop, an item at a time.
///
/// It cannot be paused inside an item, so the outputs of one item are made together.
struct Inline<'a, W, N, I>
where
    I: Iterator,
    W: Stage<I::Item>,
    N: Beyond<W::Output, W::Error>,
{
    /// Until the run ends.
    plain: Option<Plain<'a, I::Item, W, N>>,
    items: I,
    all_items: PlainItems<'a>,
    token: &'a CancellationToken,
}

impl<W, N, I> Inline<'_, W, N, I>
where
    I: Iterator,
    W: Stage<I::Item>,
    N: Beyond<W::Output, W::Error>,
{
    /// Takes the next item through the stages. Returns how the loop has ended, if it has.
    fn step(&mut self, outputs: &mut VecDeque<N::Output>) -> Option<Ended<N::Error>> {
        let Inline { plain, items, all_items, token } = self;
        let Some(plain) = plain else { return Some(Ended::Complete) };
        let mut way = Way::new(token, all_items, Append(outputs));
        let stepped = panic::catch(|| plain.step(items, &mut way));
        if let Ok(ControlFlow::Continue(())) = stepped {
            return None;
        }
        Some(match (way.into_end(stepped.is_ok()), stepped) {
            (None, Err(payload)) => payload.into(),
            (ended, stepped) => {
                // As in `plain::run`.
                panic::discard(stepped.err());
                match ended {
                    None | Some(plain::Ended::Well) => Ended::Complete,
                    Some(plain::Ended::Early(stop)) => stop.into(),
                }
            }
        })
    }
}

impl<W, N, I> Refill<N::Output, N::Error> for Inline<'_, W, N, I>
where
    I: Iterator,
    W: Stage<I::Item>,
    N: Beyond<W::Output, W::Error>,
{
    fn refill(&mut self, outputs: &mut VecDeque<N::Output>) -> Option<Ended<N::Error>> {
        let mut ended = None;
        self.all_items.meter.switch(Step::Source);
        while ended.is_none() && outputs.is_empty() {
            ended = self.step(outputs);
        }
        // The consumer takes over.
        self.all_items.meter.switch(Step::Sink);
        let token = self.token;
        ended.map(|ended| ended.and(token, || self.leave()))
    }

    fn leave(&mut self) -> Panics {
        let mut panics = Panics::default();
        if let Some(plain) = self.plain.take() {
            plain.leave(&mut panics);
        }
        panics
    }

    /// The loop looks at the token before each output, on whichever thread it is cancelled.
    fn is_cancelled_by_consumer(&self) -> bool {
        true
    }
}

impl<E> From<Stop<E, Infallible>> for Ended<E> {
    fn from(stop: Stop<E, Infallible>) -> Self {
        match stop {
            Stop::Cancelled => Ended::Cancelled,
            Stop::Stage(error) => Ended::Failed(error),
            Stop::Sink(never) => match never {},
        }
    }
}

/// A run on several threads.
struct Crewed<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, N: Onward<W::Output, W::Error>, K> {
    section: &'env Section<'env, F, W, N>,
    members: &'a Members<'scope, 'env, F, W, N>,
    token: &'a CancellationToken,
    /// The token to cancel when no more items are wanted.
    waits_for: Option<CancellationToken>,
    /// The outputs that the sink has stored.
    stored: &'a RefCell<VecDeque<N::Output>>,
    /// Until the run ends.
    caller: Option<Caller<'a, 'scope, 'env, F, W, N, K, Infallible>>,
    /// When the consumer took over.
    since: Option<Instant>,
}

impl<F, W, N, K> Crewed<'_, '_, '_, F, W, N, K>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
    K: Sink<N::Output, Error = Infallible>,
{
    /// Joins all threads, and decides how the run has ended.
    fn end(&mut self, exit: Exit<N::Error, Infallible>) -> Ended<N::Error> {
        let Some(mut caller) = self.caller.take() else { return Ended::Complete };
        let due = caller.take_due();
        self.section.void();
        if let Some(token) = self.waits_for.take() {
            token.cancel();
        }
        let (mut dropped, mut retired) = (Panics::default(), Panics::default());
        caller.retire(&mut retired);
        self.section.drop_serials(&mut dropped);
        dropped.append(retired);
        self.members.join(&mut dropped);
        let (result, panics) = run::settle(exit, Some(()), dropped, self.section.take_failures(due));
        result.map_or_else(Ended::from, |_| Ended::Complete).behind(panics)
    }
}

impl<F, W, N, K> Refill<N::Output, N::Error> for Crewed<'_, '_, '_, F, W, N, K>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    N: Onward<W::Output, W::Error, State: Send>,
    K: Sink<N::Output, Error = Infallible>,
{
    fn refill(&mut self, outputs: &mut VecDeque<N::Output>) -> Option<Ended<N::Error>> {
        let Some(caller) = &mut self.caller else { return Some(Ended::Complete) };
        if let Some(since) = self.since.take() {
            caller.leave_consumer(since.elapsed());
        }
        let mut exit = None;
        while exit.is_none() && self.stored.borrow().is_empty() {
            exit = panic::catch(|| caller.step()).unwrap_or_else(|payload| Some(Exit::Panicked(payload)));
        }
        mem::swap(&mut *self.stored.borrow_mut(), outputs);
        let ended = match exit {
            // As in `Ended::and`.
            Some(Exit::Cancelled) if self.token.reason() == Some(LEFT) => return Some(Ended::Cancelled),
            exit => exit.map(|exit| self.end(exit)),
        };
        // The consumer may cancel behind the end, too, while it is at the outputs before that.
        self.section.enter_consumer();
        let now = Instant::now();
        self.members.enter_consumer(now);
        self.since = Some(now);
        ended
    }

    fn leave(&mut self) -> Panics {
        match self.end(Exit::CancelledBySink) {
            Ended::Panicked(panics) => panics,
            Ended::Complete | Ended::Cancelled | Ended::Failed(_) => Panics::default(),
        }
    }

    fn is_cancelled_by_consumer(&self) -> bool {
        self.section.is_cancelled_by_sink()
    }
}
