//! [`Line`]: a line of a reader, as a handle into the block that it was read with.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A line of a reader: a handle that dereferences to `[u8]`, or as `Line<str>` to `str`.
///
/// [`from_byte_lines`](crate::Pipeline::from_byte_lines) and [`from_text_lines`](crate::Pipeline::from_text_lines) make
/// it. It borrows nothing, so a stage may pass it on, and a sink may keep it.
///
/// # Costs
///
/// Making a line costs an atomic operation, and so do cloning and dropping it. No byte is copied and no memory
/// allocated. In return a line keeps its block alive, the up to 64 KiB of lines that were read with it. So copy the
/// lines that a program keeps, where these are few of many: `line.to_vec()`, `line.to_string()`.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
/// use brigade::pipeline::Line;
/// use brigade::{CancellationToken, Pipeline};
///
/// let input: &[u8] = b"ant\nbee\nant\n";
/// let mut counts: HashMap<Line, usize> = HashMap::new();
/// Pipeline::from_byte_lines(input)
///     .try_map(|line| line)
///     .for_each(&CancellationToken::new(), |line| *counts.entry(line).or_default() += 1)?;
/// assert_eq!(counts[&b"ant"[..]], 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Line<T: Content + ?Sized = [u8]> {
    block: Arc<T::Block>,
    at: usize,
    end: usize,
}

/// The content of a [`Line`]: `[u8]` or `str`.
#[doc(hidden)]
pub trait Content: 'static {
    /// The owner of a block of lines.
    type Block: Send + Sync + 'static;

    fn part(block: &Self::Block, range: Range<usize>) -> &Self;
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl Content for [u8] {
    type Block = Vec<u8>;

    #[inline]
    fn part(block: &Vec<u8>, range: Range<usize>) -> &[u8] {
        &block[range]
    }

    /// As a literal, because bytes of lines are most often text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl Content for str {
    type Block = String;

    #[inline]
    fn part(block: &String, range: Range<usize>) -> &str {
        &block[range]
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T: Content + ?Sized> Line<T> {
    /// The bytes `range` of a block. Those of a `str` begin and end between two characters.
    #[inline]
    pub(super) fn new(block: &Arc<T::Block>, range: Range<usize>) -> Self {
        Line { block: Arc::clone(block), at: range.start, end: range.end }
    }
}

impl<T: Content + ?Sized> Deref for Line<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        T::part(&self.block, self.at..self.end)
    }
}

impl<T: Content + ?Sized> Clone for Line<T> {
    fn clone(&self) -> Self {
        Line { block: Arc::clone(&self.block), at: self.at, end: self.end }
    }
}

impl<T: Content + ?Sized> fmt::Debug for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl fmt::Display for Line<str> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: Content + ?Sized> AsRef<T> for Line<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl AsRef<[u8]> for Line<str> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

// A line is compared and hashed as its content is, so a map of lines can be asked for a `&[u8]` or a `&str`.
impl<T: Content + ?Sized> Borrow<T> for Line<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: Content + Hash + ?Sized> Hash for Line<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Content + PartialEq + ?Sized> PartialEq for Line<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Content + PartialEq + ?Sized> PartialEq<T> for Line<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

impl<T: Content + PartialEq + ?Sized> PartialEq<&T> for Line<T> {
    fn eq(&self, other: &&T) -> bool {
        **self == **other
    }
}

impl<T: Content + Eq + ?Sized> Eq for Line<T> {}

impl<T: Content + PartialOrd + ?Sized> PartialOrd for Line<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Content + Ord + ?Sized> Ord for Line<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl From<Line> for Vec<u8> {
    fn from(line: Line) -> Self {
        line.to_vec()
    }
}

impl From<Line<str>> for String {
    fn from(line: Line<str>) -> Self {
        String::from(&*line)
    }
}
