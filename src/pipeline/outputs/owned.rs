//! [`OwnedOutputs`]: an iterator that owns its run.
//!
//! The source is opened within a callback, so the run needs a stack: that of a thread of its own, the driver.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::end::last;
use super::super::on_demand::Role;
use super::super::refill::{Ended, LEFT, Refill};
use super::outlet::{Closed, Found, Outlet, is_left};
use crate::error::{CancelReason, Cancelled, FromError};
use crate::panic::{self, Panics, Payload};
use crate::thread::{self, Spec};
use crate::token::{CancelCallback, CancellationToken};

/// The outputs of a run that it owns, made by [`Pipeline::into_iter`].
///
/// Dropping it ends the run, and waits for the items in hand.
#[must_use = "the run ends when its iterator is dropped"]
pub struct OwnedOutputs<R, E> {
    ready: VecDeque<R>,
    /// A child of the user's.
    token: CancellationToken,
    /// Until the run has ended.
    run: Option<Driven<R, E>>,
    /// No thread could be started for the run.
    refused: Option<Cancelled>,
}

/// A run, with the thread that drives it.
struct Driven<R, E> {
    outlet: Arc<Outlet<R, E>>,
    driver: JoinHandle<()>,
    watch: CancelCallback,
}

impl<R, E> OwnedOutputs<R, E> {
    pub(super) fn start<C>(pipeline: Pipeline<C>, token: &CancellationToken) -> Self
    where
        C: Chain<Output = R, Error = E> + Send + 'static,
        R: Send + 'static,
        E: Send + 'static,
    {
        let token = token.child_token();
        let is_strict = pipeline.settings.window.is_some();
        let outlet = Arc::new(Outlet::new(is_strict));
        let watch = token.wake_on_cancel({
            let outlet = Arc::clone(&outlet);
            move || outlet.cancelled()
        });
        let name = pipeline.settings.name.clone().unwrap_or_else(|| "pipeline".into());
        let spec = Spec { name: &name, index: 0, stack: pipeline.settings.stack };
        let driver = {
            let (outlet, token) = (Arc::clone(&outlet), token.clone());
            move || {
                // A driver that waits until all outputs have been passed on would be missed at work.
                let role = if is_strict { Role::Outputs } else { Role::Works };
                let forward = |run: &mut dyn Refill<_, _>| forward(run, &outlet, &token);
                let (ended, dropped) = match panic::catch(|| pipeline.run_on_demand(&token, role, forward)) {
                    Ok(ended) => (ended, None),
                    Err(payload) => (None, Some(payload)),
                };
                outlet.close(Closed { ended, dropped });
            }
        };
        let (run, refused) = match thread::spawn_owned(spec, driver) {
            Ok(driver) => (Some(Driven { outlet, driver, watch }), None),
            Err(_) => (None, Some(Cancelled::new(CancelReason::Other("the system refused to start a thread")))),
        };
        OwnedOutputs { ready: VecDeque::new(), token, run, refused }
    }

    /// Waits for outputs. Without any, the run has ended.
    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Option<Result<R, E>>
    where
        E: FromError<Cancelled>,
    {
        if let Some(refused) = self.refused.take() {
            return Some(Err(refused.into()));
        }
        let outlet = &self.run.as_ref()?.outlet;
        let is_late = self.token.is_cancelled();
        let closed = if is_late {
            // The plain loop would not have made them.
            panic::discard_all(self.ready.drain(..));
            outlet.skip()
        } else {
            match outlet.take(&mut self.ready) {
                Found::Outputs => return self.next(),
                Found::End(closed) => closed,
            }
        };
        self.end(closed)
    }

    /// Joins the driver; returns the error behind the last output.
    fn end(&mut self, closed: Closed<E>) -> Option<Result<R, E>>
    where
        E: FromError<Cancelled>,
    {
        let run = self.run.take()?;
        let is_hidden = self.token.is_cancelled() && run.outlet.is_cancelled_by_consumer();
        let mut panics = Panics::default();
        let ended = match closed.ended {
            // The plain loop ends where the consumer cancels.
            Some(ended) if is_hidden => {
                panic::discard(ended);
                Ended::Cancelled
            }
            Some(Ended::Complete) | None if self.token.is_cancelled() => Ended::Cancelled,
            Some(ended) => ended,
            None => Ended::Complete,
        };
        run.join(closed.dropped, &mut panics);
        last(ended.behind(panics), &self.token).map(Err)
    }
}

impl<R, E> Driven<R, E> {
    /// Joins the driver. `dropped` is the panic of a `Drop` there.
    fn join(self, dropped: Option<Payload>, panics: &mut Panics) {
        let Driven { driver, watch, .. } = self;
        drop(watch);
        dropped.into_iter().chain(driver.join().err().map(Payload::from)).for_each(|payload| panics.add(payload));
    }
}

impl<R, E: FromError<Cancelled>> Iterator for OwnedOutputs<R, E> {
    type Item = Result<R, E>;

    #[inline]
    fn next(&mut self) -> Option<Result<R, E>> {
        if !self.token.is_cancelled()
            && let Some(output) = self.ready.pop_front()
        {
            return Some(Ok(output));
        }
        self.refill()
    }
}

impl<R, E: FromError<Cancelled>> FusedIterator for OwnedOutputs<R, E> {}

impl<R, E> Drop for OwnedOutputs<R, E> {
    fn drop(&mut self) {
        panic::discard_all(self.ready.drain(..));
        let Some(run) = self.run.take() else { return };
        self.token.cancel_with(LEFT);
        let Closed { ended, dropped } = run.outlet.skip();
        // The consumer has not met it.
        panic::discard(ended);
        let mut panics = Panics::default();
        run.join(dropped, &mut panics);
        if std::thread::panicking() {
            panics.discard();
        } else {
            panics.resume_or(());
        }
    }
}

impl<R, E> fmt::Debug for OwnedOutputs<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedOutputs").field("is_over", &self.run.is_none()).finish_non_exhaustive()
    }
}

/// Hands the outputs of a run to its iterator. Returns `None` if that was dropped.
fn forward<R, E>(run: &mut dyn Refill<R, E>, outlet: &Outlet<R, E>, token: &CancellationToken) -> Option<Ended<E>> {
    let mut outputs = VecDeque::new();
    loop {
        let ended = run.refill(&mut outputs);
        if token.is_cancelled() {
            panic::discard_all(outputs.drain(..));
        } else if !outputs.is_empty() {
            outlet.put(&mut outputs, token);
        }
        if ended.is_some() || is_left(token) {
            return ended;
        }
    }
}
