//! [`Ledger`]: the records and the journal together: a job is accepted and ends in both.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use brigade::pool::JobStatus;
use brigade::{CancellationToken, Cancelled};

use crate::entry::{Accepted, Ended, Entry};
use crate::journal::{CommitError, Journal};
use crate::record::{End, Record, now};
use crate::registry::Registry;
use crate::work::Output;

/// What is said of a job that a later process is to run.
const CLOSES: &str = "the server closes; the job runs when the server is started again with its state";

/// Why a job has been cut off. After the first two it is not run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Client,
    Timeout,
    Close,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Client => "a client has cancelled it",
            Cause::Timeout => "its timeout has passed",
            Cause::Close => "the server closes",
        })
    }
}

/// The records, and the journal if there is one.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) registry: Registry,
    journal: Option<Journal>,
    /// Cancelled when the server closes.
    closing: CancellationToken,
}

impl Ledger {
    pub(crate) fn new(registry: Registry, journal: Option<Journal>, closing: CancellationToken) -> Self {
        Ledger { registry, journal, closing }
    }

    /// Tells whether accepted jobs can be written, where they are to be.
    pub(crate) fn is_sound(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_sound)
    }

    /// Tells whether there is a journal.
    pub(crate) fn is_kept_on_disk(&self) -> bool {
        self.journal.is_some()
    }

    /// Waits until an accepted job is on disk, if there is a journal.
    pub(crate) fn accept(&self, token: &CancellationToken, accepted: Accepted) -> Result<(), CommitError> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.commit(token, &Entry::Accepted(accepted), &[]))
    }

    /// Ends a job: on disk first, so that a client that has seen the end finds it again after a crash.
    ///
    /// An end that is not on disk is not shown. The job is left to a later process, which runs it again.
    fn end(&self, record: &Record, end: End) {
        if !record.claim_end() {
            return;
        }
        if let Some(journal) = &self.journal {
            let is_cut_off = matches!(end.status, JobStatus::Cancelled | JobStatus::Skipped);
            if is_cut_off && self.cause(record) == Some(Cause::Close) {
                return record.leave(CLOSES);
            }
            let output = end.output.as_ref();
            let entry = Entry::Ended(Ended {
                id: record.id,
                kind: record.kind.clone(),
                created: record.created(),
                at: end.at,
                status: end.status.to_string(),
                message: end.message.clone(),
                output: output.map(|output| output.kind),
            });
            let bytes = output.map_or(&[][..], |output| &output.bytes);
            // Only the disk bounds this wait: the end is to be written whatever is cancelled.
            if let Err(error) = journal.commit(&CancellationToken::never(), &entry, bytes) {
                _ = writeln!(io::stderr(), "jobs: the end of job {} is not on disk: {error}", record.id);
                return record.leave("the disk refused the job's end; the job runs again when the server is restarted");
            }
        }
        self.registry.end(record, end);
    }

    /// Leaves the jobs that have not ended to a later process. No job is in the pool any more.
    pub(crate) fn leave_all(&self) {
        for record in self.registry.without_end() {
            // A cancel that is about to write the end goes on with it.
            if record.claim_end() {
                record.leave(CLOSES);
            }
        }
    }

    /// Tells why a job has been cut off, if it has.
    fn cause(&self, record: &Record) -> Option<Cause> {
        if record.is_cancel_asked() {
            Some(Cause::Client)
        } else if record.has_timed_out() {
            Some(Cause::Timeout)
        } else {
            self.closing.is_cancelled().then_some(Cause::Close)
        }
    }

    /// Restores the record of a job that has ended.
    pub(crate) fn restore(&self, ended: &Ended, bytes: Vec<u8>) -> anyhow::Result<()> {
        let status = JobStatus::ALL.into_iter().find(|status| status.to_string() == ended.status);
        let status = status.with_context(|| format!("the journal has an unknown status, {:?}", ended.status))?;
        let record = Arc::new(Record::new(ended.id, &ended.kind, ended.created));
        self.registry.insert(Arc::clone(&record));
        let output = ended.output.map(|kind| Output { kind, bytes });
        self.registry.end(&record, End { status, at: ended.at, message: ended.message.clone(), output });
        Ok(())
    }
}

/// Ends a job once: by [`finish`](Self::finish), or when it is dropped, which is what becomes of a job that panics or
/// never starts.
#[derive(Debug)]
pub(crate) struct Ending {
    ledger: Arc<Ledger>,
    record: Arc<Record>,
}

impl Ending {
    pub(crate) fn new(ledger: &Arc<Ledger>, record: &Arc<Record>) -> Self {
        Ending { ledger: Arc::clone(ledger), record: Arc::clone(record) }
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Ends a job that has run, as the pool will count it.
    pub(crate) fn finish(self, ran: anyhow::Result<Output>, token: &CancellationToken) -> anyhow::Result<()> {
        let (status, output, result) = match ran {
            Ok(output) => (JobStatus::Completed, Some(output), Ok(())),
            Err(error) if token.is_cancelled() => (JobStatus::Cancelled, None, Err(error)),
            Err(error) => (JobStatus::Failed, None, Err(error)),
        };
        let message = result.as_ref().err().map(|error| match self.ledger.cause(&self.record) {
            // The pool cancels a token for a timeout and for its own close with the same reason.
            Some(cause) if error.is::<Cancelled>() => format!("cancelled: {cause}"),
            _ => format!("{error:#}"),
        });
        self.ledger.end(&self.record, End { status, at: now(), message, output });
        result
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (status, message) = if std::thread::panicking() {
            (JobStatus::Panicked, "the job panicked".to_owned())
        } else {
            let cause = self.ledger.cause(&self.record).map_or(String::new(), |cause| format!(": {cause}"));
            (JobStatus::Skipped, format!("it has never started{cause}"))
        };
        self.ledger.end(&self.record, End { status, at: now(), message: Some(message), output: None });
    }
}
