//! Why a run stops early.
//!
//! Four types of the pipeline say that something is over, each at its own place: [`Stop`] says why
//! a run ended before its last item, [`Refused`] why a sink takes no more outputs, `End` (in the
//! crew) at which failure the outputs of a batch end, and `Exit` (in the crew) how the calling
//! thread left its loop. An item is *void* when nothing will ask for its outputs any more.

/// Why a run ended before its last item.
#[derive(Debug)]
pub(super) enum Stop<S, E> {
    Cancelled,
    /// A stage failed, or a source that is itself a pipeline.
    Stage(S),
    /// The sink failed.
    Sink(E),
}

/// Why a sink takes no more outputs.
#[derive(Debug)]
pub(super) enum Refused<E> {
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
