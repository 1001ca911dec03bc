//! [`Jobs`]: a registry of jobs by their id.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::account::Counts;
use super::admit::IfFull;
use super::cx::JobCx;
use super::error::SubmitError;
use super::head::Watch;
use super::job::Job;
use super::status::JobStatus;
use super::submission::Submission;
use crate::token::CancellationToken;

/// A registry of the jobs of one pool, by their ids: for a server that is asked how a job is.
///
/// It keeps the handle of each job that is submitted through it: status, progress, times and result. Of the jobs that
/// have ended it keeps the last ones, bounded by number and by age. It has a lock of its own, which no worker takes, so
/// reading it holds up no job.
///
/// It forgets jobs within its own calls, because no worker does so as a job ends. So between two calls it has as many
/// ended jobs as have ended meanwhile, and no call returns one that is beyond the bounds. A panic in the `Drop` of a
/// result that it forgets, or that it still has when it is dropped, is told to the pool's hooks.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::pool::{Jobs, JobStatus};
/// use brigade::{CancellationToken, PoolBuilder};
///
/// let token = CancellationToken::new();
/// let pool = PoolBuilder::new(2).start(&token);
/// let jobs = Jobs::new(1_000).keep_for(Duration::from_secs(3_600));
/// let id = jobs
///     .submit(pool.named("count"), &token, |job| {
///         for done in 1..=3_u64 {
///             job.progress(done, 3);
///         }
///         anyhow::Ok("done")
///     })?
///     .id();
///
/// // Later, when a client asks.
/// let job = jobs.get(id).expect("it is kept for an hour");
/// assert_eq!(job.wait(&token)?, "done");
/// assert_eq!((job.name(), job.progress().done), ("count", 3));
/// assert_eq!(jobs.list(Some(JobStatus::Completed), None, 10).len(), 1);
/// # anyhow::Ok(())
/// ```
pub struct Jobs<T, E> {
    keep: usize,
    keep_for: Option<Duration>,
    ended: Arc<Ended>,
    /// The number of the pool whose jobs these are.
    pool: OnceLock<u64>,
    kept: Mutex<Kept<T, E>>,
}

/// Jobs and their ids, in the order of these. A search reads no job, which a worker may be writing to.
type Kept<T, E> = VecDeque<(u64, Arc<Job<T, E>>)>;

/// How many of the kept jobs have ended. A job is forgotten only when its end is published, so it has been counted.
///
/// The workers write to it, and each submission to the count of references beside it.
#[derive(Default)]
struct Ended(CachePadded<AtomicUsize>);

impl Watch for Ended {
    // Relaxed: it is a hint, and the status decides.
    fn ended(&self, _id: u64, _status: JobStatus) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T, E> Jobs<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    /// Creates a registry that keeps the last `keep` of the jobs that have ended.
    ///
    /// Jobs that are pending or run are kept beside them, as many as the pool has.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Jobs { keep, keep_for: None, ended: Arc::default(), pool: OnceLock::new(), kept: Mutex::default() }
    }

    /// Forgets jobs that ended longer ago than `age`, with the next call that looks.
    #[must_use]
    pub fn keep_for(self, age: Duration) -> Self {
        let mut jobs = self;
        jobs.keep_for = Some(age);
        jobs
    }

    /// Submits a job, and waits for room in the queue of the pool; keeps its handle, and returns it.
    ///
    /// # Cancellation
    ///
    /// As [`Pool::submit`](crate::Pool::submit).
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`](crate::Pool::submit).
    ///
    /// # Panics
    ///
    /// If the registry has jobs of another pool, because their ids would be the same.
    pub fn submit<'p, F>(
        &self,
        pool: impl Into<Submission<'p>>,
        token: &CancellationToken,
        f: F,
    ) -> Result<Arc<Job<T, E>>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.send(&pool.into(), IfFull::Wait(token, None), f)
    }

    /// Submits a job if there is room in the queue of the pool; keeps its handle, and returns it. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Pool::try_submit`](crate::Pool::try_submit).
    ///
    /// # Panics
    ///
    /// As [`submit`](Self::submit).
    pub fn try_submit<'p, F>(&self, pool: impl Into<Submission<'p>>, f: F) -> Result<Arc<Job<T, E>>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.send(&pool.into(), IfFull::Refuse, f)
    }

    /// Like [`submit`](Self::submit), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_timeout`](crate::Pool::submit_timeout).
    ///
    /// # Panics
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_timeout<'p, F>(
        &self,
        pool: impl Into<Submission<'p>>,
        token: &CancellationToken,
        timeout: Duration,
        f: F,
    ) -> Result<Arc<Job<T, E>>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.send(&pool.into(), IfFull::Wait(token, Instant::now().checked_add(timeout)), f)
    }

    /// Like [`submit`](Self::submit), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit_deadline`](crate::Pool::submit_deadline).
    ///
    /// # Panics
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_deadline<'p, F>(
        &self,
        pool: impl Into<Submission<'p>>,
        token: &CancellationToken,
        deadline: Instant,
        f: F,
    ) -> Result<Arc<Job<T, E>>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.send(&pool.into(), IfFull::Wait(token, Some(deadline)), f)
    }

    fn send<F>(&self, submission: &Submission<'_>, if_full: IfFull<'_>, f: F) -> Result<Arc<Job<T, E>>, SubmitError<F>>
    where
        F: FnOnce(&JobCx<'_>) -> Result<T, E> + Send + 'static,
    {
        let pool = submission.shared().number;
        assert!(*self.pool.get_or_init(|| pool) == pool, "a registry has the jobs of one pool");
        let extras = submission.extras(Some(Arc::clone(&self.ended) as _), true);
        submission.send(if_full, extras, f).map(|job| self.keep(job))
    }

    fn keep(&self, job: Job<T, E>) -> Arc<Job<T, E>> {
        let (id, job) = (job.id(), Arc::new(job));
        let mut kept = self.kept.lock();
        // Another thread may have submitted a later job, and been faster.
        let at = kept.iter().rposition(|(other, _)| *other < id).map_or(0, |before| before + 1);
        kept.insert(at, (id, Arc::clone(&job)));
        let mut forgotten = Vec::new();
        self.forget_surplus(&mut kept, &mut forgotten);
        if self.keep_for.is_some() && kept.front().is_some_and(|(_, first)| self.is_old(first, Instant::now())) {
            self.forget(&mut kept, 0, &mut forgotten);
        }
        drop(kept);
        release_all(forgotten);
        job
    }

    /// Forgets the jobs that are too many.
    fn forget_surplus(&self, kept: &mut Kept<T, E>, forgotten: &mut Vec<Arc<Job<T, E>>>) {
        while self.ended.0.load(Ordering::Relaxed) > self.keep {
            // Jobs end in about the order in which they started, so it is among the first.
            let Some(at) = kept.iter().position(|(_, job)| job.is_published()) else { break };
            self.forget(kept, at, forgotten);
        }
    }

    fn forget(&self, kept: &mut Kept<T, E>, at: usize, forgotten: &mut Vec<Arc<Job<T, E>>>) {
        forgotten.extend(kept.remove(at).map(|(_, job)| job));
        self.ended.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_old(&self, job: &Job<T, E>, now: Instant) -> bool {
        let ended = job.times().and_then(|times| times.ended).filter(|_| job.is_published());
        ended.zip(self.keep_for).is_some_and(|(ended, age)| now.saturating_duration_since(ended) > age)
    }

    /// Forgets the jobs that are too old or too many, and calls `f` with the others.
    fn look<R>(&self, f: impl FnOnce(&Kept<T, E>) -> R) -> R {
        let now = Instant::now();
        let mut forgotten = Vec::new();
        let mut kept = self.kept.lock();
        let ended = kept.iter().filter(|(_, job)| job.is_published()).count();
        let mut surplus = ended.saturating_sub(self.keep);
        let mut at = 0;
        while at < kept.len() {
            let job = &kept[at].1;
            if job.is_published() && (surplus > 0 || self.is_old(job, now)) {
                surplus = surplus.saturating_sub(1);
                self.forget(&mut kept, at, &mut forgotten);
            } else {
                at += 1;
            }
        }
        let seen = f(&kept);
        drop(kept);
        release_all(forgotten);
        seen
    }

    /// Returns a job, unless it is not known any more.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Job<T, E>>> {
        let mut forgotten = Vec::new();
        let mut kept = self.kept.lock();
        self.forget_surplus(&mut kept, &mut forgotten);
        let found = kept.binary_search_by_key(&id, |(id, _)| *id).ok();
        let old = found.filter(|at| self.is_old(&kept[*at].1, Instant::now()));
        let job = if old.is_none() { found.map(|at| Arc::clone(&kept[at].1)) } else { None };
        old.into_iter().for_each(|at| self.forget(&mut kept, at, &mut forgotten));
        drop(kept);
        release_all(forgotten);
        job
    }

    /// Cancels a job, as [`Job::cancel`] does; returns whether this call did.
    ///
    /// # Panics
    ///
    /// As [`Job::cancel`].
    pub fn cancel(&self, id: u64) -> bool {
        self.get(id).is_some_and(|job| job.cancel())
    }

    /// Returns at most `most` jobs with this status, or with any, whose ids are greater than `after`, in their order.
    ///
    /// To list all of them page by page, pass the last id of a page with the next call.
    #[must_use]
    pub fn list(&self, status: Option<JobStatus>, after: Option<u64>, most: usize) -> Vec<Arc<Job<T, E>>> {
        self.look(|kept| {
            let from = after.map_or(0, |after| kept.partition_point(|(id, _)| *id <= after));
            let wanted = |job: &&Arc<Job<T, E>>| status.is_none_or(|status| job.status() == status);
            kept.range(from..).map(|(_, job)| job).filter(wanted).take(most).cloned().collect()
        })
    }

    /// Counts the jobs that are kept, by their status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.look(|kept| {
            let mut counts = Counts::default();
            kept.iter().for_each(|(_, job)| counts.count(job.status()));
            counts
        })
    }
}

/// Drops each handle, and its result if no other has it. Does not panic.
fn release_all<T, E>(jobs: impl IntoIterator<Item = Arc<Job<T, E>>>) {
    jobs.into_iter().filter_map(Arc::into_inner).for_each(Job::release);
}

impl<T, E> Drop for Jobs<T, E> {
    fn drop(&mut self) {
        release_all(self.kept.get_mut().drain(..).map(|(_, job)| job));
    }
}

impl<T, E> fmt::Debug for Jobs<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("keep", &self.keep)
            .field("keep_for", &self.keep_for)
            .field("kept", &self.kept.lock().len())
            .finish_non_exhaustive()
    }
}
