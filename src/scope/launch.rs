//! Running a body: its scope, its tasks, and what is left of them.

use std::sync::Arc;

use super::crew::Crew;
use super::shared::{Link, Policy, Record, Shared};
use super::threads::Threads;
use super::{FailFast, KeepGoing, Scope, ScopeBuilder};
use crate::error::Cancelled;
use crate::failures::Failures;
use crate::panic;
use crate::thread;
use crate::token::CancellationToken;

impl<'env> ScopeBuilder<'env> {
    /// As [`run`](Self::run). `drop_value` drops the value of a body that ended well where the scope did not.
    pub(super) fn run_and_drop<T, E, F>(
        &self,
        token: &CancellationToken,
        drop_value: impl FnOnce(T),
        body: F,
    ) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, FailFast>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        let (value, record) = self.launch(token, true, true, body);
        let Record { error, refused, panic, .. } = record;
        if let (None, None, None) = (&panic, &error, &refused) {
            return Ok(value.unwrap_or_else(|| unreachable!("a body without a value has failed")));
        }
        // One by one: of a pair that unwinds, the other half would be dropped while panicking.
        let dropped = panic::catch(|| value.map(drop_value));
        let (first, echo) = if error.is_some() { (error, refused) } else { (refused, None) };
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

    /// Runs `body`; returns its value, and all that failed.
    pub(super) fn list_all<T, E, F>(
        &self,
        token: &CancellationToken,
        body_cancels: bool,
        body: F,
    ) -> (Option<T>, Failures<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, KeepGoing>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        let (value, mut record) = self.launch(token, false, body_cancels, body);
        let body = record.body.take();
        let mut failures = record.list.into_failures();
        if let Some((failure, after)) = body {
            failures.push(failure, after);
        }
        (value, failures)
    }

    /// Runs the body and waits for every task; returns the body's value, and what failed. `body_cancels`: a failure of the
    /// body cancels the scope.
    pub(super) fn launch<T, E, P, F>(
        &self,
        token: &CancellationToken,
        fail_fast: bool,
        body_cancels: bool,
        body: F,
    ) -> (Option<T>, Record<E>)
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
        E: From<Cancelled> + Send + 'env,
    {
        thread::scope(|starter| {
            let threads = Threads::new(starter, self.stack);
            let crew = self.limit.map(|limit| Crew::new(limit, self.queue, self.name.clone()));
            let policy = Policy { fail_fast, fail_after: self.fail_after, most_failures: self.failures };
            let shared = Arc::new(Shared::new(token.child_token(), policy, self.hooks, threads, crew));
            let scope = Scope::new(Link::new(Arc::clone(&shared)), self.name.clone().map(Arc::new), false);
            let value = match panic::catch(|| body(&scope)) {
                Ok(Ok(value)) => Some(value),
                Ok(Err(error)) => {
                    shared.fail_body(Ok(error), body_cancels);
                    None
                }
                Err(payload) => {
                    shared.fail_body(Err(payload), body_cancels);
                    None
                }
            };
            (value, shared.join_all())
        })
    }
}
