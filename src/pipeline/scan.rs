//! The stage with a state: what is before it becomes a source whose items come in order on the calling thread.

use std::fmt;

use super::claim::{Drive, Source, Visit};
use super::run::{Early, Refused, Run, Settings, Stop};
use super::stage::Stage;
use crate::panic::Guarded;
use crate::token::CancellationToken;

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
    W: Stage<S::Item, Output: Send, Error: From<S::Error> + Send>,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn open<V: Visit<R, W::Error>>(self, _token: &CancellationToken, visit: V) -> V::Output {
        visit.drive(self)
    }
}

/// What a scan and all that is behind it holds. Each part is dropped though the `Drop` of another panics.
struct All<A, F, K, G> {
    state: Guarded<A>,
    f: Guarded<F>,
    /// The state of what is behind.
    behind: Guarded<Option<K>>,
    sink: G,
}

/// Why the sink of a scan wants no more.
enum Enough<K, E> {
    /// The scan has ended; the state of what is behind it.
    End(Option<K>),
    /// What is behind it has.
    Behind(E),
}

impl<S, W, A, R, F> Drive for Scan<S, W, A, F>
where
    S: Source<Item: Send>,
    W: Stage<S::Item, Output: Send, Error: From<S::Error> + Send>,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn drive<K, E, G>(
        self,
        mut settings: Settings,
        token: &CancellationToken,
        behind: K,
        sink: G,
    ) -> Result<K, Stop<W::Error, E>>
    where
        G: FnMut(&mut K, R) -> Result<(), Refused<E>>,
    {
        let Scan { source, stage, state, f } = self;
        settings.ordered = true;
        let stage = Guarded::new(stage);
        // All of it is the state of the sink, so that it goes when the sink goes.
        let all = All { state: Guarded::new(state), f: Guarded::new(f), behind: Guarded::new(Some(behind)), sink };
        let scanned = |all: &mut All<A, F, K, G>, output| match (all.f.get_mut())(all.state.get_mut(), output) {
            Some(item) => {
                let behind = all.behind.get_mut().as_mut().expect("taken at the end");
                (all.sink)(behind, item).map_err(|refused| match refused {
                    Refused::Cancelled => Refused::Cancelled,
                    Refused::Failed(error) => Refused::Failed(Enough::Behind(error)),
                })
            }
            None => Err(Refused::Failed(Enough::End(all.behind.get_mut().take()))),
        };
        let behind = match source.open(token, Run { stage: stage.get(), settings, token, state: all, sink: scanned }) {
            // A run that was cancelled says so, even if it was about to end.
            Err(Early::Here(Stop::Sink(Enough::End(_)))) if token.is_cancelled() => return Err(Stop::Cancelled),
            Ok(All { state, f, mut behind, sink }) => {
                drop((state, f, sink));
                behind.get_mut().take()
            }
            Err(Early::Here(Stop::Sink(Enough::End(behind)))) => behind,
            Err(Early::Here(Stop::Sink(Enough::Behind(error)))) => return Err(Stop::Sink(error)),
            Err(Early::Here(Stop::Stage(error))) => return Err(Stop::Stage(error)),
            Err(Early::Here(Stop::Cancelled)) => return Err(Stop::Cancelled),
            Err(Early::Source(error)) => return Err(Stop::Stage(error.into())),
        };
        Ok(behind.expect("taken at the end, and handed over"))
    }
}

impl<S: fmt::Debug, W, A, F> fmt::Debug for Scan<S, W, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("source", &self.source).finish_non_exhaustive()
    }
}
