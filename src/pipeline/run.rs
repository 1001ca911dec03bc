//! [`Run`]: which loop a pipeline gets, its threads, and how it ends.
//!
//! **Items that the plain loop would not have met count for nothing**, their `Drop` included: items behind
//! the end, pulled or data, their outputs, and the errors and payloads that lose. The member that holds a
//! batch drops the void items in it (`Work::run`), and the calling thread drops the rest at the end
//! ([`settle`]): one by one, each caught (`panic::Unmet`), because two that panic together abort. So an error
//! stays that error, at every number of threads. The loop does meet the `Drop` of the sink, of the state or
//! the vector it fills, of the states of the stages, and of the source: the first of these that panics is
//! resumed, in this order, behind a panic of the run itself. Items that an iterator of the user's still owns
//! are the iterator's to drop. A state of a stage is dropped on the thread that built it, when its worker
//! leaves, or on the calling thread behind the sink.
//!
//! **The sink is dropped before the workers are joined.** A source that waits for the other
//! end of a channel in the sink would otherwise be joined for ever when the run fails.

use std::collections::VecDeque;
use std::vec::Drain;

use super::crew::{Caller, End, Exit, Members, Piece, Remains, Section, Worker, lose};
use super::plain::Plain;
use super::source::{Drive, Feed, Launch, Source, Visit};
use super::stage::Stage;
use super::stop::{Refused, Stop};
use super::{Order, Settings};
use crate::panic::{self, Guarded, Panics};
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// A run, for a source to be opened with.
///
/// The sink has a state, which the run gives back if it ends well, and drops as early as the sink if not.
pub(super) struct Run<'a, W, A, F> {
    pub(super) stage: &'a W,
    pub(super) settings: Settings,
    pub(super) token: &'a CancellationToken,
    pub(super) state: A,
    pub(super) sink: F,
}

impl<T, U, W, A, E, K> Visit<T, U> for Run<'_, W, A, K>
where
    T: Send,
    W: Stage<T, Output: Send, Error: Send, Cause = U>,
    K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
{
    type Output = Result<A, Stop<W::Error, E>>;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> Self::Output {
        // On a rayon worker this run would wait for its threads, and they, should a stage call rayon, for the pool
        // whose worker waits here. A token without a clock has to be polled, which the threads of a run do not.
        let is_plain =
            self.settings.threads() == 1 || rayon::current_thread_index().is_some() || self.token.look_at().is_some();
        if is_plain {
            return Plain::new(self.stage, self.token).run(feed.plain(), self.state, self.sink);
        }
        self.on_threads(feed)
    }

    fn drive<D: Drive<Item = T, Error = U>>(self, drive: D) -> Self::Output {
        let Run { stage, settings, token, state, sink } = self;
        let behind = (Guarded::new(state), Guarded::new(sink));
        let mut plain = Plain::new(stage, token);
        let ended = drive.drive(token, InOrder { settings, token }, behind, |(state, sink), item| {
            plain.take(item, |output| sink.get_mut()(state.get_mut(), output))
        });
        let result = match ended {
            Ok((state, sink)) => {
                drop(sink);
                Ok(state.into_inner())
            }
            Err(Stop::Cancelled) => Err(Stop::Cancelled),
            Err(Stop::Stage(error)) => Err(Stop::Stage(W::convert(error))),
            Err(Stop::Sink(stop)) => Err(stop),
        };
        let mut panics = Panics::default();
        plain.retire(&mut panics);
        panics.resume_or(result)
    }
}

/// For a source that is itself a pipeline.
struct InOrder<'a> {
    settings: Settings,
    token: &'a CancellationToken,
}

impl Launch for InOrder<'_> {
    fn launch<S, W, A, E, F>(self, source: S, stage: &W, state: A, sink: F) -> Result<A, Stop<W::Error, E>>
    where
        S: Source<Item: Send>,
        W: Stage<S::Item, Output: Send, Error: Send, Cause = S::Error>,
        F: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
    {
        let settings = Settings { order: Order::Source, ..self.settings };
        source.open(self.token, Run { stage, settings, token: self.token, state, sink })
    }
}

impl<W, A, K> Run<'_, W, A, K> {
    /// A panic of the user's is resumed once every thread has been joined.
    fn on_threads<F, E>(self, feed: F) -> Result<A, Stop<W::Error, E>>
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output: Send, Error: Send>,
        K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
    {
        let Run { stage, settings, token, mut state, mut sink } = self;
        let waits_for = feed.waits_for();
        let name = settings.name.as_deref().unwrap_or("pipeline");
        let spec = Spec { name, index: 0, stack: settings.stack };
        let section = Section::new(stage, &settings, feed);
        let watch = section.observe(token);
        // The pieces that the caller takes and the sink does not.
        let mut due = VecDeque::new();
        let (exit, state, dropped) = thread::scope(|scope| {
            let members = Members::new(&section, scope, spec, Worker::run);
            let sink_piece = |outputs: &mut Drain<'_, W::Output>| {
                outputs.try_for_each(|output| {
                    if token.is_cancelled() {
                        lose(output);
                        return Err(Refused::Cancelled);
                    }
                    sink(&mut state, output)
                })
            };
            let mut caller = Caller::new(&members, token, sink_piece, &mut due);
            let exit = panic::catch(|| caller.run()).unwrap_or_else(Exit::Panicked);
            let mut local = caller.into_local();
            section.void();
            if let Some(token) = waits_for {
                token.cancel();
            }
            let mut dropped = Panics::default();
            dropped.drop(sink);
            let state = if let Exit::Complete = exit {
                Some(state)
            } else {
                dropped.drop(state);
                None
            };
            local.retire(&mut dropped);
            members.join(&mut dropped);
            (exit, state, dropped)
        });
        drop(watch);
        settle(exit, state, dropped, section.into_remains(due))
    }
}

/// Decides how a run ends, when all threads are joined.
///
/// The failure that ended the caller's loop hides those of later items. A cancellation hides none, unless the sink
/// itself cancelled, because it may be their echo: then the first panic of the remaining pieces and of the source
/// counts, or else the first error of the pieces is the result. A panic of a `Drop` counts in any case, be it of the
/// sink, of its state or of the source. The first of the panics that count is resumed, in place of any error.
fn settle<R, S, E, A>(
    exit: Exit<S, E>,
    state: Option<A>,
    dropped: Panics,
    remains: Remains<impl Iterator<Item = Piece<R, S>>, impl Sized>,
) -> Result<A, Stop<S, E>> {
    let (result, panics) = conclude(exit, state, dropped, remains);
    panics.resume_or(result).map(|state| state.expect("a run that ended well has kept its state"))
}

/// [`settle`], with the panics in a value.
pub(super) fn conclude<R, S, E, A>(
    exit: Exit<S, E>,
    state: Option<A>,
    dropped: Panics,
    remains: Remains<impl Iterator<Item = Piece<R, S>>, impl Sized>,
) -> (Result<Option<A>, Stop<S, E>>, Panics) {
    let mut panics = Panics::default();
    let (mut result, hides) = match exit {
        Exit::Complete => (Ok(state), false),
        Exit::Cancelled => (Err(Stop::Cancelled), false),
        Exit::CancelledBySink => (Err(Stop::Cancelled), true),
        Exit::Stage(error) => (Err(Stop::Stage(error)), true),
        Exit::Sink(error) => (Err(Stop::Sink(error)), true),
        Exit::Crashed => (Ok(None), true),
        Exit::Panicked(payload) => {
            panics.add(payload);
            (Ok(None), true)
        }
    };
    for Piece { outputs, end, .. } in remains.pieces {
        drop(outputs);
        match end {
            Some(End::Panic(payload)) if !hides => panics.add(payload),
            Some(End::Error(error)) if matches!(result, Err(Stop::Cancelled)) && !hides => {
                result = Err(Stop::Stage(error));
            }
            end => panic::discard(end),
        }
    }
    match remains.source_panic {
        Some(payload) if !hides => panics.add(payload),
        hidden => panic::discard(hidden),
    }
    panics.append(dropped);
    panics.drop(remains.leftovers);
    (result, panics)
}
