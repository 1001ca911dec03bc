//! [`Submission`]: a job's settings, and its way into the pool.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::admit::IfFull;
use super::core::Core;
use super::cx::JobCx;
use super::error::{Refusal, SubmitError};
use super::head::{Extras, HasExtras, Head, Timeline, Watch};
use super::job::Job;
use super::queue::Queue;
use super::shared::{Entry, Shared, Tracked, Work};
use crate::token::CancellationToken;

/// A job to be submitted, with a name, a deadline, or another token: what [`Pool::named`](crate::Pool::named) and its
/// kind return.
///
/// It can be used for any number of jobs.
#[derive(Clone)]
#[must_use = "it is a setting only, until a job is submitted"]
pub struct Submission<'p> {
    shared: &'p Arc<Shared>,
    name: Option<Arc<str>>,
    deadline: Option<Instant>,
    linked: Option<CancellationToken>,
}

impl<'p> Submission<'p> {
    #[inline]
    pub(super) fn new(shared: &'p Arc<Shared>) -> Self {
        Submission { shared, name: None, deadline: None, linked: None }
    }

    pub(super) fn shared(&self) -> &'p Arc<Shared> {
        self.shared
    }

    /// Names the job, for its handle, failures and hooks. The default is the name of the pool.
    pub fn named(self, name: impl AsRef<str>) -> Self {
        Submission { name: Some(name.as_ref().into()), ..self }
    }

    /// Cancels the job at `deadline`: if it is pending then, it is skipped. A submission waits for room until then at
    /// most.
    pub fn deadline(self, deadline: Instant) -> Self {
        Submission { deadline: Some(deadline), ..self }
    }

    /// Cancels the job when `timeout` has passed from now, as [`deadline`](Self::deadline) does.
    ///
    /// A timeout too long for the clock to hold is no timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        Submission { deadline: Instant::now().checked_add(timeout), ..self }
    }

    /// Cancels the job with `token` too, such as that of the request that it belongs to: if it is pending then, it is
    /// skipped.
    pub fn linked(self, token: &CancellationToken) -> Self {
        Submission { linked: Some(token.clone()), ..self }
    }

    /// As [`Pool::submit`](crate::Pool::submit), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`](crate::Pool::submit).
    pub fn submit<T, E, F>(&self, token: &CancellationToken, f: F) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.send(IfFull::Wait(token, None), self.boxed_extras(None), f)
    }

    /// As [`Pool::try_submit`](crate::Pool::try_submit), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::try_submit`](crate::Pool::try_submit).
    pub fn try_submit<T, E, F>(&self, f: F) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.send(IfFull::Refuse, self.boxed_extras(None), f)
    }

    /// As [`Pool::submit_timeout`](crate::Pool::submit_timeout), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_timeout`](crate::Pool::submit_timeout).
    pub fn submit_timeout<T, E, F>(
        &self,
        token: &CancellationToken,
        timeout: Duration,
        f: F,
    ) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.send(IfFull::Wait(token, Instant::now().checked_add(timeout)), self.boxed_extras(None), f)
    }

    /// As [`Pool::submit_deadline`](crate::Pool::submit_deadline), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_deadline`](crate::Pool::submit_deadline).
    pub fn submit_deadline<T, E, F>(
        &self,
        token: &CancellationToken,
        deadline: Instant,
        f: F,
    ) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.send(IfFull::Wait(token, Some(deadline)), self.boxed_extras(None), f)
    }

    /// As [`Pool::fire`](crate::Pool::fire), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::fire`](crate::Pool::fire).
    #[inline]
    pub fn fire<F>(&self, token: &CancellationToken, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        self.throw(IfFull::Wait(token, None), f)
    }

    /// As [`Pool::try_fire`](crate::Pool::try_fire), with these settings.
    ///
    /// # Errors
    ///
    /// As [`Pool::try_fire`](crate::Pool::try_fire).
    #[inline]
    pub fn try_fire<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        self.throw(IfFull::Refuse, f)
    }

    /// Submits a job without a handle: a box, if it has no settings.
    #[inline]
    fn throw<F>(&self, if_full: IfFull<'_>, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        if self.name.is_some() || self.deadline.is_some() || self.linked.is_some() {
            return self.throw_tracked(if_full, f);
        }
        fire(self.shared, if_full, f)
    }

    fn throw_tracked<F>(&self, if_full: IfFull<'_>, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) + Send + 'static,
    {
        let (head, extras) = (Head::new(self.own_token()), self.boxed_extras(None));
        let queue = match self.admit(if_full) {
            Ok(queue) => queue,
            Err(refusal) => return Err(SubmitError::new(f, refusal)),
        };
        let never_fails = move |job: &JobCx<'_>| -> Result<(), Infallible> {
            f(job);
            Ok(())
        };
        self.enter(queue, Arc::new(Core::new(head, extras, never_fails)));
        Ok(())
    }

    /// Submits a job with extras, which [`extras`](Self::extras) or [`boxed_extras`](Self::boxed_extras) has made.
    #[inline]
    pub(super) fn send<T, E, F>(
        &self,
        if_full: IfFull<'_>,
        extras: impl HasExtras + 'static,
        f: F,
    ) -> Result<Job<T, E>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let core = Arc::new(Core::new(Head::new(self.own_token()), extras, f));
        let queue = match self.admit(if_full) {
            Ok(queue) => queue,
            Err(refusal) => return Err(SubmitError::new(core.into_closure(), refusal)),
        };
        let job = Job::new(Arc::clone(self.shared), Arc::clone(&core) as _);
        self.enter(queue, core);
        Ok(job)
    }

    /// Returns the queue, which admits the job. A wait for room ends at the job's own deadline: the job is accepted
    /// then, and skipped at once.
    #[inline]
    fn admit(&self, if_full: IfFull<'_>) -> Result<MutexGuard<'p, Queue<Entry>>, Refusal> {
        match (if_full, self.deadline) {
            (IfFull::Wait(token, until), Some(deadline)) if until.is_none_or(|until| deadline < until) => {
                match self.shared.admit(IfFull::Wait(token, Some(deadline))) {
                    Err(Refusal::Timeout) => {
                        self.shared.queue.lock().refused -= 1;
                        self.shared.admit(IfFull::Pass)
                    }
                    admitted => admitted,
                }
            }
            _ => self.shared.admit(if_full),
        }
    }

    /// Adds a job to the queue, which has admitted it.
    #[inline]
    fn enter(&self, mut queue: MutexGuard<'_, Queue<Entry>>, job: Arc<dyn Tracked>) {
        let skipped_by_token = (self.deadline.is_some() || self.linked.is_some()).then(|| Arc::clone(&job));
        let call = queue.accept(
            || self.shared.now(),
            |id, accepted_at| {
                job.head().set_id(id);
                Entry { id, accepted_at, work: Work::Tracked(job) }
            },
        );
        drop(queue);
        self.shared.answer(call);
        if let Some(job) = skipped_by_token {
            skip_on_cancel(self.shared, job);
        }
    }

    /// Makes the token of a job that more than its handle and its pool can cancel.
    fn own_token(&self) -> Option<CancellationToken> {
        let pool = &self.shared.token;
        let linked = self.linked.as_ref().map(|linked| CancellationToken::any_of([pool, linked]));
        match self.deadline {
            Some(deadline) => Some(linked.as_ref().unwrap_or(pool).child_with_deadline(deadline)),
            None => linked,
        }
    }

    /// Makes the extras of a job whose times are wanted, or not.
    pub(super) fn extras(&self, watch: Option<Arc<dyn Watch>>, timed: bool) -> Extras {
        let timeline = timed.then(|| Timeline::new(self.shared.now()));
        Extras { name: self.name.clone(), timeline, watch, ..Extras::default() }
    }

    /// Makes the extras of a job whose times only hooks want, if it has any.
    pub(super) fn boxed_extras(&self, watch: Option<Arc<dyn Watch>>) -> Option<Box<Extras>> {
        let timed = self.shared.hooks.is_some();
        let has_settings = self.name.is_some() || self.deadline.is_some() || self.linked.is_some();
        (has_settings || timed || watch.is_some()).then(|| Box::new(self.extras(watch, timed)))
    }
}

/// Submits a job without a handle and without settings: a box.
#[inline]
pub(super) fn fire<F>(shared: &Arc<Shared>, if_full: IfFull<'_>, f: F) -> Result<(), SubmitError<F>>
where
    F: FnOnce(&JobCx<'_>) + Send + 'static,
{
    let f = Box::new(f);
    let mut queue = match shared.try_admit(if_full) {
        Some(queue) => queue,
        None => match shared.admit_slowly(if_full) {
            Ok(queue) => queue,
            Err(refusal) => return Err(SubmitError::new(*f, refusal)),
        },
    };
    let call = queue.accept(|| shared.now(), |id, accepted_at| Entry { id, accepted_at, work: Work::Fired(f) });
    drop(queue);
    shared.answer(call);
    Ok(())
}

/// Skips a pending job when its token is cancelled.
fn skip_on_cancel(shared: &Arc<Shared>, job: Arc<dyn Tracked>) {
    let (pool, weak) = (Arc::downgrade(shared), Arc::downgrade(&job));
    let callback = job.head().token(&shared.token).on_cancel(move |reason| {
        if let (Some(pool), Some(job)) = (pool.upgrade(), weak.upgrade()) {
            if pool.mark_skipped(job.head()) {
                pool.finish_skip(job.head().id(), || Arc::clone(&job).skip(&pool, reason));
            }
            job.release(&pool);
        }
    });
    if let Some(extras) = job.extras() {
        // Dropped with the job, whose callback does nothing once the job has started.
        _ = extras.skips.set(callback);
    }
    job.release(shared);
}

impl fmt::Debug for Submission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("name", &self.name)
            .field("deadline", &self.deadline)
            .field("linked", &self.linked)
            .finish_non_exhaustive()
    }
}
