//! Tasks on scoped threads: fan-out and fan-in.
//!
//! [`scope`] runs a body, which spawns tasks that may borrow from outside. It returns when every task has ended, with
//! the value of the body or with the first failure. Use it for different things to do at once; for many items of one
//! kind use a [parallel map](crate::par_map) or a [`Pipeline`](crate::Pipeline).
//!
//! | you have | use |
//! |---|---|
//! | a fixed number of closures, and you want all values | [`try_join`], [`try_join3`], [`try_join4`] |
//! | a list of closures, and you want all values | [`try_join_all`] |
//! | a list of closures, and the first value is enough | [`first_ok`] |
//! | tasks of different kinds, or tasks that spawn tasks | [`scope`] |
//! | many tasks on a few threads | [`ScopeBuilder::limit`] |
//! | tasks that shall all run, though some fail | [`ScopeBuilder::collect_all`] |
//! | tasks to be watched and tried again | [`ScopeBuilder::supervise`] |
//! | a search that may end early | [`Scope::finish`] |
//!
//! # How a scope ends
//!
//! These words have one meaning each, here and in the code:
//!
//! - A task *ends* when its closure has returned or panicked. It has *completed*, *failed*, *panicked*, was *cancelled*
//!   (it returned an error after the cancel) or *skipped* (it never started): see [`Outcome`](crate::hooks::Outcome).
//! - A scope is *cancelled* by a failure, by the caller's token, or because it *finishes*: it has its result early.
//! - An *echo* is an error that a task returns because the scope was cancelled. It never replaces the failure that
//!   it follows.
//!
//! A failure has different effects in the methods that run a body: see the table at [`ScopeBuilder`].

mod error;
mod id;
mod policy;

mod counts;
mod hands;
mod queue;
mod threads;

mod ledger;
mod limit;
mod shared;
mod worker;

mod hold;
mod job;
mod task;

mod builder;
mod first_ok;
mod try_join;

mod run;
mod spawn;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use self::id::{TASK, TaskId, ThinName};
use self::limit::{IfFull, Spawner};
use self::shared::Link;
use self::task::values_of;
use crate::error::{Cancelled, FromError};
use crate::failure::Failure;
use crate::token::CancellationToken;

pub use self::builder::ScopeBuilder;
pub use self::error::TrySpawnError;
pub use self::first_ok::first_ok;
pub use self::policy::{FailFast, KeepGoing, Policy};
pub use self::task::ScopedTask;
pub use self::try_join::{try_join, try_join_all, try_join3, try_join4};

/// Runs `body`, which spawns tasks that may borrow from outside, and returns its value once every task has ended.
///
/// Each task has a thread of its own from the moment it is spawned, so tasks may wait for each other. The first
/// failure in time cancels the scope's token, which every task is given. It may be a task's error, a task's panic,
/// or the body's own error or panic. Then all tasks are joined. A [`ScopeBuilder`] has more to offer: a limit,
/// other policies, names, hooks.
///
/// # Cancellation
///
/// The scope's token is a child of `token`. The scope itself waits for its tasks, and they end when they notice the
/// cancellation or are done: hand [`Scope::token`] to every call in which they wait. A task is never abandoned, not
/// even on a timeout, because it may hold borrows of the caller's values, locks and files. Give the token a
/// [deadline](CancellationToken::child_with_timeout), and have the task observe it.
///
/// # Errors
///
/// The first error in time, of a task or of the body. An error that another task returns later, such as
/// [`Cancelled`], is an echo and dropped. [`Cancelled`], converted, also if the body went on after a
/// [`spawn`](Scope::spawn) was refused, and if a task was skipped. A cancelled token alone is no error: if every
/// task and the body end well, so does the scope.
///
/// # Panics
///
/// A panic of the body or of a task is resumed, payload intact, when all tasks are joined; it counts more than an
/// error. Of several panics, that of the body is resumed, or else that of the task spawned first.
/// [Hooks](ScopeBuilder::hooks) are told of each. A panic in the `Drop` of a value that no caller joins counts as
/// the task's.
///
/// Where a program is compiled with `panic = "abort"`, the first panic ends the process.
///
/// # On a rayon worker
///
/// A scope that is called inside a rayon job, such as the closure of [`par_map`](crate::par_map), waits for its tasks,
/// and rayon's pool has one worker less meanwhile. If the tasks use rayon themselves, they wait for that pool: once all
/// its workers wait in scopes, they wait for ever. Keep rayon out of such tasks, or call the scope outside of rayon.
///
/// # Costs
///
/// A task costs its thread, some 20 to 80 µs; in a scope with a [limit](ScopeBuilder::limit) a fraction of a
/// microsecond. For many small items of one kind [`par_map`](crate::par_map) or a [`Pipeline`](crate::Pipeline) is
/// cheaper still.
///
/// # Examples
///
/// The error type has to be named somewhere, as in the last line of this body, because rustc cannot infer it from `?`
/// alone (E0283). It must be [`From<Cancelled>`](Cancelled), so it can be neither `String` nor `Box<dyn Error>`
/// without `Send + Sync`. A task that spawns uses the scope that it is given, because the outer scope cannot be
/// borrowed for so long.
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
/// The first failure wins, and the other tasks are told:
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
    E: FromError<Cancelled> + Send + 'env,
{
    ScopeBuilder::new().run(token, body)
}

/// Where tasks are spawned, handed to the body of a scope and to every task.
///
/// `P` is the effect of a failure: it cancels the scope ([`FailFast`]), or it ends the task only ([`KeepGoing`]).
pub struct Scope<'scope, 'env: 'scope, E, P = FailFast> {
    link: Link<'scope, E>,
    name: Option<ThinName>,
    spawner: Spawner,
    marker: PhantomData<fn(&'env (), P)>,
}

impl<'scope, 'env, E, P> Scope<'scope, 'env, E, P>
where
    E: FromError<Cancelled> + Send + 'scope,
{
    /// Spawns a task, which is given the scope, to spawn further tasks and for its token.
    ///
    /// [`ScopedTask::join`] returns the task's value; dropping the handle leaves the task to the scope. Without a
    /// [limit](ScopeBuilder::limit) the task has a thread of its own, at once. With a limit it is queued: the body
    /// waits while the queue is full, and a task never waits.
    ///
    /// # Cancellation
    ///
    /// Waiting for room in the queue observes the scope's token.
    ///
    /// # Errors
    ///
    /// In a cancelled scope no task is started, and `f` is dropped; a panic of its `Drop` counts as the task's. If the
    /// system refuses to start a thread (with a limit, the first), the reason is an
    /// [`Other`](crate::CancelReason::Other) that says so, and in a scope that fails fast it cancels the other tasks.
    /// In both cases the scope does not end well, even if this error is ignored.
    ///
    /// After [`finish`](Self::finish) a spawn is no error, because a body that spawns on need not know. The task is
    /// skipped, and its handle says so.
    pub fn spawn<T, F>(&self, f: F) -> Result<ScopedTask<'scope, T, E, P>, Cancelled>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        P: 'scope,
    {
        self.start_held(f, IfFull::Wait).map_err(|refused| {
            // Caught, because an unwinding body would drop its own values while this panic is under way.
            let id = TaskId { name: self.name.clone(), index: refused.index };
            self.link.drop_for(&id, refused.f);
            refused.cancelled.unwrap_or_else(|| unreachable!("it has waited for room"))
        })
    }

    /// Spawns a task if there is room in the queue, and else gives the closure back.
    ///
    /// Never waits. There is always room in a scope without a [limit](ScopeBuilder::limit), and for a task that spawns.
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
    /// // The body itself runs a task for which there is no room.
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
        self.start_held(f, IfFull::GiveBack)
    }

    /// Ends the scope early and well, because it has its result; returns whether this call did so.
    ///
    /// It cancels the scope's token, with the reason [`Finished`](crate::CancelReason::Finished), so the other
    /// tasks leave as after any cancel. But nothing has gone wrong, and the scope returns the value of its body.
    /// The body may call this, or any task.
    ///
    /// - No other task starts. [`spawn`](Self::spawn) gives the handle of a skipped task,
    ///   [`try_spawn`](Self::try_spawn) gives the closure back, and tasks in the queue are skipped.
    /// - [`join`](ScopedTask::join) gives the value of a task that has one, and else `Cancelled` with the reason
    ///   `Finished`. A body that joins by `?` ends with that as its error; a match on the reason goes on instead.
    /// - An error that a task returns from now on is dropped unread. An earlier error stands.
    /// - If the body returns an error nevertheless, the scope ends with it. A panic counts always.
    /// - It changes nothing in a scope that fails fast and has a failure, or in a scope that is cancelled already,
    ///   by the caller's token for example.
    ///
    /// Scopes within the tasks are cancelled by it as by any other cancel of their caller's token: they end with an
    /// error, which their task returns.
    ///
    /// # Panics
    ///
    /// Never: a panic of the token's callbacks counts as a task's.
    ///
    /// # Examples
    ///
    /// A search that ends as soon as one of its tasks has found a number, which lies outside of the scope:
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

    /// Returns this scope with another name for the tasks that are spawned through it, and for their own tasks.
    ///
    /// The name stands in [`Failure`]s and [`Hooks`](crate::hooks::Hooks). Where each task has a thread of its own,
    /// it stands in the thread's name too (`name#index`; Linux shows 15 bytes), and so in panic messages. The
    /// default is that of the [builder](ScopeBuilder::named), or `task`. A NUL becomes the replacement character in
    /// the thread's name.
    #[must_use = "the name is that of the returned scope"]
    pub fn named(&self, name: impl AsRef<str>) -> Self {
        let name = Some(Arc::new(name.as_ref().into()));
        Scope { link: self.link.clone(), name, spawner: self.spawner, marker: PhantomData }
    }

    /// Returns the scope's token, a child of the caller's.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.link.token
    }
}

impl<'scope, E: FromError<Cancelled>> Scope<'scope, '_, E, FailFast> {
    /// Joins each task in turn; returns their values in the order of the handles.
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

impl<'scope, E: FromError<Cancelled>> Scope<'scope, '_, E, KeepGoing> {
    /// Joins each task in turn; returns their values and failures in the order of the handles.
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
    #[must_use = "the scope does not list a failure that was joined"]
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
            .field("spawned", &self.link.spawned())
            .field("token", &self.link.token)
            .finish_non_exhaustive()
    }
}
