//! [`JobCx`]: what a job is given.

use std::fmt;
use std::sync::OnceLock;

use super::head::Head;
use crate::token::CancellationToken;

/// What a job is given: its id and token, and a way to say how far it is.
pub struct JobCx<'a> {
    id: u64,
    name: &'a str,
    pool: &'a CancellationToken,
    of: Of<'a>,
}

enum Of<'a> {
    /// A job with a handle, whose head has the token and the progress.
    Tracked(&'a Head),
    /// A fired job, with the token that was made for it.
    Fired(OnceLock<CancellationToken>),
}

impl<'a> JobCx<'a> {
    pub(super) fn tracked(head: &'a Head, name: &'a str, pool: &'a CancellationToken) -> Self {
        JobCx { id: head.id(), name, pool, of: Of::Tracked(head) }
    }

    pub(super) fn fired(id: u64, name: &'a str, pool: &'a CancellationToken) -> Self {
        JobCx { id, name, pool, of: Of::Fired(OnceLock::new()) }
    }

    /// Returns the number of the job in its pool, counted from 0 in the order in which jobs were accepted.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the name of the job, or that of its pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns the job's token, a child of the pool's, which is made on first use.
    ///
    /// It is cancelled with the pool, by [`Job::cancel`](crate::pool::Job::cancel), and at the job's
    /// [deadline](crate::pool::Submission::deadline).
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        match &self.of {
            Of::Tracked(head) => head.token(self.pool),
            Of::Fired(token) => token.get_or_init(|| self.pool.child_token()),
        }
    }

    /// Says that `done` of `total` units are done, for [`Job::progress`](crate::pool::Job::progress).
    ///
    /// Of a fired job, which has no handle, nothing is kept.
    pub fn progress(&self, done: u64, total: u64) {
        if let Of::Tracked(head) = &self.of {
            head.change_progress(|progress| (progress.done, progress.total) = (done, total));
        }
    }

    /// Says what the job is doing, for [`Job::progress`](crate::pool::Job::progress).
    pub fn message(&self, message: impl Into<String>) {
        if let Of::Tracked(head) = &self.of {
            let mut message = message.into();
            // The old message is dropped without the lock.
            head.change_progress(|progress| std::mem::swap(&mut progress.message, &mut message));
        }
    }
}

impl fmt::Debug for JobCx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCx").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
