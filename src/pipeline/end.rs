//! The ends: each runs the pipeline, and takes the outputs on the calling thread.

mod break_off;
mod fold;
mod on_idle;
mod reduce_by;
mod send;
mod slices;

pub use on_idle::OnIdle;

use std::convert::Infallible;
use std::mem;

use super::Pipeline;
use super::chain::Chain;
use super::crew::ToSink;
use super::on_demand::{OnDemand, Role};
use super::opening::Opening;
use super::refill::{Ended, Refill, Upstream};
use super::run::Run;
use super::sink::{Each, Keeps, Sink};
use super::source::Source;
use super::stop::{Refused, Stop};
use crate::error::{Cancelled, FromError};
use crate::panic::{self, Guarded, Panics};
use crate::token::CancellationToken;

/// Ends.
impl<C: Chain> Pipeline<C> {
    /// Runs the pipeline and calls `f` with each output, on the calling thread.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// The error of the first item to fail in a stage; [`Cancelled`], converted, if `token` was cancelled before.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    pub fn for_each<F>(self, token: &CancellationToken, mut f: F) -> Result<(), C::Error>
    where
        F: FnMut(C::Output),
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        self.try_for_each(token, move |output| {
            f(output);
            Ok(())
        })
    }

    /// Runs the pipeline and calls `f` with each output, on the calling thread, until it fails.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// The first error of a stage or of `f`, in the order of the items; [`Cancelled`], converted, if `token` was
    /// cancelled before.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, Write};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let mut out = Vec::new();
    /// Pipeline::from_data(1..=3_u16)
    ///     .map(|number| format!("{number}\n"))
    ///     .try_for_each(&CancellationToken::new(), |line| out.write_all(line.as_bytes()))?;
    /// assert_eq!(out, b"1\n2\n3\n");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn try_for_each<F, E>(self, token: &CancellationToken, f: F) -> Result<(), E>
    where
        F: FnMut(C::Output) -> Result<(), E>,
        E: FromError<C::Error> + FromError<Cancelled>,
        C: Chain<Output: Send, Error: Send>,
    {
        let mut f = f;
        let ended = self.run(token, (), move |(), output| f(output).map_err(Refused::Failed));
        ended.map_err(|stop| error(stop, token))
    }

    /// Runs the pipeline and collects its outputs into `B`.
    ///
    /// The first outputs, up to 64 MiB of them without what they own on the heap, go by way of a vector, which a run
    /// that fails drops one by one. All others go into `B` as they come: billions of words fit into a set of ten.
    ///
    /// Collecting results into a `Result` may end the run later than at the first error, where it does with an
    /// iterator: make the stage a [`try_map`](Self::try_map) for that.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// The error of the first item to fail in a stage; [`Cancelled`], converted, if `token` was cancelled before. The
    /// outputs collected until then are dropped.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source or a stage.
    pub fn collect<B>(self, token: &CancellationToken) -> Result<B, C::Error>
    where
        B: FromIterator<C::Output>,
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        self.run_on_demand(token, Role::Works, |run| collect(run, token)).map_err(|stop| match stop {
            None => cancellation(token).into(),
            Some(error) => error,
        })
    }

    /// Runs the pipeline and makes one value of its outputs: on the calling thread `f` is
    /// given the value so far and the next output.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each). The value made so far is dropped.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let joined = Pipeline::from_data(1..=4_u8)
    ///     .map(|number| number.to_string())
    ///     .fold(&CancellationToken::new(), String::new(), |joined, digit| joined + &digit)?;
    /// assert_eq!(joined, "1234");
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn fold<A, F>(self, token: &CancellationToken, initial: A, mut f: F) -> Result<A, C::Error>
    where
        F: FnMut(A, C::Output) -> A,
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        // Empty only while `f` has it, and for good if that panics.
        let folded = self.gather(token, Some(initial), move |folded, output| {
            *folded = folded.take().map(|so_far| f(so_far, output));
        })?;
        Ok(folded.unwrap_or_else(|| unreachable!("a panic of the closure is resumed before this")))
    }

    /// Runs the pipeline and counts its outputs.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source or a stage.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let evens = Pipeline::from_data(0..10).filter(|number| number % 2 == 0).count(&CancellationToken::new())?;
    /// assert_eq!(evens, 5);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn count(self, token: &CancellationToken) -> Result<usize, C::Error>
    where
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        self.fold(token, 0, |count, _| count + 1)
    }

    /// Runs the pipeline until its first output, and returns that, or `None` if there is none.
    ///
    /// The source may be endless. The first output is that of the earliest item that has one, or,
    /// [unordered](Pipeline::unordered), any. A `next()` of the source that is under way is waited for,
    /// unless the [`window`](Pipeline::window) is 1; see [Blocking sources](Pipeline#blocking-sources).
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// The error of an item before the first output; [`Cancelled`], converted, if `token` was cancelled before.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source or a stage before the first output.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let square = Pipeline::from_ready(1_u64..)
    ///     .map(|number| number * number)
    ///     .filter(|square| *square > 5_000)
    ///     .first(&CancellationToken::new())?;
    /// assert_eq!(square, Some(5_041));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn first(self, token: &CancellationToken) -> Result<Option<C::Output>, C::Error>
    where
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        match self.run(token, (), |(), output| Err(Refused::Failed(output))) {
            Ok(()) => Ok(None),
            Err(Stop::Sink(first)) => Ok(Some(first)),
            Err(Stop::Stage(error)) => Err(error),
            Err(Stop::Cancelled) => Err(cancellation(token).into()),
        }
    }

    /// Runs the pipeline for a consumer that asks for its outputs, and returns what it makes of them.
    pub(super) fn run_on_demand<T, F>(self, token: &CancellationToken, role: Role, consume: F) -> T
    where
        F: FnOnce(&mut dyn Refill<C::Output, C::Error>) -> T,
        C: Chain<Output: Send, Error: Send>,
    {
        let Pipeline { chain, settings } = self;
        let (source, stage) = chain.split();
        let settings = settings.expecting(source.size_hint());
        let stage = Guarded::new(stage);
        let (mut consume, mut made) = (Some(consume), Guarded::new(None));
        let mut once = |run: &mut dyn Refill<_, _>| *made.get_mut() = consume.take().map(|consume| consume(run));
        let run = OnDemand { role, consume: &mut once };
        source.open(token, Opening { stage: stage.get(), next: ToSink, settings, token, run });
        made.into_inner().expect("each run is consumed")
    }

    /// Runs the pipeline into `state`, which is dropped as early as the sink would be if the run fails.
    fn gather<A, F>(self, token: &CancellationToken, state: A, mut f: F) -> Result<A, C::Error>
    where
        F: FnMut(&mut A, C::Output),
        C: Chain<Output: Send, Error: FromError<Cancelled> + Send>,
    {
        let sink = move |state: &mut A, output| {
            f(state, output);
            Ok(())
        };
        self.run(token, state, sink).map_err(|stop: Stop<_, Infallible>| match stop {
            Stop::Cancelled => cancellation(token).into(),
            Stop::Stage(error) => error,
            Stop::Sink(never) => match never {},
        })
    }

    fn run<A, F, E>(self, token: &CancellationToken, state: A, f: F) -> Result<A, Stop<C::Error, E>>
    where
        F: FnMut(&mut A, C::Output) -> Result<(), Refused<E>>,
        C: Chain<Output: Send, Error: Send>,
    {
        self.run_into(token, Each { state, f })
    }

    /// Runs the pipeline into a sink, whose state it returns.
    fn run_into<K>(self, token: &CancellationToken, sink: K) -> Result<K::State, Stop<C::Error, K::Error>>
    where
        K: Sink<C::Output> + Keeps,
        C: Chain<Output: Send, Error: Send>,
    {
        let Pipeline { chain, settings } = self;
        let (source, stage) = chain.split();
        let settings = settings.expecting(source.size_hint());
        let stage = Guarded::new(stage);
        source.open(token, Opening { stage: stage.get(), next: ToSink, settings, token, run: Run { sink } })
    }
}

/// How many bytes of outputs [`Pipeline::collect`] keeps in a vector at first.
const FEW: usize = 64 << 20;

/// Collects the outputs of a run. A cancellation is an error without a value.
fn collect<R, E, B: FromIterator<R>>(run: &mut dyn Refill<R, E>, token: &CancellationToken) -> Result<B, Option<E>> {
    let mut rest = Rest { run: Upstream::new(run), token, ended: None };
    let mut first = Collected(Vec::new());
    let most = FEW / mem::size_of::<R>().max(1);
    let (made, ended) = match rest.run.gather(&mut first.0, most, token) {
        Some(Ended::Complete) => return Ok(mem::take(&mut first.0).into_iter().collect()),
        Some(ended) => (None, ended),
        None => {
            rest.run.put_back(mem::take(&mut first.0));
            let made: B = rest.by_ref().collect();
            match rest.ended.take() {
                // It may want no more.
                Some(Ended::Complete) | None => return Ok(made),
                Some(ended) => (Some(made), ended),
            }
        }
    };
    let (error, mut panics) = failure(ended);
    panics.drop(first);
    panics.drop(made);
    panics.resume_or(Err(error))
}

/// Makes one value of the outputs of a run. A cancellation is an error without a value.
fn consume<R, E, B>(
    run: &mut dyn Refill<R, E>,
    token: &CancellationToken,
    make: impl FnOnce(&mut Rest<'_, R, E>) -> B,
) -> Result<B, Option<E>> {
    let mut rest = Rest { run: Upstream::new(run), token, ended: None };
    let made = make(&mut rest);
    match rest.ended.take() {
        // It may want no more.
        Some(Ended::Complete) | None => Ok(made),
        Some(ended) => {
            let (error, mut panics) = failure(ended);
            panics.drop(made);
            panics.resume_or(Err(error))
        }
    }
}

/// The error of a run that did not come to its end, or its panics.
fn failure<E>(ended: Ended<E>) -> (Option<E>, Panics) {
    match ended {
        Ended::Complete | Ended::Cancelled => (None, Panics::default()),
        Ended::Failed(error) => (Some(error), Panics::default()),
        Ended::Panicked(panics) => (None, panics),
    }
}

/// The outputs of a run, up to its end.
struct Rest<'a, R, E> {
    run: Upstream<'a, R, E>,
    token: &'a CancellationToken,
    ended: Option<Ended<E>>,
}

impl<R, E> Iterator for Rest<'_, R, E> {
    type Item = R;

    #[inline]
    fn next(&mut self) -> Option<R> {
        self.run.next_until(self.token).map_err(|ended| self.ended.get_or_insert(ended)).ok()
    }
}

/// Outputs, which are dropped one by one if the run fails: dropped together, two whose `Drop` panics would abort.
struct Collected<R>(Vec<R>);

impl<R> Drop for Collected<R> {
    fn drop(&mut self) {
        let outputs = mem::take(&mut self.0);
        if std::thread::panicking() {
            panic::discard_all(outputs);
        } else {
            panic::drop_each(outputs);
        }
    }
}

/// The error behind the last output, if there is one.
#[cold]
#[inline(never)]
pub(super) fn last<E: FromError<Cancelled>>(ended: Ended<E>, token: &CancellationToken) -> Option<E> {
    match ended {
        Ended::Complete => None,
        Ended::Cancelled => Some(cancellation(token).into()),
        Ended::Failed(error) => Some(error),
        Ended::Panicked(panics) => panics.resume_or(None),
    }
}

/// The error of a run whose sink can fail.
fn error<S, E: From<S> + FromError<Cancelled>>(stop: Stop<S, E>, token: &CancellationToken) -> E {
    match stop {
        Stop::Cancelled => cancellation(token).into(),
        Stop::Stage(error) => error.into(),
        Stop::Sink(error) => error,
    }
}

/// Only a cancelled token stops a run as cancelled, and it keeps its reason.
fn cancellation(token: &CancellationToken) -> Cancelled {
    token.check().expect_err("cancellation is final")
}
