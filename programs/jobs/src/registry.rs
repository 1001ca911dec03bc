//! [`Registry`]: the records of all jobs that are pending or run, and of the last that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brigade::pool::JobStatus;
use parking_lot::Mutex;

use crate::record::{End, Record};

/// How many jobs that have ended are kept, and how many bytes of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) jobs: usize,
    pub(crate) bytes: usize,
}

/// Which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those whose ids are greater than this one, or all, in the order of their ids.
    After(Option<u64>),
    /// The last ones, the last one first.
    Newest,
}

/// The records, by their ids.
///
/// It is not `brigade::pool::Jobs`, whose ids begin at 0 with each pool, and whose results are taken once: here ids and
/// results outlive the process, and a result is read any number of times.
#[derive(Debug)]
pub(crate) struct Registry {
    keep: Keep,
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    records: BTreeMap<u64, Arc<Record>>,
    /// The ids of those that have ended, in that order, and the bytes of their results.
    ended: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Registry {
    /// Creates a registry whose ids begin at `next`.
    pub(crate) fn new(keep: Keep, next: u64) -> Self {
        Registry { keep, next: AtomicU64::new(next), table: Mutex::default() }
    }

    /// Takes the next id. An id whose job the pool then refuses is not used again.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, record: Arc<Record>) {
        self.table.lock().records.insert(record.id, record);
    }

    /// Takes back a job that the pool has refused.
    pub(crate) fn remove(&self, id: u64) {
        self.table.lock().records.remove(&id);
    }

    /// Sets the end of a job, which the caller has claimed, and forgets the oldest ends that are too many. The last one
    /// is always kept.
    pub(crate) fn end(&self, record: &Record, end: End) {
        let bytes = end.output.as_ref().map_or(0, |output| output.bytes.len());
        record.set_end(end);
        let mut forgotten = Vec::new();
        let mut table = self.table.lock();
        // A job that the pool has refused is not there.
        if table.records.contains_key(&record.id) {
            table.ended.push_back((record.id, bytes));
            table.bytes += bytes;
        }
        while table.ended.len() > 1 && (table.ended.len() > self.keep.jobs || table.bytes > self.keep.bytes) {
            if let Some((id, bytes)) = table.ended.pop_front() {
                table.bytes -= bytes;
                forgotten.extend(table.records.remove(&id));
            }
        }
        drop(table);
        // Dropped without the lock, because it may be a large result.
        drop(forgotten);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Record>> {
        self.table.lock().records.get(&id).cloned()
    }

    /// Returns the jobs that have not ended.
    pub(crate) fn without_end(&self) -> Vec<Arc<Record>> {
        self.table.lock().records.values().filter(|record| record.end().is_none()).cloned().collect()
    }

    /// Returns at most `most` jobs of this status, or of any; and the last id.
    pub(crate) fn list(&self, status: Option<JobStatus>, which: Which, most: usize) -> (Vec<Arc<Record>>, Option<u64>) {
        let table = self.table.lock();
        let last = table.records.keys().next_back().copied();
        let wanted = |record: &&Arc<Record>| status.is_none_or(|status| record.status() == status);
        let jobs = match which {
            Which::After(id) => {
                let from = id.map_or(0, |id| id.saturating_add(1));
                table.records.range(from..).map(|(_, record)| record).filter(wanted).take(most).cloned().collect()
            }
            Which::Newest => table.records.values().rev().filter(wanted).take(most).cloned().collect(),
        };
        (jobs, last)
    }

    /// Returns how many jobs are known, and how many bytes of results.
    pub(crate) fn size(&self) -> (usize, usize) {
        let table = self.table.lock();
        (table.records.len(), table.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Output, OutputKind};

    fn end(bytes: usize) -> End {
        let output = Output { kind: OutputKind::Json, bytes: vec![0; bytes] };
        End { status: JobStatus::Completed, at: 0, message: None, output: Some(output) }
    }

    fn ended(keep: Keep, sizes: &[usize]) -> Vec<u64> {
        let registry = Registry::new(keep, 0);
        for size in sizes {
            let record = Arc::new(Record::new(registry.next_id(), "hash", 0));
            registry.insert(Arc::clone(&record));
            registry.end(&record, end(*size));
        }
        registry.list(None, Which::After(None), 100).0.iter().map(|record| record.id).collect()
    }

    #[test]
    fn the_last_ends_are_kept_by_number_and_by_bytes() {
        assert_eq!(ended(Keep { jobs: 2, bytes: 100 }, &[1, 1, 1]), [1, 2]);
        assert_eq!(ended(Keep { jobs: 9, bytes: 100 }, &[50, 50, 50, 10]), [2, 3]);
        assert_eq!(ended(Keep { jobs: 9, bytes: 100 }, &[50, 200]), [1]);
    }

    #[test]
    fn a_refused_job_leaves_nothing() {
        let registry = Registry::new(Keep { jobs: 2, bytes: 100 }, 5);
        let record = Arc::new(Record::new(registry.next_id(), "hash", 0));
        registry.insert(Arc::clone(&record));
        registry.remove(record.id);
        registry.end(&record, end(1));
        assert_eq!(registry.size(), (0, 0));
        assert!(record.ended().is_cancelled());
    }

    #[test]
    fn pages_follow_each_other() {
        let registry = Registry::new(Keep { jobs: 9, bytes: 9 }, 1);
        (0..5).for_each(|_| registry.insert(Arc::new(Record::new(registry.next_id(), "hash", 0))));
        let page = |after| {
            let (records, last) = registry.list(Some(JobStatus::Pending), Which::After(after), 2);
            (records.iter().map(|record| record.id).collect::<Vec<_>>(), last)
        };
        assert_eq!(page(None), (vec![1, 2], Some(5)));
        assert_eq!(page(Some(2)), (vec![3, 4], Some(5)));
        assert_eq!(page(Some(4)), (vec![5], Some(5)));
        assert_eq!(page(Some(u64::MAX)), (vec![], Some(5)));
        let newest = registry.list(None, Which::Newest, 2).0;
        assert_eq!(newest.iter().map(|record| record.id).collect::<Vec<_>>(), [5, 4]);
    }
}
