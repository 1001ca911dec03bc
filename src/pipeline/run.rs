//! Running: which loop a pipeline gets, its threads, and what it ends with.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::claim::{Drive, Feed, Stock, Visit};
use super::commit::Ring;
use super::crew::{Crew, Ended};
use super::stage::Stage;
use super::work::{Done, End};
use crate::panic::{self, Guarded, Panics, Payload};
use crate::thread;
use crate::token::CancellationToken;

/// What the user set.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) threads: Option<NonZeroUsize>,
    pub(super) window: Option<NonZeroUsize>,
    pub(super) ordered: bool,
    /// Of the threads.
    pub(super) name: Option<Arc<str>>,
    /// In bytes, of each thread.
    pub(super) stack: Option<usize>,
}

impl Settings {
    /// How many threads the run has in all.
    pub(super) fn threads(&self) -> usize {
        // Asked once: on Linux it reads the files of the control group, which takes as long as starting a thread.
        static AVAILABLE: OnceLock<NonZeroUsize> = OnceLock::new();
        let available = || *AVAILABLE.get_or_init(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        self.threads.unwrap_or_else(available).get()
    }
}

/// Why a run ended before its last item, which may be that of a source which is itself a pipeline.
pub(super) enum Early<U, S, E> {
    Source(U),
    Here(Stop<S, E>),
}

/// Why a run ended before its last item.
#[doc(hidden)]
#[derive(Debug)]
pub enum Stop<S, E> {
    Cancelled,
    /// A stage failed.
    Stage(S),
    /// The sink failed.
    Sink(E),
}

/// Why a sink takes no more.
#[doc(hidden)]
#[derive(Debug)]
pub enum Refused<E> {
    /// It found the token cancelled.
    Cancelled,
    Failed(E),
}

impl<S, E> From<Refused<E>> for Stop<S, E> {
    fn from(refused: Refused<E>) -> Self {
        match refused {
            Refused::Cancelled => Stop::Cancelled,
            Refused::Failed(error) => Stop::Sink(error),
        }
    }
}

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

impl<T, U, W, A, E, F> Visit<T, U> for Run<'_, W, A, F>
where
    T: Send,
    W: Stage<T, Output: Send, Error: Send>,
    F: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
{
    type Output = Result<A, Early<U, W::Error, E>>;

    fn visit<G: Feed<Item = T>>(self, feed: G) -> Self::Output {
        run(feed, self).map_err(Early::Here)
    }

    fn drive<D: Drive<Item = T, Error = U>>(self, drive: D) -> Self::Output {
        let Run { stage, settings, token, state, sink } = self;
        let behind = (Guarded::new(state), Guarded::new(sink));
        let mut index = 0;
        let ended = drive.drive(settings, token, behind, |(state, sink), item| {
            let (state, sink) = (state.get_mut(), sink.get_mut());
            let mut stopped = None;
            let at = index;
            index += 1;
            feed(stage, at, item, token, |output| sink(state, output), &mut stopped);
            stopped.map_or(Ok(()), |stop| match stop {
                Stop::Cancelled => Err(Refused::Cancelled),
                stop => Err(Refused::Failed(stop)),
            })
        });
        match ended {
            Ok((state, sink)) => {
                drop(sink);
                Ok(state.into_inner())
            }
            Err(Stop::Cancelled) => Err(Early::Here(Stop::Cancelled)),
            Err(Stop::Stage(error)) => Err(Early::Source(error)),
            Err(Stop::Sink(stop)) => Err(Early::Here(stop)),
        }
    }
}

/// Runs `feed`; a panic of the user's is resumed once every thread has been joined.
fn run<F, W, A, E, K>(feed: F, run: Run<'_, W, A, K>) -> Result<A, Stop<W::Error, E>>
where
    F: Feed,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
{
    // On a rayon worker this run would wait for its threads, and they, should a stage call rayon, for the pool whose
    // worker waits here. A token without a clock has to be polled, which its threads do not.
    if run.settings.threads() == 1 || rayon::current_thread_index().is_some() || run.token.look_at().is_some() {
        return alone(feed, run);
    }
    let Run { stage, settings, token, mut state, mut sink } = run;
    let waits_for = feed.waits_for();
    let (stock, inlet) = feed.split();
    let workers = match inlet {
        Some(_) => settings.threads() - 1,
        // One item needs one thread, and the caller is one.
        None => (settings.threads() - 1).min(stock.len().saturating_sub(1)),
    };
    let crew = Crew::new(stage, &settings, stock, inlet, F::READY);
    let watch = crew.observe(token);
    let (ended, dropped, state) = thread::scope(|scope| {
        let mut handles = Vec::new();
        for index in 1..=workers {
            let name = settings.name.as_deref().unwrap_or("pipeline");
            match thread::spawn(scope, name, index, settings.stack, || crew.worker()) {
                Ok(handle) => handles.push(handle),
                // Fewer threads do the same work.
                Err(_) => break,
            }
        }
        let ended = panic::catch(|| crew.caller(token, handles.is_empty(), &mut |output| sink(&mut state, output)))
            .unwrap_or_else(Ended::Panicked);
        crew.void();
        if let Some(token) = waits_for {
            token.cancel();
        }
        // The sink goes before the workers are waited for: the one who pulls may be waiting for what the sink holds, the
        // other end of a channel, say.
        let mut dropped = Panics::default();
        dropped.drop(sink);
        let state = if let Ended::Complete = ended {
            Some(state)
        } else {
            dropped.drop(state);
            None
        };
        thread::join_all(handles).into_iter().for_each(|payload| dropped.add(payload));
        (ended, dropped, state)
    });
    drop(watch);
    let (ring, source_panic, leftovers) = crew.into_parts();
    settle(ended, state, dropped, ring, source_panic, leftovers)
}

/// Decides what a run ends with, all threads being joined: a panic before an error, the earlier before the later.
///
/// What the plain loop would not have met is dropped and counts for nothing: what the items behind the end failed with,
/// their outputs, and, where they were pulled, they themselves. The loop does meet the `Drop` of the sink and of the
/// source.
fn settle<R, S, E, A>(
    ended: Ended<S, E>,
    state: Option<A>,
    dropped: Panics,
    ring: Ring<Done<R, S>>,
    source_panic: Option<Payload>,
    leftovers: impl Sized,
) -> Result<A, Stop<S, E>> {
    let mut panics = Panics::default();
    // An error hides what failed behind it. A cancellation from elsewhere than the sink hides nothing: it may be the
    // echo of what failed.
    let (mut result, hides) = match ended {
        Ended::Complete => (Ok(state), false),
        Ended::Stopped(Stop::Cancelled) => (Err(Stop::Cancelled), false),
        Ended::Stopped(stop) => (Err(stop), true),
        Ended::CancelledBySink => (Err(Stop::Cancelled), true),
        Ended::Crashed => (Ok(None), true),
        Ended::Panicked(payload) => {
            panics.add(payload);
            (Ok(None), true)
        }
    };
    for Done { outputs, end, .. } in ring.into_rest() {
        drop(outputs);
        match end {
            Some(End::Panic(payload)) if !hides => panics.add(payload),
            Some(End::Error(error)) if matches!(result, Err(Stop::Cancelled)) && !hides => {
                result = Err(Stop::Stage(error));
            }
            end => panic::discard(end),
        }
    }
    match source_panic {
        Some(payload) if !hides => panics.add(payload),
        hidden => panic::discard(hidden),
    }
    panics.append(dropped);
    panics.drop(leftovers);
    panics.resume_or(result).map(|state| state.expect("a run that ended well has kept its state"))
}

/// The plain loop, with the same end as a run on threads.
fn alone<F, W, A, E, K>(feed: F, run: Run<'_, W, A, K>) -> Result<A, Stop<W::Error, E>>
where
    F: Feed,
    W: Stage<F::Item>,
    K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
{
    let Run { stage, token, mut state, mut sink, .. } = run;
    let mut items = feed.plain();
    let mut stopped = None;
    let looped = panic::catch(|| plain(&mut items, stage, token, |output| sink(&mut state, output), &mut stopped));
    let mut panics = Panics::default();
    match looped {
        // Dropped behind the end: the rest of an iterator, one of whose items the sink has refused.
        Err(payload) if stopped.is_some() => panic::discard(payload),
        Err(payload) => panics.add(payload),
        Ok(()) => {}
    }
    panics.drop(sink);
    let result = match stopped {
        None => Ok(state),
        Some(stop) => {
            panics.drop(state);
            Err(stop)
        }
    };
    panics.drop(items);
    panics.resume_or(result)
}

/// The loop that this library promises to equal. Says in `stopped` why it ended early.
fn plain<T, W: Stage<T>, E>(
    items: &mut impl Iterator<Item = T>,
    stage: &W,
    token: &CancellationToken,
    mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
    stopped: &mut Option<Stop<W::Error, E>>,
) {
    if !token.is_cancelled() {
        for (index, item) in (0..).zip(items) {
            if token.is_cancelled() {
                panic::discard(item);
                break;
            }
            feed(stage, index, item, token, &mut sink, stopped);
            if stopped.is_some() || token.is_cancelled() {
                break;
            }
        }
    }
    // A source that observes the token ends early, and looks as if it had come to its end.
    if stopped.is_none() && token.is_cancelled() {
        *stopped = Some(Stop::Cancelled);
    }
}

/// Applies the stages to one item, and hands what they make of it to the sink. Says in `stopped` why nothing more is
/// wanted.
fn feed<T, W: Stage<T>, E>(
    stage: &W,
    index: u64,
    item: T,
    token: &CancellationToken,
    mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
    stopped: &mut Option<Stop<W::Error, E>>,
) {
    let fed = stage.feed(index, item, |output| {
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
    // What a stage fails with while it is cancelled may be an echo, but it is what the loop ends with.
    if let (Err(error), None) = (fed, &stopped) {
        *stopped = Some(Stop::Stage(error));
    }
}
