//! What brigade promises, a module a part. A test's name is its claim.

mod abort;
mod callback;
mod channel;
mod deadline;
mod errors;
mod feedback_model;
mod model;
mod nested_model;
mod par;
mod par_adapt;
mod par_forms;
mod pipeline;
mod pipeline_cancel;
mod pipeline_end;
mod pipeline_model;
mod pipeline_parts;
mod refused;
mod scope;
mod scope_edges;
mod scope_limit;
mod scope_peers;
mod scope_phases;
mod scope_policy;
mod tidy;
mod token;
mod util;
