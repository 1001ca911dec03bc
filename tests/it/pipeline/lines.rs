//! Lines as handles and as strings, against those of std.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::mpsc;

use brigade::pipeline::Line;
use brigade::{CancelReason, CancellationToken, Pipeline};
use proptest::prelude::*;

use super::live;
use crate::util::{message_of, watched};

/// A reader that gives a byte or a few at a time, is interrupted now and then, and may fail in the midst.
#[derive(Clone)]
struct Torn {
    bytes: Vec<u8>,
    at: usize,
    reads: usize,
    fails_at: Option<usize>,
}

impl Torn {
    fn new(bytes: Vec<u8>, fails_at: Option<usize>) -> Self {
        Torn { bytes, at: 0, reads: 0, fails_at }
    }
}

impl Read for Torn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads % 3 == 0 {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.fails_at == Some(self.at) {
            self.fails_at = None;
            return Err(io::Error::other("torn"));
        }
        let end = (self.at + self.reads % 5 + 1).min(self.fails_at.unwrap_or(usize::MAX)).min(self.bytes.len());
        let end = end.max(self.at).max((self.at + 1).min(self.bytes.len()));
        let read = (&self.bytes[self.at..end]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

type Seen = Vec<Result<Vec<u8>, ErrorKind>>;

fn seen<T: AsRef<[u8]>>(line: io::Result<T>) -> Result<Vec<u8>, ErrorKind> {
    line.map(|line| line.as_ref().to_vec()).map_err(|error| error.kind())
}

/// The lines of a loop over `read_until`, without `\n` or `\r\n`.
fn byte_lines(mut reader: impl BufRead) -> Seen {
    let mut out = Vec::new();
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return out,
            Ok(_) => {
                if line.ends_with(b"\n") {
                    line.pop();
                    if line.ends_with(b"\r") {
                        line.pop();
                    }
                }
                out.push(Ok(line));
            }
            Err(error) => out.push(Err(error.kind())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_those_of_std_from_a_reader_that_is_torn(
        text in proptest::collection::vec(prop_oneof![4 => Just(b'\n'), 2 => Just(b'\r'), 9 => Just(b'a'), 1 => any::<u8>()], 0..200),
        fails_at in proptest::option::weighted(0.3, 0..200_usize),
        (capacity, threads, window) in (1..40_usize, 1..5_usize, proptest::option::of(1..9_usize)),
    ) {
        watched(move || {
            let torn = Torn::new(text, fails_at);
            let reader = || BufReader::with_capacity(capacity, torn.clone());
            macro_rules! lines {
                ($source:ident) => {{
                    let pipeline = Pipeline::$source(reader()).threads(threads);
                    let pipeline = if let Some(items) = window { pipeline.window(items) } else { pipeline };
                    pipeline.map(seen).collect::<Seen>(&live()).unwrap()
                }};
            }
            let expected = byte_lines(reader());
            assert_eq!(lines!(from_byte_lines), expected);
            let expected: Seen = reader().lines().map(seen).collect();
            assert_eq!(lines!(from_text_lines), expected);
            assert_eq!(lines!(from_lines), expected);
        });
    }
}

#[test]
fn lines_of_three_megabytes_are_whole() {
    watched(|| {
        let long = "0123456789é".repeat(250_000);
        let text = format!("short\n{long}\nshort\n{long}\r\n{long}");
        let expected = ["short", &long, "short", &long, &long];
        for threads in 1..=3 {
            let reader = || BufReader::new(text.as_bytes());
            let lines: Vec<Line> =
                Pipeline::from_byte_lines(reader()).threads(threads).try_map(|line| line).collect(&live()).unwrap();
            assert!(lines.iter().map(|line| &line[..]).eq(expected.map(str::as_bytes)));
            let lines: Vec<Line<str>> =
                Pipeline::from_text_lines(reader()).threads(threads).try_map(|line| line).collect(&live()).unwrap();
            assert!(lines.iter().map(|line| &**line).eq(expected));
            let lines = Pipeline::from_byte_lines(reader()).longest_line(10).threads(threads).map(|line| line.is_ok());
            assert_eq!(lines.collect::<Vec<_>>(&live()).unwrap(), [true, false, true, false, false]);
        }
    });
}

#[test]
fn a_byte_that_is_no_text_ends_no_run_of_bytes_and_text_says_its_line() {
    watched(|| {
        for threads in 1..=3 {
            let input: &[u8] = b"one\nca\xe9\nthree\n";
            let found = Pipeline::from_byte_lines(input)
                .threads(threads)
                .try_map(|line| line)
                .find(&live(), |line| line.starts_with(b"t"))
                .unwrap();
            assert_eq!(found.as_deref(), Some(&b"three"[..]));
            let mut seen = Vec::new();
            let error = Pipeline::from_text_lines(input)
                .threads(threads)
                .try_map(|line| line)
                .for_each(&live(), |line| seen.push(line.to_string()))
                .unwrap_err();
            assert_eq!((seen, error.to_string()), (vec!["one".to_owned()], "line 2 is not valid UTF-8".to_owned()));
        }
    });
}

#[test]
fn delimiters_and_ends_are_those_that_were_set() {
    watched(|| {
        for threads in 1..=3 {
            let input: &[u8] = b"a\nb\0\r\nc\r\n\0d";
            let lines = |pipeline: Vec<Line>| pipeline.iter().map(|line| line.to_vec()).collect::<Vec<_>>();
            let nul = Pipeline::from_byte_lines(input).delimiter(0).threads(threads).try_map(|line| line);
            assert_eq!(lines(nul.collect(&live()).unwrap()), [&b"a\nb"[..], b"\r\nc\r\n", b"d"]);
            let kept = Pipeline::from_byte_lines(input).keep_ends().threads(threads).try_map(|line| line);
            assert_eq!(lines(kept.collect(&live()).unwrap()), [&b"a\n"[..], b"b\0\r\n", b"c\r\n", b"\0d"]);
        }
        assert_eq!(
            message_of(|| _ = Pipeline::from_text_lines(&b""[..]).delimiter(0xe9)),
            "Pipeline::delimiter(0xe9): lines of text end with an ASCII byte"
        );
    });
}

#[test]
fn lines_outlive_their_run_and_are_compared_as_their_content() {
    watched(|| {
        let text = (0..10_000).map(|number| format!("{}\n", number % 100)).collect::<Vec<_>>().concat();
        let mut lines: Vec<Line<str>> =
            Pipeline::from_text_lines(text.as_bytes()).threads(3).try_map(|line| line).collect(&live()).unwrap();
        drop(text);
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[99], "99");
        let set: std::collections::HashSet<Line<str>> = lines.into_iter().collect();
        assert!(set.contains("42") && !set.contains("100"));
    });
}

/// A reader that hands out what it is sent, and waits for it.
struct Pipe(mpsc::Receiver<&'static str>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv().map_or(Ok(0), |text| text.as_bytes().read(buffer))
    }
}

#[test]
fn no_line_is_held_back_while_the_reader_waits() {
    watched(|| {
        for threads in 1..=4 {
            let (sender, receiver) = mpsc::channel();
            sender.send("one\ntwo\nthr").unwrap();
            let mut sender = Some(sender);
            let mut lines = Vec::new();
            Pipeline::from_byte_lines(BufReader::new(Pipe(receiver)))
                .threads(threads)
                .try_map(|line| line)
                .for_each(&live(), |line| {
                    match &line[..] {
                        b"two" => sender.as_ref().unwrap().send("ee\nfour").unwrap(),
                        b"three" => sender = None,
                        _ => {}
                    }
                    lines.push(line.to_vec());
                })
                .unwrap();
            assert_eq!(lines, [&b"one"[..], b"two", b"three", b"four"]);
        }
    });
}

#[test]
fn a_deadline_ends_a_run_over_lines_without_end() {
    watched(|| {
        for threads in 1..=3 {
            let token = CancellationToken::new().child_with_timeout(std::time::Duration::from_millis(5));
            let lines = Pipeline::from_byte_lines(BufReader::new(io::repeat(b'\n'))).threads(threads);
            assert_eq!(lines.count(&token).unwrap_err().reason(), CancelReason::Deadline);
        }
    });
}
