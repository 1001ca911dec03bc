//! Runs that end early: signals, readers that leave, full devices. And one that goes on: behind a file without end.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use brigade::scope::ScopedTask;
use brigade::{CancellationToken, Cancelled, scope};
use rustix::io::ioctl_fionread;
use tempfile::tempdir;

use crate::run::{Ended, JOBS, command, digest, full_device, mkfifo, model, plant, read_line, show, walk, watched};

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Asserts that a run was ended by a signal, and that what it printed are whole lines and the first of the right ones.
#[track_caller]
fn expect_prefix(printed: &[u8], expected: &[u8], ended: &Ended, signal: i32) {
    assert!(expected.starts_with(printed), "not a prefix:\n{}", show(printed));
    assert!(printed.is_empty() || printed.ends_with(b"\n"), "half a line:\n{}", show(printed));
    assert_eq!(ended.status.signal(), Some(signal), "{}", ended.status);
}

/// The device of zeros is a file without end, so the run cannot have ended by itself.
#[test]
fn sigint_leaves_whole_lines_in_a_pipe_and_a_death_by_sigint() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 2000);
        for jobs in JOBS {
            let mut command = digest(dir.path(), ["-j", jobs, "tree", "/dev/zero"]);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut printed = read_line(running.child.stdout.as_mut().unwrap());
            running.signal("INT");
            let ended = running.finish();
            printed.extend_from_slice(&ended.stdout);
            expect_prefix(&printed, &expected, &ended, SIGINT);
            assert_eq!(ended.stderr, "");
        }
    });
}

/// No handler runs, so this holds only if each write holds whole lines.
#[test]
fn sigkill_leaves_whole_lines_in_a_pipe() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 2000);
        for jobs in JOBS {
            let mut command = digest(dir.path(), ["-j", jobs, "tree"]);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut printed = read_line(running.child.stdout.as_mut().unwrap());
            running.signal("KILL");
            let ended = running.finish();
            printed.extend_from_slice(&ended.stdout);
            expect_prefix(&printed, &expected, &ended, SIGKILL);
        }
    });
}

/// The message about the missing path tells that the first tree has been printed; the second may have been.
#[test]
fn sigint_leaves_whole_lines_in_a_file_and_a_death_by_sigint() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let first = plant(watch, dir.path(), "first", 200);
        let expected = [first.clone(), plant(watch, dir.path(), "second", 2000)].concat();
        for jobs in JOBS {
            let out = File::create(dir.path().join("out")).unwrap();
            let mut command = digest(dir.path(), ["-j", jobs, "first", "missing", "second", "/dev/zero"]);
            let mut running = watch.start(command.stdout(out).stderr(Stdio::piped()));
            let message = read_line(running.child.stderr.as_mut().unwrap());
            assert_eq!(message, b"digest: missing: No such file or directory\n");
            running.signal("INT");
            let ended = running.finish();
            let printed = fs::read(dir.path().join("out")).unwrap();
            expect_prefix(&printed, &expected, &ended, SIGINT);
            assert!(printed.len() >= first.len(), "what had been printed is missing:\n{}", show(&printed));
        }
    });
}

/// On one thread the message tells, too, that the file without end is next.
#[test]
fn a_signal_in_the_middle_of_a_file_loses_nothing_that_was_printed_before() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 50);
        for (name, number) in [("INT", SIGINT), ("TERM", SIGTERM)] {
            let mut command = digest(dir.path(), ["-j", "1", "tree", "missing", "/dev/zero"]);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            read_line(running.child.stderr.as_mut().unwrap());
            running.signal(name);
            let ended = running.finish();
            assert_eq!(show(&ended.stdout), show(&expected));
            assert_eq!(ended.status.signal(), Some(number));
        }
    });
}

/// `timeout` sends SIGTERM to the process, and then to its group. A run that dies of the second loses the lines that it
/// has not written.
#[test]
fn runs_under_timeout_on_a_busy_machine_end_in_good_order() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 50);
        let begun: usize = scope(&CancellationToken::never(), |s| {
            let runners: Vec<_> = (0..10)
                .map(|_| {
                    s.spawn(|_| {
                        let runs = (0..50).filter(|_| {
                            let mut command = command("timeout", dir.path(), ["0.1"]);
                            let digest = digest(dir.path(), ["-j", "1", "tree", "missing", "/dev/zero"]);
                            command.arg(digest.get_program()).args(digest.get_args());
                            let ended = watch.run(&mut command);
                            assert_eq!(ended.status.code(), Some(124));
                            let has_begun = !ended.stderr.is_empty();
                            assert!(!has_begun || ended.stdout == expected, "{}", show(&ended.stdout));
                            has_begun
                        });
                        Ok::<_, Cancelled>(runs.count())
                    })
                })
                .collect::<Result<_, _>>()?;
            runners.into_iter().map(ScopedTask::join).sum()
        })
        .unwrap();
        assert!(begun > 0, "no run has come to the file without end");
    });
}

/// A FIFO whose writer is silent.
#[test]
fn a_signal_ends_a_run_that_is_blocked_in_a_system_call() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo);
        for jobs in JOBS {
            let mut command = digest(dir.path(), ["-j", jobs, "fifo"]);
            let running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            // Waits for the reader.
            let writer = File::options().write(true).open(&fifo).unwrap();
            running.signal("INT");
            let ended = running.finish();
            expect_prefix(&ended.stdout, b"", &ended, SIGINT);
            drop(writer);
        }
    });
}

/// A terminal would be such a reader's source: the list does not come, and its end neither.
#[test]
fn a_signal_ends_a_run_that_waits_for_its_list() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo);
        for jobs in JOBS {
            let mut command = digest(dir.path(), ["-j", jobs, "-c", "fifo"]);
            let running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let writer = File::options().write(true).open(&fifo).unwrap();
            running.signal("INT");
            let ended = running.finish();
            expect_prefix(&ended.stdout, b"", &ended, SIGINT);
            drop(writer);
        }
    });
}

/// The reader reads nothing until the run has ended. A run that did not end by itself would say so at its grace.
#[test]
fn a_signal_ends_a_run_whose_output_is_full() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 2000);
        fs::write(dir.path().join("list"), &expected).unwrap();
        let verdicts = watch.run(&mut digest(dir.path(), ["-c", "list"])).stdout;
        fs::write(dir.path().join("long"), expected.repeat(4)).unwrap();
        let runs = [(["tree", "tree"], expected.repeat(2)), (["-c", "long"], verdicts.repeat(4))];
        for (args, expected) in runs {
            let mut command = digest(dir.path(), args);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            while ioctl_fionread(running.child.stdout.as_ref().unwrap()).unwrap() < 60_000 {
                thread::yield_now();
            }
            running.signal("TERM");
            running.child.wait().unwrap();
            let ended = running.finish();
            expect_prefix(&ended.stdout, &expected, &ended, SIGTERM);
            assert_eq!(ended.stderr, "");
        }
    });
}

/// On one thread the FIFO, which nobody writes to, would hang a run that went on.
#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let expected = plant(watch, dir.path(), "tree", 2000);
        mkfifo(&dir.path().join("fifo"));
        for (jobs, last) in [("1", "fifo"), ("2", "tree"), ("8", "tree")] {
            let mut command = digest(dir.path(), ["-j", jobs, "tree", last]);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut stdout = running.child.stdout.take().unwrap();
            assert!(expected.starts_with(&read_line(&mut stdout)));
            drop(stdout);
            running.finish().expect(b"", "", 0);
        }
    });
}

#[test]
fn a_reader_of_verdicts_that_leaves_has_not_seen_success() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let list = plant(watch, dir.path(), "tree", 2000);
        fs::write(dir.path().join("list"), list).unwrap();
        for jobs in JOBS {
            let mut command = digest(dir.path(), ["-j", jobs, "-c", "list"]);
            let mut running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut stdout = running.child.stdout.take().unwrap();
            assert!(read_line(&mut stdout).ends_with(b": OK\n"));
            drop(stdout);
            running.finish().expect(b"", "", 1);
        }
    });
}

#[test]
fn a_full_device_is_reported() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let list = plant(watch, dir.path(), "tree", 300);
        fs::write(dir.path().join("list"), list).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        for args in [&["tree"][..], &["file"], &["-c", "list"]] {
            for jobs in JOBS {
                let mut command = digest(dir.path(), ["-j", jobs].iter().chain(args));
                let ended = watch.start(command.stdout(full_device()).stderr(Stdio::piped())).finish();
                ended.expect(b"", "digest: write error: No space left on device\n", 1);
            }
        }
    });
}

/// The first and the last path are FIFOs. Opening one for writing waits for its reader, so that the last opens while
/// the first is being hashed tells that all between has been started on meanwhile.
#[test]
fn a_file_without_end_at_the_head_does_not_stop_the_others() {
    watched(|watch| {
        let dir = tempdir().unwrap();
        let [head, tail] = ["head", "tail"].map(|name| dir.path().join(name));
        plant(watch, dir.path(), "tree", 3000);
        fs::write(&head, "written late").unwrap();
        fs::write(&tail, "written early").unwrap();
        let files = [vec!["head".into()], walk(dir.path(), Path::new("tree")), vec!["tail".into()]].concat();
        let expected = model(watch, dir.path(), &files);
        for path in [&head, &tail] {
            fs::remove_file(path).unwrap();
            mkfifo(path);
        }
        for jobs in ["2", "8"] {
            let mut command = digest(dir.path(), ["-j", jobs, "head", "tree", "tail"]);
            let running = watch.start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let mut head = File::options().write(true).open(&head).unwrap();
            let mut tail = File::options().write(true).open(&tail).unwrap();
            tail.write_all(b"written early").unwrap();
            drop(tail);
            head.write_all(b"written late").unwrap();
            drop(head);
            running.finish().expect(&expected, "", 0);
        }
    });
}
