use std::fs;

use brigade::pool::Job;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::util::watched;

/// Takes minutes, and says all the time how far it is.
const LONG: Work = Work::Primes { below: 1_000_000_000_000 };

const SETTINGS: Settings =
    Settings { workers: 1, queue: 10, queue_bytes: 1 << 20, keep: 100, keep_bytes: 1 << 20, rate: None };

/// An app with its state in a folder.
fn open() -> (App, TempDir) {
    let folder = tempdir().expect("a folder");
    let app = App::open(&SETTINGS, Some(folder.path()), false, &CancellationToken::new()).expect("a journal");
    (app, folder)
}

/// A job in the pool, whose record has no handle yet.
fn without_handle(app: &App, work: Work) -> (Arc<Record>, Job<(), anyhow::Error>) {
    let record = Arc::new(Record::new(app.registry().next_id(), work.kind(), now()));
    app.registry().insert(Arc::clone(&record));
    let place = app.budget.try_acquire_owned(work.weight()).expect("room");
    let job = app.submission(&record, None).try_submit(app.job(&record, work, place)).expect("room");
    (record, job)
}

/// How many ends the journal has, and how many of this status.
fn ends(folder: &TempDir, status: &str) -> (usize, usize) {
    let journal = String::from_utf8_lossy(&fs::read(folder.path().join("journal")).expect("a journal")).into_owned();
    let status = format!("\"status\":\"{status}\"");
    (journal.matches("{\"ended\":").count(), journal.matches(&status).count())
}

/// Waits for the end of a job; returns its status.
fn wait(record: &Record) -> JobStatus {
    assert!(record.ended().wait_timeout(Duration::from_secs(50)).is_some(), "it ends");
    record.end().expect("an end").status
}

#[test]
fn a_cancel_before_the_handle_is_there_ends_a_running_job_once() {
    watched(|| {
        let (app, folder) = open();
        let (record, job) = without_handle(&app, LONG);
        while job.progress().done == 0 {
            std::thread::yield_now();
        }
        assert!(app.cancel(&record) && !app.cancel(&record));
        assert_eq!((record.end(), ends(&folder, "cancelled")), (None, (0, 0)), "the worker has it");
        record.set_job(job);
        assert_eq!(wait(&record), JobStatus::Cancelled);
        app.close(Duration::from_secs(50)).expect("it ends");
        assert_eq!(ends(&folder, "cancelled"), (1, 1));
    });
}

#[test]
fn a_cancel_before_the_handle_is_there_ends_a_pending_job_once() {
    watched(|| {
        let (app, folder) = open();
        let (first, first_job) = without_handle(&app, LONG);
        while first_job.progress().done == 0 {
            std::thread::yield_now();
        }
        let (second, _second_job) = without_handle(&app, Work::Hash { text: String::new() });
        assert!(app.cancel(&second) && !app.cancel(&second));
        assert_eq!((wait(&second), ends(&folder, "skipped")), (JobStatus::Skipped, (1, 1)));
        // A worker that has the job nevertheless does not do it.
        first.set_job(first_job);
        assert!(app.cancel(&first));
        let account = app.close(Duration::from_secs(50)).expect("it ends");
        assert_eq!((account.jobs[JobStatus::Completed], ends(&folder, "skipped")), (0, (2, 1)));
    });
}
