//! The stage with a state: what is before it becomes a source whose items come in order on the calling thread.

use std::fmt;

use super::claim::{Drive, Source, Visit};
use super::run::{Early, Run, Settings, Stop};
use super::stage::Stage;
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
    W: Stage<S::Item, Output: Send, Error: From<S::Error> + Send> + Sync,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn open<V: Visit<R, W::Error>>(self, token: &CancellationToken, visit: V) -> V::Output {
        visit.drive(Scanning { scan: self, token })
    }
}

/// A scan about to run.
struct Scanning<'a, S, W, A, F> {
    scan: Scan<S, W, A, F>,
    token: &'a CancellationToken,
}

/// Why the sink of a scan wants no more.
enum Enough<E> {
    /// The scan has ended.
    End,
    /// What is behind it has.
    Behind(E),
}

impl<S, W, A, R, F> Drive for Scanning<'_, S, W, A, F>
where
    S: Source<Item: Send>,
    W: Stage<S::Item, Output: Send, Error: From<S::Error> + Send> + Sync,
    F: FnMut(&mut A, W::Output) -> Option<R>,
{
    type Item = R;
    type Error = W::Error;

    fn drive<E>(
        self,
        mut settings: Settings,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), Stop<W::Error, E>> {
        let Scanning { scan: Scan { source, stage, mut state, mut f }, token } = self;
        settings.ordered = true;
        let scanned = |output| match f(&mut state, output) {
            Some(item) => sink(item).map_err(Enough::Behind),
            None => Err(Enough::End),
        };
        source.open(token, Run { stage: &stage, settings, token, sink: scanned }).or_else(|early| match early {
            Early::Here(Stop::Sink(Enough::End)) => Ok(()),
            Early::Here(Stop::Sink(Enough::Behind(error))) => Err(Stop::Sink(error)),
            Early::Here(Stop::Stage(error)) => Err(Stop::Stage(error)),
            Early::Here(Stop::Cancelled) => Err(Stop::Cancelled),
            Early::Source(error) => Err(Stop::Stage(error.into())),
        })
    }
}

impl<S: fmt::Debug, W, A, F> fmt::Debug for Scan<S, W, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("source", &self.source).finish_non_exhaustive()
    }
}
