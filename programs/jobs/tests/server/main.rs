//! The program `jobs`, as a child process with clients of its own.

#[path = "../../../../tests/it/util.rs"]
#[allow(clippy::disallowed_methods, dead_code, unused_imports, unused_macros, reason = "helpers of the crate's tests")]
mod util;

mod client;
mod close;
mod curl;
mod cut_off;
mod disk;
mod durable;
mod options;
mod process;
mod requests;
