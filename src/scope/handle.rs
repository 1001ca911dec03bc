//! Joining tasks.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::cell::{Joined, Look};
use super::shared::{Ending, Link};
use super::{FailFast, KeepGoing};
use crate::error::{CancelReason, Cancelled};
use crate::event::Event;
use crate::failure::Failure;
use crate::panic;

/// A task of a [`scope`](crate::scope()), to be joined for its value.
///
/// Dropping it leaves the task to the scope, which waits for it in any case.
pub struct ScopedTask<'scope, T, E, P = FailFast> {
    link: Link<'scope, E>,
    /// Taken by the drop.
    task: Option<Arc<dyn Joined<'scope, T, E> + 'scope>>,
    marker: PhantomData<fn(P)>,
}

impl<'scope, T, E, P> ScopedTask<'scope, T, E, P> {
    pub(super) fn new(link: Link<'scope, E>, task: Arc<dyn Joined<'scope, T, E> + 'scope>) -> Self {
        ScopedTask { link, task: Some(task), marker: PhantomData }
    }
}

impl<T, E: From<Cancelled>> ScopedTask<'_, T, E, FailFast> {
    /// Waits for the task to end, and returns its value.
    ///
    /// In a scope with a [limit](crate::ScopeBuilder::limit), a task that joins another one which has not been started runs
    /// that itself, on its own stack: so tasks may join tasks, however few threads there are. So does a thread that a task
    /// or the body has started by other means than brigade's, one of rayon's for example, which cannot be told from a task.
    ///
    /// The stack grows with the depth of such joins, by what the tasks themselves keep there and some 650 bytes a level (2.5 KiB
    /// without optimisation): 2 MiB hold 3,000 levels of tasks that keep nothing. For deeper ones set a
    /// [`stack_size`](crate::ScopeBuilder::stack_size), or let a task spawn and end, which needs no stack.
    ///
    /// # Cancellation
    ///
    /// Observes the scope's token: when it is cancelled, this returns at once, though the task may still run, unless it runs
    /// on this very stack. A value that is there is returned even so. (A task that joins itself waits until then.)
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the scope was cancelled before the task ended, and if the task failed: its error belongs to the
    /// scope, which returns it.
    pub fn join(self) -> Result<T, Cancelled> {
        self.value(true)
    }

    /// The same, but waits for the task's end even if the scope is cancelled, as the scope itself does.
    pub(super) fn join_to_the_end(self) -> Result<T, Cancelled> {
        self.value(false)
    }

    fn value(&self, observes: bool) -> Result<T, Cancelled> {
        if self.wait(observes) {
            // What failed has been recorded by `settle`, where the first failure ends all.
            if let Ok(value) = self.task().take() {
                return Ok(value);
            }
        }
        Err(self.cancelled())
    }
}

impl<T, E: From<Cancelled>> ScopedTask<'_, T, E, KeepGoing> {
    /// Waits for the task to end, and returns its value, or what it failed with. That is then handled: the scope does not
    /// list it.
    ///
    /// In a scope with a [limit](crate::ScopeBuilder::limit), a task that joins another one which has not been started runs
    /// that itself, on its own stack: so tasks may join tasks, however few threads there are. So does a thread that a task
    /// or the body has started by other means than brigade's, one of rayon's for example, which cannot be told from a task.
    ///
    /// The stack grows with the depth of such joins, by what the tasks themselves keep there and some 650 bytes a level (2.5 KiB
    /// without optimisation): 2 MiB hold 3,000 levels of tasks that keep nothing. For deeper ones set a
    /// [`stack_size`](crate::ScopeBuilder::stack_size), or let a task spawn and end, which needs no stack.
    ///
    /// # Cancellation
    ///
    /// Observes the scope's token: when it is cancelled, this returns at once, though the task may still run, unless it runs
    /// on this very stack. A value that is there is returned even so. (A task that joins itself waits until then.)
    ///
    /// # Errors
    ///
    /// The task's error or panic; [`Failure::Cancelled`] if the scope was cancelled before the task ended, and if the task
    /// was skipped. The scope then does not count the task, and drops the error that the task may yet end with; a panic
    /// still counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, ScopeBuilder};
    ///
    /// let (good, bad) = ScopeBuilder::new()
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         let good = s.spawn(|_| Ok("7".parse::<u32>()?))?;
    ///         let bad = s.named("parse").spawn(|_| Ok("seven".parse::<u32>()?))?;
    ///         Ok::<_, anyhow::Error>((good.join()?, bad.join().map_err(|failure| failure.to_string())))
    ///     })
    ///     .unwrap();
    /// assert_eq!((good, bad.unwrap_err().as_str()), (7, "parse#1 failed: invalid digit found in string"));
    /// ```
    pub fn join(self) -> Result<T, Failure<E>> {
        let ending = if self.wait(true) {
            match self.task().take() {
                Ok(value) => return Ok(value),
                Err(ending) => ending,
            }
        } else {
            Ending::Cancelled
        };
        Err(match ending {
            Ending::Failed(failed) => failed.failure,
            Ending::Cancelled | Ending::Skipped => {
                let label = self.task().label();
                Failure::Cancelled { name: label.component(), index: label.index, cancelled: self.cancelled() }
            }
        })
    }
}

impl<T, E: From<Cancelled>, P> ScopedTask<'_, T, E, P> {
    /// Waits for the task to end, or for a cancellation if that is observed; the handle's drop does the rest. Returns whether
    /// the task has ended.
    fn wait(&self, observes: bool) -> bool {
        let (task, shared) = (self.task(), &*self.link);
        while task.look() == Look::Queued {
            let Some(crew) = shared.crew.as_ref().filter(|crew| crew.is_in_task()) else { break };
            crew.take_out(Arc::as_ptr(task).cast());
            Arc::clone(task).run(&self.link);
        }
        task.look() == Look::Ended || self.wait_asleep(observes)
    }

    // Apart, since tasks that join tasks keep the frames of `wait` on their stack.
    #[inline(never)]
    fn wait_asleep(&self, observes: bool) -> bool {
        let (task, shared) = (self.task(), &*self.link);
        let event = Arc::new(Event::default());
        let _watch = observes.then(|| event.observe(&shared.token));
        task.observe(Arc::clone(&event));
        loop {
            let ticket = event.ticket();
            if task.look() == Look::Ended {
                return true;
            }
            if observes && shared.token.is_cancelled() {
                task.handle();
                return false;
            }
            event.wait_until(ticket, if observes { shared.token.look_at() } else { None });
        }
    }

    /// Why a task has no value: its failure has cancelled the scope, if nothing had before.
    fn cancelled(&self) -> Cancelled {
        Cancelled::new(self.link.token.reason().unwrap_or(CancelReason::Failed))
    }
}

impl<'scope, T, E, P> ScopedTask<'scope, T, E, P> {
    /// Tells whether the task has ended, well or not. Never waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task().look() == Look::Ended
    }

    /// Returns the task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.task().label().name()
    }

    fn task(&self) -> &Arc<dyn Joined<'scope, T, E> + 'scope> {
        self.task.as_ref().unwrap_or_else(|| unreachable!("only its drop takes it"))
    }
}

impl<T, E, P> Drop for ScopedTask<'_, T, E, P> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abandon(&self.link);
        }
    }
}

impl<T, E, P> fmt::Debug for ScopedTask<'_, T, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask")
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Collects the values, up to the first error. Then they are dropped one by one: together, two whose `Drop` panics would
/// end the process.
pub(super) fn values_of<T, X>(results: impl Iterator<Item = Result<T, X>>) -> Result<Vec<T>, X> {
    let mut values = Vec::with_capacity(results.size_hint().0);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                panic::drop_each(values);
                return Err(error);
            }
        }
    }
    Ok(values)
}
