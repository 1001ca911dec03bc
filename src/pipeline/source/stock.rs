//! [`Lines`]: lines that were pulled, as a stock and as a batch; the member that works a batch cuts it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::ControlFlow;

use super::blocks::{Load, Part};
use super::cut::Cut;
use super::form::Form;
use super::{Batch, Chunk, Stock};
use crate::panic;

/// Consecutive lines: the stock, or a batch.
pub(super) struct Lines<F: Form> {
    blocks: VecDeque<Block<F::Block>>,
    len: usize,
    cut: Cut,
    /// How many bytes the lines of a batch had when their weight was taken last.
    weight: u64,
}

/// Lines of one block, or an error in their place.
enum Block<B> {
    Raw(Part<Vec<u8>>),
    /// A member has begun to cut it.
    Open(Part<B>),
    Error(io::Error),
}

impl<B> From<Load> for Block<B> {
    fn from(load: Load) -> Self {
        match load {
            Load::Lines(part) => Block::Raw(part),
            Load::Error(error) => Block::Error(error),
        }
    }
}

impl<B> Block<B> {
    fn lines(&self) -> usize {
        match self {
            Block::Raw(part) => part.lines,
            Block::Open(part) => part.lines,
            Block::Error(_) => 1,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Block::Raw(part) => part.bytes(),
            Block::Open(part) => part.bytes(),
            Block::Error(_) => 0,
        }
    }
}

impl<B> Part<B> {
    fn bytes(&self) -> u64 {
        (self.end - self.at) as u64
    }

    /// Takes the first `lines` lines, which end at `middle`. `bytes` has them where this part has them.
    fn take_front(&mut self, bytes: B, middle: usize, lines: usize) -> Part<B> {
        let front = Part { bytes, at: self.at, end: middle, lines, before: self.before };
        self.at = middle;
        self.lines -= lines;
        self.before += lines as u64;
        front
    }
}

impl<F: Form> Lines<F> {
    pub(super) fn new(cut: Cut) -> Self {
        Lines { blocks: VecDeque::new(), len: 0, cut, weight: 0 }
    }

    /// How many bytes the lines have, with their ends.
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(Block::bytes).sum()
    }

    /// Takes the next line.
    #[inline]
    pub(super) fn next(&mut self) -> Option<io::Result<F::Line>> {
        loop {
            if let Some(Block::Open(part)) = self.blocks.front_mut()
                && part.lines > 0
            {
                self.len -= 1;
                return Some(next_of::<F>(part, self.cut));
            }
            match self.blocks.pop_front()? {
                Block::Raw(Part { bytes, at, end, lines, before }) => {
                    let bytes = F::block(bytes);
                    self.blocks.push_front(Block::Open(Part { bytes, at, end, lines, before }));
                }
                Block::Error(error) => {
                    self.len -= 1;
                    return Some(Err(error));
                }
                // All its lines have been taken.
                Block::Open(_) => {}
            }
        }
    }
}

/// Takes the next line of a block that has one.
#[inline]
fn next_of<F: Form>(part: &mut Part<F::Block>, cut: Cut) -> io::Result<F::Line> {
    let rest = &F::bytes(&part.bytes)[part.at..part.end];
    let with_end = cut.first(rest);
    let content = cut.without_end(&rest[..with_end]);
    let start = part.at;
    part.at += with_end;
    part.lines -= 1;
    part.before += 1;
    if content > cut.longest {
        return Err(cut.too_long(part.before));
    }
    let len = if cut.keeps_ends { with_end } else { content };
    F::line(&part.bytes, start..start + len).map_err(|_| not_text(part.before))
}

#[cold]
fn not_text(number: u64) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("line {number} is not valid UTF-8"))
}

impl<F: Form> Drop for Lines<F> {
    fn drop(&mut self) {
        panic::discard_all(self.blocks.drain(..));
    }
}

impl<F: Form> Stock for Lines<F> {
    type Item = io::Result<F::Line>;
    type Load = Load;
    type Batch = Lines<F>;

    fn len(&self) -> usize {
        self.len
    }

    fn take(&mut self, most: usize) -> Option<(Lines<F>, usize)> {
        let batch = self.split(most);
        let lines = batch.len;
        (lines > 0).then_some((batch, lines))
    }

    fn put(&mut self, chunk: Chunk<Load>) -> usize {
        let before = self.len;
        chunk.for_each(|load| {
            let block = Block::from(load);
            self.len += block.lines();
            self.blocks.push_back(block);
        });
        self.len - before
    }

    fn weigh(load: &Load) -> u64 {
        match load {
            Load::Lines(part) => part.bytes(),
            Load::Error(_) => 0,
        }
    }
}

impl<F: Form> Batch for Lines<F> {
    type Item = io::Result<F::Line>;

    #[inline]
    fn run<B>(&mut self, most: usize, mut f: impl FnMut(Self::Item) -> ControlFlow<B>) -> ControlFlow<B> {
        let mut left = most;
        while left > 0 && self.len > 0 {
            if let Some(Block::Open(part)) = self.blocks.front_mut() {
                let here = part.lines.min(left);
                for _ in 0..here {
                    self.len -= 1;
                    f(next_of::<F>(part, self.cut))?;
                }
                left -= here;
                if part.lines > 0 {
                    break;
                }
            }
            if left > 0
                && let Some(line) = self.next()
            {
                left -= 1;
                f(line)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// A batch of its own gets a copy of the lines that it shares a block with, so that the counts of handles stay with
    /// one worker. Blocks are pulled for one batch, so this is rare.
    fn split(&mut self, most: usize) -> Lines<F> {
        let mut front = Lines::new(self.cut);
        while front.len < most {
            let wanted = most - front.len;
            let block = match self.blocks.front_mut() {
                None => break,
                Some(Block::Raw(part)) if part.lines > wanted => {
                    let (bytes, lines) = self.cut.whole_lines(&part.bytes[part.at..part.end], wanted);
                    let middle = part.at + bytes;
                    let mut raw = part.take_front(Vec::new(), middle, lines);
                    raw.bytes = part.bytes[raw.at..middle].to_vec();
                    (raw.at, raw.end) = (0, bytes);
                    Block::Raw(raw)
                }
                Some(Block::Open(part)) if part.lines > wanted => {
                    let (bytes, lines) = self.cut.whole_lines(&F::bytes(&part.bytes)[part.at..part.end], wanted);
                    Block::Open(part.take_front(part.bytes.clone(), part.at + bytes, lines))
                }
                Some(_) => self.blocks.pop_front().expect("looked at"),
            };
            let lines = block.lines();
            self.len -= lines;
            front.len += lines;
            front.blocks.push_back(block);
        }
        front.weight = front.bytes();
        self.weight = self.weight.saturating_sub(front.weight);
        front
    }

    fn take_weight(&mut self) -> u64 {
        let left = self.bytes();
        mem::replace(&mut self.weight, left).saturating_sub(left)
    }
}

impl<F: Form> fmt::Debug for Lines<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("len", &self.len).finish_non_exhaustive()
    }
}
