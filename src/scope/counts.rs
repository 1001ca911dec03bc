//! [`Counts`]: how often the threads of a limit meet, for tests. Other builds count nothing.

#[cfg(test)]
use std::sync::atomic::AtomicUsize;

/// An event that is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// A thread locks the queue.
    Lock,
    /// A thread falls asleep.
    Sleep,
    /// A thread is called that sleeps.
    Wake,
    /// A thread is started.
    Start,
    /// The body waits for room.
    Wait,
}

#[derive(Default)]
pub(super) struct Counts {
    #[cfg(test)]
    counts: [AtomicUsize; 5],
}

impl Counts {
    #[inline]
    pub(super) fn add(&self, counted: Counted) {
        _ = (self, counted);
        #[cfg(test)]
        self.count(counted).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn count(&self, counted: Counted) -> &AtomicUsize {
        &self.counts[counted as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::Ordering;

    use super::Counted::{Lock, Start, Wake};
    use super::{Counted, Counts};
    use crate::scope::Scope;
    use crate::{CancellationToken, Cancelled, ScopeBuilder};

    const LIMIT: usize = 64;

    impl Counts {
        fn of(&self, counted: Counted) -> usize {
            self.count(counted).load(Ordering::Relaxed)
        }
    }

    fn spawn_trivial(s: &Scope<'_, '_, Cancelled>, tasks: usize) -> Result<(), Cancelled> {
        (0..tasks).try_for_each(|_| s.spawn(|_| Ok(())).map(drop))
    }

    /// Runs a body in a scope of 64 threads, with the counts of the scope.
    fn run<'env>(body: impl for<'scope> FnOnce(&Scope<'scope, 'env, Cancelled>, &Counts) -> Result<(), Cancelled>) {
        let ended = ScopeBuilder::new().limit(LIMIT).run(&CancellationToken::new(), |s| {
            let limit = s.link.limit.as_ref().expect("it was set");
            body(s, &limit.counts)
        });
        ended.unwrap();
    }

    #[test]
    fn sixty_four_threads_take_waiting_trivial_tasks_in_large_batches_and_wake_no_other() {
        const TASKS: usize = 32_000;
        let (all_in, all_go) = (&Barrier::new(LIMIT + 1), &Barrier::new(LIMIT + 1));
        run(|s, counts| {
            for _ in 0..LIMIT {
                s.spawn(|_| {
                    all_in.wait();
                    Ok(all_go.wait())
                })?;
            }
            all_in.wait();
            assert_eq!((counts.of(Start), counts.of(Wake)), (LIMIT, 0));
            let before = counts.of(Lock);
            spawn_trivial(s, TASKS)?;
            assert_eq!(counts.of(Lock) - before, TASKS, "a spawn locks the queue once");
            all_go.wait();
            s.spawn(|_| Ok(()))?.join()?;
            let (locks, wakes) = (counts.of(Lock) - before - TASKS, counts.of(Wake));
            assert!(locks < TASKS / 10, "{locks} locks to take {TASKS} tasks");
            assert!(wakes <= LIMIT, "{wakes} wakes");
            Ok(())
        });
    }

    #[test]
    fn a_stream_of_trivial_tasks_wakes_few_of_sixty_four_threads() {
        const TASKS: usize = 200_000;
        run(|s, counts| {
            spawn_trivial(s, TASKS)?;
            let (locks, wakes, starts) = (counts.of(Lock), counts.of(Wake), counts.of(Start));
            assert!(starts <= LIMIT && wakes < TASKS / 100, "{starts} starts, {wakes} wakes");
            // Each spawn locks the queue, and each take; a take of one task is the least. On two cores it is 1.02.
            assert!(locks < 3 * TASKS, "{locks} locks");
            Ok(())
        });
    }
}
