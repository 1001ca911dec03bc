//! The lines of a reader as a source.
//!
//! **The workers cut the lines.** The worker that pulls copies whole lines out of the reader's buffer. The
//! members that claim these find their ends, check them for UTF-8, and make items of them.
//!
//! **Handles, because a loan does not reach the sink.** A form that lends each line from the block would save the
//! atomic operations of a handle, and every stage behind it would have to be written for all lifetimes. An owned
//! `String` or `Vec` a line is allocated by one thread and freed by the next, which costs what a search of it does.

#[cfg(doc)]
use std::io::{self, BufRead};

use super::super::Pipeline;
use super::super::chain::Fused;
use super::super::stage::Identity;
use super::Source;
use super::form::{Bytes, Charset, Owned, Text};
#[cfg(doc)]
use super::line::Line;
use super::open_lines::FromLines;
use super::reader::Reader;
use crate::error::Cancelled;

/// Lines of a reader, each as an [`io::Result`] of a handle.
impl<R: Reader> Pipeline<Fused<FromLines<R, Bytes>, Identity<Cancelled>>> {
    /// Starts from the lines of a reader as bytes, which need not be text: each item is an `io::Result<`[`Line`]`>`.
    ///
    /// Use this for all that is searched, split or copied as bytes: a byte that is no UTF-8 ends no run. A [`Line`] is
    /// a handle into the block that it was read with, so no line is allocated.
    ///
    /// The reader is any [`BufRead`] that can be sent, or an `Input` of the module `io`, which needs the feature `io`.
    /// Use `io::stdin()` of that module for the standard input of a tool: its read ends when the token is cancelled,
    /// and when the run ends early. Any other reader that waits holds the run up until its call returns. A locked
    /// standard input cannot be sent to another thread; `BufReader::new(io::stdin())` can.
    ///
    /// A line ends with `\n` or `\r\n`, which it comes without, as with [`BufRead::lines`]; the last one may lack its
    /// end. Directly behind the source, [`delimiter`](Self::delimiter) sets another end,
    /// [`keep_ends`](Self::keep_ends) keeps the ends, and [`longest_line`](Self::longest_line) sets how long a line may
    /// be: 1 GiB if it is not called.
    ///
    /// No line is held back while the reader waits for more. How far the reader has been read when the run ends early
    /// is not specified.
    ///
    /// # Costs
    ///
    /// One worker copies the reader's buffer, up to its last end of a line, and all workers cut it. Give the reader a
    /// buffer of 64 KiB. A handle costs two atomic operations: where less than some 50 ns are spent on a line, as by a
    /// search, [`from_line_blocks`](Pipeline::from_line_blocks) is quicker.
    ///
    /// # Cancellation
    ///
    /// The lines that lie in the buffer of an `Input` when the run ends early are dropped with it.
    ///
    /// # Errors
    ///
    /// An error of the reader is an item in its place, and so is a line that is too long. The source goes on behind it.
    ///
    /// # Examples
    ///
    /// A `grep` that does not end at a file of another encoding:
    ///
    /// ```
    /// use std::io::{self, BufReader, Write};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let log: &[u8] = b"caf\xe9 open\nbar closed\nzoo open\r\n";
    /// let mut out = Vec::new();
    /// Pipeline::from_byte_lines(BufReader::with_capacity(1 << 16, log))
    ///     .try_map(|line| line)
    ///     .filter(|line| line.ends_with(b"open"))
    ///     .try_for_each(&CancellationToken::new(), |line| out.write_all(&line))?;
    /// assert_eq!(out, b"caf\xe9 openzoo open");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn from_byte_lines(reader: R) -> Self {
        Pipeline::from_source(FromLines::new(reader))
    }
}

/// Lines of a reader as text, each as an [`io::Result`] of a handle.
impl<R: Reader> Pipeline<Fused<FromLines<R, Text>, Identity<Cancelled>>> {
    /// Starts from the lines of a reader as text: each item is an `io::Result<`[`Line`]`<str>>`.
    ///
    /// It is [`from_byte_lines`](Pipeline::from_byte_lines), with lines that are checked for UTF-8 by the worker that
    /// has them.
    ///
    /// # Errors
    ///
    /// A line that is no UTF-8 is an error in its place, which says its number, and so is an error of the reader.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let input: &[u8] = b"one\ntwo\nca\xe9\n";
    /// let lengths: io::Result<Vec<usize>> = Pipeline::from_text_lines(input)
    ///     .try_map(|line| Ok::<_, io::Error>(line?.chars().count()))
    ///     .collect(&CancellationToken::new());
    /// assert_eq!(lengths.unwrap_err().to_string(), "line 3 is not valid UTF-8");
    /// ```
    pub fn from_text_lines(reader: R) -> Self {
        Pipeline::from_source(FromLines::new(reader))
    }
}

/// Lines of a reader as owned strings.
impl<R: Reader> Pipeline<Fused<FromLines<R, Owned>, Identity<Cancelled>>> {
    /// Starts from the lines of a reader, which may be a pipe or a terminal: the items of [`BufRead::lines`], without
    /// their ends, as `io::Result<String>`.
    ///
    /// So the first stage is most often a `try_map(|line| parse(&line?))`. Reader, ends and errors are those of
    /// [`from_text_lines`](Pipeline::from_text_lines), which is quicker where a line need not be owned.
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
        Pipeline::from_source(FromLines::new(reader))
    }
}

/// Where lines end. These stand directly behind the source.
impl<R: Reader, F: Charset> Pipeline<Fused<FromLines<R, F>, Identity<Cancelled>>>
where
    FromLines<R, F>: Source<Error = Cancelled>,
{
    /// Sets the byte that ends a line, in place of `\n` and `\r\n`: NUL for the output of `find -print0`.
    ///
    /// # Panics
    ///
    /// If the lines are text, and the byte is not ASCII: it could stand in the midst of a character.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let paths: &[u8] = b"a.rs\0with\nline.rs\0";
    /// let rust = Pipeline::from_byte_lines(paths)
    ///     .delimiter(0)
    ///     .try_map(|path| path)
    ///     .filter(|path| path.ends_with(b".rs"))
    ///     .count(&CancellationToken::new())?;
    /// assert_eq!(rust, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn delimiter(self, byte: u8) -> Self {
        assert!(byte.is_ascii() || !F::IS_TEXT, "Pipeline::delimiter({byte:#x}): lines of text end with an ASCII byte");
        self.with_source(|source| source.cut.delimiter = byte)
    }

    /// Keeps the end of each line, as [`BufRead::read_until`] does, for programs that write lines as they were.
    pub fn keep_ends(self) -> Self {
        self.with_source(|source| source.cut.keeps_ends = true)
    }

    /// Sets how many bytes a line may have, without its end. By default they are 1 GiB.
    ///
    /// A longer line is an error in its place, which says its number. What is left of it is read and skipped, so a
    /// source without ends of lines takes no more memory than twice this. An error of the reader in the midst of such a
    /// line is an item, and ends no line: the rest of it is skipped behind the error too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let input: &[u8] = b"short\nfar too long\nshort\n";
    /// let (mut short, mut errors) = (0, Vec::new());
    /// Pipeline::from_byte_lines(input).longest_line(5).for_each(&CancellationToken::new(), |line| match line {
    ///     Ok(_) => short += 1,
    ///     Err(error) => errors.push(error.to_string()),
    /// })?;
    /// assert_eq!((short, errors), (2, vec!["line 2 has more than 5 bytes".to_owned()]));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn longest_line(self, bytes: usize) -> Self {
        self.with_source(|source| source.cut.longest = bytes)
    }
}
