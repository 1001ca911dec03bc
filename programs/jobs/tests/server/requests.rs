//! Each request, and each error.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::process::{Running, id};
use crate::util::{until, watched};

/// A job that runs until it is cancelled.
pub(crate) const LONG: &str = r#"{"kind": "primes", "below": 1000000000000}"#;

#[test]
fn a_job_is_accepted_run_and_its_result_read_again_and_again() {
    watched(|| {
        let server = Running::start(&[]);
        let accepted =
            server.client().ask("POST", "/jobs", r#"{"kind": "primes", "below": 1000000}"#).expect("an answer");
        let (status, job) = accepted.json();
        assert_eq!((status, &job["kind"]), (202, &json!("primes")));
        let path = format!("/jobs/{}", id(&job));
        assert!(accepted.head.contains(&format!("\r\nLocation: {path}\r\n")), "{}", accepted.head);
        for _ in 0..2 {
            let result = server.get(&format!("{path}/result?wait=30"));
            assert_eq!(result, (200, json!({"primes": 78_498, "below": 1_000_000})));
        }
        let (status, job) = server.get(&path);
        assert_eq!((status, &job["status"]), (200, &json!("completed")));
        assert_eq!((&job["done"], &job["total"]), (&json!(1_000_000), &json!(1_000_000)));
        let time = |name: &str| job[name].as_u64().expect("a time");
        assert!(time("created") <= time("updated") && time("updated") == time("ended"), "{job}");
        assert!(server.stop().starts_with("jobs: accepted 1, refused 0, completed 1, failed 0,"));
    });
}

#[test]
fn texts_are_hashed_and_compressed() {
    watched(|| {
        let server = Running::start(&[]);
        let hash = server.accept(r#"{"kind": "hash", "text": "abc"}"#);
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(server.get(&format!("/jobs/{hash}/result?wait=30")), (200, json!({"sha256": digest, "bytes": 3})));
        let text = "one line\n".repeat(1_000);
        let compress = server.accept(&json!({"kind": "compress", "text": text}).to_string());
        let answer = server.client().ask("GET", &format!("/jobs/{compress}/result?wait=30"), "").expect("an answer");
        assert!(answer.head.contains("\r\nContent-Type: application/gzip\r\n"), "{}", answer.head);
        let mut back = String::new();
        GzDecoder::new(&*answer.body).read_to_string(&mut back).expect("a gzip file");
        assert_eq!(back, text);
    });
}

#[test]
fn each_error_has_its_status_and_a_body_that_says_why() {
    watched(|| {
        let server = Running::start(&[]);
        let long = server.accept(LONG);
        let huge = json!({"kind": "hash", "text": "x".repeat(2_000_000)}).to_string();
        let running = format!("/jobs/{long}/result?wait=0.1");
        let cases = [
            ("POST", "/jobs", "{", 400, "bad_json"),
            ("POST", "/jobs", r#"{"kind": "sleep"}"#, 400, "bad_json"),
            ("POST", "/jobs", r#"{"kind": "primes"}"#, 400, "bad_json"),
            ("POST", "/jobs", r#"{"kind": "primes", "below": -1}"#, 400, "bad_json"),
            ("POST", "/jobs", r#"{"kind": "primes", "below": 1, "more": 1}"#, 400, "bad_json"),
            ("POST", "/jobs", &"[".repeat(100_000), 400, "bad_json"),
            ("POST", "/jobs", r#"{"kind": "primes", "below": 2000000000000}"#, 422, "bad_job"),
            ("POST", "/jobs?timeout=soon", LONG, 400, "bad_query"),
            ("POST", "/jobs", &huge, 413, "body_too_large"),
            ("GET", "/jobs/77", "", 404, "unknown_job"),
            ("GET", "/jobs/one", "", 404, "unknown_job"),
            ("GET", "/jobs/77/result", "", 404, "unknown_job"),
            ("DELETE", "/jobs/77", "", 404, "unknown_job"),
            ("GET", "/jobs/1/more", "", 404, "not_found"),
            ("GET", "/nothing", "", 404, "not_found"),
            ("DELETE", "/jobs", "", 405, "method"),
            ("PATCH", "/", "", 405, "method"),
            ("GET", "/jobs?status=odd", "", 400, "bad_query"),
            ("GET", "/jobs?after=x", "", 400, "bad_query"),
            ("GET", "/jobs?most=-1", "", 400, "bad_query"),
            ("GET", "/jobs/0/result?wait=-1", "", 400, "bad_query"),
            ("GET", &running, "", 409, "not_ready"),
        ];
        for (method, path, body, expected, code) in cases {
            let (status, error) = server.client().ask(method, path, body).expect("an answer").json();
            assert_eq!((status, &error["error"]), (expected, &json!(code)), "{method} {path} {body:.60}: {error}");
            assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
        }
        server.delete(long);
    });
}

#[test]
fn a_job_is_cancelled_once_whether_it_runs_or_waits() {
    watched(|| {
        let server = Running::start(&["--workers", "1"]);
        let (running, pending) = (server.accept(LONG), server.accept(LONG));
        until(|| server.get(&format!("/jobs/{running}")).1["done"].as_u64() > Some(0));
        for (job, status) in [(pending, "skipped"), (running, "cancelled")] {
            assert_eq!(server.delete(job).0, 202);
            let (code, gone) = server.get(&format!("/jobs/{job}/result?wait=30"));
            assert_eq!((code, &gone["error"]), (410, &json!(status)), "{gone}");
            let (code, again) = server.delete(job);
            assert_eq!((code, &again["error"]), (409, &json!("not_cancelled")));
        }
        assert!(server.stop().contains("completed 0, failed 0, panicked 0, cancelled 1, skipped 1;"));
    });
}

#[test]
fn a_job_ends_at_its_timeout_whether_it_runs_or_waits_and_says_so() {
    watched(|| {
        let server = Running::start(&["--workers", "1"]);
        let (status, job) = server.client().ask("POST", "/jobs?timeout=0.2", LONG).expect("an answer").json();
        assert_eq!(status, 202);
        let (also, pending) = server.client().ask("POST", "/jobs?timeout=0.1", LONG).expect("an answer").json();
        assert_eq!(also, 202);
        for (job, message) in
            [(&job, "cancelled: its timeout has passed"), (&pending, "it has never started: its timeout has passed")]
        {
            let (status, gone) = server.get(&format!("/jobs/{}/result?wait=30", id(job)));
            assert_eq!((status, &gone["message"]), (410, &json!(message)));
        }
    });
}

/// Sends a head of these headers and no body; returns all that comes until the server closes the connection.
fn head_only(server: &Running, line: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes()).expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    said
}

#[test]
fn a_request_that_its_head_condemns_is_refused_before_its_body_is_asked_for() {
    watched(|| {
        let server = Running::start(&["--rate", "1", "--access-log"]);
        let body = "Expect: 100-continue\r\nContent-Length: 1000\r\n";
        let starts = |line, headers: &str, status: &str| {
            let said = head_only(&server, line, headers);
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {said}");
        };
        starts("POST /nothing", body, "404");
        starts("POST /healthz", body, "405");
        starts("POST /jobs", &format!("Origin: http://b\r\n{body}"), "403");
        let hash = r#"{"kind": "hash", "text": ""}"#;
        assert_eq!((server.post(hash).0, server.post(hash).0), (202, 202));
        starts("POST /jobs", body, "429");
        let said = server.stop();
        assert!(said.contains(" \"POST /nothing\" 404 ") && said.contains(" \"POST /jobs\" 429 "), "{said}");
    });
}

#[test]
fn a_page_of_another_site_starts_and_cancels_no_job() {
    watched(|| {
        let server = Running::start(&["--workers", "1"]);
        let long = server.accept(LONG);
        for (line, origin, status) in [
            (format!("DELETE /jobs/{long}"), "http://b", "403"),
            (format!("DELETE /jobs/{long}"), "null", "403"),
            (format!("GET /jobs/{long}"), "http://b", "200"),
            (format!("DELETE /jobs/{long}"), "http://a", "202"),
        ] {
            let said = head_only(&server, &line, &format!("Origin: {origin}\r\nConnection: close\r\n"));
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {origin}: {said}");
        }
        server.stop();
    });
}

#[test]
fn a_full_queue_and_a_fast_client_are_told_when_to_come_again() {
    watched(|| {
        let server = Running::start(&["--workers", "1", "--queue", "2"]);
        let running = server.accept(LONG);
        until(|| server.get(&format!("/jobs/{running}")).1["status"] == "running");
        let waiting = [server.accept(LONG), server.accept(LONG)];
        let full = server.client().ask("POST", "/jobs", LONG).expect("an answer");
        assert_eq!((full.status, &full.json().1["error"]), (503, &json!("full")));
        assert!(full.head.contains("\r\nRetry-After: 1\r\n"), "{}", full.head);
        waiting.iter().chain([&running]).for_each(|job| assert_eq!(server.delete(*job).0, 202));

        let large = json!({"kind": "hash", "text": "x".repeat(100_000)}).to_string();
        let server = Running::start(&["--queue-bytes", "50000"]);
        assert_eq!(server.post(&large).1["error"], "full");
        assert!(metrics(&server).contains("\njobs_refused_total{reason=\"full\"} 1\n"));

        let server = Running::start(&["--rate", "1"]);
        let hash = r#"{"kind": "hash", "text": ""}"#;
        assert_eq!((server.post(hash).0, server.post(hash).0), (202, 202));
        let fast = server.client().ask("POST", "/jobs", hash).expect("an answer");
        assert_eq!((fast.status, &fast.json().1["error"]), (429, &json!("rate")));
        assert!(fast.head.contains("\r\nRetry-After: 1\r\n"), "{}", fast.head);
        assert_eq!(server.get("/jobs").0, 200);
        assert!(metrics(&server).contains("\njobs_refused_total{reason=\"rate\"} 1\n"));
    });
}

fn metrics(server: &Running) -> String {
    server.get("/metrics").1.as_str().expect("text").to_owned()
}

#[test]
fn a_running_job_is_listed_by_what_the_page_asks_for_behind_any_number_of_others() {
    watched(|| {
        let server = Running::start(&["--workers", "2"]);
        let long = server.accept(LONG);
        for _ in 0..60 {
            let job = server.accept(r#"{"kind": "hash", "text": "a"}"#);
            assert_eq!(server.get(&format!("/jobs/{job}/result?wait=30")).0, 200);
        }
        let list = |query: &str| {
            let (status, page) = server.get(&format!("/jobs?{query}"));
            assert_eq!(status, 200, "{page}");
            page["jobs"].as_array().expect("a list").iter().map(id).collect::<Vec<_>>()
        };
        assert_eq!(list("status=running&order=newest&most=50"), [long]);
        assert_eq!(list("order=newest&most=50"), (long + 11..=long + 60).rev().collect::<Vec<_>>());
        for wrong in ["order=oldest", "order=newest&after=3"] {
            assert_eq!(server.get(&format!("/jobs?{wrong}")).0, 400);
        }
        let page = server.client().ask("GET", "/", "").expect("an answer");
        let page = String::from_utf8(page.body).expect("text");
        assert!(page.contains("['status=running&', 'status=pending&', '']") && page.contains("order=newest&most=50"));
        server.delete(long);
    });
}

#[test]
fn lists_go_page_by_page_and_by_status() {
    watched(|| {
        let server = Running::start(&["--workers", "1"]);
        let hash = r#"{"kind": "hash", "text": "a"}"#;
        let ids: Vec<u64> = (0..5).map(|_| server.accept(hash)).collect();
        ids.iter().for_each(|id| assert_eq!(server.get(&format!("/jobs/{id}/result?wait=30")).0, 200));
        let long = server.accept(LONG);
        let list = |query: &str| {
            let (status, page) = server.get(&format!("/jobs{query}"));
            assert_eq!((status, &page["last"]), (200, &json!(long)));
            page["jobs"].as_array().expect("a list").iter().map(id).collect::<Vec<_>>()
        };
        assert_eq!(list("?most=2"), ids[..2]);
        assert_eq!(list(&format!("?most=2&after={}", ids[1])), ids[2..4]);
        assert_eq!(list("?status=completed"), ids);
        assert_eq!(list("?status=failed"), [0; 0]);
        assert_eq!(list(""), [&ids[..], &[long]].concat());
        server.delete(long);
    });
}

#[test]
fn the_ended_jobs_that_are_kept_are_bounded() {
    watched(|| {
        let server = Running::start(&["--keep", "10"]);
        for _ in 0..30 {
            let job = server.accept(r#"{"kind": "hash", "text": "a"}"#);
            assert_eq!(server.get(&format!("/jobs/{job}/result?wait=30")).0, 200);
        }
        // A result can be had a moment before the registry counts its job as ended.
        while server.get("/jobs").1["jobs"].as_array().map(Vec::len) != Some(10) {}
        assert_eq!(server.get("/jobs/3").0, 404);
    });
}

#[test]
fn health_metrics_and_page_are_there() {
    watched(|| {
        let server = Running::start(&[]);
        assert_eq!(server.get("/healthz"), (200, json!("ok\n")));
        let job = server.accept(r#"{"kind": "hash", "text": "a"}"#);
        assert_eq!(server.get(&format!("/jobs/{job}/result?wait=30")).0, 200);
        let mut client = server.client();
        // The server may not have met the ends of the connections before yet.
        let metrics = loop {
            let metrics = client.ask("GET", "/metrics", "").expect("an answer");
            let metrics = String::from_utf8(metrics.body).expect("text");
            if metrics.lines().any(|line| line == "http_connections 1") {
                break metrics;
            }
        };
        for line in [
            "jobs_accepted_total 1",
            "jobs_ended_total{status=\"completed\"} 1",
            "jobs_running 0",
            "jobs_pending 0",
            "jobs_known 1",
        ] {
            assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
        }
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
            assert!(value.is_some(), "{line}");
        }
        let page = server.client().ask("GET", "/", "").expect("an answer");
        assert!(page.head.contains("\r\nContent-Type: text/html"), "{}", page.head);
        assert!(String::from_utf8(page.body).expect("text").contains("<title>jobs</title>"));
        assert_eq!(server.get("/jobs?most=0").1, json!({"jobs": [], "last": job}));
    });
}

#[test]
fn the_log_has_a_line_for_each_request_and_only_if_it_is_asked_for() {
    watched(|| {
        let server = Running::start(&["--access-log"]);
        assert_eq!(server.get("/jobs/7?a").0, 404);
        let said = server.stop();
        assert!(said.starts_with("127.0.0.1 \"GET /jobs/7?a\" 404 "), "{said}");
        let quiet = Running::start(&[]);
        assert_eq!(quiet.get("/jobs/7").0, 404);
        assert_eq!(quiet.stop().lines().count(), 1);
    });
}

#[test]
fn with_few_descriptors_some_are_refused_and_the_others_are_served() {
    watched(|| {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_jobs");
        let server = Running::of(shell.args(["-c", &format!("ulimit -n 70; exec {program} --listen 127.0.0.1:0")]));
        let mut kept = server.client();
        assert_eq!(kept.ask("GET", "/healthz", "").expect("an answer").status, 200);
        let more: Vec<_> = (0..200).map(|_| server.client()).collect();
        for _ in 0..100 {
            assert_eq!(kept.ask("GET", "/healthz", "").expect("an answer").status, 200);
        }
        drop(more);
        until(|| server.client().ask("GET", "/healthz", "").is_ok_and(|answer| answer.status == 200));
        server.stop();
    });
}
