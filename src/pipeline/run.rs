//! Running: which loop a pipeline gets, its threads, and what it ends with.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::claim::{Drive, Feed, Stock, Visit};
use super::commit::Ring;
use super::crew::{Crew, Ended};
use super::stage::Stage;
use super::work::{Done, End};
use crate::panic::{self, Payload};
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
        let ended = drive.drive(settings, token, (state, sink, 0), |(state, sink, index), item| {
            let at = *index;
            *index += 1;
            feed(stage, at, item, token, |output| sink(state, output)).map_err(|stop| match stop {
                Stop::Cancelled => Refused::Cancelled,
                stop => Refused::Failed(stop),
            })
        });
        ended.map(|(state, ..)| state).map_err(|stop| match stop {
            Stop::Cancelled => Early::Here(Stop::Cancelled),
            Stop::Stage(error) => Early::Source(error),
            Stop::Sink(stop) => Early::Here(stop),
        })
    }
}

/// Runs `feed`; a panic of the user's is resumed once every thread has been joined.
fn run<F, W, A, E, K>(feed: F, run: Run<'_, W, A, K>) -> Result<A, Stop<W::Error, E>>
where
    F: Feed,
    W: Stage<F::Item, Output: Send, Error: Send>,
    K: FnMut(&mut A, W::Output) -> Result<(), Refused<E>>,
{
    let Run { stage, settings, token, mut state, mut sink } = run;
    // On a rayon worker this run would wait for its threads, and they, should a stage call rayon, for the pool whose
    // worker waits here. A token without a clock has to be polled, which its threads do not.
    if settings.threads() == 1 || rayon::current_thread_index().is_some() || token.look_at().is_some() {
        return plain(feed, stage, token, |output| sink(&mut state, output)).map(|()| state);
    }
    let waits_for = feed.waits_for();
    let (stock, inlet) = feed.split();
    let workers = match inlet {
        Some(_) => settings.threads() - 1,
        // One item needs one thread, and the caller is one.
        None => (settings.threads() - 1).min(stock.len().saturating_sub(1)),
    };
    let crew = Crew::new(stage, &settings, stock, inlet, F::READY);
    let watch = crew.observe(token);
    let (ended, crashes, state) = thread::scope(|scope| {
        let mut handles = Vec::new();
        for index in 1..=workers {
            match thread::spawn(scope, settings.name.as_deref().unwrap_or("pipeline"), index, None, || crew.worker()) {
                Ok(handle) => handles.push(handle),
                // Fewer threads do the same work.
                Err(_) => break,
            }
        }
        let ended = panic::catch(|| crew.caller(token, handles.is_empty(), &mut |output| sink(&mut state, output)));
        crew.void();
        if let Some(token) = waits_for {
            token.cancel();
        }
        // The sink goes before the workers are waited for: the one who pulls may be waiting for what the sink holds, the
        // other end of a channel, say.
        let mut kept = None;
        let dropped = panic::catch(|| {
            drop(sink);
            kept = Some(state).filter(|_| matches!(ended, Ok(Ended::Complete)));
        });
        let crashes = dropped.err().into_iter().chain(thread::join_all(handles)).collect::<Vec<Payload>>();
        (ended, crashes, kept)
    });
    drop(watch);
    let (ring, source_panic, leftovers) = crew.into_parts();
    settle(ended, state, crashes, ring, source_panic, leftovers)
}

/// Decides what a run ends with, all threads being joined: a panic before an error, the earlier before the later.
fn settle<R, S, E, A>(
    ended: Result<Ended<S, E>, Payload>,
    state: Option<A>,
    crashes: Vec<Payload>,
    ring: Ring<Done<R, S>>,
    source_panic: Option<Payload>,
    leftovers: impl Sized,
) -> Result<A, Stop<S, E>> {
    let mut panics = Vec::new();
    // What the batches nobody took panicked with, and what else they hold.
    let mut above = Vec::new();
    let mut errors = VecDeque::new();
    let mut untaken = Vec::new();
    for Done { outputs, end, .. } in ring.into_rest() {
        match end {
            Some(End::Panic(payload)) => above.push(payload),
            Some(End::Error(error)) => errors.push_back(error),
            None | Some(End::Void) => {}
        }
        untaken.extend(outputs);
    }
    above.extend(source_panic);
    let result = match ended {
        Ok(Ended::Complete) => {
            panics.append(&mut above);
            Ok(state)
        }
        Ok(Ended::Stopped(stop)) => {
            // An error hides what failed above it, which the plain loop would not have met. A cancellation from elsewhere than
            // the sink hides nothing: it may be the echo of what failed.
            Err(if matches!(stop, Stop::Cancelled) {
                panics.append(&mut above);
                errors.pop_front().map_or(stop, Stop::Stage)
            } else {
                stop
            })
        }
        Ok(Ended::CancelledBySink) => Err(Stop::Cancelled),
        Ok(Ended::Crashed) => Ok(None),
        Ok(Ended::Panicked(payload)) | Err(payload) => {
            panics.push(payload);
            Ok(None)
        }
    };
    panics.extend(crashes);
    // What is left must be gone before a panic is resumed: a `Drop` that panics while another panic unwinds aborts.
    panics.extend(panic::catch(move || drop((leftovers, errors))).err());
    // One by one: dropped together, two that panic would abort.
    panics.extend(untaken.into_iter().filter_map(|output| panic::catch(move || drop(output)).err()));

    let mut panics = panics.into_iter();
    let first = panics.next();
    panics.chain(above).for_each(panic::discard);
    match first {
        Some(payload) => {
            if let Err(second) = panic::catch(move || drop(result)) {
                panic::discard(second);
            }
            panic::resume(payload)
        }
        None => result.map(|state| state.expect("a run that ended well has kept its state")),
    }
}

/// The loop that this library promises to equal.
fn plain<F, W, E>(
    items: F,
    stage: &W,
    token: &CancellationToken,
    mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
) -> Result<(), Stop<W::Error, E>>
where
    F: Feed,
    W: Stage<F::Item>,
{
    let check = || if token.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) };
    check()?;
    for (index, item) in (0..).zip(items.plain()) {
        check()?;
        feed(stage, index, item, token, &mut sink)?;
        check()?;
    }
    // A source that observes the token ends early, and looks as if it had come to its end.
    check()
}

/// Applies the stages to one item, and hands what they make of it to the sink.
fn feed<T, W: Stage<T>, E>(
    stage: &W,
    index: u64,
    item: T,
    token: &CancellationToken,
    mut sink: impl FnMut(W::Output) -> Result<(), Refused<E>>,
) -> Result<(), Stop<W::Error, E>> {
    let mut stopped = None;
    let fed = stage.feed(index, item, |output| {
        let taken = match output {
            _ if token.is_cancelled() => Err(Refused::Cancelled),
            Some(output) => sink(output),
            None => Ok(()),
        };
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => {
                stopped = Some(refused.into());
                ControlFlow::Break(())
            }
        }
    });
    match stopped {
        Some(stop) => Err(stop),
        // What a stage fails with while it is cancelled may be an echo, but it is what the loop ends with.
        None => match fed {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(Stop::Cancelled),
            Err(error) => Err(Stop::Stage(error)),
        },
    }
}
