//! [`first_ok`]: several closures at once, and the first value.

use parking_lot::Mutex;

use super::builder::ScopeBuilder;
use super::ledger::OnBodyFailure;
use crate::error::{Cancelled, FromError};
use crate::failures::Failures;
use crate::panic;
use crate::token::CancellationToken;

/// Runs all closures at once, each on a thread of its own, and returns the first value in time; the others are
/// cancelled.
///
/// # Cancellation
///
/// As for [`scope`](crate::scope()): the closures notice it, if they look at the token they are given.
///
/// # Errors
///
/// Every error, in the order of the closures, if none succeeds; an empty list, if there are no closures. Where the
/// token is cancelled, the list says which closures [ended after that](Failures::cancelled), and counts the first
/// closure that [could not start](Failures::skipped); later closures are not tried. Where the system has no thread for
/// a closure, its [`Cancelled`] is the last of the list, and later closures are not tried either.
///
/// # Panics
///
/// Resumes the panic of the first closure that panicked, by their order, when all have ended, even if another
/// succeeded.
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
    E: FromError<Cancelled> + Send,
{
    ScopeBuilder::new().first_ok(token, closures)
}

impl<'env> ScopeBuilder<'env> {
    /// Runs all closures as [`first_ok`] does, with the options of this builder.
    ///
    /// With a [`limit`](Self::limit), closures that have not started when one succeeds never start.
    #[expect(clippy::missing_errors_doc, reason = "those of the function")]
    pub fn first_ok<T, E, F>(
        &self,
        token: &CancellationToken,
        closures: impl IntoIterator<Item = F>,
    ) -> Result<T, Failures<E>>
    where
        F: FnOnce(&CancellationToken) -> Result<T, E> + Send + 'env,
        T: Send + 'env,
        E: FromError<Cancelled> + Send + 'env,
    {
        let winner = Mutex::new(None);
        let (ended, failures) = self.list_all(token, OnBodyFailure::CancelTasks, |s| {
            for f in closures {
                let spawned = s.spawn(|s| {
                    let value = f(s.token())?;
                    let mut value = Some(value);
                    // A later value is dropped at the end of the closure, and so not under the lock.
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
