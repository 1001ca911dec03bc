//! `--state`: jobs that the close of the server cuts off, and those that wait for them.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::tempdir;

use crate::durable::start;
use crate::process::{Caller, Running, id};
use crate::requests::LONG;
use crate::util::{until, watched};

fn status(server: &Running, job: u64) -> serde_json::Value {
    server.get(&format!("/jobs/{job}")).1["status"].clone()
}

/// A client that waits for a result.
fn waiter(server: &Running, job: u64) -> Caller {
    let mut client = server.client();
    client.send("GET", &format!("/jobs/{job}/result?wait=50"), "").expect("it listens");
    client
}

#[test]
fn a_job_whose_timeout_passes_while_the_server_drains_has_ended_for_good() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1", "--grace", "50"]);
        let (code, job) = server.client().ask("POST", "/jobs?timeout=1.5", LONG).expect("an answer").json();
        assert_eq!(code, 202);
        let mut waiting = waiter(&server, id(&job));
        server.signal(Signal::TERM);
        until(|| server.get("/healthz").0 == 503);
        let (code, gone) = waiting.answer().expect("an answer").json();
        assert_eq!((code, &gone["message"]), (410, &json!("cancelled: its timeout has passed")));
        assert_eq!(server.end().0.code(), Some(0));
        let server = start(&folder, &["--workers", "1"]);
        assert_eq!(status(&server, id(&job)), "cancelled");
        server.stop();
    });
}

#[test]
fn waits_for_jobs_that_a_restart_runs_are_answered_by_503() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1", "--grace", "0.2"]);
        let jobs = [server.accept(LONG), server.accept(LONG)];
        until(|| status(&server, jobs[0]) == "running");
        let mut waiting = jobs.map(|job| waiter(&server, job));
        server.signal(Signal::TERM);
        for client in &mut waiting {
            let answer = client.answer().expect("an answer");
            assert_eq!((answer.status, &answer.json().1["error"]), (503, &json!("left")));
            assert!(answer.head.contains("\r\nRetry-After: "), "{}", answer.head);
        }
        assert_eq!(server.end().0.code(), Some(0));
        let server = start(&folder, &["--workers", "1", "--grace", "0.2"]);
        until(|| status(&server, jobs[0]) == "running");
        assert_eq!(status(&server, jobs[1]), "pending");
        server.stop();
    });
}

#[test]
fn waits_for_restored_jobs_that_have_found_no_room_are_answered_within_one_grace() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1"]);
        let jobs: Vec<u64> = (0..6).map(|_| server.accept(LONG)).collect();
        server.signal(Signal::KILL);
        drop(server);

        let grace = Duration::from_secs(3);
        let server = start(&folder, &["--workers", "1", "--queue", "1", "--grace", "3"]);
        until(|| status(&server, jobs[0]) == "running");
        let mut waiting: Vec<Caller> = jobs.iter().map(|job| waiter(&server, *job)).collect();
        let started = Instant::now();
        server.signal(Signal::TERM);
        for client in &mut waiting {
            let (status, left) = client.answer().expect("an answer").json();
            assert_eq!((status, &left["error"]), (503, &json!("left")));
        }
        assert_eq!(server.end().0.code(), Some(0));
        assert!(started.elapsed() < 2 * grace, "{:?}", started.elapsed());
    });
}

#[test]
fn a_restored_job_whose_timeout_passes_before_there_is_room_ends_and_the_server_goes_on() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1"]);
        let long = server.accept(LONG);
        server.accept(LONG);
        let (code, timed) = server.client().ask("POST", "/jobs?timeout=0.5", LONG).expect("an answer").json();
        assert_eq!(code, 202);
        let last = server.accept(LONG);
        server.signal(Signal::KILL);
        drop(server);

        let server = start(&folder, &["--workers", "1", "--queue", "1", "--grace", "0.1"]);
        until(|| status(&server, long) == "running");
        let (code, gone) = server.get(&format!("/jobs/{}/result?wait=50", id(&timed)));
        assert_eq!((code, &gone["message"]), (410, &json!("it has never started: its timeout has passed")));
        assert_eq!(status(&server, last), "pending");
        server.stop();
    });
}
