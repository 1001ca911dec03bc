//! [`Entry`]: what the journal holds of a job.

use serde::{Deserialize, Serialize};

use crate::work::{OutputKind, Work};

/// What is written of a job. An end stands for itself: the acceptance may be gone, or stand behind it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// No id before this one is free.
    Next(u64),
    /// A job was accepted.
    Accepted(Accepted),
    /// A job has ended for good.
    Ended(Ended),
    /// The same, in a compacted file: the job's acceptance was there.
    Kept(Ended),
    /// In a compacted file: a job has ended, whose acceptance has not come. Its end may be in the file or not.
    Early(u64),
}

/// A job that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) id: u64,
    /// In milliseconds since 1970.
    pub(crate) created: u64,
    /// In milliseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) work: Work,
}

/// The end of a job. The bytes of its result follow the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) id: u64,
    pub(crate) kind: String,
    pub(crate) created: u64,
    pub(crate) at: u64,
    pub(crate) status: String,
    pub(crate) message: Option<String>,
    pub(crate) output: Option<OutputKind>,
}
