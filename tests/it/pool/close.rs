//! Closing and dropping a pool.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::hooks::{Hooks, Task};
use brigade::pool::{Close, CloseError, Job, JobStatus};
use brigade::{CancelReason, Cancelled, Pool, PoolBuilder, scope};
use crossbeam::channel::{Receiver, bounded};

use super::{HOUR, assert_adds_up, drained, occupy, pool, value};
use crate::util::{
    Counter, Gate, alone, live, others_sleep, payload_of, threads, until, until_others_sleep, until_threads, watched,
};

#[test]
fn drain_runs_all_that_was_accepted() {
    watched(|| {
        let pool = pool(2);
        let gate = occupy(&pool, 2);
        let jobs: Vec<_> = (0..300).map(|number| value(&pool, number)).collect();
        scope(&live(), |s| {
            let closing = s.spawn(|_| Ok(drained(&pool)))?;
            until(|| pool.try_fire(|_| {}).is_err_and(|error| error.is_closed()));
            gate.open();
            assert!(closing.join()?.jobs.completed >= 302);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert!(jobs.iter().enumerate().all(|(number, job)| job.wait(&live()).unwrap() == number));
    });
}

#[test]
fn cancel_skips_what_is_pending_and_leaves_those_that_run_their_grace() {
    watched(|| {
        let pool = pool(1);
        let (started, gate) = (Counter::default(), Gate::default());
        let running = pool.submit(&live(), {
            let (started, gate) = (started.clone(), gate.clone());
            move |job| {
                started.add();
                gate.pass();
                job.token().check().map(|()| "in good order")
            }
        });
        started.wait_for(1);
        let pending = value(&pool, ());
        scope(&live(), |s| {
            let closing = s.spawn(|_| Ok(pool.close(&live(), Close::Cancel, HOUR).unwrap()))?;
            assert!(pending.wait(&live()).is_err());
            gate.open();
            let account = closing.join()?;
            assert_eq!((account.jobs.completed, account.jobs.skipped), (1, 1));
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(running.unwrap().wait(&live()).unwrap(), "in good order");
    });
}

#[test]
fn after_the_grace_the_tokens_of_running_jobs_are_cancelled() {
    watched(|| {
        for (how, reason) in [(Close::Cancel, CancelReason::Requested), (Close::Drain, CancelReason::Deadline)] {
            let pool = pool(1);
            let job = pool.submit(&live(), |job| Err::<(), _>(job.token().wait())).unwrap();
            until(|| job.status() == JobStatus::Running);
            let pending = value(&pool, ());
            let account = pool.close(&live(), how, Duration::from_millis(2)).unwrap();
            assert_eq!((account.jobs.cancelled, account.jobs.skipped), (1, 1));
            assert_eq!(job.wait(&live()).unwrap_err().into_error(), Some(reason));
            assert_eq!(pending.status(), JobStatus::Skipped);
        }
    });
}

#[test]
fn the_waiters_token_turns_drain_into_cancel() {
    watched(|| {
        let (pool, token) = (pool(1), live());
        let gate = occupy(&pool, 1);
        let pending = value(&pool, ());
        scope(&live(), |s| {
            let closing = s.spawn(|_| Ok(pool.close(&token, Close::Drain, HOUR).unwrap()))?;
            until(|| pool.try_fire(|_| {}).is_err_and(|error| error.is_closed()));
            assert_eq!(pending.status(), JobStatus::Pending);
            token.cancel();
            assert!(pending.wait(&live()).is_err());
            gate.open();
            assert!(closing.join()?.jobs.skipped >= 1);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}

#[test]
fn close_is_idempotent_and_several_threads_may_close_at_once() {
    watched(|| {
        let pool = pool(2);
        let gate = occupy(&pool, 2);
        let _pending: Vec<_> = (0..50).map(|number| value(&pool, number)).collect();
        let accounts = scope(&live(), |s| {
            let closing = (0..6).map(|number| {
                let (pool, how) = (&pool, if number == 5 { Close::Cancel } else { Close::Drain });
                s.spawn(move |_| Ok(pool.close(&live(), how, HOUR).unwrap()))
            });
            let closing = closing.collect::<Result<Vec<_>, _>>()?;
            until(|| pool.account().jobs.skipped == 50);
            gate.open();
            s.join_all(closing)
        });
        let last = drained(&pool);
        assert_eq!((last.accepted, last.jobs.completed, last.jobs.skipped), (52, 2, 50));
        for account in accounts.unwrap() {
            assert_eq!(account, last);
        }
    });
}

#[test]
fn a_job_cannot_close_its_pool() {
    watched(|| {
        let pool = Arc::new(pool(1));
        let inner = Arc::clone(&pool);
        let job = pool.submit(&live(), move |_| {
            let own = inner.close(&live(), Close::Drain, HOUR).unwrap_err();
            let by_a_scope = scope(&live(), |s| {
                s.spawn(|_| Ok::<_, Cancelled>(inner.close(&live(), Close::Cancel, HOUR).is_err()))?.join()
            });
            assert_eq!(by_a_scope, Ok(true));
            Err::<(), CloseError>(own)
        });
        let error = job.unwrap().wait(&live()).unwrap_err();
        assert!(error.to_string().ends_with("it would wait for itself"), "{error}");
        assert_eq!(value(&pool, 1).wait(&live()).unwrap(), 1);
    });
}

#[test]
fn a_job_may_close_another_pool() {
    watched(|| {
        let (outer, inner) = (pool(1), Arc::new(pool(1)));
        let closed = Arc::clone(&inner);
        value(&inner, ()).wait(&live()).unwrap();
        let job = outer.submit(&live(), move |_| closed.close(&live(), Close::Drain, HOUR)).unwrap();
        assert_eq!(job.wait(&live()).unwrap().jobs.completed, 1);
    });
}

/// Writes down the jobs that ignore their tokens.
#[derive(Default)]
struct Overdue(Mutex<Vec<String>>, Counter);

impl Hooks for Overdue {
    fn overdue(&self, job: Task<'_>) {
        self.0.lock().unwrap().push(format!("{}#{}", job.name, job.index));
        self.1.add();
    }
}

#[test]
fn a_job_that_ignores_its_token_is_waited_for_and_the_hooks_are_told_which() {
    watched(|| {
        let overdue = Arc::new(Overdue::default());
        let pool = PoolBuilder::new(2).hooks(Arc::clone(&overdue) as _).start(&live());
        let gate = Gate::default();
        let held = gate.clone();
        let stubborn = pool.named("stubborn").submit(&live(), move |_| Ok::<_, ()>(held.pass())).unwrap();
        let good = pool.submit(&live(), |job| Err::<(), _>(job.token().wait())).unwrap();
        until(|| stubborn.status() == JobStatus::Running && good.status() == JobStatus::Running);
        scope(&live(), |s| {
            let closing = s.spawn(|_| Ok(pool.close(&live(), Close::Cancel, Duration::from_millis(20)).unwrap()))?;
            overdue.1.wait_for(1);
            assert_eq!(stubborn.status(), JobStatus::Running);
            gate.open();
            assert_eq!(closing.join()?.jobs.completed, 1);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(*overdue.0.lock().unwrap(), ["stubborn#0"]);
    });
}

/// A value that waits as it is dropped, until a gate opens.
struct SlowDrop(Counter, Gate);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        self.0.add();
        self.1.pass();
    }
}

#[test]
fn close_waits_for_the_closure_of_a_job_that_is_being_skipped() {
    if !alone!(close_waits_for_the_closure_of_a_job_that_is_being_skipped) {
        return;
    }
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let (drops, door, closed) = (Counter::default(), Gate::default(), AtomicBool::new(false));
        let slow = SlowDrop(drops.clone(), door.clone());
        let job = pool
            .submit(&live(), move |_| {
                drop(slow);
                Ok::<_, ()>(())
            })
            .unwrap();
        scope(&live(), |s| {
            let cancelling = s.spawn(|_| Ok(job.cancel()))?;
            drops.wait_for(1);
            gate.open();
            s.spawn(|_| {
                drained(&pool);
                closed.store(true, Ordering::SeqCst);
                Ok(())
            })?;
            until(|| pool.try_fire(|_| {}).is_err_and(|error| error.is_closed()));
            until_others_sleep();
            assert!(!closed.load(Ordering::SeqCst));
            door.open();
            assert!(cancelling.join()?);
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert!(job.try_take().is_some());
    });
}

/// A value that waits for a job as it is dropped.
struct WaitsAsItDrops(Receiver<Job<(), &'static str>>);

impl Drop for WaitsAsItDrops {
    fn drop(&mut self) {
        let failure = self.0.recv().unwrap().wait(&live()).unwrap_err();
        assert!(failure.cancelled().is_some());
    }
}

#[test]
fn the_closure_of_a_skipped_job_may_wait_for_another_job_that_is_skipped_with_it() {
    watched(|| {
        let token = live();
        let pool = PoolBuilder::new(1).start(&token);
        let gate = occupy(&pool, 1);
        let (sender, receiver) = bounded(1);
        let waits = WaitsAsItDrops(receiver);
        let job = pool
            .submit(&live(), move |_| {
                drop(waits);
                Ok::<_, ()>(())
            })
            .unwrap();
        sender.send(value(&pool, ())).unwrap();
        token.cancel();
        assert_eq!(job.status(), JobStatus::Skipped);
        gate.open();
        assert_eq!(drained(&pool).jobs.skipped, 2);
    });
}

#[test]
fn the_closure_of_a_skipped_job_may_drop_its_pool() {
    watched(|| {
        let token = live();
        let pool = Arc::new(PoolBuilder::new(1).start(&token));
        let gate = occupy(&pool, 1);
        let held = Arc::clone(&pool);
        let job = pool
            .submit(&live(), move |_| {
                drop(held);
                Ok::<_, ()>(())
            })
            .unwrap();
        drop(pool);
        assert!(job.cancel());
        assert_eq!(job.status(), JobStatus::Skipped);
        gate.open();
    });
}

/// A value of a worker's thread that submits a job as the thread ends.
struct LastWords(Arc<Pool>, Arc<Mutex<Option<bool>>>);

impl Drop for LastWords {
    fn drop(&mut self) {
        // The closer joins this thread then.
        until(others_sleep);
        let refusal = self.0.try_fire(|_| {}).unwrap_err();
        *self.1.lock().unwrap() = Some(refusal.is_closed());
    }
}

thread_local!(static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) });

#[test]
fn a_submission_is_refused_at_once_while_a_closer_joins_the_thread_that_makes_it() {
    if !alone!(a_submission_is_refused_at_once_while_a_closer_joins_the_thread_that_makes_it) {
        return;
    }
    watched(|| {
        let (pool, refused) = (Arc::new(pool(1)), Arc::default());
        let words = LastWords(Arc::clone(&pool), Arc::clone(&refused));
        pool.fire(&live(), move |_| LAST_WORDS.set(Some(words))).unwrap();
        drained(&pool);
        assert_eq!(*refused.lock().unwrap(), Some(true));
    });
}

#[test]
fn a_dropped_pool_tells_of_no_job_that_obeys_its_token() {
    watched(|| {
        let overdue = Arc::new(Overdue::default());
        for _ in 0..20 {
            let pool = PoolBuilder::new(1).hooks(Arc::clone(&overdue) as _).start(&live());
            let job = pool.submit(&live(), |job| Err::<(), _>(job.token().wait())).unwrap();
            until(|| job.status() == JobStatus::Running);
            drop(pool);
        }
        assert!(overdue.0.lock().unwrap().is_empty());
    });
}

#[test]
fn a_dropped_pool_cancels_its_jobs_and_joins_its_workers() {
    if !alone!(a_dropped_pool_cancels_its_jobs_and_joins_its_workers) {
        return;
    }
    watched(|| {
        let before = threads();
        for _ in 0..50 {
            let pool = pool(3);
            let running: Vec<_> =
                (0..3).map(|_| pool.submit(&live(), |job| Err::<(), _>(job.token().wait())).unwrap()).collect();
            let pending = value(&pool, ());
            drop(pool);
            until_threads(before);
            for job in running {
                let failure = job.try_take().expect("it has ended").unwrap_err();
                let reason = failure.cancelled().map(|cancelled| cancelled.reason());
                assert_eq!(failure.into_error().or(reason), Some(CancelReason::Dropped));
            }
            assert_eq!(pending.status(), JobStatus::Skipped);
        }
    });
}

#[test]
fn a_pool_that_its_own_job_drops_ends_with_its_jobs() {
    if !alone!(a_pool_that_its_own_job_drops_ends_with_its_jobs) {
        return;
    }
    watched(|| {
        let before = threads();
        let pool = Arc::new(pool(2));
        let (gate, held) = (Gate::default(), Arc::clone(&pool));
        let passed = gate.clone();
        let job = pool
            .submit(&live(), move |job| {
                passed.pass();
                drop(held);
                Ok::<_, ()>(job.token().reason())
            })
            .unwrap();
        drop(pool);
        gate.open();
        assert_eq!(job.wait(&live()).unwrap(), Some(CancelReason::Dropped));
        until_threads(before);
    });
}

#[test]
fn a_panicking_callback_is_resumed_by_close_when_all_workers_have_ended() {
    watched(|| {
        let pool = pool(1);
        let started = Counter::default();
        let job = pool.submit(&live(), {
            let started = started.clone();
            move |job| {
                job.token().on_cancel(|_| std::panic::resume_unwind(Box::new("callback"))).detach();
                started.add();
                Err::<(), _>(job.token().wait())
            }
        });
        started.wait_for(1);
        let payload = payload_of(|| _ = pool.close(&live(), Close::Cancel, Duration::ZERO));
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"callback"));
        assert_eq!(job.unwrap().status(), JobStatus::Cancelled);
        assert_adds_up(&pool.account());
        drop::<Pool>(pool);
    });
}
