//! Running the body of a scope, and making the result that the policy asks for.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Scope;
use super::builder::ScopeBuilder;
use super::ledger::{FailureList, First, FirstFailure, Ledger, Listed, OnBodyFailure};
use super::limit::{Limit, Spawner};
use super::policy::{FailFast, KeepGoing};
use super::shared::{Link, Shared};
use super::threads::Threads;
use crate::error::{Cancelled, FromError};
use crate::failure::Failure;
use crate::failures::Failures;
use crate::panic;
use crate::thread;
use crate::token::CancellationToken;

impl<'env> ScopeBuilder<'env> {
    /// Runs `body` as [`scope`](crate::scope()) does: the first failure in time cancels the others, and the scope
    /// returns it.
    ///
    /// # Cancellation
    ///
    /// As for [`scope`](crate::scope()). Tasks that are still in the queue are skipped.
    ///
    /// # Errors
    ///
    /// As for [`scope`](crate::scope()).
    ///
    /// # Panics
    ///
    /// As for [`scope`](crate::scope()).
    pub fn run<T, E, F>(&self, token: &CancellationToken, body: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, FailFast>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        self.run_and_drop(token, drop, body)
    }

    /// Runs `body`, lets every task end by itself, and lists all failures.
    ///
    /// A failure cancels nothing, and neither does a failure of the body. Returns the body's value if nothing failed,
    /// or if all failures have been [joined](crate::scope::ScopedTask::join).
    ///
    /// # Cancellation
    ///
    /// The scope's token is a child of `token`. Only `token` cancels it, and [`fail_after`](Self::fail_after), and
    /// [`finish`](Scope::finish). Tasks that are still in the queue are skipped then.
    ///
    /// # Errors
    ///
    /// Every failure that was not joined, in the order in which the tasks were spawned: errors and panics, with the
    /// task's name and index, up to [a bound](Self::failures). The body's own error or panic comes last, as `body#0`.
    /// Often it is the failure of a task that was joined with `?`. Tasks that were cancelled or skipped are told apart,
    /// see [`Failures`]; they make an error too, though nothing may have failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let failures = ScopeBuilder::new()
    ///     .named("parse")
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         for word in ["1", "two", "3", "four"] {
    ///             s.spawn(move |_| Ok(word.parse::<u32>().map_err(anyhow::Error::from)?))?;
    ///         }
    ///         Ok::<_, anyhow::Error>(())
    ///     })
    ///     .unwrap_err();
    /// let failed: Vec<usize> = failures.iter().map(|failure| failure.index()).collect();
    /// assert_eq!(failed, [1, 3]);
    /// assert_eq!(failures.to_string(), "parse#1 failed: invalid digit found in string, and 1 other failure");
    /// ```
    ///
    /// # Panics
    ///
    /// If dropping the body's value panics, where something failed. All other panics are listed.
    pub fn collect_all<T, E, F>(&self, token: &CancellationToken, body: F) -> Result<T, Failures<E>>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        let (value, failures) = self.list_all(token, OnBodyFailure::LetTasksEnd, body);
        match value {
            Some(value) if failures.is_empty() => Ok(value),
            lost => match panic::catch(|| drop(lost)) {
                Ok(()) => Err(failures),
                Err(payload) => {
                    failures.discard();
                    panic::resume(payload)
                }
            },
        }
    }

    /// Runs `body`, which looks after its tasks: a task that fails disturbs neither the others nor the body.
    ///
    /// Returns the body's result, and the failures that were not [joined](crate::scope::ScopedTask::join). When the
    /// body itself fails, its tasks are cancelled, because nothing looks after them any more.
    ///
    /// # Cancellation
    ///
    /// The scope's token is a child of `token`. Tasks that are still in the queue when it is cancelled are skipped.
    ///
    /// # Errors
    ///
    /// The body's own, in the first half; the second half lists those of the tasks, up to [a bound](Self::failures).
    ///
    /// # Panics
    ///
    /// Resumes a panic of the body, when all tasks have been joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Failure, ScopeBuilder};
    ///
    /// // Tried again until it succeeds.
    /// let (attempts, failures) = ScopeBuilder::new().supervise(&CancellationToken::new(), |s| {
    ///     for attempt in 1.. {
    ///         let task = s.spawn(move |_| if attempt < 3 { panic!("attempt {attempt}") } else { Ok(attempt) })?;
    ///         match task.join() {
    ///             Err(Failure::Panic(_)) => {}
    ///             joined => return Ok(joined?),
    ///         }
    ///     }
    ///     unreachable!("some attempt succeeds")
    /// });
    /// let attempts: anyhow::Result<u32> = attempts;
    /// assert_eq!(attempts?, 3);
    /// assert!(failures.is_empty());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn supervise<T, E, F>(&self, token: &CancellationToken, body: F) -> (Result<T, E>, Failures<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        let (value, Listed { body, tasks }) = self.keep_going(token, OnBodyFailure::CancelTasks, body);
        let failures = tasks.into_failures();
        let result = match (body.map(|failed| failed.failure), value) {
            (Some(Failure::Error { error, .. }), _) => Err(error),
            (Some(Failure::Panic(panic)), _) => {
                failures.discard();
                panic.resume()
            }
            (None, Some(value)) => Ok(value),
            (Some(Failure::Cancelled { .. }) | None, None | Some(_)) => {
                unreachable!("a body without a value has returned an error or panicked")
            }
        };
        (result, failures)
    }

    /// Runs `body` as [`run`](Self::run) does. `drop_value` drops the value of a body that ended well in a scope
    /// that did not.
    pub(super) fn run_and_drop<T, E, F>(
        &self,
        token: &CancellationToken,
        drop_value: impl FnOnce(T),
        body: F,
    ) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, FailFast>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        let ledger = FirstFailure::new();
        let value = self.launch(token, &ledger, body);
        let First { error, skipped, panic } = ledger.into_inner();
        if let (None, None, None) = (&panic, &error, &skipped) {
            return Ok(value.unwrap_or_else(|| unreachable!("a body without a value has failed")));
        }
        // The value of `try_join` is dropped one part at a time, because a second part would otherwise be dropped
        // while the first unwinds.
        let dropped = panic::catch(|| value.map(drop_value));
        let (first, echo) = if error.is_some() { (error, skipped) } else { (skipped, None) };
        panic::discard(echo);
        match (panic, dropped, first) {
            (Some((_, panic)), dropped, first) => {
                panic::discard(first);
                panic::discard(dropped);
                panic.resume()
            }
            (None, Err(payload), first) => {
                panic::discard(first);
                panic::resume(payload)
            }
            (None, Ok(_), Some(error)) => Err(error),
            (None, Ok(_), None) => unreachable!("it has failed"),
        }
    }

    /// Runs `body`; returns its value, and all failures, the body's own last.
    pub(super) fn list_all<T, E, F>(
        &self,
        token: &CancellationToken,
        on_body_failure: OnBodyFailure,
        body: F,
    ) -> (Option<T>, Failures<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        let (value, Listed { body, tasks }) = self.keep_going(token, on_body_failure, body);
        let mut failures = tasks.into_failures();
        if let Some(failed) = body {
            failures.push(failed.failure, failed.after);
        }
        (value, failures)
    }

    fn keep_going<T, E, F>(
        &self,
        token: &CancellationToken,
        on_body_failure: OnBodyFailure,
        body: F,
    ) -> (Option<T>, Listed<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        let ledger = FailureList::new(on_body_failure, self.bounds);
        (self.launch(token, &ledger, body), ledger.into_inner())
    }

    /// Runs the body and waits for every task; returns the body's value. Failures are in the ledger then.
    fn launch<T, E, P, F>(&self, token: &CancellationToken, ledger: &dyn Ledger<E>, body: F) -> Option<T>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
        E: FromError<Cancelled> + Send + 'env,
    {
        thread::scope(|starter| {
            let threads = Threads::new(starter, self.stack);
            let limit = self.limit.map(|limit| Limit::new(limit, self.queue, self.name.clone()));
            let shared = Arc::new(Shared::new(token.child_token(), ledger, self.hooks, threads, limit));
            let (link, name) = (Link::new(Arc::clone(&shared)), self.name.clone().map(Arc::new));
            let scope = Scope { link, name, spawner: Spawner::Body, marker: PhantomData };
            let value = match panic::catch(|| body(&scope)) {
                Ok(Ok(value)) => Some(value),
                Ok(Err(error)) => {
                    shared.fail_body(Ok(error));
                    None
                }
                Err(payload) => {
                    shared.fail_body(Err(payload));
                    None
                }
            };
            shared.join_all();
            value
        })
    }
}
