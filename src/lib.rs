//! brigade
mod error;
mod panic;
mod thread;
mod token;
mod pipeline;

pub use error::{CancelReason, Cancelled, Failure, Panic};
pub use pipeline::Pipeline;
pub use token::{CancellationToken, DropGuard, Never};
