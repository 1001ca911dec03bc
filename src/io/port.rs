//! [`Port`]: reading and writing a descriptor so that only `poll` waits.
//!
//! The flag `O_NONBLOCK` belongs to the open file, which a program often shares with its parent and its siblings: a
//! shell whose terminal has become non-blocking breaks. So this module never sets it, and a port has one of three ways:
//!
//! - A regular file, and a block device, is read and written as it is, because its calls end by themselves. Asked not
//!   to wait, such a file may say each time that it would, while `poll` calls it ready: then a port could spin.
//! - Linux can be asked not to wait in a single call (`RWF_NOWAIT`; for pipes from Linux 6.4 on). The port tries first,
//!   and polls only when there is nothing to read, or no room. While bytes flow, that is one system call a read.
//! - Otherwise the port polls, and reads what there is, or writes as much as `poll` allows: `PIPE_BUF` bytes.
//!
//! In the third way, the call after the `poll` may wait if another process has taken the bytes or the room between the
//! two.
//!
//! A terminal has the third way, and `poll` calls it writable when it has room for one byte. So for output Linux opens
//! it once more: that is another open file, whose flag is the port's own. Some names of terminals stand for another
//! one at each opening, and the system may refuse. Then the port writes in pieces that fit into the least room.

use std::io::{self, IoSlice, IoSliceMut, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::Errno;

use super::wait::Wait;

/// The number of bytes that a pipe takes without waiting when `poll` calls it writable: `PIPE_BUF`.
const PIPE_BUF: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// The number of bytes that a terminal takes without waiting when `poll` calls it writable, if none of them is a
/// control character.
///
/// On Linux 6.18, `poll` on either side of a pseudo terminal allows a piece of 1,024 bytes, but one of 4,096 may wait.
/// The system hands 256 bytes on as one piece.
const TERMINAL: usize = 256;

/// How often in a row `poll` may call a descriptor ready on which the call would wait.
///
/// Another process may have taken the bytes. But there may be kinds of files of which both are true for long: a port
/// that has never succeeded without waiting gives that way up, and others pause, so that they do not spin.
const CONTRADICTIONS: u32 = 8;

/// How long a port pauses after so many contradictions.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    NoWait {
        has_worked: bool,
    },
    Poll,
    /// The same, for output to a terminal.
    PollTerminal,
}

/// A descriptor, and the way in which it is used.
#[derive(Debug)]
pub(super) struct Port<F> {
    fd: F,
    /// The same file, opened once more.
    own: Option<OwnedFd>,
    way: Way,
}

impl<F: AsFd> Port<F> {
    pub(super) fn new(fd: F) -> Self {
        // A descriptor that cannot be asked is closed, and the first call says so.
        let file_type = fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match matches!(file_type, Ok(FileType::RegularFile | FileType::BlockDevice)) {
            true => Way::Plain,
            false if cfg!(target_os = "linux") => Way::NoWait { has_worked: false },
            false => Way::Poll,
        };
        Port { fd, own: None, way }
    }

    /// For a port that only writes.
    pub(super) fn for_output(fd: F) -> Self {
        let mut port = Port::new(fd);
        if port.fd.as_fd().is_terminal() {
            port.own = open_once_more(port.fd.as_fd());
            port.way = if port.own.is_some() { Way::Plain } else { Way::PollTerminal };
        }
        port
    }

    pub(super) fn get_ref(&self) -> &F {
        &self.fd
    }

    pub(super) fn into_inner(self) -> F {
        self.fd
    }

    pub(super) fn read(&mut self, wait: &mut Wait, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(wait, PollFlags::IN, |fd, way| match way {
            Way::NoWait { .. } => read_no_wait(fd, buffer),
            Way::Plain | Way::Poll | Way::PollTerminal => rustix::io::read(fd, &mut *buffer),
        })
    }

    pub(super) fn write(&mut self, wait: &mut Wait, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() && matches!(self.way, Way::Poll | Way::PollTerminal) {
            // It needs no room. It is a call all the same, because an empty message is one.
            wait.check()?;
            return Ok(rustix::io::write(&self.fd, bytes)?);
        }
        self.call(wait, PollFlags::OUT, |fd, way| match way {
            Way::NoWait { .. } => write_no_wait(fd, bytes),
            Way::Poll => rustix::io::write(fd, &bytes[..bytes.len().min(PIPE_BUF)]),
            Way::PollTerminal => rustix::io::write(fd, terminal_piece(bytes)),
            Way::Plain => rustix::io::write(fd, bytes),
        })
    }

    fn call(
        &mut self,
        wait: &mut Wait,
        events: PollFlags,
        mut call: impl FnMut(BorrowedFd<'_>, Way) -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        let Port { fd, own, way } = self;
        let fd = own.as_ref().map_or_else(|| fd.as_fd(), AsFd::as_fd);
        let mut contradictions = 0;
        loop {
            wait.check()?;
            if matches!(way, Way::Poll | Way::PollTerminal) {
                wait.ready(fd, events)?;
            }
            match call(fd, *way) {
                Ok(length) => {
                    if let Way::NoWait { has_worked } = way {
                        *has_worked = true;
                    }
                    return Ok(length);
                }
                Err(Errno::INTR) => {}
                // Except in the second way, an owner has made the file non-blocking.
                Err(Errno::AGAIN) => {
                    if contradictions >= CONTRADICTIONS {
                        if *way == (Way::NoWait { has_worked: false }) {
                            *way = Way::Poll;
                        }
                        wait.pause(PAUSE)?;
                    }
                    contradictions += 1;
                    wait.ready(fd, events)?;
                }
                // The system, or this kind of file, cannot be asked not to wait.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if matches!(way, Way::NoWait { .. }) => *way = Way::Poll,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens a terminal as another open file, which does not block; `None` if the system does not allow it, or would open
/// another terminal.
fn open_once_more(terminal: BorrowedFd<'_>) -> Option<OwnedFd> {
    // A descriptor that is only read from must not become one to write to.
    let is_for_output = fcntl_getfl(terminal).is_ok_and(|flags| flags & OFlags::RWMODE != OFlags::RDONLY);
    if !is_for_output || !opens_to_itself(terminal) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Whether the name by which a terminal was opened stands for the same terminal at the next opening.
#[cfg(target_os = "linux")]
fn opens_to_itself(terminal: BorrowedFd<'_>) -> bool {
    use rustix::fs::{major, minor};
    let Ok(stat) = fstat(terminal) else { return false };
    match (major(stat.st_rdev), minor(stat.st_rdev)) {
        // `/dev/tty`, the controlling terminal of the process that opens it. Only of that one can one ask the session.
        (5, 0) => rustix::termios::tcgetsid(terminal).is_ok(),
        // `/dev/console` and `/dev/tty0`, which may have moved, and `/dev/ptmx`: each opening makes a new terminal.
        (5, 1 | 2) | (4, 0) => false,
        _ => true,
    }
}

#[cfg(not(target_os = "linux"))]
fn opens_to_itself(_terminal: BorrowedFd<'_>) -> bool {
    false
}

/// The first bytes, as many as a terminal with the least room takes.
///
/// The terminal may make several characters of a control character, such as a line feed. That is a piece of its own.
fn terminal_piece(bytes: &[u8]) -> &[u8] {
    let plain = bytes.iter().take(TERMINAL).take_while(|byte| !byte.is_ascii_control()).count();
    &bytes[..plain.max(1).min(bytes.len())]
}

/// Stands for the file's own position, which pipes, sockets and terminals do not have.
#[cfg(target_os = "linux")]
const NO_OFFSET: u64 = u64::MAX;

#[cfg(target_os = "linux")]
fn read_no_wait(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::preadv2(fd, &mut [IoSliceMut::new(buffer)], NO_OFFSET, rustix::io::ReadWriteFlags::NOWAIT)
}

#[cfg(target_os = "linux")]
fn write_no_wait(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], NO_OFFSET, rustix::io::ReadWriteFlags::NOWAIT)
}

#[cfg(not(target_os = "linux"))]
fn read_no_wait(_fd: impl AsFd, _buffer: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(not(target_os = "linux"))]
fn write_no_wait(_fd: impl AsFd, _bytes: &[u8]) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}
