//! [`Opening`]: the way from the last stage back to the source, with which a run begins.
//!
//! A pipeline of several sections is nested: the source of the last section is the pipeline before it. So the sections
//! are built from the last to the first, and then the source of the first is opened for the run.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::Settings;
use super::crew::ToSection;
use super::gate::Gate;
use super::plain::Beyond;
use super::report::Meter;
use super::serial::Serial;
use super::source::gated::GatedFeed;
use super::source::{Before, Feed, Source, Visit};
use super::stage::Stage;
use super::then::Then;
use crate::panic::Guarded;
use crate::token::CancellationToken;

/// The stages of a section, all behind them, and the run that they are for.
pub(super) struct Opening<'a, W, N, L> {
    pub(super) stage: &'a W,
    pub(super) next: N,
    pub(super) settings: Settings,
    pub(super) token: &'a CancellationToken,
    pub(super) run: L,
}

/// A run that makes outputs `R`, or an error `E`.
pub(super) trait Launch<R, E>: Sized {
    type Output;

    /// Runs the stages over a source. `next` is what lies behind them.
    fn launch<F, W, N>(opening: Opening<'_, W, N, Self>, feed: F) -> Self::Output
    where
        F: Feed<Item: Send>,
        W: Stage<F::Item, Output: Send, Error: Send>,
        N: Beyond<W::Output, W::Error, Output = R, Error = E, State: Send>;
}

impl<T, U, W, N, L> Visit<T, U> for Opening<'_, W, N, L>
where
    T: Send,
    W: Stage<T, Output: Send, Error: Send, Cause = U>,
    N: Beyond<W::Output, W::Error, State: Send>,
    L: Launch<N::Output, N::Error>,
{
    type Output = L::Output;

    fn visit<F: Feed<Item = T>>(self, feed: F) -> Self::Output {
        L::launch(self, feed)
    }

    fn gated<F: Feed<Item = T>>(self, feed: F, gate: Arc<Gate>) -> Self::Output {
        self.visit(GatedFeed::new(feed, gate))
    }

    #[expect(clippy::collapsible_if, reason = "the compiler leaves out what is behind a constant that stands alone")]
    fn cross<S, V, Q>(self, before: Before<S, V, Q>) -> Self::Output
    where
        S: Source<Item: Send>,
        V: Stage<S::Item, Output: Send, Error = U, Cause = S::Error>,
        Q: Serial<V::Output, Output = T> + Send,
        U: Send,
    {
        let Opening { stage, next, settings, token, run } = self;
        let Before { source, stage: before, serial, own } = before;
        let before = Guarded::new(before);
        // No section where nothing is to be done behind the boundary, or nothing but to count. These are constants, so
        // that the compiler makes one of the two: with both, what it makes doubles at each boundary.
        if Q::PASSES && !Q::HAS_OWN_WORKERS {
            if W::IS_NOTHING {
                let both = Then::<V, Q, W>::new(before.get(), stage);
                return source.open(token, Opening { stage: &both, next, settings, token, run });
            }
        }
        if Q::FUSES {
            if V::ONE_TO_ONE {
                let both = Then::<V, Q, W>::new(before.get(), stage);
                return source.open(token, Opening { stage: &both, next, settings, token, run });
            }
        }
        let next = ToSection::new(stage, serial, own, next);
        source.open(token, Opening { stage: before.get(), next, settings, token, run })
    }
}

impl<W, N, L> Opening<'_, W, N, L> {
    /// Whether the run has to be the plain loop.
    ///
    /// On a rayon worker a run would wait for its threads, and they, should a stage call rayon, for the pool whose
    /// worker waits here. A token without a clock has to be polled, which the threads of a run do not.
    pub(super) fn must_be_plain(&self) -> bool {
        rayon::current_thread_index().is_some() || self.token.look_at().is_some()
    }

    /// Whether one thread does all the work.
    pub(super) fn is_for_one_thread<R, E>(&self) -> bool
    where
        N: Beyond<R, E>,
    {
        self.settings.threads() == 1 && self.own_threads().iter().all(Option::is_none)
    }

    /// Begins what the plain loop tells of itself.
    pub(super) fn meter<R, E>(&self) -> Meter
    where
        N: Beyond<R, E>,
    {
        // It serves all sections on one thread.
        let sections = vec![None; self.own_threads().len()];
        Meter::new(self.settings.recording(1, &sections, None, self.settings.expected))
    }

    /// How many threads each section has of its own.
    fn own_threads<R, E>(&self) -> Vec<Option<NonZeroUsize>>
    where
        N: Beyond<R, E>,
    {
        let mut own = vec![None];
        self.next.count_own(&mut own);
        own
    }
}
