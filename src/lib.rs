//! The sequential loop, in parallel.
//!
//! brigade is for CPU-bound batch programs and command-line tools. Replace a `for` loop by one of its calls, and the
//! program gives the same outputs in the same order, the same first error and the same panic, in bounded memory, on all
//! the cores, and can be stopped at any moment. It uses threads throughout: no async, no runtime, no `unsafe`.
//!
//! # Which part for which job
//!
//! | you have | use |
//! |---|---|
//! | a stream (lines, files, a directory walk), and outputs to be written in order | [`Pipeline`]; see [`pipeline`] |
//! | a stream, and one table, buffer or decoder for each thread | [`Pipeline::map_init`] with [`States`] |
//! | lines to search, and no copy of each | [`Pipeline::from_byte_lines`], [`Pipeline::from_line_blocks`] |
//! | pipelines that are split, joined or zipped; retries and time limits of an item | the recipes of [`pipeline`] |
//! | a stream of which a broken item must not end the run | [`Pipeline::keep_going`] |
//! | a collection in memory, and want another, or one value | [`par_map`], [`par_for_each`] and the other maps and folds of [`par`], each with a `try_` form |
//! | the same, with a limit, a progress count, or a list of all failures | [`ParBuilder`] |
//! | a chain of rayon's that must be able to stop | [`ParallelIteratorExt`] |
//! | some different things to do at once | [`scope()`]; see the module [`scope`](mod@scope) |
//! | two or some closures at once, and want all their values, or the first | [`try_join`], [`scope::try_join_all`], [`scope::first_ok`] |
//! | many tasks on a few threads, every failure and not only the first, names, stacks, hooks | [`ScopeBuilder`], [`hooks`] |
//! | work that comes over time, jobs with a status, an account | [`Pool`]; see [`pool`] |
//! | a thing that must be able to stop, or to end in time | [`CancellationToken`], which every call above takes; see [`token`] |
//! | input that may fall silent, output that may be full, a child process | `brigade::io`, with the feature `io` |
//! | signals, and the exit status of a program | `brigade::signal`, with the feature `signal` |
//! | at most so many at once, or a second; ticks, retries, one computation for many callers; a state to wait for | [`Semaphore`], [`RateLimiter`] and the others of [`limit`] |
//! | threads that pass messages, written by hand | crossbeam's channels with [`Until`], and [`merge`]; see [`channel`] |
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
//! A `StdinLock` cannot be sent to another thread; `BufReader::new(io::stdin())` can, and `brigade::io::stdin()`, whose
//! read ends with the run. Do not print in a stage while the
//! calling thread holds `stdout().lock()`: the stage would wait for ever.
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
//! # Pools
//!
//! ```
//! use std::time::Duration;
//! use brigade::pool::Close;
//! use brigade::{CancellationToken, PoolBuilder};
//!
//! let token = CancellationToken::new();
//! let pool = PoolBuilder::new(2).queue(100).start(&token);
//! let job = pool.submit(&token, |_job| "42".parse::<u32>())?;
//! assert_eq!(job.wait(&token)?, 42);
//! let account = pool.close(&token, Close::Drain, Duration::from_secs(10))?;
//! assert_eq!((account.accepted, account.jobs.completed), (1, 1));
//! # anyhow::Ok(())
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
//!     // If the receiver is gone, it has failed, and the scope reports its error.
//!     s.named("read").spawn(move |s| Ok(sender.until(s.token()).feed(["three", "little", "words"])?))?;
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
//! The module [`channel`] tells how a channel is closed, and shows worker pools, single results and `select!`.
//!
//! # Limits
//!
//! ```
//! use brigade::{CancellationToken, Pipeline, Rate, RateLimiter, Semaphore};
//!
//! let token = CancellationToken::new();
//! let (requests, memory) = (RateLimiter::new(Rate::per_second(1_000).burst(10)), Semaphore::new(1 << 20));
//! let mut sizes = Vec::new();
//! Pipeline::from_iter([10, 20, 30])
//!     .try_map(|size| {
//!         requests.acquire(&token)?;
//!         // Held as long as the page is, at most 1 MiB in all.
//!         let share = memory.acquire_owned(&token, size)?;
//!         Ok::<_, anyhow::Error>((vec![0; size], share))
//!     })
//!     .for_each(&token, |(page, _share): (Vec<u8>, _)| sizes.push(page.len()))?;
//! assert_eq!(sizes, [10, 20, 30]);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Cancellation
//!
//! Pass a [`CancellationToken`] to each call that may wait, as a context is passed in Go. Each call returns soon after
//! the token is cancelled: between two items, or at once while it waits. A cancel wakes waiting threads by
//! notification: no thread polls, and idle threads use no CPU time. A thread that is blocked in a system call stops
//! only when that call returns. The module `brigade::io` has reads, writes and waits that do stop, and
//! `brigade::signal` cancels at Ctrl-C.
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
//! A [deadline](CancellationToken::child_with_timeout) is a child token; so is [any of](CancellationToken::any_of)
//! several. A [callback](CancellationToken::on_cancel) stops a thing that knows no token. A call that is not to be
//! stopped takes [`CancellationToken::never`].
//!
//! # Errors
//!
//! A fallible call returns your own error type `E`, which only needs `E: From<Cancelled>`; see [`Cancelled`]. A real
//! error beats its echoes: if one task fails, and others then return [`Cancelled`] because of that, the call returns
//! the failure. (An error because the other end of a channel is gone is an echo too, but only your code can know that;
//! see [`channel`].)
//!
//! # Panics
//!
//! A panic in a closure of yours stops the call that runs it. The call waits for all its threads, then resumes the
//! panic on the calling thread, with its payload as it was thrown. [`ScopeBuilder::collect_all`] returns it as a value
//! instead: a [`Panic`] names the task and, [on request](Panic::install_hook), the place and the backtrace. If a
//! program is compiled with `panic = "abort"`, nothing of this applies: the process ends at the first panic.
//!
//! # Ordering
//!
//! A map gives its outputs in the order of its items, and so does a pipeline unless you say otherwise. If several items
//! fail, the failure of the earliest item counts. The tasks of a scope have no order: there the first failure in time
//! counts, and of several panics that of the task spawned first.
//!
//! # Costs
//!
//! `cargo bench --bench scoreboard` prints these figures for your machine. They were taken on two cores of a virtual
//! machine.
//!
//! - Polling a token costs as much as an atomic load; a message through a channel as much as crossbeam's own calls.
//! - An item of a pipeline costs some 3 ns over its work from data or a ready iterator, and some 25 ns from an
//!   arbitrary iterator. Items of 275 ns run 1.9 and 1.8 times as fast as in the plain loop.
//! - A map costs as much as rayon's own.
//! - A task of a scope costs its thread, 20 to 80 µs, or some 0.1 µs in a scope with a limit.
//!
//! # What this is not
//!
//! - No async, and no bridge to it.
//! - No detached threads: each thread is owned by a call, which joins it before it returns. The one exception is the
//!   clock, a thread that exists while a deadline is armed.
//! - No work-stealing scheduler of its own: the maps run on rayon's.
//! - No timeouts that abandon a running closure.
//!
//! # Features
//!
//! The default build has none of them, and depends on crossbeam, `parking_lot`, rayon and thiserror. Both are for
//! Unix, and add nothing elsewhere.
//!
//! - `io` adds the module `io`, on rustix: three small crates.
//! - `signal` adds the module `signal`, on signal-hook and rustix.
//!
//! # Keeping unowned threads out of your own code
//!
//! Clippy can forbid the calls that brigade replaces. This is brigade's own `clippy.toml`. Copy it, and allow the lint
//! `clippy::disallowed_methods` at each exception.
//!
//! ```toml
#![doc = include_str!("../clippy.toml")]
//! ```

mod error;
mod panic;

mod failure;
mod failures;

mod states;

mod sync;

// The models of `tests/loom/` alone see this module as public: without them its items cannot be reached, and with
// them it is no part of the documentation. `expect` does not fit, because each lint fires in one of the two builds.
#[cfg_attr(not(brigade_loom), allow(unreachable_pub))]
#[cfg_attr(brigade_loom, allow(missing_docs, missing_debug_implementations))]
mod event;
mod thread;

pub mod token;

mod item_tokens;

pub mod channel;

#[cfg(all(unix, feature = "io"))]
pub mod io;

pub mod limit;

mod workers;

pub mod hooks;
pub mod scope;

pub mod par;

pub mod pipeline;

pub mod pool;

#[cfg(all(unix, feature = "signal"))]
pub mod signal;

pub use channel::{Until, merge};
pub use error::{CancelReason, Cancelled, FromError};
#[cfg(brigade_loom)]
#[doc(hidden)]
pub use event::{Event, Ticket};
pub use failure::{Failure, Panic};
pub use failures::Failures;
pub use limit::{Rate, RateLimiter, Semaphore};
pub use par::{ParBuilder, ParallelIteratorExt, par_for_each, par_map, try_par_for_each, try_par_map};
pub use pipeline::Pipeline;
pub use pool::{Pool, PoolBuilder};
pub use scope::{ScopeBuilder, scope, try_join};
pub use states::States;
#[cfg(brigade_loom)]
#[doc(hidden)]
pub use sync::PAST;
pub use token::CancellationToken;

/// The examples of the README, as doc tests. Some need the features.
#[cfg(all(doctest, unix, feature = "io", feature = "signal"))]
#[doc = include_str!("../README.md")]
struct Readme;
