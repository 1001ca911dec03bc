//! The sequential loop, in parallel.
//!
//! brigade is for CPU-bound batch programs and command-line tools. Whoever replaces a `for` loop by one of its calls gets
//! the same outputs in the same order, the same first error and the same panic, in bounded memory, on all the cores, and
//! can stop it at any moment. It is threads throughout: no async, no runtime, no `unsafe`.
//!
//! # Which part for which job
//!
//! | you have | use |
//! |---|---|
//! | a stream: lines, files, a directory walk; outputs to be written in order | [`Pipeline`] |
//! | a collection in memory, and you want another, or one value | [`par_map`], [`par_for_each`], [`par_reduce`], [`par_fold`], each with a `try_` form; [`par_map_init`] with a state a thread |
//! | the same, with a limit, a progress count, or all that failed | [`ParBuilder`] |
//! | a chain of rayon's that must be able to stop | [`ParallelIteratorExt`] |
//! | some different things to do at once | [`scope`] |
//! | two or some closures at once, and all their values, or the first | [`try_join`], [`try_join_all`], [`first_ok`] |
//! | many tasks on a few threads; every failure, not the first; names, stacks, hooks | [`ScopeBuilder`] |
//! | something that must be able to stop, or to end in time | [`CancellationToken`], which every call above takes |
//! | threads that pass messages, written by hand | crossbeam's channels with [`Until`], and [`merge`] |
//!
//! # Pipelines
//!
//! ```
//! use std::io::{self, BufRead, Write};
//! use brigade::{CancellationToken, Pipeline};
//!
//! fn square_all(input: impl BufRead + Send, mut output: impl Write) -> anyhow::Result<()> {
//!     Pipeline::from_iter(input.lines())
//!         .try_map(|line| Ok::<u64, anyhow::Error>(line?.parse()?))
//!         .map(|number| number * number)
//!         .try_for_each(&CancellationToken::new(), |square| Ok(writeln!(output, "{square}")?))
//! }
//!
//! let mut output = Vec::new();
//! square_all(&b"1\n2\n3\n"[..], &mut output)?;
//! assert_eq!(output, b"1\n4\n9\n");
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! A `StdinLock` cannot be sent to another thread; `BufReader::new(io::stdin())` can. A stage that prints waits for
//! ever while the calling thread holds `stdout().lock()`.
//!
//! # Parallel maps
//!
//! ```
//! use brigade::{CancellationToken, try_par_map};
//!
//! let token = CancellationToken::new();
//! let sizes = try_par_map(&token, &["Cargo.toml", "README.md"], |name| {
//!     std::fs::metadata(name).map(|found| found.len())
//! })?;
//! assert!(sizes.iter().all(|size| *size > 0));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Scopes
//!
//! ```
//! use brigade::{CancellationToken, scope};
//!
//! let (left, right) = scope(&CancellationToken::new(), |s| {
//!     let left = s.named("left").spawn(|_| Ok((1..=10).sum::<u32>()))?;
//!     let right = s.named("right").spawn(|_| Ok((1..=10).product::<u32>()))?;
//!     Ok::<_, anyhow::Error>((left.join()?, right.join()?))
//! })?;
//! assert_eq!((left, right), (55, 3_628_800));
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Channels
//!
//! ```
//! use brigade::{CancellationToken, Until, scope};
//! use crossbeam::channel::bounded;
//!
//! let longest = scope(&CancellationToken::new(), |s| {
//!     let (sender, receiver) = bounded(16);
//!     s.named("read").spawn(move |s| match sender.until(s.token()).send_all(["three", "little", "words"]) {
//!         // That nobody receives any more is for the receiver to explain.
//!         Err(error) if !error.is_disconnected() => Err(error.into()),
//!         _ => Ok(()),
//!     })?;
//!     let mut longest = "";
//!     for word in receiver.until(s.token()) {
//!         let word = word?;
//!         if word.len() > longest.len() {
//!             longest = word;
//!         }
//!     }
//!     Ok::<_, anyhow::Error>(longest)
//! })?;
//! assert_eq!(longest, "little");
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! See [`Until`] for who closes a channel, results handed over once, worker pools, and `select!`.
//!
//! # Cancellation
//!
//! A [`CancellationToken`] is passed to each call that may wait, as a context is in Go, and each of them returns soon
//! after it is cancelled: between two items, or at once where it waits. Waiting is woken by notification; nothing polls,
//! and idle threads cost no CPU time. What is blocked in a system call can be left only when that call returns.
//!
//! ```
//! use brigade::{CancelReason, CancellationToken, Cancelled, Pipeline};
//!
//! let token = CancellationToken::new();
//! let result = Pipeline::from_iter(0..).for_each(&token, |number| {
//!     if number == 1_000 {
//!         token.cancel();
//!     }
//! });
//! assert_eq!(result, Err(Cancelled::new(CancelReason::Requested)));
//! ```
//!
//! A [deadline](CancellationToken::child_with_timeout) is a child token; so is [any of](CancellationToken::any_of) several.
//! What knows nothing of tokens is stopped by a [callback](CancellationToken::on_cancel). A call that is not to be stopped
//! takes [`CancellationToken::never`].
//!
//! # Errors
//!
//! A fallible call returns your own error type `E`, which needs no more than `E: From<Cancelled>`; see [`Cancelled`].
//! The real error beats its echo: when one task fails and others then end as cancelled, the failure is what you get. (A
//! channel whose other end is gone is an echo too, but only you know that: see [`Until`].)
//!
//! # Panics
//!
//! A panic in a closure of yours stops the call it belongs to, waits for every thread of that call, and is then resumed
//! on the calling thread with its payload as it was thrown. [`ScopeBuilder::collect_all`] returns it as a value instead, a
//! [`Panic`], which names the task and, [on request](Panic::install_hook), place and backtrace. Where a program is compiled with `panic = "abort"`, nothing of this applies: the
//! process is gone at the first panic.
//!
//! # Order
//!
//! A pipeline gives its outputs in the order of their inputs unless it is told not to, and a map always does. Where
//! several items fail, the lowest counts. In a scope, whose tasks have no order, the first failure in time counts, and
//! of several panics that of the task spawned first.
//!
//! # Costs
//!
//! On two cores of a virtual machine: polling a token costs what an atomic load does, a message through a channel what
//! crossbeam's own calls cost. An item of a pipeline costs some
//! 3 ns over its work if it comes from data or a ready iterator, some 25 ns if it comes from an arbitrary one; items of
//! 275 ns run 1.9 and 1.8 times as fast as in the plain loop. A map costs what rayon's own does. A task of a scope costs
//! its thread, 20 to 80 µs, or some 0.1 µs on the threads of a scope with a limit. `cargo bench --bench scoreboard` prints
//! these figures for your machine.
//!
//! # What this is not
//!
//! No async, and no bridge to it. No detached threads: a thread is owned by a call, which joins it before it returns (but
//! for the clock, one thread that is there while a deadline is armed). No work-stealing scheduler of its own: the maps
//! run on rayon's. No timeouts that abandon a running closure.
//!
//! # Keeping unowned threads out of your own code
//!
//! Clippy can forbid what brigade replaces. This is brigade's own `clippy.toml`; copy it, and allow the lint
//! `clippy::disallowed_methods` where you mean it.
//!
//! ```toml
#![doc = include_str!("../clippy.toml")]
//! ```

mod error;
mod failure;
mod panic;

mod failures;
mod sync;
mod thread;
mod token;

mod channel;

mod hooks;
mod scope;

mod par;

mod pipeline;

pub use channel::{Merge, ReceiverUntil, RecvError, RecvIter, SendError, SenderUntil, TryRecvIter, Until, merge};
pub use error::{CancelReason, Cancelled};
pub use failure::{Failure, Panic};
pub use failures::Failures;
pub use hooks::{Hooks, Outcome, Task};
pub use par::{
    Located, OrCancelled, ParBuilder, ParallelIteratorExt, Progress, UntilCancelled, par_fold, par_for_each, par_map,
    par_map_init, par_reduce, try_par_fold, try_par_for_each, try_par_map, try_par_map_init, try_par_reduce,
};
pub use pipeline::{Chain, Pipeline};
pub use scope::{
    FailFast, KeepGoing, Scope, ScopeBuilder, ScopedTask, TrySpawnError, first_ok, scope, try_join, try_join_all,
    try_join3, try_join4,
};
pub use token::{CancelCallback, CancellationToken, DropGuard, Never};

// For tests/loom.rs: what is not public must be modelled too.
#[cfg(brigade_loom)]
#[doc(hidden)]
pub use token::{Event, Ticket};
