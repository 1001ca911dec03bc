//! [`try_join`] and its kind: several closures at once, and all their values.

use super::builder::ScopeBuilder;
use super::task::{ScopedTask, values_of};
use crate::error::{Cancelled, FromError};
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
    E: FromError<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b)| panic::drop_each([boxed(a), boxed(b)]),
        |s| {
            let a = match s.spawn(|s| a(s.token())) {
                Ok(a) => a,
                Err(refused) => return fail_with([Some(refused)], [boxed(b)]),
            };
            let b = b(s.token())?;
            match a.join_to_the_end() {
                Ok(a) => Ok((a, b)),
                Err(cancelled) => fail_with([Some(cancelled)], [boxed(b)]),
            }
        },
    )
}

/// Runs three closures at once, as [`try_join`] runs two; the third runs on the calling thread.
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
#[expect(clippy::missing_errors_doc, reason = "those of `try_join`")]
pub fn try_join3<A, B, C, E, F, G, H>(token: &CancellationToken, a: F, b: G, c: H) -> Result<(A, B, C), E>
where
    F: FnOnce(&CancellationToken) -> Result<A, E> + Send,
    G: FnOnce(&CancellationToken) -> Result<B, E> + Send,
    H: FnOnce(&CancellationToken) -> Result<C, E>,
    A: Send,
    B: Send,
    E: FromError<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b, c)| panic::drop_each([boxed(a), boxed(b), boxed(c)]),
        |s| {
            let (a, b) = match (s.spawn(|s| a(s.token())), s.spawn(|s| b(s.token()))) {
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => return fail_with([error_of(&a), error_of(&b)], [boxed(a), boxed(b), boxed(c)]),
            };
            let c = c(s.token())?;
            match (a.join_to_the_end(), b.join_to_the_end()) {
                (Ok(a), Ok(b)) => Ok((a, b, c)),
                (a, b) => fail_with([error_of(&a), error_of(&b)], [boxed(a), boxed(b), boxed(c)]),
            }
        },
    )
}

/// Runs four closures at once, as [`try_join`] runs two; the fourth runs on the calling thread.
///
/// For more closures, or a number that the program computes, there is [`try_join_all`].
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
#[expect(clippy::missing_errors_doc, reason = "those of `try_join`")]
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
    E: FromError<Cancelled> + Send,
{
    ScopeBuilder::new().run_and_drop(
        token,
        |(a, b, c, d)| panic::drop_each([boxed(a), boxed(b), boxed(c), boxed(d)]),
        |s| {
            let (a, b, c) = match (s.spawn(|s| a(s.token())), s.spawn(|s| b(s.token())), s.spawn(|s| c(s.token()))) {
                (Ok(a), Ok(b), Ok(c)) => (a, b, c),
                (a, b, c) => {
                    let errors = [error_of(&a), error_of(&b), error_of(&c)];
                    return fail_with(errors, [boxed(a), boxed(b), boxed(c), boxed(d)]);
                }
            };
            let d = d(s.token())?;
            match (a.join_to_the_end(), b.join_to_the_end(), c.join_to_the_end()) {
                (Ok(a), Ok(b), Ok(c)) => Ok((a, b, c, d)),
                (a, b, c) => {
                    fail_with([error_of(&a), error_of(&b), error_of(&c)], [boxed(a), boxed(b), boxed(c), boxed(d)])
                }
            }
        },
    )
}

/// A value of any type, in a list of values that are dropped one by one.
trait Anything {}

impl<T> Anything for T {}

fn boxed<'a>(value: impl Sized + 'a) -> Box<dyn Anything + 'a> {
    Box::new(value)
}

fn error_of<T>(joined: &Result<T, Cancelled>) -> Option<Cancelled> {
    joined.as_ref().err().copied()
}

/// Ends the body with the first of the errors.
///
/// The values of the other closures, or the closures themselves, are dropped one by one, because two panics at once
/// would abort the process.
fn fail_with<'a, T, E: FromError<Cancelled>, const N: usize, const M: usize>(
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
/// As for [`scope`](crate::scope()): the closures notice it, if they look at the token they are given.
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
/// A closure that is made inside another closure, as in `map`, has to name the type of its argument, because rustc
/// infers a single lifetime for it otherwise.
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
    E: FromError<Cancelled> + Send,
{
    ScopeBuilder::new().try_join_all(token, closures)
}

impl<'env> ScopeBuilder<'env> {
    /// Runs all closures as [`try_join_all`] does, with the options of this builder.
    #[expect(clippy::missing_errors_doc, reason = "those of the function")]
    pub fn try_join_all<T, E, F>(
        &self,
        token: &CancellationToken,
        closures: impl IntoIterator<Item = F>,
    ) -> Result<Vec<T>, E>
    where
        F: FnOnce(&CancellationToken) -> Result<T, E> + Send + 'env,
        T: Send + 'env,
        E: FromError<Cancelled> + Send + 'env,
    {
        self.run_and_drop(token, panic::drop_each, |s| {
            let spawn = |f: F| s.spawn(|s| f(s.token()));
            let tasks = closures.into_iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
            Ok(values_of(tasks.into_iter().map(ScopedTask::join_to_the_end))?)
        })
    }
}
