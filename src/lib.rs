//! brigade
mod error;
mod panic;
mod par;
mod pipeline;
mod scope;
mod thread;
mod token;

pub use error::{CancelReason, Cancelled, Failure, Panic};
pub use par::{par_map, try_par_map};
pub use pipeline::Pipeline;
pub use scope::{Scope, ScopedTask, scope, scope_all};
pub use token::{CancellationToken, DropGuard, Never};
