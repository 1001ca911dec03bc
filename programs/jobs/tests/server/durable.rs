//! `--state`: what survives a kill, and what is run again.

use std::fs;

use brigade::{CancellationToken, scope};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{Caller, Running, id};
use crate::requests::LONG;
use crate::util::{until, watched};

pub(crate) fn start(folder: &tempfile::TempDir, more: &[&str]) -> Running {
    let folder = folder.path().to_str().expect("text");
    Running::start(&[&["--state", folder], more].concat())
}

#[test]
fn of_a_thousand_jobs_cut_off_by_a_kill_none_that_was_accepted_is_lost() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "2", "--queue", "2000"]);
        let accepted = std::sync::Mutex::new(Vec::new());
        let seen_ended = scope(&CancellationToken::new(), |s| {
            for thread in 0..4 {
                let (server, accepted) = (&server, &accepted);
                s.spawn(move |_| {
                    let mut client = Caller::try_connect(&server.address)?;
                    for number in 0..250 {
                        let below = 100_000 + thread * 250 + number;
                        let body = json!({"kind": "primes", "below": below}).to_string();
                        let Ok(answer) = client.ask("POST", "/jobs", &body) else { break };
                        let (status, job) = answer.json();
                        assert_eq!(status, 202, "{job}");
                        accepted.lock().expect("no panic").push((id(&job), below));
                    }
                    Ok(())
                })?;
            }
            until(|| accepted.lock().expect("no panic").len() > 500);
            let seen = server.get("/jobs?status=completed&most=1000").1;
            server.signal(Signal::KILL);
            Ok::<_, std::io::Error>(seen["jobs"].as_array().cloned().unwrap_or_default())
        })
        .expect("it listens");
        drop(server);

        let accepted = accepted.into_inner().expect("no panic");
        assert!(accepted.len() > 500);
        let server = start(&folder, &["--workers", "2"]);
        // An end that a client has seen is the same end: the job did not run again.
        assert!(!seen_ended.is_empty());
        for ended in &seen_ended {
            let again = server.get(&format!("/jobs/{}", id(ended))).1;
            assert_eq!((&again["ended"], &again["created"]), (&ended["ended"], &ended["created"]), "{again}");
        }
        let mut client = server.client();
        for (job, below) in &accepted {
            let answer = client.ask("GET", &format!("/jobs/{job}/result?wait=50"), "").expect("an answer");
            let (status, result) = answer.json();
            assert_eq!((status, &result["below"]), (200, &json!(below)), "job {job}: {result}");
        }
        // New ids do not meet old ones.
        let new = server.accept(r#"{"kind": "hash", "text": ""}"#);
        assert!(accepted.iter().all(|(old, _)| *old < new));
        server.stop();
    });
}

#[test]
fn results_cancels_and_what_the_close_cut_off_are_as_they_were() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1", "--grace", "0.2"]);
        let compress = server.accept(r#"{"kind": "compress", "text": "aaaa\nbbbb"}"#);
        let result = |server: &Running, id: u64| {
            server.client().ask("GET", &format!("/jobs/{id}/result?wait=20"), "").expect("an answer")
        };
        let before = result(&server, compress);
        assert_eq!(before.status, 200);
        let (cancelled, cut_off, skipped) = (server.accept(LONG), server.accept(LONG), server.accept(LONG));
        until(|| server.get(&format!("/jobs/{cancelled}")).1["status"] == "running");
        assert_eq!(server.delete(skipped).0, 202);
        assert_eq!(server.delete(cancelled).0, 202);
        until(|| server.get(&format!("/jobs/{cut_off}")).1["status"] == "running");
        server.stop();

        let server = start(&folder, &["--workers", "1", "--grace", "0.2"]);
        let after = result(&server, compress);
        assert_eq!((after.status, after.body), (200, before.body));
        let status = |server: &Running, id: u64| server.get(&format!("/jobs/{id}")).1["status"].clone();
        assert_eq!((status(&server, cancelled), status(&server, skipped)), (json!("cancelled"), json!("skipped")));
        until(|| status(&server, cut_off) == "running");
        assert_eq!(server.delete(cut_off).0, 202);
        until(|| status(&server, cut_off) == "cancelled");
        server.stop();

        let server = start(&folder, &[]);
        let all = server.get("/jobs").1;
        let statuses: Vec<&Value> = all["jobs"].as_array().expect("a list").iter().map(|job| &job["status"]).collect();
        assert_eq!(statuses, ["completed", "cancelled", "cancelled", "skipped"]);
    });
}

#[test]
fn a_torn_journal_is_told_and_kept() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &[]);
        let job = server.accept(r#"{"kind": "hash", "text": "a"}"#);
        assert_eq!(server.get(&format!("/jobs/{job}/result?wait=20")).0, 200);
        server.stop();
        let journal = folder.path().join("journal");
        let mut bytes = fs::read(&journal).expect("a journal");
        bytes.extend(b"half");
        fs::write(&journal, &bytes).expect("a file");
        fs::write(folder.path().join("journal.damaged-1"), "an earlier one").expect("a file");
        let server = start(&folder, &[]);
        assert_eq!(server.get(&format!("/jobs/{job}/result")).0, 200);
        let said = server.stop();
        assert!(said.starts_with("jobs: the last 4 bytes of the journal were no whole entry"), "{said}");
        let kept =
            |number| fs::read_to_string(folder.path().join(format!("journal.damaged-{number}"))).expect("a file");
        assert_eq!((&*kept(1), &*kept(2)), ("an earlier one", "half"));
    });
}

#[test]
fn a_cancelled_job_stays_so_even_if_the_pool_has_had_no_room_for_it() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1"]);
        let jobs: Vec<u64> = (0..6).map(|_| server.accept(LONG)).collect();
        server.signal(Signal::KILL);
        drop(server);

        let server = start(&folder, &["--workers", "1", "--queue", "1"]);
        let last = jobs[5];
        assert_eq!((server.delete(last).0, server.delete(last).0), (202, 409));
        assert_eq!(server.get(&format!("/jobs/{last}")).1["status"], "skipped");
        server.signal(Signal::KILL);
        drop(server);

        let server = start(&folder, &["--workers", "1", "--grace", "0.1"]);
        assert_eq!(server.get(&format!("/jobs/{last}")).1["status"], "skipped");
        assert_eq!(server.get("/jobs").1["jobs"].as_array().map(Vec::len), Some(6));
        server.stop();
    });
}

#[test]
fn a_job_that_was_refused_is_not_on_disk() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1", "--queue", "1", "--grace", "0.1"]);
        let running = server.accept(LONG);
        until(|| server.get(&format!("/jobs/{running}")).1["status"] == "running");
        server.accept(LONG);
        let before = fs::metadata(folder.path().join("journal")).expect("a file").len();
        (0..10).for_each(|_| assert_eq!(server.post(LONG).0, 503));
        assert_eq!(fs::metadata(folder.path().join("journal")).expect("a file").len(), before);
        server.stop();
    });
}
