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

use super::Settings;
use super::crew::{Caller, End, Exit, Members, Onward, Remains, Section, ToSection, Worker};
use super::plain::{self, Beyond};
use super::serial::Serial;
use super::source::{Before, Feed, Source, Visit};
use super::stage::Stage;
use super::stop::{Refused, Stop};
use super::then::Then;
use crate::panic::{self, Guarded, Panics};
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// A run, for a source to be opened with.
///
/// The sink has a state, which the run gives back if it ends well, and drops as early as the sink if not.
pub(super) struct Run<'a, W, N, A, F> {
    pub(super) stage: &'a W,
    pub(super) next: N,
    pub(super) settings: Settings,
    pub(super) token: &'a CancellationToken,
    pub(super) state: A,
    pub(super) sink: F,
}

impl<T, U, W, N, A, E, K> Visit<T, U> for Run<'_, W, N, A, K>
where
    T: Send,
    W: Stage<T, Output: Send, Error: Send, Cause = U>,
    N: Beyond<W::Output, W::Error, State: Send>,
    K: FnMut(&mut A, N::Output) -> Result<(), Refused<E>>,
{
    type Output = Result<A, Stop<N::Error, E>>;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> Self::Output {
        // On a rayon worker this run would wait for its threads, and they, should a stage call rayon, for the pool
        // whose worker waits here. A token without a clock has to be polled, which the threads of a run do not.
        let is_plain = rayon::current_thread_index().is_some()
            || self.token.look_at().is_some()
            || self.settings.threads() == 1 && !self.has_own_workers();
        if is_plain {
            let Run { stage, next, token, state, sink, .. } = self;
            return plain::run(stage, &next, token, feed.plain(), state, sink);
        }
        self.on_threads(feed)
    }

    #[expect(clippy::collapsible_if, reason = "the compiler leaves out what is behind a constant that stands alone")]
    fn cross<S, V, Q>(self, before: Before<S, V, Q>) -> Self::Output
    where
        S: Source<Item: Send>,
        V: Stage<S::Item, Output: Send, Error = U, Cause = S::Error>,
        Q: Serial<V::Output, Output = T> + Send,
        U: Send,
    {
        let Run { stage, next, settings, token, state, sink } = self;
        let Before { source, stage: before, serial, own } = before;
        let before = Guarded::new(before);
        // No section where nothing is to be done behind the boundary, or nothing but to count. These are constants, so
        // that the compiler makes one of the two: with both, what it makes doubles at each boundary.
        if Q::PASSES && !Q::HAS_OWN_WORKERS {
            if W::IS_NOTHING {
                let both = Then::<V, Q, W>::new(before.get(), stage);
                return source.open(token, Run { stage: &both, next, settings, token, state, sink });
            }
        }
        if Q::FUSES {
            if V::ONE_TO_ONE {
                let both = Then::<V, Q, W>::new(before.get(), stage);
                return source.open(token, Run { stage: &both, next, settings, token, state, sink });
            }
        }
        let next = ToSection::new(stage, serial, own, next);
        source.open(token, Run { stage: before.get(), next, settings, token, state, sink })
    }
}

impl<W, N, A, K> Run<'_, W, N, A, K> {
    /// Whether a section has workers of its own.
    fn has_own_workers<R, E>(&self) -> bool
    where
        N: Onward<R, E>,
    {
        let mut own = Vec::new();
        self.next.count_own(&mut own);
        own.iter().any(Option::is_some)
    }

    /// A panic of the user's is resumed once every thread has been joined.
    fn on_threads<F, E>(self, feed: F) -> Result<A, Stop<N::Error, E>>
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output: Send, Error: Send>,
        N: Onward<W::Output, W::Error, State: Send>,
        K: FnMut(&mut A, N::Output) -> Result<(), Refused<E>>,
    {
        let Run { stage, next, settings, token, mut state, mut sink } = self;
        let waits_for = feed.waits_for();
        let name = settings.name.as_deref().unwrap_or("pipeline");
        let spec = Spec { name, index: 0, stack: settings.stack };
        let section = Section::new(stage, next, &settings, token, feed);
        let watch = section.observe(token);
        // The pieces that the caller takes and the sink does not.
        let mut due = VecDeque::new();
        let (exit, state, dropped) = thread::scope(|scope| {
            let members = Members::new(&section, scope, spec, Worker::run);
            let sink_output = |output| sink(&mut state, output);
            let mut caller = Caller::new(&members, token, sink_output, &mut due);
            let exit = panic::catch(|| caller.run()).unwrap_or_else(Exit::Panicked);
            section.void();
            if let Some(token) = waits_for {
                token.cancel();
            }
            let mut dropped = Panics::default();
            let mut retired = Panics::default();
            caller.retire(&mut retired);
            dropped.drop(sink);
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
        settle(exit, state, dropped, section.into_remains(due))
    }
}

/// Decides how a run ends, when all threads are joined.
///
/// The failure that ended the caller's loop hides those of later items. A cancellation hides none, unless the sink
/// itself cancelled, because it may be their echo: then the first panic of the remaining pieces and of the source
/// counts, or else the first error of the pieces is the result. A panic of a `Drop` counts in any case, be it of the
/// sink, of its state or of the source. The first of the panics that count is resumed, in place of any error.
fn settle<S, E, A>(
    exit: Exit<S, E>,
    state: Option<A>,
    dropped: Panics,
    remains: Remains<S, impl Sized>,
) -> Result<A, Stop<S, E>> {
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
    panics.resume_or(result).map(|state| state.expect("a run that ended well has kept its state"))
}
