//! A small server of HTTP/1.0 and 1.1, of brigade's parts: [`Server`], [`Handler`], [`Request`], [`Response`].
//!
//! A connection is a job of a pool, so it has a thread while it is open, and the number of connections is bounded by a
//! semaphore. All its reads and writes go through views of `brigade::io` under one token, the connection's. A
//! deadline, the close of the server, and the end of its grace each cancel that token. So the connection needs one
//! wake-up for all its waits: two descriptors, made at its first wait.
//!
//! Limits are on the request line (414), the head (431), the body (413), the time in which a request must have come
//! (408), the time of an idle connection, the time in which a response must be taken, the connections (503), and the
//! bytes of the bodies of them all (503).
//!
//! What is left to a proxy: TLS, HTTP/2, compression of responses. Chunked bodies of requests are refused with 411.

mod client;
mod connection;
mod limits;
mod parse;
mod request;
mod response;
mod server;
mod stats;

pub use self::client::{Client, Waited};
pub use self::limits::Limits;
pub use self::request::{Method, Request};
pub use self::response::Response;
pub use self::server::{Handler, Phases, Server};
pub use self::stats::Stats;
