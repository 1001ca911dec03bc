//! The HTTP server, driven by raw sockets.

#[path = "../../../../tests/it/util.rs"]
#[allow(clippy::disallowed_methods, dead_code, unused_imports, unused_macros, reason = "helpers of the crate's tests")]
mod util;

mod faults;
mod harness;
mod keep;
mod times;
