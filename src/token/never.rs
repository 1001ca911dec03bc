//! [`Never`]: the message of a channel that carries none.

/// The message type of [`CancellationToken::done`](crate::CancellationToken::done), which has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}
