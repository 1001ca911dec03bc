//! [`scope`]: tasks on scoped threads, fan-out and fan-in.

mod task;

use std::sync::Arc;

use crate::error::{Cancelled, Failure, Panic};
use crate::panic;
use crate::thread;
use crate::token::CancellationToken;

use task::{Order, Shared};
pub use task::{Scope, ScopedTask};

/// Runs `body`, which spawns tasks that may borrow from outside, and returns its value once every task has ended.
///
/// Each task has a thread of its own from the moment it is spawned, so tasks may wait for each other. The first failure
/// in time, be it a task's error, a task's panic, or the body's own error or panic, cancels the scope's token, which
/// every sibling is given; then all are joined.
///
/// # Cancellation
///
/// The scope's token is a child of `token`. The scope itself waits for its tasks, and they end when they notice the
/// cancellation or are done: hand [`Scope::token`] to whatever they wait in.
///
/// # Errors
///
/// The first error in time, of a task or of the body. What other tasks return after that, such as [`Cancelled`], is an
/// echo and dropped. [`Cancelled`], converted, also if the body went on after a [`spawn`](Scope::spawn) was refused.
/// A cancelled token alone is no error: if every task and the body end well, so does the scope.
///
/// # Panics
///
/// A panic of the body or of a task is resumed, payload intact, when all are joined; it counts more than an error. Of
/// several, that of the body is resumed, else that of the task spawned first.
///
/// # On a rayon worker
///
/// A scope that is called inside a rayon job, such as the closure of [`par_map`](crate::par_map), waits for its tasks,
/// and rayon's pool has one worker less meanwhile. If the tasks use rayon themselves, they wait for that pool: once all
/// its workers wait in scopes, they wait for ever. Keep rayon out of such tasks, or call the scope outside of rayon.
///
/// # Costs
///
/// A task costs its thread, some 20 to 80 µs. For many small tasks use [`par_map`](crate::par_map) or a
/// [`Pipeline`](crate::Pipeline).
///
/// # Examples
///
/// The error type has to be named somewhere, as in the last line of this body, since rustc cannot infer it from `?`
/// alone (E0283).
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
    let (value, failures) = run(token, true, body);
    let mut error = None;
    let mut first_panic: Option<((bool, Order), Panic)> = None;
    for (order, failure) in failures {
        match failure {
            Failure::Error { error: one, .. } => error = Some(one),
            Failure::Panic(panic) => {
                // Here the body comes before the tasks.
                let order = (order != Order::Body, order);
                let lost = match &mut first_panic {
                    Some((first, _)) if *first < order => Some(panic),
                    first => first.replace((order, panic)).map(|(_, panic)| panic),
                };
                if let Some(lost) = lost {
                    panic::discard(lost.into_payload());
                }
            }
        }
    }
    if let Some((_, panic)) = first_panic {
        // One by one: of a pair that unwinds, the other half would be dropped while panicking.
        panic::discard(error);
        panic::discard(value);
        panic.resume();
    }
    match (error, value) {
        (Some(error), _) => Err(error),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("a body without a value has failed"),
    }
}

/// Runs `body` as [`scope`] does, but lets every task end by itself and lists all that failed.
///
/// A failure cancels nothing. Returns the body's value if nothing failed.
///
/// # Cancellation
///
/// The scope's token is a child of `token`, and only `token` cancels it.
///
/// What [`scope`] says of calls on a rayon worker holds here too.
///
/// # Errors
///
/// Every failure, in the order in which the tasks were spawned: errors and panics, with the task's name and index. The
/// body's own error or panic comes last, as `body#0`: often it is but the echo of a task that was joined with `?`.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, scope_all};
///
/// let failures = scope_all(&CancellationToken::new(), |s| {
///     for word in ["1", "two", "3", "four"] {
///         s.named("parse").spawn(move |_| Ok(word.parse::<u32>().map_err(anyhow::Error::from)?))?;
///     }
///     Ok::<_, anyhow::Error>(())
/// })
/// .unwrap_err();
/// let failed: Vec<usize> = failures.iter().map(|failure| failure.index()).collect();
/// assert_eq!(failed, [1, 3]);
/// assert_eq!(failures[0].to_string(), "parse#1 failed: invalid digit found in string");
/// ```
pub fn scope_all<'env, T, E, F>(token: &CancellationToken, body: F) -> Result<T, Vec<Failure<E>>>
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    let (value, mut failures) = run(token, false, body);
    match value {
        Some(value) if failures.is_empty() => Ok(value),
        _ => {
            failures.sort_by_key(|(order, _)| *order);
            Err(failures.into_iter().map(|(_, failure)| failure).collect())
        }
    }
}

/// Runs the body and joins every task; returns the body's value, and the failures in the order of time.
fn run<'env, T, E, F>(token: &CancellationToken, fail_fast: bool, body: F) -> (Option<T>, Vec<(Order, Failure<E>)>)
where
    F: for<'scope> FnOnce(&Scope<'scope, 'env, E>) -> Result<T, E>,
    E: From<Cancelled> + Send + 'env,
{
    thread::scope(|threads| {
        let shared = Shared::new(token.child_token(), fail_fast);
        let scope = Scope::new(threads, Arc::clone(&shared));
        let value = shared.settle(Order::Body, &"body".into(), 0, panic::catch(|| body(&scope))).ok();
        (value, shared.join_all())
    })
}
