//! What brigade promises, a module a part. A test's name is its claim.

mod abort;
mod channel;
mod drops;
mod errors;
#[cfg(all(unix, feature = "io"))]
mod io;
mod model;
mod nested_model;
mod par;
mod pipeline;
mod refused;
mod scope;
mod tidy;
mod token;
mod util;
