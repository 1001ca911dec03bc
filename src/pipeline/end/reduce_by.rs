//! `reduce_by`: outputs are reduced in parallel, with the same bits at any number of threads.
//!
//! A [stage](Reduced) makes one output of each leaf of items, on any thread. The calling thread joins these as a
//! [binary counter](Counter) is added to: equals are joined first. So the tree of calls depends on the number of leaves
//! alone, and each value is joined some log2 of that number of times.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::chain::Chain;
use super::super::crew::ToSink;
use super::super::gate::Gate;
use super::super::leaves::{Group, Grouped, Leaf, Leaves};
use super::super::opening::{Launch, Opening};
use super::super::run::Run;
use super::super::serial::Serial;
use super::super::sink::Each;
use super::super::source::{Before, Feed, Source, Visit};
use super::super::stage::{At, Stage, local_of_before};
use super::super::stop::{Refused, Stop};
use super::super::{Order, Pipeline, Settings};
use super::cancellation;
use crate::error::{Cancelled, FromError};
use crate::panic::{Guarded, Panics};
use crate::token::CancellationToken;

/// How many items of a leaf are worked between two looks at whether they are wanted.
const LOOK: usize = 1024;

/// Outputs that are reduced in parallel.
impl<C: Chain<Output: Send, Error: FromError<Cancelled> + Send>> Pipeline<C> {
    /// Runs the pipeline and makes one output of two, in parallel, with the same result at any number of threads;
    /// `None` if there is none.
    ///
    /// The items of the source are taken in leaves of `leaf` items. A worker reduces the outputs of a leaf, from the
    /// first to the last. The calling thread joins the leaves, by a tree that depends on their number alone. So `f`
    /// must be associative only where the result has to be that of [`reduce`](Self::reduce): a sum of floats has the
    /// same bits in every run with the same `leaf`.
    ///
    /// A leaf is worked by one thread, and pulled as a whole: no item of it is worked before the source has given the
    /// last. A [`window`](Self::window) is rounded up to leaves, and a [`budget`](Self::budget) weighs a leaf as a
    /// whole. Choose `leaf` so that it takes 10 to 100 µs: 4096 for items of some ns. Behind a serial stage, or a stage
    /// with threads of its own, a leaf is of the items that reach that section. A [`report`](Self::report) and a
    /// [`progress`](Self::progress) count items; how far the run was ahead of the sink is counted in leaves.
    ///
    /// # Cancellation
    ///
    /// Notices between leaves, and in a leaf every 1,024 items.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Panics
    ///
    /// If `leaf` is 0. Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let sum = |threads| {
    ///     Pipeline::from_data(1..100_000_u32)
    ///         .threads(threads)
    ///         .map(|number| 1.0 / f64::from(number))
    ///         .reduce_by(&CancellationToken::new(), 4096, |sum, number| sum + number)
    /// };
    /// assert_eq!(sum(1)?.map(f64::to_bits), sum(8)?.map(f64::to_bits));
    /// # Ok::<(), Cancelled>(())
    /// ```
    #[track_caller]
    pub fn reduce_by<F>(self, token: &CancellationToken, leaf: usize, f: F) -> Result<Option<C::Output>, C::Error>
    where
        F: Fn(C::Output, C::Output) -> C::Output + Sync,
    {
        assert!(leaf > 0, "Pipeline::reduce_by(.., 0, ..): a leaf needs an item");
        let Pipeline { chain, mut settings } = self;
        let (source, stage) = chain.split();
        let (stage, f) = (Guarded::new(stage), Guarded::new(f));
        settings.order = Order::Source;
        settings.window = settings.window.and_then(|items| NonZeroUsize::new(items.get().div_ceil(leaf)));
        let join = |counter: &mut Counter<C::Output>, reduced| {
            counter.add(reduced, f.get());
            Ok::<_, Refused<std::convert::Infallible>>(())
        };
        let run = Run { sink: Each { state: Counter(Vec::new()), f: join } };
        let reduced = Reduced { before: stage.get(), f: f.get(), leaf: leaf as u64, of_source: true };
        match source.open(token, Reducing { stage: reduced, leaf, settings, token, run }) {
            Ok(counter) => Ok(counter.join(f.get())),
            Err(Stop::Stage(error)) => Err(error),
            Err(Stop::Sink(never)) => match never {},
            Err(Stop::Cancelled) => Err(cancellation(token).into()),
        }
    }
}

/// Reduced leaves, each with how many times two of a kind were joined to make it. Those numbers fall.
struct Counter<R>(Vec<(u32, R)>);

impl<R> Counter<R> {
    fn add(&mut self, mut reduced: R, f: &impl Fn(R, R) -> R) {
        let mut joins = 0;
        while self.0.last().is_some_and(|(equal, _)| *equal == joins)
            && let Some((_, before)) = self.0.pop()
        {
            reduced = f(before, reduced);
            joins += 1;
        }
        self.0.push((joins, reduced));
    }

    /// Joins what is left, from the last to the first.
    fn join(mut self, f: &impl Fn(R, R) -> R) -> Option<R> {
        let (_, last) = self.0.pop()?;
        Some(self.0.into_iter().rev().fold(last, |behind, (_, before)| f(before, behind)))
    }
}

/// The stages before, and behind them the reduction of a leaf.
struct Reduced<'a, W, F> {
    before: &'a W,
    f: &'a F,
    leaf: u64,
    /// The leaves are of items of the source.
    of_source: bool,
}

impl<L, W, F> Stage<L> for Reduced<'_, W, F>
where
    L: Leaf,
    W: Stage<L::Item>,
    F: Fn(W::Output, W::Output) -> W::Output + Sync,
{
    type Output = W::Output;
    type Error = W::Error;
    type Cause = W::Cause;

    local_of_before!();

    const FANS: bool = false;

    fn convert(cause: W::Cause) -> W::Error {
        W::convert(cause)
    }

    fn feed(
        &self,
        local: &mut W::Local,
        at: At<'_>,
        mut leaf: L,
        mut emit: impl FnMut(Option<W::Output>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, W::Error> {
        let (mut reduced, mut failed) = (None::<W::Output>, None);
        let whole = at;
        let mut at = at;
        at.index *= self.leaf;
        let begin = at.index;
        let flow = loop {
            let first = at.index;
            let flow = leaf.run(LOOK, |item| {
                let fed = self.before.feed(local, at, item, |output| match output {
                    Some(output) => {
                        reduced = Some(match reduced.take() {
                            Some(so_far) => (self.f)(so_far, output),
                            None => output,
                        });
                        ControlFlow::Continue(())
                    }
                    None => emit(None),
                });
                at.index += 1;
                fed.unwrap_or_else(|error| {
                    failed = Some(error);
                    ControlFlow::Break(())
                })
            });
            if flow.is_break() || at.index - first < LOOK as u64 || emit(None).is_break() {
                break flow;
            }
        };
        // An item that fails is none that was worked.
        let worked = (at.index - begin).saturating_sub(1);
        whole.stand_for(usize::try_from(worked).unwrap_or(usize::MAX), self.of_source);
        match (failed, flow, reduced) {
            (Some(error), ..) => Err(error),
            (None, ControlFlow::Continue(()), Some(reduced)) => Ok(emit(Some(reduced))),
            (None, flow, _) => Ok(flow),
        }
    }
}

/// The last section of a run whose items are leaves.
struct Reducing<'a, S, K> {
    stage: S,
    leaf: usize,
    settings: Settings,
    token: &'a CancellationToken,
    run: Run<K>,
}

impl<T, U, W, F, R, K> Visit<T, U> for Reducing<'_, Reduced<'_, W, F>, K>
where
    T: Send,
    W: Stage<T, Output = R, Error: Send, Cause = U>,
    R: Send,
    F: Fn(R, R) -> R + Sync,
    Run<K>: Launch<R, W::Error>,
{
    type Output = <Run<K> as Launch<R, W::Error>>::Output;

    fn visit<Q: Feed<Item = T>>(self, feed: Q) -> Self::Output {
        let Reducing { stage, leaf, settings, token, run } = self;
        Opening { stage: &stage, next: ToSink, settings, token, run }.visit(Leaves { feed, leaf })
    }

    /// A leaf waits for room as a whole.
    fn gated<Q: Feed<Item = T>>(self, feed: Q, gate: Arc<Gate>) -> Self::Output {
        let Reducing { stage, leaf, settings, token, run } = self;
        Opening { stage: &stage, next: ToSink, settings, token, run }.gated(Leaves { feed, leaf }, gate)
    }

    fn cross<S, V, Q>(self, before: Before<S, V, Q>) -> Self::Output
    where
        S: Source<Item: Send>,
        V: Stage<S::Item, Output: Send, Error = U, Cause = S::Error>,
        Q: Serial<V::Output, Output = T> + Send,
        U: Send,
    {
        let Reducing { stage, leaf, settings, token, run } = self;
        let stage = Reduced { of_source: false, ..stage };
        let Before { source, stage: earlier, serial, own } = before;
        let before = Before { source, stage: earlier, serial: Grouped::new(serial, leaf), own };
        let opening = Opening { stage: &stage, next: ToSink, settings, token, run };
        Visit::<Group<T>, U>::cross(opening, before)
    }
}
