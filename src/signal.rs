//! From signals to a token, and from a result to an exit status: what a program needs around its work.
//!
//! This module needs the feature `signal` and a Unix. Elsewhere the feature adds nothing.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use brigade::{CancellationToken, Pipeline, signal};
//!
//! fn main() -> anyhow::Result<ExitCode> {
//!     let token = CancellationToken::new();
//!     let _guard = signal::cancel_on_signals(&token)?;
//!     Ok(signal::exit(&token, run(&token)))
//! }
//!
//! fn run(token: &CancellationToken) -> anyhow::Result<()> {
//!     Pipeline::from_iter(0_u64..).try_for_each(token, |number| Ok(println!("{number}")))
//! }
//! ```
//!
//! # What a signal does
//!
//! - The first signal cancels the token, with the reason [`Signal`](crate::CancelReason::Signal). The calls that
//!   observe the token return, the program cleans up, and [`exit`] lets the process die by the signal, as a shell
//!   expects.
//! - A second signal, 250 ms or more after the first, takes its default action: the process dies at once. An earlier
//!   one is the same request said twice. `timeout` of the coreutils, for example, sends SIGTERM to the process and then
//!   to its group. If the process was stopped or starved, the 250 ms begin when it runs again.
//! - When the [grace](SignalBuilder::grace) has passed, the process names on the standard error the threads that still
//!   run, and dies by the first signal. If the standard error is full, it dies without that line.
//! - When the last guard is dropped, the signal has its default action again. (If the signal had a handler before the
//!   first guard came, only that handler runs. Linux tells; elsewhere the default action follows the handler.)
//!
//! Linux spares process 1, the first one of a container, the default action of every signal. Where another process
//! would die by a signal, process 1 exits with 128 and the signal's number, such as 143 after SIGTERM.
//!
//! A handler that was there before runs first. Several guards may live at once, and each does its part.
//!
//! A signal that was ignored when the guard is made stays ignored: SIGHUP under `nohup`, SIGINT in a script's `x &`.
//! Linux tells which these are, and so does [`SignalGuard::left_ignored`]; elsewhere the guard takes them over.
//!
//! # Child processes
//!
//! A death at a second signal, or at the end of the grace, runs no code of the program's. The call that waits for a
//! child process, such as `brigade::io::run`, ends with it, and the child and its process group live on. There are two
//! remedies:
//!
//! - Give `io::run` a grace that is shorter than the guard's. Then SIGKILL ends the child before the process dies at
//!   the end of the guard's grace.
//! - Against the second signal, let the system or the child do it: on Linux by `setpriv --pdeathsig KILL` in front of
//!   the child's command, elsewhere by a pipe as the child's input, whose end tells the child that the process is gone.
//!
//! # What is still in a buffer
//!
//! [`exit`] flushes [`std::io::stdout`] before the process dies by a signal; the grace bounds the flush. A
//! [`BufWriter`](std::io::BufWriter) around a view of `brigade::io::stdout` with the token of the signals is another
//! case. After the signal the view writes no more, so what the `BufWriter` holds is lost, without an error in its
//! drop. There are two remedies:
//!
//! - Flush in [`Pipeline::on_idle`](crate::Pipeline::on_idle), so that the buffer is empty while the program waits.
//! - At the end take the rest out by [`into_parts`](std::io::BufWriter::into_parts), and write it through a view whose
//!   token has a deadline of its own, as the example `digest` does.

mod ignored;

mod default_action;

mod watcher;

mod builder;
mod exit;

pub use builder::{SignalBuilder, SignalGuard, cancel_on_signals};
pub use exit::{ExitBuilder, exit};
pub use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
