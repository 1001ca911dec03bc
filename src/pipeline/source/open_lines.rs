//! [`FromLines`]: a reader as a source, opened for a run.

use std::fmt;
use std::io::{self, BufRead};
use std::marker::PhantomData;

use super::blocks::Blocks;
use super::cut::Cut;
use super::form::Form;
use super::reader::Reader;
use super::stock::Lines;
use super::{Chunk, Feed, Kind, Pull, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// The source of [`Pipeline::from_lines`] and its kind.
#[doc(hidden)]
#[derive(Clone)]
pub struct FromLines<R, F> {
    pub(super) reader: R,
    pub(super) cut: Cut,
    form: PhantomData<fn() -> F>,
}

impl<R, F> FromLines<R, F> {
    pub(super) fn new(reader: R) -> Self {
        FromLines { reader, cut: Cut::default(), form: PhantomData }
    }
}

impl<R: fmt::Debug, F> fmt::Debug for FromLines<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromLines").field("reader", &self.reader).field("cut", &self.cut).finish()
    }
}

impl<R: Reader, F: Form> Source for FromLines<R, F> {
    type Item = io::Result<F::Line>;
    type Error = Cancelled;

    fn open<V: Visit<Self::Item, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        let FromLines { reader, cut, form } = self;
        let (reader, token) = reader.open(token);
        visit.visit(OpenLines { reader, cut, token, form })
    }
}

/// An opened reader.
pub(super) struct OpenLines<B, F> {
    reader: B,
    cut: Cut,
    /// Ends a read. The run cancels it when it wants no more lines.
    token: Option<CancellationToken>,
    form: PhantomData<fn() -> F>,
}

impl<B: BufRead + Send, F: Form> Feed for OpenLines<B, F> {
    type Item = io::Result<F::Line>;
    type Stock = Lines<F>;
    type Inlet = Blocks<B>;
    type Plain = Each<B, F>;

    const KIND: Kind = Kind::Blocking;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.token.clone()
    }

    fn split(self) -> (Lines<F>, Blocks<B>) {
        (Lines::new(self.cut), Blocks::new(self.reader, self.cut, self.token))
    }

    fn plain(self) -> Each<B, F> {
        let (lines, blocks) = self.split();
        Each { blocks, lines }
    }

    fn is_ready(items: &Each<B, F>) -> bool {
        items.lines.len() > 0
    }
}

/// The lines one after the other, for the plain loop. It reads block by block, too.
pub(super) struct Each<B, F: Form> {
    blocks: Blocks<B>,
    lines: Lines<F>,
}

impl<B: BufRead + Send, F: Form> Iterator for Each<B, F> {
    type Item = io::Result<F::Line>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Each { blocks, lines } = self;
        if let Some(line) = lines.next() {
            return Some(line);
        }
        blocks.pull(usize::MAX, |load| _ = lines.put(Chunk::List(vec![load])))?;
        lines.next()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, ErrorKind};
    use std::ops::ControlFlow;

    use super::super::Batch;
    use super::super::form::{Bytes, Owned, Text};
    use super::*;

    type Expected = Vec<Result<Vec<u8>, ErrorKind>>;

    /// The lines as the crew pulls and claims them.
    fn lines_by<F: Form<Line: AsRef<[u8]>>>(reader: impl BufRead + Send, cut: Cut, most: usize) -> Expected {
        let (mut stock, mut blocks) = OpenLines { reader, cut, token: None, form: PhantomData::<fn() -> F> }.split();
        let mut out = Vec::new();
        let mut push = |batch: &mut Lines<F>, most| {
            _ = batch.run(most, |line| {
                out.push(line.map(|line| line.as_ref().to_vec()).map_err(|error| error.kind()));
                ControlFlow::<()>::Continue(())
            });
        };
        let mut more = true;
        while more {
            let mut loads = Vec::new();
            let pulled = blocks.pull(most, |load| loads.push(load)).unwrap_or(0);
            more = pulled > 0;
            assert_eq!((stock.put(Chunk::List(loads)), pulled <= most), (pulled, true));
            while let Some((mut batch, lines)) = stock.take(3) {
                assert!(lines <= 3 && batch.len() == lines);
                // A member may work one, hand the rest back, and another may claim a part of that.
                push(&mut batch, 1);
                let mut front = batch.split(1);
                push(&mut front, 3);
                push(&mut batch, 3);
            }
        }
        out
    }

    fn plain<F: Form<Line: AsRef<[u8]>>>(reader: impl BufRead + Send, cut: Cut) -> Expected {
        let lines = OpenLines { reader, cut, token: None, form: PhantomData::<fn() -> F> }.plain();
        lines.map(|line| line.map(|line| line.as_ref().to_vec()).map_err(|error| error.kind())).collect()
    }

    const TEXTS: [&[u8]; 9] = [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\r\n\r\nb\n\nccc",
        b"\r",
        b"a\xff\nb\n\xfe",
        b"long line of text\nshort\n\n\n",
        b"b\r\r\nc\r",
    ];

    #[test]
    fn lines_are_those_of_std_however_they_are_cut() {
        for text in TEXTS {
            let expected: Expected =
                text.lines().map(|line| line.map(String::into_bytes).map_err(|error| error.kind())).collect();
            for capacity in 1..20 {
                let reader = || BufReader::with_capacity(capacity, text);
                for most in [1, 2, 3, 100] {
                    assert_eq!(lines_by::<Owned>(reader(), Cut::default(), most), expected);
                    assert_eq!(lines_by::<Text>(reader(), Cut::default(), most), expected);
                }
                assert_eq!(plain::<Owned>(reader(), Cut::default()), expected);
                assert_eq!(plain::<Text>(reader(), Cut::default()), expected);
            }
        }
    }

    #[test]
    fn byte_lines_are_those_of_a_loop_with_any_delimiter_with_and_without_ends() {
        for text in TEXTS {
            for (delimiter, keeps_ends) in [(b'\n', false), (b'\n', true), (0, false), (b'b', true), (b'\r', false)] {
                let cut = Cut { delimiter, keeps_ends, ..Cut::default() };
                let lines = text.split_inclusive(|byte| *byte == delimiter).map(|line| match line {
                    line if keeps_ends => line,
                    [line @ .., b'\r', b'\n'] if delimiter == b'\n' => line,
                    line => line.strip_suffix(&[delimiter]).unwrap_or(line),
                });
                let expected: Expected = lines.map(|line| Ok(line.to_vec())).collect();
                for capacity in 1..20 {
                    let reader = || BufReader::with_capacity(capacity, text);
                    for most in [1, 3, 100] {
                        assert_eq!(lines_by::<Bytes>(reader(), cut, most), expected);
                    }
                    assert_eq!(plain::<Bytes>(reader(), cut), expected);
                }
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_in_its_place_wherever_blocks_end() {
        let long = |line: &[u8], kept| if kept > 5 { Err(ErrorKind::InvalidData) } else { Ok(line.to_vec()) };
        for text in TEXTS {
            let cut = Cut { longest: 5, ..Cut::default() };
            let expected: Expected = text
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| &line[..Cut::default().without_end(line)])
                .map(|line| long(line, line.len()))
                .collect();
            for capacity in 1..20 {
                let reader = || BufReader::with_capacity(capacity, text);
                assert_eq!(lines_by::<Bytes>(reader(), cut, 2), expected);
                assert_eq!(plain::<Bytes>(reader(), cut), expected);
            }
        }
    }

    #[test]
    fn an_error_of_the_reader_is_an_item_in_its_place() {
        struct Failing(u8);
        impl io::Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(ErrorKind::Interrupted.into()),
                    3 => Err(ErrorKind::TimedOut.into()),
                    2 | 4 => (&b"a\nb"[..]).read(buffer),
                    _ => Ok(0),
                }
            }
        }
        let reader = || BufReader::new(Failing(0));
        let expected: Expected =
            reader().lines().map(|line| line.map(String::into_bytes).map_err(|error| error.kind())).collect();
        assert_eq!(lines_by::<Bytes>(reader(), Cut::default(), 10), expected);
        assert_eq!(plain::<Owned>(reader(), Cut::default()), expected);
        assert_eq!(expected[1], Err(ErrorKind::TimedOut));
    }

    #[test]
    fn an_error_says_the_number_of_its_line() {
        let text: &[u8] = b"a\nbb\n\xe9\n\nlonger\n\xe9\n";
        for capacity in [1, 2, 3, 100] {
            let (reader, cut) = (BufReader::with_capacity(capacity, text), Cut { longest: 3, ..Cut::default() });
            let lines = OpenLines { reader, cut, token: None, form: PhantomData::<fn() -> Text> }.plain();
            let errors: Vec<_> = lines.filter_map(Result::err).map(|error| error.to_string()).collect();
            assert_eq!(
                errors,
                ["line 3 is not valid UTF-8", "line 5 has more than 3 bytes", "line 6 is not valid UTF-8"]
            );
        }
    }
}
