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
use std::time::Instant;
use std::vec::Drain;

use super::Settings;
use super::crew::{Caller, Exit, Members, Section, Worker};
use super::plain::Plain;
use super::refill::{self, Consume, Ended, LEFT, Refill, Upstream};
use super::run;
use super::source::{Drive, Feed, Source, Start, Visit};
use super::stage::Stage;
use super::stop::{Refused, Stop};
use crate::panic::{self, Panics};
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// A run, for a source to be opened with.
pub(super) struct OnDemand<'a, W, R, E> {
    pub(super) stage: &'a W,
    pub(super) settings: Settings,
    pub(super) role: Role,
    pub(super) token: &'a CancellationToken,
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

impl<T, U, W> Visit<T, U> for OnDemand<'_, W, W::Output, W::Error>
where
    T: Send,
    W: Stage<T, Output: Send, Error: Send, Cause = U>,
{
    type Output = ();

    fn visit<F: Feed<Item = T>>(self, feed: F) {
        // As in a run into a sink. One thread of its own is worth its start only if it is the only one to work.
        let is_lone = self.role == Role::Works && !W::FANS && self.settings.threads() == 1;
        if is_lone || rayon::current_thread_index().is_some() || self.token.look_at().is_some() {
            let mut items = feed.plain();
            let next = || items.next().ok_or(Ended::Complete);
            let mut inline = Inline { plain: Plain::new(self.stage, self.token), items: next, token: self.token };
            let consumed = panic::catch(|| (self.consume)(&mut inline));
            let mut dropped = inline.leave();
            dropped.drop(items);
            return refill::finish(consumed, dropped);
        }
        self.on_threads(feed);
    }

    fn drive<D: Drive<Item = T, Error = U>>(self, drive: D) {
        let OnDemand { stage, settings, role, token, consume } = self;
        drive.pull(token, InOrder { settings, role, token }, &mut |run| {
            refill::consume(consume, &mut Inline { plain: Plain::new(stage, token), items: Upstream::new(run), token });
        });
    }
}

/// For a source that is itself a pipeline.
struct InOrder<'a> {
    settings: Settings,
    role: Role,
    token: &'a CancellationToken,
}

impl Start for InOrder<'_> {
    fn start<S, W>(self, source: S, stage: &W, consume: Consume<'_, W::Output, W::Error>)
    where
        S: Source<Item: Send>,
        W: Stage<S::Item, Output: Send, Error: Send, Cause = S::Error>,
    {
        let settings = Settings { order: super::Order::Source, ..self.settings };
        source.open(self.token, OnDemand { stage, settings, role: self.role, token: self.token, consume });
    }
}

/// The items of a plain loop.
trait Items<T, W: Stage<T>> {
    fn next(&mut self, token: &CancellationToken) -> Result<T, Ended<W::Error>>;

    fn leave(&mut self) -> Panics {
        Panics::default()
    }
}

impl<T, W: Stage<T>, F: FnMut() -> Result<T, Ended<W::Error>>> Items<T, W> for F {
    fn next(&mut self, _token: &CancellationToken) -> Result<T, Ended<W::Error>> {
        self()
    }
}

impl<T, W: Stage<T>> Items<T, W> for Upstream<'_, T, W::Cause> {
    fn next(&mut self, token: &CancellationToken) -> Result<T, Ended<W::Error>> {
        self.next_until(token).map_err(|ended| match ended {
            Ended::Failed(cause) => Ended::Failed(W::convert(cause)),
            Ended::Complete => Ended::Complete,
            Ended::Cancelled => Ended::Cancelled,
            Ended::Panicked(panics) => Ended::Panicked(panics),
        })
    }

    fn leave(&mut self) -> Panics {
        Upstream::leave(self)
    }
}

/// The plain loop, an item at a time.
///
/// It cannot be paused inside an item, so the outputs of one item are made together.
struct Inline<'a, T, W: Stage<T>, N> {
    plain: Plain<'a, T, W, Infallible>,
    items: N,
    token: &'a CancellationToken,
}

impl<T, W: Stage<T>, N: Items<T, W>> Inline<'_, T, W, N> {
    /// Feeds items to the stages until there is an output, or the end.
    fn feed(&mut self, outputs: &mut VecDeque<W::Output>) -> Option<Ended<W::Error>> {
        let Inline { plain, items, token } = self;
        while outputs.is_empty() {
            if token.is_cancelled() {
                return Some(Ended::Cancelled);
            }
            let item = match items.next(token) {
                Ok(item) => item,
                Err(ended) => return Some(ended),
            };
            if token.is_cancelled() {
                panic::discard(item);
                return Some(Ended::Cancelled);
            }
            let taken = plain.take(item, |output| {
                outputs.push_back(output);
                Ok(())
            });
            match taken {
                Ok(()) => {}
                Err(Refused::Failed(Stop::Stage(error))) => return Some(Ended::Failed(error)),
                Err(Refused::Failed(Stop::Sink(never))) => match never {},
                Err(Refused::Cancelled | Refused::Failed(Stop::Cancelled)) => return Some(Ended::Cancelled),
            }
        }
        None
    }
}

impl<T, W: Stage<T>, N: Items<T, W>> Refill<W::Output, W::Error> for Inline<'_, T, W, N> {
    fn refill(&mut self, outputs: &mut VecDeque<W::Output>) -> Option<Ended<W::Error>> {
        let fed = panic::catch(|| self.feed(outputs)).unwrap_or_else(|payload| Some(payload.into()));
        let token = self.token;
        fed.map(|ended| ended.and(token, || self.leave()))
    }

    fn leave(&mut self) -> Panics {
        let mut panics = self.items.leave();
        self.plain.retire(&mut panics);
        panics
    }

    /// The loop looks at the token before each output, whoever cancels it.
    fn is_cancelled_by_consumer(&self) -> bool {
        true
    }
}

impl<W, R: Send, E: Send> OnDemand<'_, W, R, E> {
    fn on_threads<F>(self, feed: F)
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output = R, Error = E>,
    {
        let OnDemand { stage, mut settings, role, token, consume } = self;
        settings.is_caller_reserved |= role == Role::Outputs || W::FANS;
        let waits_for = feed.waits_for();
        let name = settings.name.as_deref().unwrap_or("pipeline");
        let spec = Spec { name, index: 0, stack: settings.stack };
        let section = Section::new(stage, &settings, feed);
        let watch = section.observe(token);
        let (consumed, mut dropped) = thread::scope(|scope| {
            let members = Members::new(&section, scope, spec, Worker::run);
            let (mut due, stored) = (VecDeque::new(), RefCell::new(VecDeque::new()));
            // Of a cancelled run, the consumer drops them.
            let store = |outputs: &mut Drain<'_, W::Output>| {
                stored.borrow_mut().extend(outputs);
                Ok(())
            };
            let caller = Some(Caller::new(&members, token, store, &mut due));
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

/// A run on several threads.
struct Crewed<'a, 'scope, 'env, F: Feed, W: Stage<F::Item>, K> {
    section: &'env Section<'env, F, W>,
    members: &'a Members<'scope, 'env, F, W>,
    token: &'a CancellationToken,
    /// The token to cancel when no more items are wanted.
    waits_for: Option<CancellationToken>,
    /// The outputs that the sink has stored.
    stored: &'a RefCell<VecDeque<W::Output>>,
    /// Until the run ends.
    caller: Option<Caller<'a, 'scope, 'env, F, W, K, Infallible>>,
    /// When the consumer took over.
    since: Option<Instant>,
}

impl<F, W, K> Crewed<'_, '_, '_, F, W, K>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut Drain<'_, W::Output>) -> Result<(), Refused<Infallible>>,
{
    /// Joins all threads, and decides how the run has ended.
    fn end(&mut self, exit: Exit<W::Error, Infallible>) -> Ended<W::Error> {
        let Some(mut caller) = self.caller.take() else { return Ended::Complete };
        let due = caller.take_due();
        let mut local = caller.into_local();
        self.section.void();
        if let Some(token) = self.waits_for.take() {
            token.cancel();
        }
        let mut dropped = Panics::default();
        local.retire(&mut dropped);
        self.members.join(&mut dropped);
        let (result, panics) = run::conclude(exit, Some(()), dropped, self.section.take_failures(due));
        let ended = match result {
            Ok(_) => Ended::Complete,
            Err(Stop::Cancelled) => Ended::Cancelled,
            Err(Stop::Stage(error)) => Ended::Failed(error),
            Err(Stop::Sink(never)) => match never {},
        };
        ended.behind(panics)
    }
}

impl<F, W, K> Refill<W::Output, W::Error> for Crewed<'_, '_, '_, F, W, K>
where
    F: Feed<Item: Send>,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut Drain<'_, W::Output>) -> Result<(), Refused<Infallible>>,
{
    fn refill(&mut self, outputs: &mut VecDeque<W::Output>) -> Option<Ended<W::Error>> {
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
        self.since = Some(Instant::now());
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
