//! The same requests by `curl`, where there is one.

use std::process::{Command, Stdio};

use crate::process::Running;
use crate::util::watched;

/// Runs `curl`; returns what it prints.
fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error", "--max-time", "50"]).args(args).output();
    let output = output.expect("it was there a moment ago");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn curl_takes_a_job_from_its_acceptance_to_its_result() {
    let is_there = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        return;
    }
    watched(|| {
        let server = Running::start(&[]);
        let accepted = curl(&["-i", &server.url("/jobs"), "-d", r#"{"kind": "hash", "text": "abc"}"#]);
        assert!(accepted.starts_with("HTTP/1.1 202 Accepted\r\n"), "{accepted}");
        let path = accepted.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location");
        let result = curl(&[&server.url(&format!("{path}/result?wait=30"))]);
        assert!(result.starts_with(r#"{"sha256":"ba7816bf"#), "{result}");
        // More than 1 MiB: curl waits for `100 Continue`, and is refused instead. Two requests share a connection.
        let large = format!(r#"{{"kind": "hash", "text": "{}"}}"#, "x".repeat(1 << 20));
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("large");
        std::fs::write(&file, &large).expect("a file");
        let data = format!("@{}", file.display());
        let codes = curl(&["-o", "/dev/null", "-w", "%{http_code} ", "--data-binary", &data, &server.url("/jobs")]);
        assert_eq!(codes, "413 ");
        // Just less than the limit, with the word to continue.
        std::fs::write(&file, large.replace(&"x".repeat(100), "")).expect("a file");
        std::fs::write(&file, format!(r#"{{"kind": "hash", "text": "{}"}}"#, "x".repeat(1_000_000))).expect("a file");
        let expect = ["-H", "Expect: 100-continue", "-o", "/dev/null", "-w", "%{http_code} ", "--data-binary", &data];
        assert_eq!(curl(&[&expect[..], &[&server.url("/jobs")]].concat()), "202 ");
        let two = curl(&["-0", "-I", &server.url("/healthz"), "--next", "--silent", &server.url("/healthz")]);
        assert!(two.starts_with("HTTP/1.1 200 OK\r\n") && two.ends_with("ok\n"), "{two}");
    });
}
