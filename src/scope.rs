//! [`scope`]: tasks on scoped threads, fan-out and fan-in.

mod builder;
mod cell;
mod crew;
mod forms;
mod handle;
mod hold;
mod launch;
mod pace;
mod shared;
mod task;
mod threads;

use crate::error::Cancelled;
use crate::token::CancellationToken;

pub use builder::ScopeBuilder;
pub use forms::{first_ok, try_join, try_join_all, try_join3, try_join4};
pub use handle::ScopedTask;
pub use task::{Scope, TrySpawnError};

/// Runs `body`, which spawns tasks that may borrow from outside, and returns its value once every task has ended.
///
/// Each task has a thread of its own from the moment it is spawned, so tasks may wait for each other. The first failure
/// in time, be it a task's error, a task's panic, or the body's own error or panic, cancels the scope's token, which
/// every sibling is given; then all are joined. A [`ScopeBuilder`] has what else there is: a limit, other policies, names,
/// hooks.
///
/// # Cancellation
///
/// The scope's token is a child of `token`. The scope itself waits for its tasks, and they end when they notice the
/// cancellation or are done: hand [`Scope::token`] to whatever they wait in. A task is never abandoned, on a timeout
/// neither: it may hold borrows of what the caller owns, locks and files. Give the token a
/// [deadline](CancellationToken::child_with_timeout), and the task something to notice it by.
///
/// # Errors
///
/// The first error in time, of a task or of the body. What other tasks return after that, such as [`Cancelled`], is an
/// echo and dropped. [`Cancelled`], converted, also if the body went on after a [`spawn`](Scope::spawn) was refused, and
/// if a task was skipped. A cancelled token alone is no error: if every task and the body end well, so does the scope.
///
/// # Panics
///
/// A panic of the body or of a task is resumed, payload intact, when all are joined; it counts more than an error. Of
/// several, that of the body is resumed, else that of the task spawned first; of the others
/// [hooks](ScopeBuilder::hooks) are told, as they are of this. A panic in the `Drop` of what a task returned, where nobody
/// joins it, counts as the task's.
///
/// Where a program is compiled with `panic = "abort"`, the process is gone at the first panic.
///
/// # On a rayon worker
///
/// A scope that is called inside a rayon job, such as the closure of [`par_map`](crate::par_map), waits for its tasks,
/// and rayon's pool has one worker less meanwhile. If the tasks use rayon themselves, they wait for that pool: once all
/// its workers wait in scopes, they wait for ever. Keep rayon out of such tasks, or call the scope outside of rayon.
///
/// # Costs
///
/// A task costs its thread, some 20 to 80 µs; in a scope with a [limit](ScopeBuilder::limit) a fraction of a microsecond.
/// For many small items of one kind [`par_map`](crate::par_map) or a [`Pipeline`](crate::Pipeline) is cheaper still.
///
/// # Examples
///
/// The error type has to be named somewhere, as in the last line of this body, since rustc cannot infer it from `?`
/// alone (E0283); it is one that is made [`From<Cancelled>`](Cancelled), so neither `String` nor `Box<dyn Error>` without
/// `Send + Sync`. A task that spawns uses the scope that it is given: the outer one cannot be borrowed for so long.
///
/// ```
/// use std::io;
/// use brigade::{CancellationToken, scope};
///
/// let words = ["three", "words", "here"];
/// let total = scope(&CancellationToken::new(), |s| {
///     let first = s.spawn(|_| Ok(words[0].len()))?;
///     let rest = s.named("rest").spawn(|_| Ok(words[1..].iter().map(|word| word.len()).sum::<usize>()))?;
///     Ok::<_, io::Error>(first.join()? + rest.join()?)
/// })?;
/// assert_eq!(total, 14);
/// # Ok::<(), io::Error>(())
/// ```
///
/// The first failure wins, and the others are told:
///
/// ```
/// use brigade::{CancelReason, CancellationToken, scope};
///
/// let result = scope(&CancellationToken::new(), |s| {
///     s.spawn(|s| {
///         assert_eq!(s.token().wait(), CancelReason::Failed);
///         s.token().check()?;
///         Ok(())
///     })?;
///     s.spawn(|_| Err::<(), _>(anyhow::anyhow!("disk full")))?;
///     Ok(())
/// });
/// assert_eq!(result.unwrap_err().to_string(), "disk full");
/// ```
pub fn scope<'env, T, E, F>(token: &CancellationToken, body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    ScopeBuilder::new().run(token, body)
}

/// What a failure does in a [`Scope`] that ends with it: [`scope`] and [`ScopeBuilder::run`].
#[derive(Debug)]
pub enum FailFast {}

/// What a failure does in a [`Scope`] that goes on past it: [`ScopeBuilder::collect_all`] and
/// [`ScopeBuilder::supervise`].
#[derive(Debug)]
pub enum KeepGoing {}
