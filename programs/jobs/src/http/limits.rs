//! [`Limits`]: how much a client may send, how many there may be, and how long they may take.

use std::time::Duration;

/// How much a client may send, how many clients there may be, and how long they may take.
///
/// The defaults: 8 KiB, 16 KiB, 1 MiB, 64 MiB, 512 connections; 10 s for a request, 60 s idle, 10 s for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of the request line. More is 414.
    pub line: usize,
    /// The bytes of the request line and the headers. More is 431, as are more than 64 headers.
    pub head: usize,
    /// The bytes of the body. More is 413.
    pub body: usize,
    /// The bytes of all bodies that are read or answered at once. A further one is refused with 503 before it is read.
    /// A body that has come with its head is not counted: the connection's buffer, of 32 KiB at most, has it already.
    pub bodies: usize,
    /// The connections that are open at once. Of further ones, 16 at a time are answered by 503, and the others are
    /// closed without a response.
    pub connections: usize,
    /// The time from the first byte of a request to its last. Longer is 408.
    pub request: Duration,
    /// The time between a response and the first byte of the next request. Then the connection is closed.
    pub idle: Duration,
    /// The time in which the client must have taken a response. Then the connection is closed.
    pub response: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line: 8 << 10,
            head: 16 << 10,
            body: 1 << 20,
            bodies: 64 << 20,
            connections: 512,
            request: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            response: Duration::from_secs(10),
        }
    }
}
