//! [`readable`], [`writable`], [`accept`] and [`incoming`]: waiting for a descriptor that the program reads or writes
//! itself.

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
/// Each call makes the descriptor by which the token ends its wait. Use [`incoming`] for a loop.
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
/// [`Cancelled`](crate::Cancelled) as an [`io::Error`], or the error of the system. If the program has no descriptor
/// free, that error comes at once, even if there is no connection to accept.
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
    accept_by(&mut Wait::new(token), listener)
}

fn accept_by<L: Listener>(wait: &mut Wait, listener: &L) -> io::Result<(L::Stream, L::Address)> {
    loop {
        wait.ready(listener, PollFlags::IN)?;
        match listener.accept_now() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            accepted => return accepted,
        }
    }
}

/// Returns the connections of a listener: a loop of [`accept`], ended by a token.
///
/// It makes the descriptor by which the token ends the waits, and keeps it. So a program without a free descriptor
/// waits for a connection all the same.
///
/// # Cancellation
///
/// The iterator ends when the token is cancelled. A wait ends at once.
///
/// # Errors
///
/// The error of the system if it refuses the descriptor.
///
/// The iterator does not end at an error. After most of them, such as a connection that the client has given up, the
/// next connection may well come. But if a connection stays where it is, because the program has no descriptor free for
/// it, the next error comes at once. So [sleep](CancellationToken::sleep) a moment after such an error.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use brigade::{CancellationToken, io};
///
/// /// Serves until the token is cancelled.
/// fn serve(listener: &TcpListener, token: &CancellationToken) -> std::io::Result<()> {
///     for connection in io::incoming(listener, token)? {
///         match connection {
///             Ok((mut stream, _peer)) => stream.write_all(b"hello\n")?,
///             Err(error) => {
///                 eprintln!("accept: {error}");
///                 token.sleep(Duration::from_millis(50))?;
///             }
///         }
///     }
///     Ok(())
/// }
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// serve(&listener, &CancellationToken::new().child_with_timeout(Duration::from_millis(10)))?;
/// assert_eq!(std::io::read_to_string(client)?, "hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn incoming<'a, L: Listener>(listener: &'a L, token: &CancellationToken) -> io::Result<Incoming<'a, L>> {
    Ok(Incoming { listener, wait: Wait::with_bell(token)? })
}

/// The connections of a listener, until a token is cancelled: [`incoming`] makes it.
#[derive(Debug)]
#[must_use = "it accepts nothing until it is iterated"]
pub struct Incoming<'a, L> {
    listener: &'a L,
    wait: Wait,
}

impl<L: Listener> Iterator for Incoming<'_, L> {
    type Item = io::Result<(L::Stream, L::Address)>;

    fn next(&mut self) -> Option<Self::Item> {
        match accept_by(&mut self.wait, self.listener) {
            Err(_) if self.wait.check().is_err() => None,
            accepted => Some(accepted),
        }
    }
}

/// A listener of std's, for [`accept`] and [`incoming`].
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
