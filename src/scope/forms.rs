//! The small forms: some closures at once, and what they return together.

use parking_lot::Mutex;

use super::builder::ScopeBuilder;
use super::handle::{ScopedTask, values_of};
use crate::error::Cancelled;
use crate::failures::Failures;
use crate::panic;
use crate::token::CancellationToken;

/// Runs two closures at once and returns both values; the second runs on the calling thread.
///
/// Each is given a token, a child of `token`, which the failure of the other cancels.
///
/// # Cancellation
///
/// As for [`scope`](crate::scope()): the closures notice it, if they look at the token.
///
/// # Errors
///
/// The first error in time. [`Cancelled`], converted, if `token` was cancelled before, or no thread could be started. A
/// token that is cancelled later is no error by itself: if every closure ends well, so does this.
///
/// # Panics
///
/// Resumes a panic of a closure, when both have ended.
///
/// # Examples
///
/// ```
/// use std::io;
/// use brigade::{CancellationToken, try_join};
///
/// let (readme, manifest) = try_join(
///     &CancellationToken::new(),
///     |_| std::fs::read_to_string("README.md"),
///     |_| std::fs::read_to_string("Cargo.toml"),
/// )?;
/// assert!(readme.contains("brigade") && manifest.contains("brigade"));
/// # Ok::<(), io::Error>(())
/// ```
pub fn try_join<A, B, E, F, G>(token: &CancellationToken, a: F, b: G) -> Result<(A, B), E>
where
    F: FnOnce(&CancellationToken) -> Result<A, E> + Send,
    G: FnOnce(&CancellationToken) -> Result<B, E>,
    A: Send,
    E: From<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b)| panic::drop_each([any(a), any(b)]),
        |s| {
            let a = match s.spawn(|s| a(s.token())) {
                Ok(a) => a,
                Err(refused) => return give_up([Some(refused)], [any(b)]),
            };
            let b = b(s.token())?;
            match a.join_to_the_end() {
                Ok(a) => Ok((a, b)),
                Err(cancelled) => give_up([Some(cancelled)], [any(b)]),
            }
        },
    )
}

/// Runs three closures at once; see [`try_join`]. The third runs on the calling thread.
///
/// # Cancellation
///
/// As for [`try_join`].
///
/// # Errors
///
/// As for [`try_join`].
///
/// # Panics
///
/// As for [`try_join`].
///
/// # Examples
///
/// ```
/// use brigade::scope::try_join3;
/// use brigade::{CancellationToken, Cancelled};
///
/// let words = ["to", "be", "or", "not", "to", "be"];
/// let (count, longest, first) = try_join3(
///     &CancellationToken::new(),
///     |_| Ok(words.len()),
///     |_| Ok(words.iter().map(|word| word.len()).max()),
///     |_| Ok::<_, Cancelled>(words.iter().min()),
/// )?;
/// assert_eq!((count, longest, first), (6, Some(3), Some(&"be")));
/// # Ok::<(), Cancelled>(())
/// ```
pub fn try_join3<A, B, C, E, F, G, H>(token: &CancellationToken, a: F, b: G, c: H) -> Result<(A, B, C), E>
where
    F: FnOnce(&CancellationToken) -> Result<A, E> + Send,
    G: FnOnce(&CancellationToken) -> Result<B, E> + Send,
    H: FnOnce(&CancellationToken) -> Result<C, E>,
    A: Send,
    B: Send,
    E: From<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b, c)| panic::drop_each([any(a), any(b), any(c)]),
        |s| {
            let (a, b) = match (s.spawn(|s| a(s.token())), s.spawn(|s| b(s.token()))) {
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => return give_up([error_of(&a), error_of(&b)], [any(a), any(b), any(c)]),
            };
            let c = c(s.token())?;
            match (a.join_to_the_end(), b.join_to_the_end()) {
                (Ok(a), Ok(b)) => Ok((a, b, c)),
                (a, b) => give_up([error_of(&a), error_of(&b)], [any(a), any(b), any(c)]),
            }
        },
    )
}

/// Runs four closures at once; see [`try_join`]. The fourth runs on the calling thread. For more of them, or as many as there
/// happen to be, there is [`try_join_all`].
///
/// # Cancellation
///
/// As for [`try_join`].
///
/// # Errors
///
/// As for [`try_join`].
///
/// # Panics
///
/// As for [`try_join`].
///
/// # Examples
///
/// ```
/// use brigade::scope::try_join4;
/// use brigade::{CancellationToken, Cancelled};
///
/// let sum = |from: u64| move |_: &CancellationToken| Ok::<u64, Cancelled>((from..from + 250).sum());
/// let (a, b, c, d) = try_join4(&CancellationToken::new(), sum(0), sum(250), sum(500), sum(750))?;
/// assert_eq!(a + b + c + d, 999 * 500);
/// # Ok::<(), Cancelled>(())
/// ```
pub fn try_join4<A, B, C, D, E, F, G, H, I>(
    token: &CancellationToken,
    a: F,
    b: G,
    c: H,
    d: I,
) -> Result<(A, B, C, D), E>
where
    F: FnOnce(&CancellationToken) -> Result<A, E> + Send,
    G: FnOnce(&CancellationToken) -> Result<B, E> + Send,
    H: FnOnce(&CancellationToken) -> Result<C, E> + Send,
    I: FnOnce(&CancellationToken) -> Result<D, E>,
    A: Send,
    B: Send,
    C: Send,
    E: From<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b, c, d)| panic::drop_each([any(a), any(b), any(c), any(d)]),
        |s| {
            let (a, b, c) = match (s.spawn(|s| a(s.token())), s.spawn(|s| b(s.token())), s.spawn(|s| c(s.token()))) {
                (Ok(a), Ok(b), Ok(c)) => (a, b, c),
                (a, b, c) => {
                    let errors = [error_of(&a), error_of(&b), error_of(&c)];
                    return give_up(errors, [any(a), any(b), any(c), any(d)]);
                }
            };
            let d = d(s.token())?;
            match (a.join_to_the_end(), b.join_to_the_end(), c.join_to_the_end()) {
                (Ok(a), Ok(b), Ok(c)) => Ok((a, b, c, d)),
                (a, b, c) => give_up([error_of(&a), error_of(&b), error_of(&c)], [any(a), any(b), any(c), any(d)]),
            }
        },
    )
}

/// A value of any type, to be dropped beside others.
trait Anything {}

impl<T> Anything for T {}

fn any<'a>(value: impl Sized + 'a) -> Box<dyn Anything + 'a> {
    Box::new(value)
}

fn error_of<T>(joined: &Result<T, Cancelled>) -> Option<Cancelled> {
    joined.as_ref().err().copied()
}

/// Ends the body with the first of the errors. The values of the other closures, or these themselves, are dropped one by
/// one: together, two whose `Drop` panics would end the process.
fn give_up<'a, T, E: From<Cancelled>, const N: usize, const M: usize>(
    errors: [Option<Cancelled>; N],
    rest: [Box<dyn Anything + 'a>; M],
) -> Result<T, E> {
    panic::drop_each(rest);
    let first = errors.into_iter().flatten().next();
    Err(first.unwrap_or_else(|| unreachable!("a closure has no value")).into())
}

/// Runs all closures at once, each on a thread of its own, and returns their values in order.
///
/// # Cancellation
///
/// As for [`scope`](crate::scope()): the closures notice it, if they look at the token they are given. (A closure that is made
/// inside another one, as in `map`, has to name that argument's type, as below: rustc infers one lifetime for it else.)
///
/// # Errors
///
/// The first error in time. [`Cancelled`], converted, if `token` was cancelled before, or no thread could be started. A
/// token that is cancelled later is no error by itself: if every closure ends well, so does this.
///
/// # Panics
///
/// Resumes the panic of the first closure that panicked, by their order, when all have ended.
///
/// # Examples
///
/// ```
/// use std::io;
/// use brigade::scope::try_join_all;
/// use brigade::CancellationToken;
///
/// let reads = ["README.md", "Cargo.toml"].map(|name| move |_: &CancellationToken| std::fs::read_to_string(name));
/// let texts = try_join_all(&CancellationToken::new(), reads)?;
/// assert!(texts.iter().all(|text| text.contains("brigade")));
/// # Ok::<(), io::Error>(())
/// ```
pub fn try_join_all<T, E, F>(token: &CancellationToken, closures: impl IntoIterator<Item = F>) -> Result<Vec<T>, E>
where
    F: FnOnce(&CancellationToken) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send,
{
    ScopeBuilder::new().try_join_all(token, closures)
}

/// Runs all closures at once, each on a thread of its own, and returns the value of the first in time that succeeds; the
/// others are cancelled.
///
/// # Cancellation
///
/// As for [`scope`](crate::scope()): the closures notice it, if they look at the token they are given.
///
/// # Errors
///
/// Every error, in the order of the closures, if none succeeds; an empty list, if there are no closures. Where the token is
/// cancelled, the list says which closures [ended after that](Failures::cancelled) and counts the first one that could
/// [not be started](Failures::skipped); those behind it are not tried. Where the system has no thread for a closure, its
/// [`Cancelled`] is the last of the list, and those behind it are not tried either.
///
/// # Panics
///
/// Resumes the panic of the first closure that panicked, by their order, when all have ended, even if another succeeded.
///
/// # Examples
///
/// ```
/// use brigade::scope::first_ok;
/// use brigade::CancellationToken;
///
/// let found = first_ok(&CancellationToken::new(), ["no such file", "Cargo.toml"].map(|name| {
///     move |_: &CancellationToken| std::fs::read_to_string(name)
/// }))
/// .unwrap();
/// assert!(found.contains("brigade"));
/// ```
pub fn first_ok<T, E, F>(token: &CancellationToken, closures: impl IntoIterator<Item = F>) -> Result<T, Failures<E>>
where
    F: FnOnce(&CancellationToken) -> Result<T, E> + Send,
    T: Send,
    E: From<Cancelled> + Send,
{
    ScopeBuilder::new().first_ok(token, closures)
}

impl<'env> ScopeBuilder<'env> {
    /// Runs all closures as [`try_join_all`] does, with what this builder says.
    ///
    /// # Cancellation
    ///
    /// As for [`try_join_all`].
    ///
    /// # Errors
    ///
    /// As for [`try_join_all`].
    ///
    /// # Panics
    ///
    /// As for [`try_join_all`].
    pub fn try_join_all<T, E, F>(
        &self,
        token: &CancellationToken,
        closures: impl IntoIterator<Item = F>,
    ) -> Result<Vec<T>, E>
    where
        F: FnOnce(&CancellationToken) -> Result<T, E> + Send + 'env,
        T: Send + 'env,
        E: From<Cancelled> + Send + 'env,
    {
        self.run_and_drop(token, panic::drop_each, |s| {
            let spawn = |f: F| s.spawn(|s| f(s.token()));
            let tasks = closures.into_iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
            Ok(values_of(tasks.into_iter().map(ScopedTask::join_to_the_end))?)
        })
    }

    /// Runs all closures as [`first_ok`] does, with what this builder says. With a [`limit`](Self::limit), those that have
    /// not been started when one succeeds never are.
    ///
    /// # Cancellation
    ///
    /// As for [`first_ok`].
    ///
    /// # Errors
    ///
    /// As for [`first_ok`].
    ///
    /// # Panics
    ///
    /// As for [`first_ok`].
    pub fn first_ok<T, E, F>(
        &self,
        token: &CancellationToken,
        closures: impl IntoIterator<Item = F>,
    ) -> Result<T, Failures<E>>
    where
        F: FnOnce(&CancellationToken) -> Result<T, E> + Send + 'env,
        T: Send + 'env,
        E: From<Cancelled> + Send + 'env,
    {
        let winner = Mutex::new(None);
        let (ended, failures) = self.list_all(token, true, |s| {
            for f in closures {
                let spawned = s.spawn(|s| {
                    let value = f(s.token())?;
                    let mut value = Some(value);
                    // A value that is second is dropped at the end, and not under the lock.
                    let mut first = winner.lock();
                    if first.is_none() {
                        *first = value.take();
                    }
                    drop(first);
                    s.finish();
                    Ok(())
                });
                if spawned.is_err() {
                    break;
                }
            }
            Ok(())
        });
        debug_assert!(ended.is_some() || failures.has_panic(), "the body returns no error");
        match winner.into_inner() {
            lost if failures.has_panic() => {
                panic::discard(lost);
                Err(failures.resume_panic())
            }
            Some(value) => {
                failures.discard();
                Ok(value)
            }
            None => Err(failures),
        }
    }
}
