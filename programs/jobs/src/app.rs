//! [`App`]: the pool, the records and the limits: what the requests work on.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use brigade::limit::{Denied, KeyedRateLimiter, OwnedPermit, Rate};
use brigade::pool::{Account, Close, JobCx, JobStatus, Submission};
use brigade::{CancellationToken, Pool, PoolBuilder, Semaphore};
use parking_lot::Mutex;

use crate::entry::Accepted;
use crate::journal::{CommitError, Journal};
use crate::ledger::{Ending, Ledger};
use crate::record::{Cancel, End, Record, now};
use crate::registry::{Keep, Registry};
use crate::replay::Restored;
use crate::work::Work;

/// How many clients the rate limit knows at a time.
const CLIENTS: usize = 10_000;

/// How large everything may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The threads that run jobs.
    pub workers: usize,
    /// The jobs that wait.
    pub queue: usize,
    /// The bytes of the jobs that wait or run.
    pub queue_bytes: usize,
    /// The jobs that are kept when they have ended.
    pub keep: usize,
    /// The bytes of their results.
    pub keep_bytes: usize,
    /// The jobs a second and client, and how many at once; or no limit.
    pub rate: Option<(u32, u32)>,
}

/// Why a job was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    Rate(Denied),
    Closing,
    Full,
    NoThread,
    Journal(CommitError),
}

impl Refusal {
    /// The reasons, in the order of [`number`](Self::number), for the metrics.
    pub(crate) const REASONS: [&str; 5] = ["rate", "closing", "full", "thread", "state"];

    fn number(&self) -> usize {
        match self {
            Refusal::Rate(_) => 0,
            Refusal::Closing => 1,
            Refusal::Full => 2,
            Refusal::NoThread => 3,
            Refusal::Journal(_) => 4,
        }
    }
}

/// The pool, the records and the limits.
#[derive(Debug)]
pub(crate) struct App {
    pool: Pool,
    ledger: Arc<Ledger>,
    /// The bytes of the jobs that wait or run.
    budget: Semaphore,
    limiter: Option<KeyedRateLimiter<IpAddr>>,
    closing: CancellationToken,
    /// How many jobs were refused for each reason. Relaxed: each is read on its own.
    refused: [AtomicU64; Refusal::REASONS.len()],
    /// The jobs of an earlier process, until they are in the pool.
    restored: Mutex<Vec<(Arc<Record>, Accepted)>>,
}

impl App {
    /// Makes the app, with the jobs that are in the state, if there is one. `closing` ends its acceptance of jobs.
    pub(crate) fn open(
        settings: &Settings,
        state: Option<&Path>,
        repairs: bool,
        closing: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let keep = Keep { jobs: settings.keep, bytes: settings.keep_bytes };
        let (journal, Restored { next, ended, pending, .. }) = match state {
            Some(folder) => {
                Journal::open(folder, keep, repairs).map(|(journal, restored)| (Some(journal), restored))?
            }
            None => (None, Restored::default()),
        };
        let ledger = Ledger::new(Registry::new(keep, next), journal, closing.clone());
        for (ended, bytes) in ended {
            ledger.restore(&ended, bytes)?;
        }
        let restore = |accepted: Accepted| {
            let record = Arc::new(Record::new(accepted.id, accepted.work.kind(), accepted.created));
            ledger.registry.insert(Arc::clone(&record));
            (record, accepted)
        };
        let restored = Mutex::new(pending.into_iter().map(restore).collect());
        // The pool is cancelled by nothing but its own close, which drains it first.
        let builder = PoolBuilder::new(settings.workers).queue(settings.queue).named("job");
        let pool = builder.start(&CancellationToken::never());
        let rate = settings.rate.map(|(a_second, burst)| Rate::per_second(a_second.into()).burst(burst));
        Ok(App {
            pool,
            ledger: Arc::new(ledger),
            budget: Semaphore::new(settings.queue_bytes),
            limiter: rate.map(|rate| KeyedRateLimiter::new(rate, CLIENTS)),
            closing: closing.clone(),
            refused: Default::default(),
            restored,
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.ledger.registry
    }

    pub(crate) fn account(&self) -> Account {
        self.pool.account()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.ledger.is_sound()
    }

    /// Counts a refusal of a job.
    pub(crate) fn count_refusal(&self, refusal: &Refusal) {
        self.refused[refusal.number()].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many jobs were refused for each reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::REASONS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Counts a job against the rate of its client. It comes before the job is parsed, because that costs too.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<(), Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.try_acquire(&client).map_err(Refusal::Rate))
    }

    /// Accepts a job, and waits until it is on disk, where it is to be.
    ///
    /// The pool comes first, and the disk second: a job that the pool refuses is never written. So a job may end before
    /// its acceptance is written; the journal is read in any order.
    pub(crate) fn submit(
        &self,
        token: &CancellationToken,
        work: Work,
        timeout: Option<Duration>,
    ) -> Result<Arc<Record>, Refusal> {
        if !self.is_sound() {
            return Err(Refusal::Journal(CommitError::Broken));
        }
        let place = self.budget.try_acquire_owned(work.weight()).map_err(|_| Refusal::Full)?;
        let record = Arc::new(Record::new(self.registry().next_id(), work.kind(), now()));
        let written = self.ledger.is_kept_on_disk().then(|| work.clone());
        self.registry().insert(Arc::clone(&record));
        let submission = self.submission(&record, timeout);
        match submission.try_submit(self.job(&record, work, place)) {
            Ok(job) => record.set_job(job),
            Err(error) => {
                self.registry().remove(record.id);
                // It ends before its closure is dropped, which would write the end to the disk.
                if record.claim_end() {
                    record.set_end(End { status: JobStatus::Skipped, at: now(), message: None, output: None });
                }
                return Err(match () {
                    () if error.is_closed() => Refusal::Closing,
                    () if error.is_full() => Refusal::Full,
                    () => Refusal::NoThread,
                });
            }
        }
        if let Some(work) = written {
            let timeout = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            let accepted = Accepted { id: record.id, created: record.created(), timeout, work };
            if let Err(error) = self.ledger.accept(token, accepted) {
                // After a cancelled wait the entry may be on disk: then the job is as good as accepted.
                if !matches!(error, CommitError::Cancelled(_)) {
                    self.registry().remove(record.id);
                    self.cancel(&record);
                }
                return Err(Refusal::Journal(error));
            }
        }
        Ok(record)
    }

    fn submission(&self, record: &Record, timeout: Option<Duration>) -> Submission<'_> {
        let submission = self.pool.named(&record.kind);
        // A timeout too long for the clock to hold is none.
        let Some(deadline) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) else {
            return submission;
        };
        record.set_deadline(deadline);
        submission.deadline(deadline)
    }

    /// The closure of a job: it holds its place in the budget until it has ended.
    fn job(
        &self,
        record: &Arc<Record>,
        work: Work,
        place: OwnedPermit,
    ) -> impl FnOnce(&JobCx<'_>) -> anyhow::Result<()> + Send + 'static {
        let ending = Ending::new(&self.ledger, record);
        move |job| {
            let _place = place;
            if !ending.record().start() {
                job.token().cancel();
            }
            let progress = |done, total| {
                job.progress(done, total);
                ending.record().touch();
            };
            let checked = job.token().check().map_err(anyhow::Error::from);
            let ran = checked.and_then(|()| work.run(job.token(), progress));
            ending.finish(ran, job.token())
        }
    }

    /// Puts the jobs of an earlier process into the pool, and waits for room.
    ///
    /// # Cancellation
    ///
    /// It ends when the server closes: the jobs that are left stay on disk, and [`close`](Self::close) says so to those
    /// that wait for them.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        let restored = std::mem::take(&mut *self.restored.lock());
        for (record, accepted) in restored {
            // A client has cancelled it.
            if record.end().is_some() {
                continue;
            }
            let weight = accepted.work.weight().min(self.budget.size());
            let Ok(place) = self.budget.acquire_owned(&self.closing, weight) else { return Ok(()) };
            let timeout = accepted.timeout.map(Duration::from_millis);
            let job = self.job(&record, accepted.work, place);
            match self.submission(&record, timeout).submit(&self.closing, job) {
                Ok(job) => record.set_job(job),
                // Its own timeout has passed while it waited for room, and its closure has written that.
                Err(error) if error.is_timeout() => {}
                Err(error) if error.cancelled().is_some() || error.is_closed() => return Ok(()),
                Err(error) => return Err(error).context("cannot run the jobs of the state"),
            }
        }
        Ok(())
    }

    /// Cancels a job; returns whether this call did.
    pub(crate) fn cancel(&self, record: &Arc<Record>) -> bool {
        let cancel = record.cancel();
        if cancel == Cancel::OutOfPool {
            // It ends here, on disk too.
            drop(Ending::new(&self.ledger, record));
        }
        cancel != Cancel::TooLate
    }

    /// Runs what is pending, within `grace`, and returns the final account. Then no request waits for a job any more.
    pub(crate) fn close(&self, grace: Duration) -> anyhow::Result<Account> {
        let account = self.pool.close(&CancellationToken::never(), Close::Drain, grace);
        self.ledger.leave_all();
        Ok(account?)
    }
}

#[cfg(test)]
mod tests;
