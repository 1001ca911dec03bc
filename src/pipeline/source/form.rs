//! [`Form`]: how lines are given: as handles to bytes, as handles to text, or owned.

use std::ops::Range;
use std::sync::Arc;

use super::line::Line;

/// Whether lines are text.
#[doc(hidden)]
pub trait Charset: 'static {
    const IS_TEXT: bool;
}

/// The form in which lines are given.
#[doc(hidden)]
pub trait Form: Charset {
    type Line: Send;
    /// A block that a member has begun to cut. Cloning it copies no bytes.
    type Block: Clone + Send;

    fn block(bytes: Vec<u8>) -> Self::Block;
    fn bytes(block: &Self::Block) -> &[u8];

    /// Returns the line that is the bytes `range` of a block, or that is no text.
    fn line(block: &Self::Block, range: Range<usize>) -> Result<Self::Line, NotText>;
}

/// A line is not valid UTF-8.
#[doc(hidden)]
#[derive(Debug)]
pub struct NotText;

/// As [`Line`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

/// As [`Line<str>`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Text;

/// As [`String`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Owned;

impl Charset for Bytes {
    const IS_TEXT: bool = false;
}

impl Form for Bytes {
    type Line = Line;
    type Block = Arc<Vec<u8>>;

    fn block(bytes: Vec<u8>) -> Self::Block {
        Arc::new(bytes)
    }

    #[inline]
    fn bytes(block: &Self::Block) -> &[u8] {
        block
    }

    #[inline]
    fn line(block: &Self::Block, range: Range<usize>) -> Result<Line, NotText> {
        Ok(Line::new(block, range))
    }
}

/// A block that was checked for UTF-8 as a whole. If it is not all text, its lines are checked one by one.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Checked {
    Text(Arc<String>),
    Bytes(Arc<Vec<u8>>),
}

impl Checked {
    fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Checked::Text(Arc::new(text)),
            Err(error) => Checked::Bytes(Arc::new(error.into_bytes())),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Checked::Text(text) => text.as_bytes(),
            Checked::Bytes(bytes) => bytes,
        }
    }

    /// The text of a line, for a block that is not all text.
    #[cold]
    fn checked(bytes: &[u8]) -> Result<String, NotText> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NotText)
    }
}

impl Charset for Text {
    const IS_TEXT: bool = true;
}

impl Form for Text {
    type Line = Line<str>;
    type Block = Checked;

    fn block(bytes: Vec<u8>) -> Checked {
        Checked::new(bytes)
    }

    #[inline]
    fn bytes(block: &Checked) -> &[u8] {
        block.bytes()
    }

    #[inline]
    fn line(block: &Checked, range: Range<usize>) -> Result<Line<str>, NotText> {
        match block {
            Checked::Text(text) => Ok(Line::new(text, range)),
            Checked::Bytes(bytes) => {
                let line = Checked::checked(&bytes[range])?;
                let len = line.len();
                Ok(Line::new(&Arc::new(line), 0..len))
            }
        }
    }
}

impl Charset for Owned {
    const IS_TEXT: bool = true;
}

impl Form for Owned {
    type Line = String;
    type Block = Checked;

    fn block(bytes: Vec<u8>) -> Checked {
        Checked::new(bytes)
    }

    #[inline]
    fn bytes(block: &Checked) -> &[u8] {
        block.bytes()
    }

    #[inline]
    fn line(block: &Checked, range: Range<usize>) -> Result<String, NotText> {
        match block {
            Checked::Text(text) => Ok(text[range].to_owned()),
            Checked::Bytes(bytes) => Checked::checked(&bytes[range]),
        }
    }
}
