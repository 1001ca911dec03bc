//! [`Input`] and [`InputUntil`]: reading.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;

use super::port::Port;
use super::wait::Wait;
use crate::token::CancellationToken;

/// How many bytes an [`Input`] reads at a time by default: as many as a pipe of Linux holds.
const CAPACITY: usize = 64 << 10;

/// A descriptor to read from, and a buffer: [`BufReader`](io::BufReader) whose reads a token ends.
///
/// It takes anything that has a descriptor: a pipe, a socket, a terminal, a child's output, a file, or a reference to
/// one. It is read by a [view](Self::until). What one view has read and its user has not taken stays in the buffer for
/// the next view, so a cancelled read loses no byte, and reading can go on with another token.
///
/// A [`Pipeline::from_lines`](crate::Pipeline::from_lines) takes it as it is, and also ends its read when the run ends.
#[derive(Debug)]
pub struct Input<F> {
    port: Port<F>,
    buffer: Buffer,
}

/// Bytes that were read and not taken lie between `at` and `end`.
struct Buffer {
    /// Empty until the first read.
    bytes: Box<[u8]>,
    capacity: usize,
    at: usize,
    end: usize,
}

impl Buffer {
    #[inline]
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("capacity", &self.capacity)
            .field("filled", &self.rest().len())
            .finish_non_exhaustive()
    }
}

impl<F: AsFd> Input<F> {
    /// Creates an input with a buffer of 64 KiB, which is allocated at the first read.
    pub fn new(fd: F) -> Self {
        Input::with_capacity(CAPACITY, fd)
    }

    /// Creates an input with a buffer of `capacity` bytes.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    pub fn with_capacity(capacity: usize, fd: F) -> Self {
        assert!(capacity > 0, "an input needs a buffer");
        Input { port: Port::new(fd), buffer: Buffer { bytes: Box::default(), capacity, at: 0, end: 0 } }
    }

    /// Returns a reader whose calls end when `token` is cancelled.
    ///
    /// # Cancellation
    ///
    /// Each call that needs more bytes than the buffer has checks the token first, and a call that waits ends at once.
    /// A regular file, or a block device, is read as std reads it: the token ends it between two reads.
    ///
    /// # Errors
    ///
    /// The reader's calls return [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system. An
    /// interrupted call is repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{BufRead, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use brigade::CancellationToken;
    /// use brigade::io::Input;
    ///
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// theirs.write_all(b"one\ntw")?;
    /// let mut input = Input::new(ours);
    ///
    /// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(1));
    /// let mut line = String::new();
    /// input.until(&token).read_line(&mut line)?;
    /// assert_eq!(line, "one\n");
    /// assert_eq!(input.buffer(), b"tw");
    ///
    /// // The rest of the line does not come.
    /// let error = input.until(&token).read_line(&mut line).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn until(&mut self, token: &CancellationToken) -> InputUntil<'_, F> {
        InputUntil { input: self, wait: Wait::new(token) }
    }

    /// Returns the bytes that were read and that no reader has taken.
    pub fn buffer(&self) -> &[u8] {
        self.buffer.rest()
    }

    /// Returns the descriptor's owner.
    pub fn get_ref(&self) -> &F {
        self.port.get_ref()
    }

    /// Gives the descriptor's owner back, and drops the bytes of the [buffer](Self::buffer).
    pub fn into_inner(self) -> F {
        self.port.into_inner()
    }

    #[inline]
    pub(crate) fn fill(&mut self, wait: &mut Wait) -> io::Result<&[u8]> {
        if self.buffer.at == self.buffer.end {
            self.refill(wait)?;
        }
        Ok(self.buffer.rest())
    }

    /// Reads into the empty buffer. On an error it is as empty as before.
    fn refill(&mut self, wait: &mut Wait) -> io::Result<()> {
        let Input { port, buffer } = self;
        if buffer.bytes.is_empty() {
            buffer.bytes = vec![0; buffer.capacity].into();
        }
        let length = port.read(wait, &mut buffer.bytes)?;
        (buffer.at, buffer.end) = (0, length);
        Ok(())
    }

    #[inline]
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.buffer.at = (self.buffer.at + bytes).min(self.buffer.end);
    }
}

/// A reader of an [`Input`] whose calls end when a token is cancelled.
///
/// [`Input::until`] makes it. It holds a descriptor, or two, when it has waited once. So keep it for a loop of reads.
#[derive(Debug)]
pub struct InputUntil<'a, F> {
    input: &'a mut Input<F>,
    wait: Wait,
}

impl<F: AsFd> Read for InputUntil<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Input { port, buffer: own } = &mut *self.input;
        if own.at == own.end && buffer.len() >= own.capacity {
            return port.read(&mut self.wait, buffer);
        }
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<F: AsFd> BufRead for InputUntil<'_, F> {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill(&mut self.wait)
    }

    #[inline]
    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
    }
}
