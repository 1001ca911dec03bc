//! [`LineBlock`]: whole lines in one piece, as an item.

use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::blocks::{Blocks, Load, Part};
use super::cut::Cut;
use super::form::Charset;
use super::iter::Pulled;
use super::line::Line;
use super::open_lines::FromLines;
use super::reader::Reader;
use super::{Feed, Kind, Pull, Source, Visit};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Whole lines of a reader, in blocks.
impl<R: Reader> Pipeline<Fused<FromLines<R, Together>, Identity<Cancelled>>> {
    /// Starts from the lines of a reader in blocks: each item is an `io::Result<`[`LineBlock`]`>`, with the whole lines
    /// that were in the reader's buffer.
    ///
    /// Use this where little is done with a line: a search, a count, a sum. Within a block a line is a `&[u8]`, and
    /// costs no more than in a plain loop, where the handle of [`from_byte_lines`](Pipeline::from_byte_lines) costs two
    /// atomic operations. The stages see blocks, so the index of an item is that of a block.
    ///
    /// The reader, the [`delimiter`](Self::delimiter) and what ends a read are those of `from_byte_lines`. Give the
    /// reader a buffer of 64 KiB, which is the size of a block. The [`longest line`](Self::longest_line) is looked at
    /// where a line does not fit into that buffer. A [`budget`](Self::budget) by the length of
    /// [`as_bytes`](LineBlock::as_bytes) bounds the bytes that are held.
    ///
    /// # Examples
    ///
    /// A `grep`, whose lines go on as handles where they are found:
    ///
    /// ```
    /// use std::io::{self, BufReader, Write};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let log: &[u8] = b"a open\nb closed\nc open\n";
    /// let mut out = Vec::new();
    /// Pipeline::from_line_blocks(BufReader::with_capacity(1 << 16, log))
    ///     .try_flat_map(|block| Ok::<_, io::Error>(block?.filter_lines(|line| line.ends_with(b"open"))))
    ///     .try_for_each(&CancellationToken::new(), |line| out.write_all(&line))?;
    /// assert_eq!(out, b"a openc open");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn from_line_blocks(reader: R) -> Self {
        Pipeline::from_source(FromLines::new(reader))
    }
}

/// As [`LineBlock`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Together;

impl Charset for Together {
    const IS_TEXT: bool = false;
}

/// Whole lines of a reader, in one piece: an item of [`Pipeline::from_line_blocks`].
#[derive(Clone)]
pub struct LineBlock {
    bytes: Vec<u8>,
    cut: Cut,
    lines: usize,
    before: u64,
}

impl LineBlock {
    /// Returns the lines, without their ends unless these are [kept](Pipeline::keep_ends).
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (line, behind) = rest.split_at(self.cut.first(rest));
            rest = behind;
            Some(&line[..self.cut.given(line)])
        })
    }

    /// Returns those lines for which `f` is true, as handles.
    pub fn filter_lines<F>(self, mut f: F) -> impl Iterator<Item = Line>
    where
        F: FnMut(&[u8]) -> bool,
    {
        let LineBlock { bytes, cut, .. } = self;
        let (block, mut at) = (Arc::new(bytes), 0);
        std::iter::from_fn(move || {
            let bytes = &block[..];
            while let rest @ [_, ..] = &bytes[at..] {
                let (line, start) = (&rest[..cut.first(rest)], at);
                at += line.len();
                let given = cut.given(line);
                if f(&line[..given]) {
                    return Some(Line::new(&block, start..start + given));
                }
            }
            None
        })
    }

    /// Returns how many lines the block has, which is not 0.
    pub fn count(&self) -> usize {
        self.lines
    }

    /// Returns the number of the first line in the reader, counted from 1.
    pub fn first_number(&self) -> u64 {
        self.before + 1
    }

    /// Returns the lines with their ends, as they were read.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for LineBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineBlock")
            .field("first_number", &self.first_number())
            .field("count", &self.lines)
            .finish_non_exhaustive()
    }
}

impl<R: Reader> Source for FromLines<R, Together> {
    type Item = io::Result<LineBlock>;
    type Error = Cancelled;

    fn open<V: Visit<Self::Item, Cancelled>>(self, token: &CancellationToken, visit: V) -> V::Output {
        visit.visit(self.blocks(token))
    }
}

impl<R: Reader> FromLines<R, Together> {
    pub(in super::super) fn blocks(self, token: &CancellationToken) -> OpenBlocks<R::Opened> {
        let FromLines { reader, cut, .. } = self;
        let (reader, token) = reader.open(token);
        let blocks = Blocks::new(reader, cut, token.clone());
        OpenBlocks { blocks: EachBlock { blocks, cut }, token }
    }
}

/// An opened reader.
#[doc(hidden)]
#[derive(Debug)]
pub struct OpenBlocks<B> {
    blocks: EachBlock<B>,
    /// Ends a read. The run cancels it when it wants no more lines.
    token: Option<CancellationToken>,
}

/// The blocks one after the other.
#[doc(hidden)]
#[derive(Debug)]
pub struct EachBlock<B> {
    blocks: Blocks<B>,
    cut: Cut,
}

impl<B: BufRead + Send> Iterator for EachBlock<B> {
    type Item = io::Result<LineBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut pulled = None;
        self.blocks.pull(usize::MAX, |load| pulled = Some(load))?;
        pulled.map(|load| match load {
            Load::Lines(Part { bytes, lines, before, .. }) => Ok(LineBlock { bytes, cut: self.cut, lines, before }),
            Load::Error(error) => Err(error),
        })
    }
}

impl<B: BufRead + Send> Feed for OpenBlocks<B> {
    type Item = io::Result<LineBlock>;
    type Stock = Pulled<Self::Item>;
    type Inlet = EachBlock<B>;
    type Plain = EachBlock<B>;

    const KIND: Kind = Kind::Blocking;

    fn waits_for(&self) -> Option<CancellationToken> {
        self.token.clone()
    }

    fn split(self) -> (Self::Stock, EachBlock<B>) {
        (Pulled::new(), self.blocks)
    }

    fn plain(self) -> EachBlock<B> {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn blocks_have_the_lines_of_a_loop_with_their_numbers() {
        let text: &[u8] = b"a\n\nbb\r\nlonger line\nc";
        for capacity in 1..30 {
            let cut = Cut::default();
            let blocks = Blocks::new(BufReader::with_capacity(capacity, text), cut, None);
            let blocks: Vec<LineBlock> = EachBlock { blocks, cut }.map(Result::unwrap).collect();
            let lines: Vec<&[u8]> = blocks.iter().flat_map(LineBlock::lines).collect();
            assert_eq!(lines, [&b"a"[..], b"", b"bb", b"longer line", b"c"]);
            let mut number = 1;
            for block in &blocks {
                assert_eq!((block.first_number(), block.count()), (number, block.lines().count()));
                number += block.count() as u64;
            }
            assert_eq!(blocks.iter().flat_map(LineBlock::as_bytes).copied().collect::<Vec<_>>(), text);
            let found: Vec<Line> =
                blocks.into_iter().flat_map(|block| block.filter_lines(|line| line.len() > 1)).collect();
            assert_eq!(found, [&b"bb"[..], b"longer line"]);
        }
    }
}
