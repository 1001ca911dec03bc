//! Spawning tasks.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cell::{self, Cell, Job, Joined};
use super::crew::Admission;
use super::handle::{ScopedTask, values_of};
use super::hold::{Hold, Inline, is_large};
use super::shared::{Label, Link, TASK};
use super::{FailFast, KeepGoing};
use crate::error::{CancelReason, Cancelled};
use crate::failure::Failure;
use crate::token::CancellationToken;

/// Where tasks are spawned. Handed to the body of a scope and to every task.
///
/// `P` says what a failure does: it ends all ([`FailFast`]), or the task only ([`KeepGoing`]).
pub struct Scope<'scope, 'env: 'scope, E, P = FailFast> {
    link: Link<'scope, E>,
    name: Option<Arc<Arc<str>>>,
    /// It was given to a task, or made of one that was.
    in_task: bool,
    marker: PhantomData<fn(&'env (), P)>,
}

impl<'scope, 'env, E, P> Scope<'scope, 'env, E, P>
where
    E: From<Cancelled> + Send + 'scope,
{
    pub(super) fn new(link: Link<'scope, E>, name: Option<Arc<Arc<str>>>, in_task: bool) -> Self {
        Scope { link, name, in_task, marker: PhantomData }
    }

    /// Spawns a task. It is given the scope, to spawn further tasks and for its token.
    ///
    /// What the task returns is had by [`ScopedTask::join`]; dropping the handle leaves the task to the scope. Without a
    /// [limit](crate::ScopeBuilder::limit) the task has a thread of its own, at once. With one it is queued; from the
    /// scope's body this waits while the queue is full, from a task it never waits.
    ///
    /// # Cancellation
    ///
    /// Waiting for room in the queue observes the scope's token.
    ///
    /// # Errors
    ///
    /// In a cancelled scope no task is started, and `f` is dropped; a panic of that counts as the task's. Likewise if the system refuses to start a thread (with
    /// a limit, the first): the reason is then an [`Other`](crate::CancelReason::Other) that says so, and in a scope that fails
    /// fast the siblings are cancelled with it. In both cases the scope does not end well, even if this error is ignored.
    ///
    /// After [`finish`](Self::finish) it is no error, because the body that spawns on need not know: the task is skipped, and
    /// its handle says so.
    pub fn spawn<T, F>(&self, f: F) -> Result<ScopedTask<'scope, T, E, P>, Cancelled>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        P: 'scope,
    {
        self.start_held(f, true).map_err(|refused| {
            // Caught, since what the body holds would be dropped while it unwinds.
            let label = Label { name: self.name.clone(), index: refused.index };
            self.link.drop_about(&label, refused.f);
            refused.cancelled.unwrap_or_else(|| unreachable!("it has waited for room"))
        })
    }

    /// Spawns a task unless that would have to wait: where there is a [limit](crate::ScopeBuilder::limit), and the queue is
    /// full, the closure is given back. Never waits.
    ///
    /// # Errors
    ///
    /// [`TrySpawnError`], which has the closure: if the queue is full, after [`finish`](Self::finish), and where
    /// [`spawn`](Self::spawn) fails. The scope may end well in spite of the first two.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, ScopeBuilder};
    ///
    /// // What there is no room for is done here and now.
    /// let here = ScopeBuilder::new().limit(1).queue(1).run(&CancellationToken::new(), |s| {
    ///     let mut here = 0;
    ///     for number in 0..100_u32 {
    ///         let square = move || number * number;
    ///         match s.try_spawn(move |_| Ok(square())) {
    ///             Err(error) if error.is_full() => here += u32::from(square() > 0),
    ///             spawned => drop(spawned),
    ///         }
    ///     }
    ///     Ok::<_, Cancelled>(here)
    /// })?;
    /// assert!(here < 100);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn try_spawn<T, F>(&self, f: F) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<F>>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        P: 'scope,
    {
        self.start_held(f, false)
    }

    #[inline]
    fn start_held<T, F>(&self, f: F, waits: bool) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<F>>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        P: 'scope,
    {
        if const { is_large::<F, T>() } {
            let refused = match self.start::<T, F, Box<F>, Box<T>>(Box::new(f), waits) {
                Ok(task) => return Ok(task),
                Err(refused) => refused,
            };
            Err(TrySpawnError { f: refused.f.out(), index: refused.index, cancelled: refused.cancelled })
        } else {
            let started = self.start::<T, F, Inline<F>, Inline<T>>(Inline::hold(f), waits);
            started.map_err(|refused| TrySpawnError {
                f: refused.f.out(),
                index: refused.index,
                cancelled: refused.cancelled,
            })
        }
    }

    fn start<T, F, G, U>(&self, f: G, waits: bool) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        G: Hold<F> + Send + 'scope,
        U: Hold<T> + Send + 'scope,
        T: 'scope,
        P: 'scope,
    {
        let shared = &*self.link;
        let admitted = match &shared.crew {
            _ if shared.token.is_cancelled() => shared.token.check().map(|()| Admission::Granted),
            Some(crew) => crew.admit(&self.link, self.in_task, waits),
            None => Ok(Admission::Granted),
        };
        if let Ok(Admission::Full) = admitted {
            return Err(TrySpawnError { f, index: 0, cancelled: None });
        }
        let index = shared.spawned.fetch_add(1, Ordering::Relaxed);
        let label = Label { name: self.name.clone(), index };
        if let Err(cancelled) = admitted {
            return self.refuse::<T, F, G, U>(f, label, cancelled, waits);
        }
        let cell = Arc::new(Cell::<'scope, 'env, F, T, E, P, G, U>::new(label, f));
        match &shared.crew {
            Some(crew) => crew.push(&self.link, Arc::clone(&cell) as Arc<dyn Job<'scope, E> + 'scope>),
            None => {
                let (job, link) = (Arc::clone(&cell), self.link.another());
                match shared.threads.start(cell.label().name(), index, move || job.run(&link)) {
                    Ok(handle) => shared.adopt(handle),
                    Err(cancelled) => {
                        let f = cell.start().unwrap_or_else(|| unreachable!("it was not started"));
                        return self.refuse::<T, F, G, U>(
                            f,
                            Label { name: self.name.clone(), index },
                            cancelled,
                            waits,
                        );
                    }
                }
            }
        }
        Ok(ScopedTask::new(self.link.clone(), cell))
    }

    /// What follows where a task cannot be started.
    #[cold]
    fn refuse<T, F, G, U>(
        &self,
        f: G,
        label: Label,
        cancelled: Cancelled,
        waits: bool,
    ) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        G: Hold<F> + Send + 'scope,
        U: Hold<T> + Send + 'scope,
        T: 'scope,
        P: 'scope,
    {
        let shared = &*self.link;
        if !shared.has_finished() {
            shared.refuse(&label, cancelled);
            return Err(TrySpawnError { f, index: label.index, cancelled: Some(cancelled) });
        }
        let cancelled = Cancelled::new(CancelReason::Finished);
        if !waits {
            return Err(TrySpawnError { f, index: label.index, cancelled: Some(cancelled) });
        }
        shared.drop_about(&label, f);
        let skipped = cell::skip(&label, cancelled, shared);
        let cell: Arc<Cell<'scope, 'env, F, T, E, P, G, U>> = Arc::new(Cell::skipped(label, skipped));
        Ok(ScopedTask::new(self.link.clone(), cell))
    }

    /// Ends the scope early and well, because it has what it wanted; returns whether this call did so.
    ///
    /// It cancels the scope's token, with the reason [`Finished`](CancelReason::Finished), so the other tasks leave as they do
    /// after any cancel. But they are not waited for as failed ones are: nothing has gone wrong, and the scope returns what
    /// its body returns. The body may call this, or any task.
    ///
    /// - Nothing more starts. [`spawn`](Self::spawn) gives the handle of a skipped task, [`try_spawn`](Self::try_spawn) gives
    ///   the closure back, tasks in the queue are skipped.
    /// - [`join`](ScopedTask::join) gives the value of a task that has one, and else `Cancelled` with the reason `Finished`. A
    ///   body that joins by `?` ends with that as its error; a match on the reason goes on instead.
    /// - An error that a task returns from now on is dropped unread. One that came before stands.
    /// - An error that the body returns nevertheless is what the scope ends with. A panic counts always.
    /// - In a scope that fails fast, after a failure it changes nothing. Nor does it in a scope that is cancelled already, by
    ///   the caller's token for example.
    ///
    /// Scopes within the tasks are cancelled by it as by any other cancel of their caller's token: they end with an error,
    /// which their task returns.
    ///
    /// # Panics
    ///
    /// Never: a panic of the token's callbacks counts as a task's.
    ///
    /// # Examples
    ///
    /// A search that ends as soon as one of its tasks has found something. The value found lies outside of the scope:
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use brigade::{CancellationToken, Cancelled, ScopeBuilder};
    ///
    /// let found = OnceLock::new();
    /// ScopeBuilder::new().limit(2).run(&CancellationToken::new(), |s| {
    ///     for part in (1..1_000_000_u64).collect::<Vec<_>>().chunks(1_000) {
    ///         let part = part.to_vec();
    ///         s.spawn(|s| {
    ///             for number in part {
    ///                 s.token().check()?;
    ///                 if number * number % 1_000_003 == 4_225 {
    ///                     _ = found.set(number);
    ///                     s.finish();
    ///                 }
    ///             }
    ///             Ok(())
    ///         })?;
    ///     }
    ///     Ok::<_, Cancelled>(())
    /// })?;
    /// let found = found.into_inner().expect("there is one");
    /// assert_eq!(found * found % 1_000_003, 4_225);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn finish(&self) -> bool {
        self.link.finish()
    }

    /// Returns this scope with another name for the tasks that are spawned through it, and for those that they spawn.
    ///
    /// The name stands in [`Failure`]s and [`Hooks`](crate::hooks::Hooks), and where each task has a thread of its own in the
    /// thread's name (`name#index`; Linux shows 15 bytes) and so in panic messages. The default is that of the
    /// [builder](crate::ScopeBuilder::named), or `task`. A NUL becomes the replacement character in the thread's name.
    #[must_use = "the name is that of the returned scope"]
    pub fn named(&self, name: impl AsRef<str>) -> Self {
        Scope::new(self.link.clone(), Some(Arc::new(name.as_ref().into())), self.in_task)
    }

    /// Returns the scope's token, a child of the caller's; where the first failure ends all, it cancels this.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.link.token
    }
}

impl<'scope, E: From<Cancelled>> Scope<'scope, '_, E, FailFast> {
    /// Joins each task in turn; returns their values in the order of the handles, most often that of spawning.
    ///
    /// # Cancellation
    ///
    /// As for [`ScopedTask::join`].
    ///
    /// # Errors
    ///
    /// As for [`ScopedTask::join`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, scope};
    ///
    /// let squares = scope(&CancellationToken::new(), |s| {
    ///     let tasks = (1..=4).map(|number| s.spawn(move |_| Ok(number * number))).collect::<Result<Vec<_>, _>>()?;
    ///     Ok::<Vec<u32>, Cancelled>(s.join_all(tasks)?)
    /// })?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn join_all<T>(
        &self,
        tasks: impl IntoIterator<Item = ScopedTask<'scope, T, E, FailFast>>,
    ) -> Result<Vec<T>, Cancelled> {
        values_of(tasks.into_iter().map(ScopedTask::<T, E, FailFast>::join))
    }
}

impl<'scope, E: From<Cancelled>> Scope<'scope, '_, E, KeepGoing> {
    /// Joins each task in turn; returns what they ended with in the order of the handles, most often that of spawning.
    ///
    /// # Cancellation
    ///
    /// As for [`ScopedTask::join`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let numbers = ScopeBuilder::new().collect_all(&CancellationToken::new(), |s| {
    ///     let parse = |word: &'static str| s.spawn(move |_| Ok(word.parse::<u32>()?));
    ///     let tasks = ["1", "two", "3"].into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    ///     Ok::<Vec<u32>, anyhow::Error>(s.join_all(tasks).into_iter().filter_map(Result::ok).collect())
    /// });
    /// // The failure has been joined, and so handled.
    /// assert_eq!(numbers.unwrap(), [1, 3]);
    /// ```
    #[must_use = "what failed is known from here only"]
    pub fn join_all<T>(
        &self,
        tasks: impl IntoIterator<Item = ScopedTask<'scope, T, E, KeepGoing>>,
    ) -> Vec<Result<T, Failure<E>>> {
        tasks.into_iter().map(ScopedTask::<T, E, KeepGoing>::join).collect()
    }
}

impl<E, P> fmt::Debug for Scope<'_, '_, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.name.as_deref().map_or(TASK, |name| name))
            .field("spawned", &self.link.spawned.load(Ordering::Relaxed))
            .field("token", &self.link.token)
            .finish_non_exhaustive()
    }
}

/// Why a task was not spawned, and its closure.
#[derive(thiserror::Error)]
#[error("{}", match .cancelled { Some(cancelled) => cancelled.to_string(), None => "the queue of the scope is full".to_owned() })]
pub struct TrySpawnError<F> {
    f: F,
    /// The task's, had it been spawned.
    index: usize,
    cancelled: Option<Cancelled>,
}

impl<F> TrySpawnError<F> {
    /// Tells whether the queue was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.cancelled.is_none()
    }

    /// Returns the cancellation, if it was that.
    #[must_use]
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.cancelled
    }

    /// Returns the closure.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.f
    }
}

impl<F> fmt::Debug for TrySpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySpawnError").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}
