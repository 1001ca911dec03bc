//! Reading, writing and waiting that a token ends: pipes, sockets, terminals, files, child processes.

mod child;
mod input;
mod model;
mod output;
mod pipeline;
mod ready;
mod terminal;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use brigade::{CancellationToken, Cancelled, scope};

use crate::util::until_others_sleep;

/// The two ends of a pipe: to read from, and to write to.
fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe")
}

/// Runs `call` on this thread, which must block, and cancels the token when it does. Returns the result of `call`, and
/// how long after the cancel it came.
///
/// For a process of its own, because it watches over all threads.
fn cancelled_while<T>(call: impl FnOnce(&CancellationToken) -> T) -> (T, Duration) {
    let token = CancellationToken::new();
    scope(&CancellationToken::new(), |s| {
        let canceller = s.spawn(|_| {
            until_others_sleep();
            let now = Instant::now();
            token.cancel();
            Ok::<_, Cancelled>(now)
        })?;
        let value = call(&token);
        let ended = Instant::now();
        Ok((value, ended - canceller.join()?))
    })
    .expect("nothing cancels the scope")
}
