//! [`Run`]: which loop a pipeline gets whose outputs go into a sink, its threads, and how a run ends.
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

use super::crew::{Caller, End, Exit, Members, Remains, Section, Worker};
use super::opening::{Launch, Opening};
use super::plain::{self, Beyond, PlainItems};
use super::sink::{Keeps, Sink};
use super::source::Feed;
use super::stage::Stage;
use super::stop::Stop;
use crate::panic::{self, Panics};
use crate::thread::{self, Spec};

/// A run into a sink.
pub(super) struct Run<K> {
    pub(super) sink: K,
}

impl<R, S, K: Sink<R> + Keeps> Launch<R, S> for Run<K> {
    type Output = Result<K::State, Stop<S, K::Error>>;

    /// A panic of the user's is resumed once every thread has been joined.
    fn launch<F, W, N>(opening: Opening<'_, W, N, Self>, feed: F) -> Self::Output
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output: Send, Error: Send>,
        N: Beyond<W::Output, W::Error, Output = R, Error = S, State: Send>,
    {
        let is_plain = opening.must_be_plain() || opening.is_for_one_thread();
        let meter = is_plain.then(|| opening.meter());
        let Opening { stage, next, settings, token, run: Run { mut sink } } = opening;
        if let Some(meter) = meter {
            return plain::run(stage, &next, &PlainItems::new(token, meter), feed, sink);
        }
        let waits_for = feed.waits_for();
        let name = settings.name.as_deref().unwrap_or("pipeline");
        let spec = Spec { name, index: 0, stack: settings.stack };
        let section = Section::new(stage, next, &settings, token, feed);
        let watch = section.observe(token);
        // The pieces that the caller takes and the sink does not.
        let mut due = VecDeque::new();
        let (exit, state, dropped) = thread::scope(|scope| {
            let members = Members::new(&section, scope, spec, Worker::run);
            let mut caller = Caller::new(&members, token, &mut sink, &mut due);
            let exit = panic::catch(|| caller.run()).unwrap_or_else(Exit::Panicked);
            section.void();
            if let Some(token) = waits_for {
                token.cancel();
            }
            let mut dropped = Panics::default();
            let mut retired = Panics::default();
            caller.retire(&mut retired);
            let (state, rest) = sink.into_parts();
            dropped.drop(rest);
            let state = if let Exit::Complete = exit {
                Some(state)
            } else {
                dropped.drop(state);
                None
            };
            section.drop_serials(&mut dropped);
            dropped.append(retired);
            members.join(&mut dropped);
            (exit, state, dropped)
        });
        drop(watch);
        let (result, panics) = settle(exit, state, dropped, section.into_remains(due));
        panics.resume_or(result).map(|state| state.expect("a run that ended well has kept its state"))
    }
}

/// Decides how a run ends, when all threads are joined.
///
/// The failure that ended the caller's loop hides those of later items. A cancellation hides none, unless the sink
/// itself cancelled, because it may be their echo: then the first panic of the remaining pieces and of the source
/// counts, or else the first error of the pieces is the result. A panic of a `Drop` counts in any case, be it of the
/// sink, of its state or of the source. The first of the panics that count is to be resumed, in place of any error.
pub(super) fn settle<S, E, A>(
    exit: Exit<S, E>,
    state: Option<A>,
    dropped: Panics,
    remains: Remains<S, impl Sized>,
) -> (Result<Option<A>, Stop<S, E>>, Panics) {
    let mut panics = Panics::default();
    // The first failure has crossed a boundary: it ended the run.
    let is_first_the_one = matches!(exit, Exit::Before);
    let (mut result, mut hides) = match exit {
        Exit::Complete => (Ok(state), false),
        Exit::Cancelled | Exit::Before => (Err(Stop::Cancelled), false),
        Exit::CancelledBySink => (Err(Stop::Cancelled), true),
        Exit::Stage(error) => (Err(Stop::Stage(error)), true),
        Exit::Sink(error) => (Err(Stop::Sink(error)), true),
        Exit::Crashed => (Ok(None), true),
        Exit::Panicked(payload) => {
            panics.add(payload);
            (Ok(None), true)
        }
    };
    for end in remains.ends {
        match end {
            End::Panic(payload) if !hides => panics.add(payload),
            End::Error(error) if matches!(result, Err(Stop::Cancelled)) && !hides => result = Err(Stop::Stage(error)),
            end => panic::discard(end),
        }
        hides |= is_first_the_one;
    }
    match remains.source_panic {
        Some(payload) if !hides => panics.add(payload),
        hidden => panic::discard(hidden),
    }
    panics.append(dropped);
    panics.drop(remains.leftovers);
    (result, panics)
}
