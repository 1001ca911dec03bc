//! SIGTERM: what is still answered, what is drained, and how the process ends.

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::{CancellationToken, scope};
use rustix::process::Signal;
use serde_json::json;

use crate::process::{Caller, Running, id};
use crate::requests::LONG;
use crate::util::{until, watched};

/// Some tenths of a second of work.
const SOME: &str = r#"{"kind": "primes", "below": 5000000}"#;

#[test]
fn closing_refuses_new_jobs_and_answers_for_the_accepted_ones() {
    watched(|| {
        let server = Running::start(&["--workers", "1", "--grace", "50"]);
        let jobs: Vec<u64> = (0..5).map(|_| server.accept(SOME)).collect();
        let last = jobs[4];
        let mut waiting = server.client();
        waiting.send("GET", &format!("/jobs/{last}/result?wait=50"), "").expect("it listens");
        let mut idle = server.client();
        assert_eq!(idle.ask("GET", "/healthz", "").expect("an answer").status, 200);

        server.signal(Signal::TERM);
        until(|| server.get("/healthz").0 == 503);
        assert_eq!(server.post(SOME).1["error"], "closing");
        assert_eq!(server.get(&format!("/jobs/{last}")).0, 200);
        assert!(idle.answer().is_err(), "it is closed");
        let answer = waiting.answer().expect("the response under way");
        assert!(answer.head.contains("\r\nConnection: close\r\n"), "{}", answer.head);
        assert_eq!(answer.json(), (200, json!({"primes": 348_513, "below": 5_000_000})));
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(0), "{said}");
        let account = "jobs: accepted 5, refused 0, completed 5, failed 0, panicked 0, cancelled 0, skipped 0; ";
        assert!(said.starts_with(account), "{said}");
    });
}

#[test]
fn after_the_grace_jobs_are_cancelled_and_those_that_wait_are_told() {
    watched(|| {
        let server = Running::start(&["--workers", "1", "--grace", "0.3"]);
        let jobs = [server.accept(LONG), server.accept(LONG)];
        until(|| server.get(&format!("/jobs/{}", jobs[0])).1["status"] == "running");
        let mut waiting = jobs.map(|job| {
            let mut client = server.client();
            client.send("GET", &format!("/jobs/{job}/result?wait=50"), "").expect("it listens");
            client
        });
        server.signal(Signal::TERM);
        let said = waiting.each_mut().map(|client| client.answer().expect("an answer").json());
        assert_eq!((said[0].0, &said[0].1["error"]), (410, &json!("cancelled")));
        assert_eq!(said[0].1["message"], "cancelled: the server closes");
        assert_eq!((said[1].0, &said[1].1["error"]), (410, &json!("skipped")));
        assert_eq!(said[1].1["message"], "it has never started: the server closes");
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(
            said.contains("accepted 2, refused 0, completed 0, failed 0, panicked 0, cancelled 1, skipped 1;"),
            "{said}"
        );
    });
}

#[test]
fn a_second_signal_kills() {
    watched(|| {
        let server = Running::start(&["--grace", "50"]);
        server.accept(LONG);
        server.signal(Signal::TERM);
        until(|| server.get("/healthz").0 == 503);
        assert!(CancellationToken::never().wait_timeout(Duration::from_millis(300)).is_none());
        server.signal(Signal::TERM);
        let (status, _) = server.end();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
    });
}

#[test]
fn every_job_that_was_accepted_under_overload_is_in_the_account() {
    watched(|| {
        let server = Running::start(&["--workers", "2", "--queue", "50"]);
        let (accepted, full) = (AtomicU64::new(0), AtomicU64::new(0));
        let asked = Mutex::new(Vec::new());
        scope(&CancellationToken::new(), |s| {
            for _ in 0..4 {
                s.spawn(|_| {
                    let mut client = Caller::try_connect(&server.address)?;
                    // Until the server closes the connection, or says that it is closing.
                    while let Ok(answer) = client.ask("POST", "/jobs", r#"{"kind": "primes", "below": 300000}"#) {
                        let (status, body) = answer.json();
                        match (status, body["error"].as_str()) {
                            (202, _) => {
                                accepted.fetch_add(1, Ordering::Relaxed);
                                asked.lock().expect("no panic").push(id(&body));
                            }
                            (503, Some("full")) => _ = full.fetch_add(1, Ordering::Relaxed),
                            (503, Some("closing")) => break,
                            other => panic!("{other:?}"),
                        }
                    }
                    Ok(())
                })?;
            }
            until(|| full.load(Ordering::Relaxed) > 100 && accepted.load(Ordering::Relaxed) > 100);
            server.signal(Signal::TERM);
            Ok::<_, std::io::Error>(())
        })
        .expect("it listens");
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(0), "{said}");
        let accepted = accepted.into_inner();
        // A job whose 202 was cut off by the close may be one more for each client.
        let count = |word: &str| {
            let words: Vec<_> = said.split([' ', ',', ';']).collect();
            let at = words.iter().position(|other| *other == word).expect("in the account");
            words[at + 1].parse::<u64>().expect("a number")
        };
        assert!((accepted..=accepted + 4).contains(&count("accepted")), "{accepted} {said}");
        assert_eq!(count("completed"), count("accepted"), "{said}");
        let mut ids = asked.into_inner().expect("no panic");
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "each id is given once");
    });
}
