//! [`Output`] and [`OutputUntil`]: writing.

use std::io::{self, Write};
use std::os::fd::AsFd;

use super::port::Port;
use super::wait::Wait;
use crate::token::CancellationToken;

/// A descriptor to write to, whose writes a token ends.
///
/// It takes anything that has a descriptor: a pipe, a socket, a terminal, a child's input, a file, or a reference to
/// one. It is written by a [view](Self::until), and has no buffer: put a [`BufWriter`](io::BufWriter) around the view
/// where the writes are small.
#[derive(Debug)]
pub struct Output<F> {
    port: Port<F>,
}

impl<F: AsFd> Output<F> {
    /// Creates an output.
    pub fn new(fd: F) -> Self {
        Output { port: Port::for_output(fd) }
    }

    /// Returns a writer whose calls end when `token` is cancelled.
    ///
    /// A write of at most `PIPE_BUF` bytes (4,096 on Linux) into a pipe is whole: it is written at once or not at all.
    ///
    /// # Cancellation
    ///
    /// Each write checks the token first, and a write that waits for room ends at once. A regular file, or a block
    /// device, is written as std writes it: the token ends it between two writes. So a [`BufWriter`](io::BufWriter)
    /// that is dropped after a cancel loses what is in its buffer: flush it before, or take it
    /// [apart](io::BufWriter::into_parts) and write the rest through a view of another token.
    ///
    /// # Errors
    ///
    /// The writer's calls return [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system. A
    /// `write` that returns an error has written nothing. A `write_all`, or a [`BufWriter`](io::BufWriter), may have
    /// written a part; the `BufWriter` keeps the rest in its buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use brigade::CancellationToken;
    /// use brigade::io::Output;
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(1));
    ///
    /// // The other end reads nothing, so there is no room in the end.
    /// let mut output = Output::new(ours);
    /// let error = output.until(&token).write_all(&vec![0; 1 << 24]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// # drop(theirs);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn until(&mut self, token: &CancellationToken) -> OutputUntil<'_, F> {
        OutputUntil { output: self, wait: Wait::new(token) }
    }

    /// Returns the descriptor's owner.
    pub fn get_ref(&self) -> &F {
        self.port.get_ref()
    }

    /// Gives the descriptor's owner back.
    pub fn into_inner(self) -> F {
        self.port.into_inner()
    }
}

/// A writer of an [`Output`] whose calls end when a token is cancelled.
///
/// [`Output::until`] makes it. It holds a descriptor, or two, when it has waited once. So keep it for a loop of writes.
#[derive(Debug)]
pub struct OutputUntil<'a, F> {
    output: &'a mut Output<F>,
    wait: Wait,
}

impl<F: AsFd> Write for OutputUntil<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.port.write(&mut self.wait, bytes)
    }

    /// Does nothing, because nothing is held back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
