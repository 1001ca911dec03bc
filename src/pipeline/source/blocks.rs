//! [`Blocks`]: a reader as a source of blocks of whole lines.
//!
//! The worker that pulls takes the contents of the reader's buffer up to the last end of a line, and counts the ends.
//! It never waits for a whole block, only for the end of one line. It takes no more lines than its batch lacks. So a
//! block belongs to one batch, and the handles of its lines to one worker: a count of handles that two workers changed
//! would cost ten times as much.

use std::io::{self, BufRead, ErrorKind};
use std::mem;

use super::Pull;
use super::cut::Cut;
use crate::token::CancellationToken;

/// How many bytes one pull takes from the reader's buffer at most. That of a slice is the whole slice.
const BLOCK: usize = 1 << 16;

/// Consecutive lines of a block, each with its end, but for the last of a reader that lacks it.
#[derive(Clone, Debug)]
pub(super) struct Part<B> {
    pub(super) bytes: B,
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) lines: usize,
    /// How many lines of the reader come before.
    pub(super) before: u64,
}

/// The gain of one pull.
#[derive(Debug)]
pub(super) enum Load {
    Lines(Part<Vec<u8>>),
    /// The reader's, or that of a line that is too long.
    Error(io::Error),
}

/// A reader, and the beginning of a line whose end has not been read.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    reader: B,
    cut: Cut,
    begun: Vec<u8>,
    /// The line whose end has not been read was too long: what is left of it is skipped.
    skips: bool,
    /// How many lines have been given.
    lines: u64,
    /// Ends a read. The run cancels it when it wants no more lines.
    token: Option<CancellationToken>,
}

impl<B: BufRead> Blocks<B> {
    pub(super) fn new(reader: B, cut: Cut, token: Option<CancellationToken>) -> Self {
        Blocks { reader, cut, begun: Vec::new(), skips: false, lines: 0, token }
    }

    fn load(&mut self, bytes: Vec<u8>, lines: usize) -> Load {
        let before = self.lines;
        self.lines += lines as u64;
        Load::Lines(Part { at: 0, end: bytes.len(), bytes, lines, before })
    }
}

impl<B: BufRead + Send> Pull for Blocks<B> {
    type Load = Load;

    /// Gives the lines that end in the reader's buffer, which is filled again only when there is none.
    fn pull(&mut self, most: usize, mut put: impl FnMut(Load)) -> Option<usize> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // No item, not even the beginning of a line: the run wants none, or looks at its token by itself.
                Err(_) if self.token.as_ref().is_some_and(CancellationToken::is_cancelled) => return None,
                Err(error) => {
                    // As with std's `lines`, the beginning of the line is lost, and the next call reads on.
                    self.begun = Vec::new();
                    put(Load::Error(error));
                    return Some(1);
                }
            };
            let at_end = buffer.is_empty();
            let buffer = &buffer[..buffer.len().min(BLOCK)];
            if self.skips && !at_end {
                let skipped = self.cut.first(buffer);
                self.skips = buffer[skipped - 1] != self.cut.delimiter;
                self.reader.consume(skipped);
                continue;
            }
            let (bytes, lines) = self.cut.whole_lines(buffer, most);
            if lines > 0 {
                let mut block = mem::take(&mut self.begun);
                block.reserve_exact(bytes);
                block.extend_from_slice(&buffer[..bytes]);
                self.reader.consume(bytes);
                put(self.load(block, lines));
                return Some(lines);
            }
            if at_end {
                let block = mem::take(&mut self.begun);
                if block.is_empty() {
                    return None;
                }
                put(self.load(block, 1));
                return Some(1);
            }
            self.begun.extend_from_slice(buffer);
            let bytes = buffer.len();
            self.reader.consume(bytes);
            if self.cut.is_too_long(&self.begun) {
                (self.begun, self.skips) = (Vec::new(), true);
                self.lines += 1;
                put(Load::Error(self.cut.too_long(self.lines)));
                return Some(1);
            }
        }
    }
}
