//! [`readable`], [`writable`] and [`accept`]: waiting for a descriptor that the program reads or writes itself.

use std::io::{self, ErrorKind};
use std::net::{self, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};

use rustix::event::PollFlags;

use super::wait::Wait;
use crate::token::CancellationToken;

/// Waits until a read of `fd` would not wait: there are bytes, the end, or an error.
///
/// # Cancellation
///
/// The token is checked first, and a cancel ends the wait at once.
///
/// # Errors
///
/// [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system.
///
/// # Examples
///
/// ```
/// use std::net::UdpSocket;
/// use brigade::{CancellationToken, io};
///
/// fn receive(socket: &UdpSocket, token: &CancellationToken) -> std::io::Result<Vec<u8>> {
///     let mut message = vec![0; 1500];
///     io::readable(socket, token)?;
///     let (length, _from) = socket.recv_from(&mut message)?;
///     message.truncate(length);
///     Ok(message)
/// }
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// socket.send_to(b"hello", socket.local_addr()?)?;
/// let token = CancellationToken::new();
/// assert_eq!(receive(&socket, &token)?, b"hello");
/// token.cancel();
/// assert!(receive(&socket, &token).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn readable(fd: &impl AsFd, token: &CancellationToken) -> io::Result<()> {
    Wait::new(token).ready(fd, PollFlags::IN)
}

/// Waits until a small write to `fd` would not wait: there is room, or an error.
///
/// # Cancellation
///
/// The token is checked first, and a cancel ends the wait at once.
///
/// # Errors
///
/// [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system.
pub fn writable(fd: &impl AsFd, token: &CancellationToken) -> io::Result<()> {
    Wait::new(token).ready(fd, PollFlags::OUT)
}

/// Accepts a connection: `listener.accept()`, ended by a token.
///
/// It takes a [`TcpListener`] or a [`UnixListener`]. If several threads or processes accept from one listener, make it
/// [non-blocking](TcpListener::set_nonblocking): otherwise a caller may wait in the system, and not see the token,
/// after another one has taken the connection.
///
/// # Cancellation
///
/// The token is checked first, and a cancel ends the wait at once.
///
/// # Errors
///
/// [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use brigade::{CancellationToken, io};
///
/// let token = CancellationToken::new();
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (_server, peer) = io::accept(&listener, &token)?;
/// assert_eq!(peer, client.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn accept<L: Listener>(listener: &L, token: &CancellationToken) -> io::Result<(L::Stream, L::Address)> {
    let mut wait = Wait::new(token);
    loop {
        wait.ready(listener, PollFlags::IN)?;
        match listener.accept_now() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            accepted => return accepted,
        }
    }
}

/// A listener of std's, for [`accept`].
pub trait Listener: AsFd + sealed::Sealed {
    /// The connection that it accepts.
    type Stream;
    /// The address of the other end.
    type Address;

    #[doc(hidden)]
    fn accept_now(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Address = net::SocketAddr;

    fn accept_now(&self) -> io::Result<(TcpStream, net::SocketAddr)> {
        self.accept()
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Address = unix::SocketAddr;

    fn accept_now(&self) -> io::Result<(UnixStream, unix::SocketAddr)> {
        self.accept()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::net::TcpListener {}
    impl Sealed for std::os::unix::net::UnixListener {}
}
