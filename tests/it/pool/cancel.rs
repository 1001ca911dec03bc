//! Cancelling jobs and pools.

use std::time::{Duration, Instant};

use brigade::pool::JobStatus;
use brigade::{CancelReason, Cancelled, PoolBuilder};

use super::{drained, occupy, pool, value};
use crate::util::{Census, Counter, live, payload_of, until, watched};

fn reason_of<T: std::fmt::Debug, E: std::fmt::Debug>(job: &brigade::pool::Job<T, E>) -> Option<CancelReason> {
    job.wait(&live()).unwrap_err().cancelled().map(|cancelled: Cancelled| cancelled.reason())
}

#[test]
fn a_pending_job_that_is_cancelled_never_starts_and_its_closure_is_dropped_at_once() {
    watched(|| {
        let (pool, census) = (pool(1), Census::default());
        let gate = occupy(&pool, 1);
        let held = census.make(());
        let job = pool
            .submit(&live(), move |_| {
                drop(held);
                Err::<(), _>("it has started")
            })
            .unwrap();
        assert_eq!(census.alive(), 1);
        assert!(job.cancel_with(CancelReason::Other("unwanted")));
        assert_eq!((census.alive(), job.status()), (0, JobStatus::Skipped));
        assert!(!job.cancel());
        assert_eq!(reason_of(&job), Some(CancelReason::Other("unwanted")));
        gate.open();
        assert_eq!(drained(&pool).jobs.skipped, 1);
    });
}

#[test]
fn a_job_that_a_call_has_cancelled_is_not_pending_any_more() {
    watched(|| {
        let pool = pool(1);
        for number in 0..3_000 {
            let job = value(&pool, number);
            // From just before a worker takes it to just after that.
            (0..number % 300).for_each(|_| std::hint::spin_loop());
            assert!(!job.cancel() || job.status() != JobStatus::Pending);
        }
        drained(&pool);
    });
}

#[test]
fn a_running_job_sees_its_token_and_its_neighbour_does_not() {
    watched(|| {
        let pool = pool(2);
        let started = Counter::default();
        let wait = || {
            let started = started.clone();
            pool.submit(&live(), move |job| {
                started.add();
                let reason = job.token().wait();
                Err::<(), _>(Cancelled::new(reason))
            })
            .unwrap()
        };
        let (first, second) = (wait(), wait());
        started.wait_for(2);
        assert!(first.cancel() && !first.cancel());
        assert!(first.wait(&live()).unwrap_err().into_error().is_some());
        assert_eq!((first.status(), second.status()), (JobStatus::Cancelled, JobStatus::Running));
        assert!(second.cancel() && !first.cancel());
        drained(&pool);
    });
}

#[test]
fn a_token_that_is_made_after_the_cancel_is_cancelled() {
    watched(|| {
        let pool = pool(1);
        let (gate, started) = (crate::util::Gate::default(), Counter::default());
        let job = pool
            .submit(&live(), {
                let (gate, started) = (gate.clone(), started.clone());
                move |job| {
                    started.add();
                    gate.pass();
                    Ok::<_, ()>(job.token().reason())
                }
            })
            .unwrap();
        started.wait_for(1);
        assert!(job.cancel());
        gate.open();
        // It returned a value, so it is completed.
        assert_eq!(job.wait(&live()).unwrap(), Some(CancelReason::Requested));
        assert_eq!(job.status(), JobStatus::Completed);
    });
}

#[test]
fn a_job_that_cancels_its_own_token_cancels_no_other() {
    watched(|| {
        let pool = pool(1);
        let job = pool.submit(&live(), |job| Ok::<_, ()>(job.token().cancel())).unwrap();
        assert!(job.wait(&live()).unwrap());
        pool.fire(&live(), |job| assert!(job.token().cancel())).unwrap();
        assert_eq!(value(&pool, 5).wait(&live()).unwrap(), 5);
        assert_eq!(drained(&pool).jobs.completed, 3);
    });
}

#[test]
fn a_cancelled_pool_skips_what_is_pending_and_refuses_more() {
    watched(|| {
        let (token, census) = (live(), Census::default());
        let pool = PoolBuilder::new(1).start(&token);
        let started = Counter::default();
        let running = pool.submit(&live(), {
            let started = started.clone();
            move |job| {
                started.add();
                Err::<(), _>(job.token().wait())
            }
        });
        started.wait_for(1);
        let jobs: Vec<_> = (0..100).map(|_| value(&pool, census.make(()))).collect();
        for _ in 0..100 {
            let held = census.make(());
            pool.fire(&live(), move |_| drop(held)).unwrap();
        }
        token.cancel_with(CancelReason::Signal(15));
        assert_eq!(census.alive(), 0);
        assert!(jobs.iter().all(|job| reason_of(job) == Some(CancelReason::Signal(15))));
        assert!(pool.try_submit(|_| Ok::<_, ()>(())).unwrap_err().is_closed());
        let running = running.unwrap();
        assert_eq!(running.wait(&live()).unwrap_err().into_error(), Some(CancelReason::Signal(15)));
        assert_eq!(running.status(), JobStatus::Cancelled);
        assert_eq!(drained(&pool).jobs.skipped, 200);
    });
}

#[test]
fn a_pool_of_a_cancelled_token_accepts_nothing() {
    watched(|| {
        let token = live();
        token.cancel();
        let pool = PoolBuilder::new(1).start(&token);
        assert!(pool.submit(&live(), |_| Ok::<_, ()>(())).unwrap_err().is_closed());
        assert_eq!(drained(&pool).accepted, 0);
    });
}

#[test]
fn a_pending_job_is_skipped_at_its_deadline_and_a_running_one_sees_it() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let job = pool.timeout(Duration::from_millis(3)).submit(&live(), |_| Ok::<_, ()>(())).unwrap();
        assert_eq!(reason_of(&job), Some(CancelReason::Deadline));
        assert_eq!(pool.account().jobs.skipped, 1);
        let late = pool.deadline(Instant::now()).submit(&live(), |_| Ok::<_, ()>(())).unwrap();
        assert_eq!(reason_of(&late), Some(CancelReason::Deadline));
        pool.deadline(Instant::now()).fire(&live(), |_| unreachable!("it is late")).unwrap();
        gate.open();
        let job =
            pool.timeout(Duration::from_millis(100)).submit(&live(), |job| Err::<(), _>(job.token().wait())).unwrap();
        // A slow machine may not have started it in time.
        let failure = job.wait(&live()).unwrap_err().into_failure().unwrap();
        let skipped = failure.cancelled().map(|cancelled| cancelled.reason());
        assert_eq!(failure.into_error().or(skipped), Some(CancelReason::Deadline));
        let account = drained(&pool);
        assert_eq!(account.jobs.skipped + account.jobs.cancelled, 4);
    });
}

#[test]
fn a_wait_for_room_ends_at_the_deadline_of_the_job_which_is_skipped() {
    watched(|| {
        let pool = PoolBuilder::new(1).queue(0).start(&live());
        let gate = occupy(&pool, 1);
        let short = pool.timeout(Duration::from_millis(3));
        let job = short.submit(&live(), |_| Ok::<_, ()>(())).unwrap();
        assert_eq!(reason_of(&job), Some(CancelReason::Deadline));
        short.fire(&live(), |_| unreachable!("it is late")).unwrap();
        gate.open();
        let account = drained(&pool);
        assert_eq!((account.jobs.skipped, account.refused), (2, 0));
    });
}

#[test]
fn a_job_is_cancelled_with_the_token_that_it_is_linked_to() {
    watched(|| {
        let (pool, request) = (pool(1), live());
        let linked = pool.linked(&request);
        let started = Counter::default();
        let running = linked.submit(&live(), {
            let started = started.clone();
            move |job| {
                started.add();
                Err::<(), _>(job.token().wait())
            }
        });
        started.wait_for(1);
        let pending: Vec<_> = (0..10).map(|_| linked.submit(&live(), |_| Ok::<_, ()>(())).unwrap()).collect();
        let other = value(&pool, 1);
        request.cancel();
        assert!(pending.iter().all(|job| job.status() == JobStatus::Skipped));
        assert!(running.unwrap().wait(&live()).is_err());
        assert_eq!(other.wait(&live()).unwrap(), 1);
        assert_eq!(linked.submit(&live(), |_| Ok::<_, ()>(())).unwrap().status(), JobStatus::Skipped);
        assert_eq!(drained(&pool).jobs.skipped, 11);
    });
}

#[test]
fn a_panicking_callback_of_a_jobs_token_reaches_the_call_that_cancels() {
    watched(|| {
        let pool = pool(1);
        let started = Counter::default();
        let job = pool
            .submit(&live(), {
                let started = started.clone();
                move |job| {
                    job.token().on_cancel(|_| std::panic::resume_unwind(Box::new("callback"))).detach();
                    started.add();
                    Err::<(), _>(job.token().wait())
                }
            })
            .unwrap();
        started.wait_for(1);
        let payload = payload_of(|| _ = job.cancel());
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"callback"));
        until(|| job.status() == JobStatus::Cancelled);
        drained(&pool);
    });
}
