//! Pipelines: the sequential loop, in parallel.

mod cancel_model;
mod cancel_program;
mod drops;
mod end;
mod feedback_model;
mod limits;
mod located;
mod model;
mod parts;
mod run;
mod source;
mod stop;

use brigade::CancellationToken;

pub(crate) use cancel_model::check as check_cancelled;
pub(crate) use cancel_program::programs as cancelled_programs;
pub(crate) use feedback_model::{check as check_feedback, programs as feedback_programs};

fn live() -> CancellationToken {
    CancellationToken::new()
}
