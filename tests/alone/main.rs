//! The tests of the features, and of what they rest on, in a crate that compiles soon: to be run with each feature
//! alone.
//!
//! The whole test crate runs these too, with all features.
#![allow(clippy::disallowed_methods, dead_code, unused_imports, unused_macros, reason = "as in the whole test crate")]

#[path = "../it/channel/mod.rs"]
mod channel;
#[cfg(all(unix, feature = "io"))]
#[path = "../it/io/mod.rs"]
mod io;
#[cfg(all(unix, feature = "signal"))]
#[path = "../it/signal/mod.rs"]
mod signal;
#[cfg(all(unix, any(feature = "io", feature = "signal")))]
#[path = "../it/terminal.rs"]
mod terminal;
#[path = "../it/token/mod.rs"]
mod token;
#[path = "../it/util.rs"]
mod util;
