//! The lines of a reader as a source.
//!
//! **The workers cut the lines.** The worker that pulls takes the contents of the reader's buffer up to
//! the last end of a line, and counts the ends. The members that claim these lines cut them, check them
//! for UTF-8 and allocate them. The puller never waits for a whole block, only for the end of one line.
//!
//! A form that lends each line from the block, in place of a `String`, was weighed and left: it
//! would save the allocation, which is 9 % of the time for lines of five numbers, parsed and summed
//! (a plain loop with one buffer gains 15 %), and every stage behind it would have to be written
//! for all lifetimes. Where the text lies in memory, `from_ready(text.lines())` lends its lines.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind};
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::reader::Reader;
use super::{Batch, Chunk, Feed, Kind, Pull, Source, Stock, Visit};
use crate::error::Cancelled;
use crate::panic;
use crate::token::CancellationToken;

impl<R: Reader> Pipeline<Fused<FromLines<R>, Identity<Cancelled>>> {
    /// Starts from the lines of a reader, which may be a pipe or a terminal: the items of [`BufRead::lines`], without
    /// their ends, as `io::Result<String>`.
    ///
    /// The reader is any [`BufRead`] that can be sent, or an `Input` of the module `io`, which needs the feature `io`.
    /// Use `io::stdin()` of that module for the standard input of a tool: its read ends when the token is cancelled,
    /// and when the run ends early. Any other reader that waits holds the run up until its call returns.
    ///
    /// So the first stage is most often a `try_map(|line| parse(&line?))`. It is [`from_iter`](Pipeline::from_iter)
    /// of `lines()` at less cost: one worker takes the contents of the reader's buffer in one piece, and all
    /// workers cut it into lines. No line is held back while the reader waits for more.
    ///
    /// The size of the buffer hardly matters for a file. Lines of 79 bytes took the same time within
    /// 3 % with 8 KiB, 64 KiB, 256 KiB and 1 MiB, on two threads, at 40 and at 275 ns of work each.
    ///
    /// A locked standard input cannot be sent to another thread; `BufReader::new(io::stdin())` can.
    ///
    /// # Cancellation
    ///
    /// The lines that lie in the buffer of an `Input` when the run ends early are dropped with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, BufReader};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let input: &[u8] = b"3\n4\n5\n";
    /// let sum = Pipeline::from_lines(BufReader::with_capacity(1 << 16, input))
    ///     .try_map(|line| line?.parse::<u64>().map_err(io::Error::other))
    ///     .fold(&CancellationToken::new(), 0, |sum, number| sum + number)?;
    /// assert_eq!(sum, 12);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn from_lines(reader: R) -> Self {
        Pipeline::from_source(FromLines(reader))
    }
}

/// The source of [`Pipeline::from_lines`].
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FromLines<R>(R);

impl<R: Reader> Source for FromLines<R> {
    type Item = io::Result<String>;
    type Error = Cancelled;

    fn open<V: Visit<Self::Item, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        let (reader, token) = self.0.open(token);
        visit.visit(OpenLines { reader, token })
    }
}

/// An opened reader.
#[derive(Debug)]
pub(super) struct OpenLines<B> {
    reader: B,
    /// Ends a read. The run cancels it when it wants no more lines.
    token: Option<CancellationToken>,
}

impl<B: BufRead + Send> Feed for OpenLines<B> {
    type Item = io::Result<String>;
    type Stock = Lines;
    type Inlet = Blocks<B>;
    type Plain = io::Lines<B>;

    const KIND: Kind = Kind::Blocking;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.token.clone()
    }

    fn split(self) -> (Lines, Blocks<B>) {
        (Lines::default(), Blocks { reader: self.reader, begun: Vec::new(), token: self.token })
    }

    /// The error of a cancelled read is dropped like any item, because the run looks at its token by itself.
    fn plain(self) -> io::Lines<B> {
        self.reader.lines()
    }
}

/// A reader, and the beginning of a line whose end has not been read.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    reader: B,
    begun: Vec<u8>,
    token: Option<CancellationToken>,
}

impl<B: BufRead + Send> Pull for Blocks<B> {
    type Load = Block;

    /// Gives the lines that end in the reader's buffer, which is filled again only when there is none.
    fn pull(&mut self, most: usize, mut put: impl FnMut(Block)) -> Option<usize> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // No item, not even the beginning of a line: the run wants none, or looks at its token by itself.
                Err(_) if self.token.as_ref().is_some_and(CancellationToken::is_cancelled) => return None,
                Err(error) => {
                    // As with std's `lines`, the beginning of the line is lost, and the next call reads on.
                    self.begun.clear();
                    put(Block::Error(error));
                    return Some(1);
                }
            };
            let at_end = buffer.is_empty();
            // The buffer of a slice is the whole slice.
            let buffer = &buffer[..buffer.len().min(BLOCK)];
            let (bytes, lines) = whole_lines(buffer, most);
            if lines > 0 {
                let mut text = mem::take(&mut self.begun);
                text.extend_from_slice(&buffer[..bytes]);
                self.reader.consume(bytes);
                put(Block::Text(Text::new(text, lines)));
                return Some(lines);
            }
            self.begun.extend_from_slice(buffer);
            let bytes = buffer.len();
            self.reader.consume(bytes);
            if at_end {
                let text = mem::take(&mut self.begun);
                if text.is_empty() {
                    return None;
                }
                put(Block::Text(Text::new(text, 1)));
                return Some(1);
            }
        }
    }
}

/// How many bytes one pull takes from the reader's buffer at most.
const BLOCK: usize = 1 << 16;

/// Counts the first lines, `most` at most: returns how many bytes and how many lines they are.
fn whole_lines(buffer: &[u8], most: usize) -> (usize, usize) {
    let is_end = |byte: &u8| *byte == b'\n';
    let (mut bytes, mut lines, mut seen) = (0, 0, 0);
    // In runs so short that a byte holds their count, because the compiler makes vector instructions of this. The count
    // ends with the run in which it is reached.
    for run in buffer.chunks(255) {
        let ends = usize::from(run.iter().map(|byte| u8::from(is_end(byte))).sum::<u8>());
        if lines + ends >= most {
            bytes = seen + run.split_inclusive(is_end).take(most - lines).map(<[u8]>::len).sum::<usize>();
            return (bytes, most);
        }
        if ends > 0 {
            bytes = seen + run.iter().rposition(is_end).expect("counted") + 1;
        }
        lines += ends;
        seen += run.len();
    }
    (bytes, lines)
}

/// The gain of one pull.
#[derive(Debug)]
pub(super) enum Block {
    Text(Text),
    Error(io::Error),
}

/// Some lines, each with its end, but for the last of a file that lacks it.
#[derive(Clone, Debug)]
pub(super) struct Text {
    bytes: Arc<Vec<u8>>,
    at: usize,
    end: usize,
    lines: usize,
}

impl Text {
    fn new(bytes: Vec<u8>, lines: usize) -> Self {
        Text { at: 0, end: bytes.len(), bytes: Arc::new(bytes), lines }
    }

    /// Takes the first line, as std's `lines` gives it.
    fn take_line(&mut self) -> io::Result<String> {
        let mut rest = &self.bytes[self.at..self.end];
        let mut line = Vec::new();
        self.at += rest.read_until(b'\n', &mut line)?;
        self.lines -= 1;
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        String::from_utf8(line)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
    }

    /// Takes the first lines, `most` of them, where there are more.
    fn split(&mut self, most: usize) -> Text {
        let (bytes, lines) = whole_lines(&self.bytes[self.at..self.end], most);
        let middle = self.at + bytes;
        let front = Text { bytes: Arc::clone(&self.bytes), at: self.at, end: middle, lines };
        self.at = middle;
        self.lines -= lines;
        front
    }
}

impl Block {
    fn lines(&self) -> usize {
        match self {
            Block::Text(text) => text.lines,
            Block::Error(_) => 1,
        }
    }
}

/// Consecutive lines: the stock, or a batch.
#[derive(Debug, Default)]
pub(super) struct Lines {
    blocks: VecDeque<Block>,
    lines: usize,
}

impl Drop for Lines {
    fn drop(&mut self) {
        panic::discard_all(self.blocks.drain(..));
    }
}

impl Stock for Lines {
    type Item = io::Result<String>;
    type Load = Block;
    type Batch = Lines;

    fn len(&self) -> usize {
        self.lines
    }

    fn take(&mut self, most: usize) -> Option<(Lines, usize)> {
        let batch = self.split(most);
        let lines = batch.lines;
        (lines > 0).then_some((batch, lines))
    }

    fn put(&mut self, chunk: Chunk<Block>) -> usize {
        let before = self.lines;
        chunk.for_each(|block| {
            self.lines += block.lines();
            self.blocks.push_back(block);
        });
        self.lines - before
    }
}

impl Batch for Lines {
    type Item = io::Result<String>;

    fn run<B>(&mut self, most: usize, mut f: impl FnMut(Self::Item) -> ControlFlow<B>) -> ControlFlow<B> {
        for _ in 0..most {
            let line = match self.blocks.front_mut() {
                None => break,
                Some(Block::Text(text)) if text.lines > 1 => text.take_line(),
                Some(_) => match self.blocks.pop_front().expect("looked at") {
                    Block::Text(mut text) => text.take_line(),
                    Block::Error(error) => Err(error),
                },
            };
            self.lines -= 1;
            f(line)?;
        }
        ControlFlow::Continue(())
    }

    fn split(&mut self, most: usize) -> Lines {
        let mut front = Lines::default();
        while front.lines < most {
            let wanted = most - front.lines;
            let block = match self.blocks.front_mut() {
                None => break,
                Some(Block::Text(text)) if text.lines > wanted => Block::Text(text.split(wanted)),
                Some(_) => self.blocks.pop_front().expect("looked at"),
            };
            let lines = block.lines();
            self.lines -= lines;
            front.lines += lines;
            front.blocks.push_back(block);
        }
        front
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines_by(reader: impl BufRead + Send, most: usize) -> Vec<Result<String, ErrorKind>> {
        let (mut stock, blocks) = OpenLines { reader, token: None }.split();
        let (mut blocks, mut out) = (blocks, Vec::new());
        let mut more = true;
        while more {
            let mut loads = Vec::new();
            let pulled = blocks.pull(most, |block| loads.push(block)).unwrap_or(0);
            more = pulled > 0;
            assert_eq!((stock.put(Chunk::List(loads)), pulled <= most), (pulled, true));
            while let Some((mut batch, lines)) = stock.take(2) {
                assert!(lines <= 2 && batch.lines == lines);
                let _ = batch.run(usize::MAX, |line| {
                    out.push(line.map_err(|error| error.kind()));
                    ControlFlow::<()>::Continue(())
                });
            }
        }
        out
    }

    #[test]
    fn lines_are_those_of_std_however_they_are_cut() {
        let texts: [&[u8]; 8] = [
            b"",
            b"\n",
            b"a",
            b"a\n",
            b"a\r\n\r\nb\n\nccc",
            b"\r",
            b"a\xff\nb\n\xfe",
            b"long line of text\nshort\n\n\n",
        ];
        for text in texts {
            let expected: Vec<_> = text.lines().map(|line| line.map_err(|error| error.kind())).collect();
            for capacity in 1..20 {
                for most in [1, 2, 3, 100] {
                    assert_eq!(lines_by(BufReader::with_capacity(capacity, text), most), expected);
                }
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
        let expected: Vec<_> =
            BufReader::new(Failing(0)).lines().map(|line| line.map_err(|error| error.kind())).collect();
        assert_eq!(lines_by(BufReader::new(Failing(0)), 10), expected);
        assert_eq!(expected[1], Err(ErrorKind::TimedOut));
    }
}
