//! Starting a task: on a thread of its own, or by way of the queue.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Scope;
use super::error::TrySpawnError;
use super::hold::{Hold, Inline, is_large};
use super::id::TaskId;
use super::job::{self, Closure, Job, Joinable};
use super::limit::{IfFull, Limit, Spawner};
use super::shared::{Link, Queued, Runnable};
use super::task::ScopedTask;
use crate::error::{CancelReason, Cancelled, FromError};

impl<'scope, 'env, E, P> Scope<'scope, 'env, E, P>
where
    E: FromError<Cancelled> + Send + 'scope,
{
    /// Starts a task; keeps its closure and its value in boxes if they are large.
    #[inline]
    pub(super) fn start_held<T, F>(
        &self,
        f: F,
        if_full: IfFull,
    ) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<F>>
    where
        F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        P: 'scope,
    {
        let given_back = |f, index, cancelled| Err(TrySpawnError { f, index, cancelled });
        if const { is_large::<F, T>() } {
            let closure = Box::new(WithScope { f, marker: PhantomData });
            match self.start::<T, Box<WithScope<'env, F, P>>, Box<T>>(closure, if_full) {
                Ok(task) => Ok(task),
                Err(refused) => given_back(refused.f.out().f, refused.index, refused.cancelled),
            }
        } else {
            let closure = Inline::hold(WithScope { f, marker: PhantomData });
            match self.start::<T, Inline<WithScope<'env, F, P>>, Inline<T>>(closure, if_full) {
                Ok(task) => Ok(task),
                Err(refused) => given_back(refused.f.out().f, refused.index, refused.cancelled),
            }
        }
    }

    fn start<T, G, U>(&self, closure: G, if_full: IfFull) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        G: Hold + Send + 'scope,
        G::Value: Closure<'scope, T, E>,
        U: Hold<Value = T> + Send + 'scope,
        T: 'scope,
    {
        if let Err(cancelled) = self.link.token.check() {
            let id = TaskId { name: self.name.clone(), index: self.link.next_index() };
            return self.refuse::<T, G, U>(closure, id, cancelled, if_full);
        }
        match &self.link.limit {
            Some(limit) => self.queue::<T, G, U>(limit, closure, if_full),
            None => self.start_thread::<T, G, U>(closure, if_full),
        }
    }

    /// Puts a task into the queue.
    #[inline]
    fn queue<T, G, U>(
        &self,
        limit: &Limit<Queued<'scope, E>>,
        closure: G,
        if_full: IfFull,
    ) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        G: Hold + Send + 'scope,
        G::Value: Closure<'scope, T, E>,
        U: Hold<Value = T> + Send + 'scope,
        T: 'scope,
    {
        let name = self.name.clone();
        let mut queue = match limit.try_admit(self.spawner) {
            Some(queue) => queue,
            None => match limit.admit(&self.link, self.spawner, if_full) {
                Ok(Some(queue)) => queue,
                Ok(None) => return Err(TrySpawnError { f: closure, index: 0, cancelled: None }),
                Err(cancelled) => {
                    let id = TaskId { name, index: self.link.next_index() };
                    return self.refuse::<T, G, U>(closure, id, cancelled, if_full);
                }
            },
        };
        // The memory of a spent task is freed, and allocated for this one.
        let spent = queue.take_spent().and_then(Runnable::into_link);
        let link = spent.unwrap_or_else(|| self.link.clone());
        let job = Arc::new(Job::<E, G, U>::new(TaskId { name, index: queue.next_index() }, link, closure));
        limit.push(&self.link, queue, job.clone());
        Ok(ScopedTask::new(job))
    }

    /// Starts a task on a thread of its own.
    fn start_thread<T, G, U>(
        &self,
        closure: G,
        if_full: IfFull,
    ) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        G: Hold + Send + 'scope,
        G::Value: Closure<'scope, T, E>,
        U: Hold<Value = T> + Send + 'scope,
        T: 'scope,
    {
        let shared = &*self.link;
        let index = shared.next_index();
        let id = TaskId { name: self.name.clone(), index };
        let job = Arc::new(Job::<E, G, U>::new(id, self.link.clone(), closure));
        let own = Arc::clone(&job);
        match shared.threads.start(job.id().name(), index, move || own.run(&mut None)) {
            Ok(handle) => shared.adopt(handle),
            Err(cancelled) => {
                let closure = job.start().unwrap_or_else(|| unreachable!("it was not started"));
                let id = TaskId { name: self.name.clone(), index };
                return self.refuse::<T, G, U>(closure, id, cancelled, if_full);
            }
        }
        Ok(ScopedTask::new(job))
    }

    /// Ends a spawn that cannot start its task.
    #[cold]
    fn refuse<T, G, U>(
        &self,
        closure: G,
        id: TaskId,
        cancelled: Cancelled,
        if_full: IfFull,
    ) -> Result<ScopedTask<'scope, T, E, P>, TrySpawnError<G>>
    where
        G: Hold + Send + 'scope,
        G::Value: Closure<'scope, T, E>,
        U: Hold<Value = T> + Send + 'scope,
        T: 'scope,
    {
        let shared = &*self.link;
        if !shared.has_finished() {
            shared.refuse(&id, cancelled);
            return Err(TrySpawnError { f: closure, index: id.index, cancelled: Some(cancelled) });
        }
        let cancelled = Cancelled::new(CancelReason::Finished);
        if if_full == IfFull::GiveBack {
            return Err(TrySpawnError { f: closure, index: id.index, cancelled: Some(cancelled) });
        }
        shared.drop_for(&id, closure);
        let skipped = job::skip(&id, cancelled, shared);
        Ok(ScopedTask::new(Arc::new(Job::<E, G, U>::skipped(id, self.link.clone(), skipped))))
    }
}

/// A user's closure. Its scope is made when it is called.
struct WithScope<'env, F, P> {
    f: F,
    marker: PhantomData<fn(&'env (), P)>,
}

impl<'scope, 'env: 'scope, T, E, P, F> Closure<'scope, T, E> for WithScope<'env, F, P>
where
    F: FnOnce(&Scope<'scope, 'env, E, P>) -> Result<T, E>,
{
    #[inline]
    fn call(self, link: &Link<'scope, E>, own: &mut Option<Link<'scope, E>>, id: &TaskId) -> Result<T, E> {
        // Not there on a thread of the task's own, and after a panic.
        let link = own.take().unwrap_or_else(|| link.another());
        let scope = Scope { link, name: id.name.clone(), spawner: Spawner::Task, marker: PhantomData };
        let result = (self.f)(&scope);
        *own = Some(scope.link);
        result
    }
}
