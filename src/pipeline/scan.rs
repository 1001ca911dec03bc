//! [`Scan`]: the stage with a state.
//!
//! **A scan makes a source of the pipeline before it.** The items of that source come in order
//! on the calling thread, so any stage can follow, and runs there. To run the stages behind a
//! scan in parallel as well, its outputs would have to go through a second set of workers.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use super::Pipeline;
use super::chain::{Chain, Fused};
use super::refill::{self, Consume, Ended, Refill, Upstream};
use super::source::{Drive, Launch, Source, Start, Visit};
use super::stage::{Identity, Stage};
use super::stop::{Refused, Stop};
use crate::panic::{self, Guarded, Panics};
use crate::token::CancellationToken;

/// The stage with a state.
impl<C: Chain> Pipeline<C> {
    /// Adds a stage with a state, which takes the items in order and one after the other, as [`Iterator::scan`] does.
    ///
    /// `f` is given the state and the next item, and makes an output of it, or ends the run as if the source had ended
    /// here. A run that ends here waits for a `next()` of the source that is under way; see [Blocking
    /// sources](Pipeline#blocking-sources).
    ///
    /// It runs on the calling thread, and so do the stages that are added behind it: put costly
    /// stages before it. Neither `f` nor the state need be [`Send`], though the outputs of `f`
    /// must be. It keeps the order of the items even [`unordered`](Pipeline::unordered).
    ///
    /// # Examples
    ///
    /// Where each record starts in the output:
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let offsets: Vec<(usize, String)> = Pipeline::from_data(["a", "bbb", "cc"])
    ///     .map(|name| format!("<{name}>"))
    ///     .scan(0, |end, record| {
    ///         let start = *end;
    ///         *end += record.len();
    ///         Some((start, record))
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(offsets, [(0, "<a>".into()), (3, "<bbb>".into()), (8, "<cc>".into())]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn scan<A, R, F>(self, initial: A, f: F) -> Pipeline<Scanned<C, A, F>>
    where
        F: FnMut(&mut A, C::Output) -> Option<R>,
    {
        let (source, stage) = self.chain.split();
        Pipeline::new(Scan { source, stage, state: initial, f }, Identity(PhantomData), self.settings)
    }
}

/// The chain behind a scan.
type Scanned<C, A, F> = Fused<Scan<<C as Chain>::Source, <C as Chain>::Stage, A, F>, Identity<<C as Chain>::Error>>;

/// The source that [`Pipeline::scan`](super::Pipeline::scan) makes of a pipeline.
pub struct Scan<S, W, A, F> {
    pub(super) source: S,
    pub(super) stage: W,
    pub(super) state: A,
    pub(super) f: F,
}

impl<S, W, A, R, F> Source for Scan<S, W, A, F>
where
    S: Source<Item: Send>,
    W: Stage<S::Item, Output: Send, Error: Send, Cause = S::Error>,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn open<V: Visit<R, W::Error>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        visit.drive(self)
    }
}

/// All that a scan and the stages behind it hold. Each part is dropped though the `Drop` of another panics.
struct All<A, F, K, G> {
    state: Guarded<A>,
    f: Guarded<F>,
    /// The state of the sink behind the scan.
    behind: Guarded<Option<K>>,
    sink: G,
}

/// Which of the two refuses an item.
enum By<K, E> {
    /// The scan, which has ended; with the state of the sink behind it.
    Scan(Option<K>),
    /// The sink behind it.
    Sink(E),
}

impl<S, W, A, R, F> Drive for Scan<S, W, A, F>
where
    S: Source<Item: Send>,
    W: Stage<S::Item, Output: Send, Error: Send, Cause = S::Error>,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn drive<L, K, E, G>(self, token: &CancellationToken, launch: L, behind: K, sink: G) -> Result<K, Stop<W::Error, E>>
    where
        L: Launch,
        G: FnMut(&mut K, R) -> Result<(), Refused<E>>,
    {
        let Scan { source, stage, state, f } = self;
        let stage = Guarded::new(stage);
        // All of it is the state of the sink, so that it goes when the sink goes.
        let all = All { state: Guarded::new(state), f: Guarded::new(f), behind: Guarded::new(Some(behind)), sink };
        let scanned = |all: &mut All<A, F, K, G>, output| match (all.f.get_mut())(all.state.get_mut(), output) {
            Some(item) => {
                let behind = all.behind.get_mut().as_mut().expect("taken at the end");
                (all.sink)(behind, item).map_err(|refused| match refused {
                    Refused::Cancelled => Refused::Cancelled,
                    Refused::Failed(error) => Refused::Failed(By::Sink(error)),
                })
            }
            None => Err(Refused::Failed(By::Scan(all.behind.get_mut().take()))),
        };
        let behind = match launch.launch(source, stage.get(), all, scanned) {
            // A run that was cancelled says so, even if it was about to end.
            Err(Stop::Sink(By::Scan(_))) if token.is_cancelled() => return Err(Stop::Cancelled),
            Ok(All { state, f, mut behind, sink }) => {
                drop((state, f, sink));
                behind.get_mut().take()
            }
            Err(Stop::Sink(By::Scan(behind))) => behind,
            Err(Stop::Sink(By::Sink(error))) => return Err(Stop::Sink(error)),
            Err(Stop::Stage(error)) => return Err(Stop::Stage(error)),
            Err(Stop::Cancelled) => return Err(Stop::Cancelled),
        };
        Ok(behind.expect("taken at the end, and handed over"))
    }

    fn pull<B: Start>(self, token: &CancellationToken, start: B, consume: Consume<'_, R, W::Error>) {
        let Scan { source, stage, state, f } = self;
        let stage = Guarded::new(stage);
        let mut own = Some((state, f));
        start.start(source, stage.get(), &mut |run| {
            refill::consume(consume, &mut Scanner { items: Upstream::new(run), own: own.take(), token });
        });
    }
}

/// The outputs of a scan, made one by one when they are asked for.
struct Scanner<'a, T, E, A, F> {
    items: Upstream<'a, T, E>,
    /// The state and the function, until the end.
    own: Option<(A, F)>,
    token: &'a CancellationToken,
}

impl<T, R, E, A, F> Refill<R, E> for Scanner<'_, T, E, A, F>
where
    F: FnMut(&mut A, T) -> Option<R>,
{
    fn refill(&mut self, outputs: &mut VecDeque<R>) -> Option<Ended<E>> {
        let ended = match (self.items.next_until(self.token), &mut self.own) {
            (Ok(item), Some((state, f))) => match panic::catch(|| f(state, item)) {
                Ok(Some(output)) => {
                    outputs.push_back(output);
                    return None;
                }
                Ok(None) => Ended::Complete,
                Err(payload) => payload.into(),
            },
            (Ok(_), None) => Ended::Complete,
            (Err(ended), _) => ended,
        };
        let token = self.token;
        Some(ended.and(token, || self.leave()))
    }

    fn leave(&mut self) -> Panics {
        let mut panics = Panics::default();
        if let Some((state, f)) = self.own.take() {
            // Before the threads are joined, as a sink is dropped.
            panics.drop(state);
            panics.drop(f);
        }
        panics.append(self.items.leave());
        panics
    }

    fn is_cancelled_by_consumer(&self) -> bool {
        self.items.is_cancelled_by_consumer()
    }
}

impl<S: fmt::Debug, W, A, F> fmt::Debug for Scan<S, W, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("source", &self.source).finish_non_exhaustive()
    }
}
