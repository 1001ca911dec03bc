//! Reading, writing, accepting and waiting for a child process, each ended by a token.
//!
//! This module needs the feature `io` and a Unix. Elsewhere, as on Windows, the feature adds nothing, and reads and
//! writes end when the system's call does.
//!
//! A read from a silent pipe or terminal, and a write into a full one, wait in the system, where no token reaches them.
//! The types of this module wait in `poll(2)` instead, for the descriptor and for the token. A cancel ends the wait at
//! once, no thread polls by the clock, and a waiting thread uses no CPU time.
//!
//! | you want | use |
//! |---|---|
//! | the lines of the standard input, as a pipeline | `Pipeline::from_lines(io::stdin())` |
//! | to read bytes or lines | [`stdin`], or an [`Input`] around a descriptor, and its [`until`](Input::until) |
//! | to write | [`stdout`], or an [`Output`] around a descriptor, and its [`until`](Output::until) |
//! | to read or write by other means | [`readable`], [`writable`] |
//! | to accept connections | [`incoming`] for a loop, [`accept`] for one |
//! | to run another program | [`run`], or [`wait`] for a child that you have started |
//!
//! # Pipelines
//!
//! [`Pipeline::from_lines`](crate::Pipeline::from_lines) takes an [`Input`] itself, and waits for the end of the run
//! too. If a stage or the sink fails, or the sink has seen enough, a read from a silent pipe ends, and the call returns
//! its result at once.
//!
//! ```
//! use std::io::{self, Write};
//! use std::os::unix::net::UnixStream;
//! use brigade::io::Input;
//! use brigade::{CancellationToken, Pipeline};
//!
//! // The other end stays open, and silent.
//! let (ours, mut theirs) = UnixStream::pair()?;
//! theirs.write_all(b"1\ntwo\n")?;
//! let result = Pipeline::from_lines(Input::new(ours))
//!     .try_map(|line| line?.parse::<u64>().map_err(io::Error::other))
//!     .collect::<Vec<_>>(&CancellationToken::new());
//! assert_eq!(result.unwrap_err().to_string(), "invalid digit found in string");
//! # drop(theirs);
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # Costs
//!
//! While bytes flow, a read or a write is one system call on Linux 6.4 and later, and two elsewhere. A view that has
//! waited once holds one descriptor on Linux, and two elsewhere. If the program has none free,
//! a call that would have to wait for the first time returns the error of the system (`EMFILE`) at once.

mod wait;

mod port;

mod child;
mod input;
mod output;
mod ready;

use std::io::{Stdin, Stdout};

pub use child::{run, wait};
pub use input::{Input, InputUntil};
pub use output::{Output, OutputUntil};
pub use ready::{Incoming, Listener, accept, incoming, readable, writable};
pub(crate) use wait::Wait;

/// Returns the standard input, with a buffer of its own.
///
/// It does not share the buffer of [`std::io::stdin`]: bytes that one of them has read, the other does not see. So use
/// one of them in a program, and make one `Input`.
///
/// If the program was started with a descriptor that cannot be read, as by a shell's `0>file`, a read returns the error
/// of the system (`EBADF`). Std's takes that for the end of the input.
#[must_use]
pub fn stdin() -> Input<Stdin> {
    Input::new(std::io::stdin())
}

/// Returns the standard output, without a buffer.
///
/// It does not share the buffer of [`std::io::stdout`], and `print!` writes to that one. If a program uses both, flush
/// std's before each write here.
///
/// If the program was started with a descriptor that cannot be written to, as by a shell's `1</dev/null`, a write
/// returns the error of the system (`EBADF`). Std's drops the bytes, and says that it has written them.
#[must_use]
pub fn stdout() -> Output<Stdout> {
    Output::new(std::io::stdout())
}
