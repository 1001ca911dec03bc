//! What brigade promises, a module a part. A test's name is its claim.

mod abort;
mod channel;
mod drops;
mod errors;
mod limit;
mod model;
mod nested_model;
mod par;
mod pipeline;
mod refused;
mod scope;
mod tidy;
mod token;
mod util;
