//! brigade
mod error;
mod panic;
mod thread;
mod token;
mod scope;
mod par;
mod pipeline;

pub use error::{CancelReason, Cancelled, Failure, Panic};
pub use par::{par_map, try_par_map};
pub use pipeline::Pipeline;
pub use scope::{Scope, ScopedTask, scope, scope_all};
pub use token::{CancellationToken, DropGuard, Never};
