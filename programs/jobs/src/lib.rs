//! A job server over HTTP, of the parts of brigade: a pool runs the jobs, another one has the connections, semaphores
//! bound both, a rate limiter holds clients back, one token closes it all.
//!
//! The program `jobs` is this library and its arguments. The README tells how it is used; [`run`] how it ends.

pub mod http;
pub mod work;

mod record;
mod registry;

mod entry;
mod replay;

mod journal;

mod ledger;

mod app;
mod metrics;

mod api;
mod program;

#[cfg(test)]
#[path = "../../../tests/it/util.rs"]
#[allow(clippy::disallowed_methods, dead_code, unused_imports, unused_macros, reason = "helpers of the crate's tests")]
mod util;

pub use app::Settings;
pub use program::{Options, run};
