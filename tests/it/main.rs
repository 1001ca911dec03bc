//! What brigade promises, a module a part. A test's name is its claim.

mod abort;
mod channel;
mod drops;
mod errors;
mod feedback_model;
mod model;
mod nested_model;
mod par;
mod pipeline;
mod pipeline_cancel;
mod pipeline_drops;
mod pipeline_end;
mod pipeline_limits;
mod pipeline_located;
mod pipeline_model;
mod pipeline_parts;
mod refused;
mod scope;
mod tidy;
mod token;
mod util;
