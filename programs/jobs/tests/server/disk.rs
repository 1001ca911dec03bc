//! `--state` on a disk that refuses to write: files have a limit, whose signal is ignored.

use std::process::Command;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::durable::start;
use crate::process::{Running, id};
use crate::requests::LONG;
use crate::util::{until, watched};

/// A server that can write no file beyond this many blocks, of 512 or 1,024 bytes.
fn start_limited(folder: &TempDir, blocks: u32) -> Running {
    let (program, folder) = (env!("CARGO_BIN_EXE_jobs"), folder.path().display());
    let server = format!("{program} --listen 127.0.0.1:0 --rate 0 --workers 1 --grace 0.2 --state {folder}");
    Running::of(Command::new("sh").args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec {server}")]))
}

#[test]
fn what_the_disk_refuses_is_not_shown() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start_limited(&folder, 8);
        let mut accepted = vec![server.accept(LONG)];
        let refused = loop {
            match server.post(LONG) {
                (202, job) => accepted.push(id(&job)),
                refused => break refused,
            }
        };
        assert_eq!((refused.0, &refused.1["error"]), (500, &json!("state")), "{refused:?}");
        assert_eq!(server.get("/healthz").0, 503);
        // The job that was answered by 500 is not there.
        let listed = server.get("/jobs?most=1000").1;
        assert_eq!(listed["jobs"].as_array().expect("a list").iter().map(id).collect::<Vec<_>>(), accepted);
        // An end that is not on disk is none.
        let path = format!("/jobs/{}", accepted[0]);
        until(|| server.get(&path).1["status"] == "running");
        assert_eq!(server.delete(accepted[0]).0, 202);
        let (code, left) = server.get(&format!("{path}/result?wait=50"));
        assert_eq!((code, &left["error"]), (503, &json!("left")));
        let job = server.get(&path).1;
        assert_eq!(
            (&job["status"], &job["ended"], &job["message"]),
            (&json!("pending"), &json!(null), &left["message"])
        );
        server.stop();

        let server = start(&folder, &["--workers", "1", "--grace", "0.1"]);
        until(|| server.get(&path).1["status"] == "running");
        assert_eq!(server.get("/jobs?most=1000").1["jobs"].as_array().map(Vec::len), Some(accepted.len()));
        server.stop();
    });
}
