//! Starting a task: on a thread of its own, or by way of the queue.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Scope;
use super::error::TrySpawnError;
use super::hold::{Hold, Inline, is_large};
use super::id::TaskId;
use super::job::{self, Closure, Job, Joinable};
use super::limit::{Admission, IfFull, Spawner};
use super::shared::{Link, Runnable};
use super::task::ScopedTask;
use crate::error::{CancelReason, Cancelled};

impl<'scope, 'env, E, P> Scope<'scope, 'env, E, P>
where
    E: From<Cancelled> + Send + 'scope,
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
        let shared = &*self.link;
        let admitted = match &shared.limit {
            _ if shared.token.is_cancelled() => shared.token.check().map(|()| Admission::Granted),
            Some(limit) => limit.admit(&self.link, self.spawner, if_full),
            None => Ok(Admission::Granted),
        };
        if let Ok(Admission::Full) = admitted {
            return Err(TrySpawnError { f: closure, index: 0, cancelled: None });
        }
        let index = shared.spawned.fetch_add(1, Ordering::Relaxed);
        let id = TaskId { name: self.name.clone(), index };
        if let Err(cancelled) = admitted {
            return self.refuse::<T, G, U>(closure, id, cancelled, if_full);
        }
        let job = Arc::new(Job::<E, G, U>::new(id, closure));
        match &shared.limit {
            Some(limit) => limit.push(&self.link, job.clone()),
            None => {
                let (own, link) = (Arc::clone(&job), self.link.another());
                match shared.threads.start(job.id().name(), index, move || own.run(&link)) {
                    Ok(handle) => shared.adopt(handle),
                    Err(cancelled) => {
                        let closure = job.start().unwrap_or_else(|| unreachable!("it was not started"));
                        let id = TaskId { name: self.name.clone(), index };
                        return self.refuse::<T, G, U>(closure, id, cancelled, if_full);
                    }
                }
            }
        }
        Ok(ScopedTask::new(self.link.clone(), job))
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
        Ok(ScopedTask::new(self.link.clone(), Arc::new(Job::<E, G, U>::skipped(id, skipped))))
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
    fn call(self, link: &Link<'scope, E>, id: &TaskId) -> Result<T, E> {
        let name = id.name.clone();
        (self.f)(&Scope { link: link.clone(), name, spawner: Spawner::Task, marker: PhantomData })
    }
}
