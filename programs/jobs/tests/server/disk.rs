//! `--state` on a disk that refuses to write, and on one that has damaged the journal.
//!
//! The full disk is a limit on the size of files, whose signal is ignored.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
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

#[test]
fn a_start_on_a_full_disk_goes_on_with_the_journal_as_it_is() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1"]);
        // More than the disk will have room for.
        let text = json!({"kind": "hash", "text": "x".repeat(20_000)}).to_string();
        let long = server.accept(LONG);
        let jobs: Vec<u64> = (0..3).map(|_| server.accept(&text)).collect();
        until(|| server.get(&format!("/jobs/{long}")).1["status"] == "running");
        server.signal(Signal::KILL);
        drop(server);
        let journal = folder.path().join("journal");
        let whole = fs::read(&journal).expect("a journal");
        fs::write(&journal, [&whole[..], &b"a torn end".repeat(5_000)].concat()).expect("a file");

        let server = start_limited(&folder, 8);
        let listed = server.get("/jobs").1;
        let listed: Vec<u64> = listed["jobs"].as_array().expect("a list").iter().map(id).collect();
        assert_eq!(listed, [&[long], &jobs[..]].concat());
        // What could be written of the new file and of the torn end takes no room from the journal.
        for partial in ["journal.new", "journal.damaged-1"] {
            assert!(!folder.path().join(partial).exists(), "{partial}");
        }
        assert_eq!(fs::read(&journal).expect("a journal"), whole);
        let said = server.stop();
        for told in ["bytes of the journal were no whole entry; and cannot be kept: ", "cannot compact the journal: "] {
            assert!(said.contains(told), "{told:?} is not in {said}");
        }
        let server = start(&folder, &[]);
        for job in jobs {
            assert_eq!(server.get(&format!("/jobs/{job}/result?wait=50")).0, 200);
        }
        server.delete(long);
        server.stop();
    });
}

#[test]
fn a_damaged_journal_is_refused_until_it_is_repaired() {
    watched(|| {
        let folder = tempdir().expect("a folder");
        let server = start(&folder, &["--workers", "1"]);
        let jobs: Vec<u64> = (0..5).map(|_| server.accept(LONG)).collect();
        server.signal(Signal::KILL);
        drop(server);
        let journal = folder.path().join("journal");
        let mut bytes = fs::read(&journal).expect("a journal");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&journal, &bytes).expect("a file");
        let state = folder.path().to_str().expect("text");
        let refused = Command::new(env!("CARGO_BIN_EXE_jobs"))
            .args(["--listen", "127.0.0.1:0", "--state", state])
            .output()
            .expect("a program");
        let said = String::from_utf8(refused.stderr).expect("text");
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("is damaged at byte ") && said.contains("--repair"), "{said}");
        assert_eq!(fs::read(&journal).expect("a journal"), bytes);

        let server = start(&folder, &["--workers", "1", "--grace", "0.1", "--repair"]);
        let listed = server.get("/jobs").1["jobs"].as_array().expect("a list").len();
        assert!((1..5).contains(&listed), "{listed}");
        assert!(server.accept(LONG) > jobs[4]);
        assert!(server.stop().contains("the journal was damaged at byte "));
        assert_eq!(fs::read(folder.path().join("journal.damaged-1")).expect("a copy"), bytes);
    });
}
