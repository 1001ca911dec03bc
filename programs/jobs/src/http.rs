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
//! Three servers were weighed by trying them. `tiny_http` 0.12 has no timeouts, took a header line of 200 MB into
//! memory, spends a thread on each idle client, and answered no more after it had run out of descriptors. `oxhttp` 0.3
//! cannot be stopped, is held longer than its timeout by a client that sends a byte each half second, and answered one
//! of two pipelined requests. `rouille` brings 99 crates, and polls for its end. So this one is written on `httparse`.
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
