//! Pipelines from an input: whatever ends the run ends the read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use brigade::io::Input;
use brigade::{CancellationToken, Pipeline, scope};

use super::{cancelled_while, pipe};
use crate::util::{alone, live, message_of, threads_but_the_clock, until_threads_but_the_clock, watched};

const THREADS: [usize; 3] = [1, 2, 8];

/// A pipe that has two lines, and says no more.
fn two_lines() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    rustix::io::write(&writer, b"a\nb\n").unwrap();
    (reader, writer)
}

/// Calls `run` on a pipe that falls silent, at each number of threads, and checks that each call ends at once, all its
/// threads joined.
fn ends_at_once(run: impl Fn(Input<OwnedFd>, usize)) {
    for threads in THREADS {
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                let (reader, writer) = two_lines();
                let before = (threads_but_the_clock(), Instant::now());
                run(Input::new(reader), threads);
                let took = before.1.elapsed();
                until_threads_but_the_clock(before.0);
                drop(writer);
                took
            })
            .collect();
        // The median, because other tests may keep the machine busy for a moment.
        times.sort();
        assert!(times[10] < Duration::from_millis(50), "{times:?} on {threads} threads");
    }
}

#[test]
fn a_stage_that_has_taken_enough_ends_the_read() {
    if !alone!(a_stage_that_has_taken_enough_ends_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let lines = Pipeline::from_lines(input).threads(threads).filter(|_| true).take(2).count(&live());
            assert_eq!(lines, Ok(2));
        });
    });
}

#[test]
fn lines_of_every_form_end_the_read_with_their_run() {
    if !alone!(lines_of_every_form_end_the_read_with_their_run) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let lines = Pipeline::from_byte_lines(input).threads(threads).filter(|_| true).take(2).count(&live());
            assert_eq!(lines, Ok(2));
        });
        ends_at_once(|input, threads| {
            let second = Pipeline::from_text_lines(input).threads(threads).try_map(|line| line);
            assert_eq!(second.find(&live(), |line| *line == "b").unwrap().as_deref(), Some("b"));
        });
        ends_at_once(|input, threads| {
            let blocks = Pipeline::from_line_blocks(input).threads(threads).map(|block| block.unwrap().count());
            assert_eq!(blocks.first(&live()), Ok(Some(2)));
        });
        ends_at_once(|input, threads| {
            let lines = Pipeline::from_byte_lines(input).threads(threads);
            let ended = lines.try_for_each_until(&live(), |line| {
                Ok::<_, io::Error>(if line?[..] == *b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            assert_eq!(ended.unwrap(), ControlFlow::Break(()));
        });
    });
}

#[test]
fn an_iterator_that_is_dropped_ends_the_read() {
    if !alone!(an_iterator_that_is_dropped_ends_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let mut lines = Pipeline::from_lines(input).threads(threads).try_map(|line| line).into_iter(&live());
            let two: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
            assert_eq!(two, ["a", "b"]);
        });
    });
}

#[test]
fn a_failing_stage_ends_the_read() {
    if !alone!(a_failing_stage_ends_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let result = Pipeline::from_lines(input)
                .threads(threads)
                .try_map(|line| if line? == "b" { Err(io::Error::other("b")) } else { Ok(()) })
                .for_each(&live(), drop);
            assert_eq!(result.unwrap_err().to_string(), "b");
        });
    });
}

#[test]
fn a_failing_sink_and_one_that_has_enough_end_the_read() {
    if !alone!(a_failing_sink_and_one_that_has_enough_end_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let mut lines = Vec::new();
            let result = Pipeline::from_lines(input).threads(threads).try_for_each(&live(), |line| {
                lines.push(line?);
                if lines.len() == 2 { Err(io::Error::other("enough")) } else { Ok(()) }
            });
            assert_eq!(result.unwrap_err().to_string(), "enough");
            assert_eq!(lines, ["a", "b"]);
        });
        ends_at_once(|input, threads| {
            let second = Pipeline::from_lines(input).threads(threads).try_map(|line| line).filter(|line| line == "b");
            assert_eq!(second.first(&live()).unwrap().as_deref(), Some("b"));
        });
    });
}

#[test]
fn a_panic_ends_the_read() {
    if !alone!(a_panic_ends_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let run = Pipeline::from_lines(input).threads(threads).map(|line| {
                if line.unwrap() == "b" {
                    // Without the hook, whose backtrace takes long.
                    resume_unwind(Box::new("b"));
                }
            });
            assert_eq!(message_of(|| _ = run.for_each(&live(), drop)), "b");
        });
    });
}

#[test]
fn a_cancel_ends_the_read_and_gives_no_item() {
    if !alone!(a_cancel_ends_the_read_and_gives_no_item) {
        return;
    }
    watched(|| {
        for threads in THREADS {
            let (reader, writer) = pipe();
            rustix::io::write(&writer, b"a\nbegun").unwrap();
            let (result, late) = cancelled_while(|token| {
                Pipeline::from_lines(Input::new(&reader)).threads(threads).for_each(token, |line| {
                    assert_eq!(line.unwrap(), "a");
                })
            });
            result.unwrap_err();
            assert!(late < Duration::from_millis(500), "{late:?} on {threads} threads");
        }
    });
}

#[test]
fn a_failing_stage_behind_a_scan_ends_the_read() {
    if !alone!(a_failing_stage_behind_a_scan_ends_the_read) {
        return;
    }
    watched(|| {
        ends_at_once(|input, threads| {
            let result = Pipeline::from_lines(input)
                .threads(threads)
                .try_map(|line| line)
                .scan(0, |count, line| {
                    *count += 1;
                    Some((*count, line))
                })
                .try_for_each(&live(), |(count, _)| if count == 2 { Err(io::Error::other("two")) } else { Ok(()) });
            assert_eq!(result.unwrap_err().to_string(), "two");
        });
    });
}

#[test]
fn no_line_is_held_back_while_the_pipe_idles() {
    watched(|| {
        for threads in THREADS {
            let (reader, writer) = pipe();
            let mut writer = File::from(writer);
            writer.write_all(b"0\n").unwrap();
            let mut seen = 0;
            let mut writer = Some(writer);
            // The sink writes the next line when it has seen the last.
            Pipeline::from_lines(Input::new(reader))
                .threads(threads)
                .try_for_each(&live(), |line| {
                    assert_eq!(line?, seen.to_string());
                    seen += 1;
                    match &mut writer {
                        Some(open) if seen < 100 => writeln!(open, "{seen}"),
                        _ => {
                            writer = None;
                            Ok(())
                        }
                    }
                })
                .unwrap();
            assert_eq!(seen, 100);
        }
    });
}

#[test]
fn the_lines_are_those_of_std() {
    watched(|| {
        let expected: Vec<String> =
            BufReader::new(File::open("Cargo.lock").unwrap()).lines().collect::<io::Result<_>>().unwrap();
        for threads in THREADS {
            let (reader, writer) = pipe();
            let lines = scope(&live(), |s| {
                s.spawn(move |_| io::copy(&mut File::open("Cargo.lock")?, &mut File::from(writer)))?;
                let input = Input::with_capacity(100, reader);
                Pipeline::from_lines(input).threads(threads).try_map(|line| line).collect::<Vec<_>>(s.token())
            });
            assert!(lines.unwrap() == expected);
            let file = Input::new(File::open("Cargo.lock").unwrap());
            let lines: io::Result<Vec<_>> =
                Pipeline::from_lines(file).threads(threads).try_map(|line| line).collect(&live());
            assert!(lines.unwrap() == expected);
        }
    });
}

#[test]
fn a_deadline_ends_a_run_that_waits_for_its_input() {
    watched(|| {
        for threads in THREADS {
            let (reader, _writer) = two_lines();
            let token = CancellationToken::new().child_with_timeout(Duration::from_millis(5));
            let result = Pipeline::from_lines(Input::new(reader)).threads(threads).count(&token);
            assert_eq!(result.unwrap_err().reason(), brigade::CancelReason::Deadline);
        }
    });
}
