//! What brigade promises, a module a part. A test's name is its claim.
#![allow(clippy::disallowed_methods, reason = "tests catch panics, fill channels, and leave their process")]

mod abort;
mod channel;
mod drops;
mod errors;
#[cfg(all(unix, feature = "io"))]
mod io;
mod limit;
mod model;
mod nested_model;
mod par;
mod pipeline;
mod pool;
mod refused;
mod scope;
#[cfg(all(unix, feature = "signal"))]
mod signal;
#[cfg(all(unix, any(feature = "io", feature = "signal")))]
mod terminal;
mod tidy;
mod token;
mod util;
