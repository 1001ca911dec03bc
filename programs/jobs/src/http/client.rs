//! [`Client`]: the other end of a request, for a handler that waits.

use std::fmt;
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use brigade::{CancelReason, CancellationToken, io};

/// The client of a request: for a handler that waits, and notices that the client is gone.
pub struct Client<'a> {
    stream: &'a TcpStream,
    address: IpAddr,
    token: CancellationToken,
    /// The client has sent more than the request already.
    has_sent_more: bool,
}

/// How a [wait](Client::wait) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The event has come.
    Event,
    /// The time is over.
    Timeout,
    /// The client is gone, or the server ends.
    Gone,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        address: IpAddr,
        connection: &CancellationToken,
        has_sent_more: bool,
    ) -> Self {
        Client { stream, address, token: connection.child_token(), has_sent_more }
    }

    /// Returns the address of the client.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the token of the request: cancelled when a wait finds the client gone, and when the server ends.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Waits until `event` is cancelled, for at most `timeout`, and while the client is there.
    ///
    /// A client that has closed its side of the connection counts as gone. A client that has sent its next request
    /// already is not watched, because the end of the connection stands behind that request.
    ///
    /// # Cancellation
    ///
    /// It ends with [`Waited::Gone`] when the connection's token is cancelled.
    pub fn wait(&self, event: &CancellationToken, timeout: Duration) -> Waited {
        let timed = self.token.child_with_timeout(timeout);
        let wake = CancellationToken::any_of([&timed, event]);
        // Without descriptors for the watch, the wait goes on unwatched.
        if !self.has_sent_more && io::readable(self.stream, &wake).is_ok() {
            match self.stream.peek(&mut [0]) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    self.token.cancel_with(CancelReason::Other("the client is gone"));
                }
            }
        }
        wake.wait();
        if event.is_cancelled() {
            Waited::Event
        } else if self.token.is_cancelled() {
            Waited::Gone
        } else {
            Waited::Timeout
        }
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).field("token", &self.token).finish_non_exhaustive()
    }
}
