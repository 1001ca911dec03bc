//! Waiting for a job, outside and inside of its pool.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::pool::{Job, JobError, JobStatus};
use brigade::{CancelReason, Cancelled, Pool, PoolBuilder, scope};
use crossbeam::channel::bounded;

use super::{HOUR, drained, occupy, pool, value};
use crate::util::{Census, Counter, Gate, alone, cpu_time, live, until, watched};

#[test]
fn a_failure_names_the_job() {
    watched(|| {
        let pool = pool(1);
        let job = pool.named("parse").submit(&live(), |_| "x".parse::<u8>()).unwrap();
        let error = job.wait(&live()).unwrap_err();
        assert_eq!(error.to_string(), "parse#0 failed: invalid digit found in string");
        assert_eq!(job.status(), JobStatus::Failed);
        assert!(error.into_error().is_some());
    });
}

#[test]
fn a_wait_ends_at_its_timeout_and_can_be_made_again() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let job = value(&pool, 3);
        assert!(matches!(job.wait_timeout(&live(), Duration::from_millis(1)), Err(JobError::Timeout)));
        assert!(matches!(job.wait_deadline(&live(), Instant::now()), Err(JobError::Timeout)));
        assert!(job.try_take().is_none());
        assert_eq!(job.status(), JobStatus::Pending);
        gate.open();
        assert_eq!(job.wait_timeout(&live(), HOUR).unwrap(), 3);
        assert!(matches!(job.wait(&live()), Err(JobError::Taken)));
        assert!(job.try_take().is_none());
    });
}

#[test]
fn cancel_wakes_a_wait_and_leaves_the_job() {
    watched(|| {
        let pool = pool(1);
        for running in [false, true] {
            let gate = Gate::default();
            let hold = if running { None } else { Some(occupy(&pool, 1)) };
            let job = pool
                .submit(&live(), {
                    let gate = gate.clone();
                    move |_| Ok::<_, ()>(gate.pass())
                })
                .unwrap();
            until(|| (job.status() == JobStatus::Running) == running);
            let (token, waits) = (live(), Counter::default());
            scope(&live(), |s| {
                let waiting = s.spawn(|_| {
                    waits.add();
                    Ok(job.wait(&token).unwrap_err().cancelled())
                })?;
                waits.wait_for(1);
                token.cancel();
                assert_eq!(waiting.join()?, Some(Cancelled::new(CancelReason::Requested)));
                Ok::<_, Cancelled>(())
            })
            .unwrap();
            hold.into_iter().for_each(|hold| hold.open());
            gate.open();
            assert!(job.wait(&live()).unwrap());
        }
    });
}

#[test]
fn a_deadline_wakes_a_wait() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let job = value(&pool, ());
        let error = job.wait(&live().child_with_timeout(Duration::from_millis(2))).unwrap_err();
        assert_eq!(error.cancelled().map(|cancelled| cancelled.reason()), Some(CancelReason::Deadline));
        gate.open();
    });
}

#[test]
fn many_threads_wait_for_one_job_and_one_takes_its_value() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let (job, waits) = (value(&pool, ()), Counter::default());
        let taken = scope(&live(), |s| {
            let waiting = (0..8).map(|_| {
                s.spawn(|_| {
                    waits.add();
                    Ok(job.wait(&live()).is_ok())
                })
            });
            let waiting = waiting.collect::<Result<Vec<_>, _>>()?;
            waits.wait_for(8);
            gate.open();
            Ok::<_, Cancelled>(s.join_all(waiting)?.into_iter().filter(|took| *took).count())
        });
        assert_eq!(taken, Ok(1));
    });
}

#[test]
fn a_job_without_a_handle_runs_and_its_value_is_dropped_once() {
    watched(|| {
        let (pool, census) = (pool(2), Census::default());
        for _ in 0..200 {
            let held = census.make(());
            drop(pool.submit(&live(), move |_| Ok::<_, ()>(held)).unwrap());
        }
        assert_eq!(drained(&pool).jobs.completed, 200);
        census.assert_all_dropped_once();
    });
}

#[test]
fn a_handle_outlives_its_pool() {
    watched(|| {
        let pool = pool(1);
        let (done, gate) = (value(&pool, 1), Gate::default());
        until(|| done.status().has_ended());
        let hold = occupy(&pool, 1);
        let pending = value(&pool, 2);
        scope(&live(), |s| {
            s.spawn(|_| {
                gate.pass();
                hold.open();
                Ok(())
            })?;
            let dropping = s.spawn(|_| {
                drop(pool);
                Ok(())
            })?;
            assert_eq!(pending.wait(&live()).unwrap_err().cancelled(), Some(Cancelled::new(CancelReason::Dropped)));
            gate.open();
            dropping.join()
        })
        .unwrap();
        assert_eq!((done.wait(&live()).unwrap(), pending.status()), (1, JobStatus::Skipped));
    });
}

/// Sums the numbers up to `depth`, each by a job that waits for the next.
fn sum(pool: &Arc<Pool>, depth: u64) -> Result<u64, JobError<String>> {
    if depth == 0 {
        return Ok(0);
    }
    let inner = Arc::clone(pool);
    let job = pool.submit(&live(), move |_| sum(&inner, depth - 1).map_err(|error| error.to_string())).unwrap();
    Ok(depth + job.wait(&live())?)
}

#[test]
fn jobs_wait_for_jobs_of_their_pool_at_any_size_without_a_deadlock() {
    watched(|| {
        for (workers, queue) in [(1, 0), (1, 1), (2, 0), (2, 64), (7, 3)] {
            let pool = Arc::new(PoolBuilder::new(workers).queue(queue).start(&live()));
            assert_eq!(sum(&pool, 100).unwrap(), 5_050);
            let account = drained(&pool);
            assert_eq!((account.accepted, account.jobs.completed), (100, 100));
        }
    });
}

#[test]
fn a_wait_that_would_be_too_deep_for_the_stack_is_refused_and_the_pool_goes_on() {
    watched(|| {
        let pool = Arc::new(pool(1));
        // The outermost wait is no job's.
        assert_eq!(sum(&pool, 201).unwrap(), 20_301);
        let error = sum(&pool, 3_000).unwrap_err().to_string();
        assert!(error.ends_with("200 jobs wait on this thread already, each for the next one"), "{error}");
        assert_eq!(sum(&pool, 100).unwrap(), 5_050);
        drained(&pool);
    });
}

#[test]
fn a_wait_with_a_time_inside_a_job_ends_in_time_and_runs_no_other_job() {
    watched(|| {
        let pool = Arc::new(pool(1));
        let inner = Arc::clone(&pool);
        let job = pool.submit(&live(), move |_| {
            let other = value(&inner, 7);
            let by_timeout = other.wait_timeout(&live(), Duration::from_millis(1));
            let by_deadline = other.wait_deadline(&live(), Instant::now());
            let token = live().child_with_timeout(Duration::from_millis(1));
            let by_token = other.wait_timeout(&token, HOUR);
            assert!(matches!(by_timeout, Err(JobError::Timeout)) && matches!(by_deadline, Err(JobError::Timeout)));
            assert!(matches!(by_token, Err(JobError::Cancelled(_))));
            assert_eq!(other.status(), JobStatus::Pending);
            Ok::<_, ()>(other.wait(&live()).unwrap())
        });
        assert_eq!(job.unwrap().wait(&live()).unwrap(), 7);
    });
}

#[test]
fn a_wait_inside_a_job_looks_at_its_token_after_it_has_run_the_other_job() {
    watched(|| {
        let pool = Arc::new(pool(1));
        let inner = Arc::clone(&pool);
        let job = pool.submit(&live(), move |_| {
            let token = live();
            let cancels = token.clone();
            let other = inner.submit(&live(), move |_| Ok::<_, ()>(cancels.cancel())).unwrap();
            assert!(matches!(other.wait(&token), Err(JobError::Cancelled(_))));
            Ok::<_, ()>(other.wait(&live()).unwrap())
        });
        assert!(job.unwrap().wait(&live()).unwrap());
    });
}

#[test]
fn a_scope_inside_a_job_waits_for_jobs_of_the_pool() {
    watched(|| {
        let pool = Arc::new(PoolBuilder::new(1).start(&live()));
        let inner = Arc::clone(&pool);
        let job = pool.submit(&live(), move |_| {
            scope(&live(), |s| {
                let tasks = (0..4).map(|number| {
                    let pool = &inner;
                    s.spawn(move |_| Ok(value(pool, number).wait(&live()).unwrap()))
                });
                let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
                Ok::<u32, Cancelled>(s.join_all(tasks)?.into_iter().sum())
            })
        });
        assert_eq!(job.unwrap().wait(&live()).unwrap(), 6);
    });
}

#[test]
fn a_job_that_waits_for_itself_is_refused() {
    watched(|| {
        let pool = pool(2);
        let (sender, own) = mpsc::channel::<Job<(), String>>();
        let job = pool.submit(&live(), move |_| {
            let own = own.recv().unwrap();
            let error = own.wait(&live()).unwrap_err();
            assert!(matches!(error, JobError::Circle));
            Err::<(), _>(error.to_string())
        });
        sender.send(job.unwrap()).unwrap();
        assert_eq!(drained(&pool).jobs.failed, 1);
    });
}

#[test]
fn two_jobs_that_wait_for_each_other_are_refused_once() {
    watched(|| {
        for workers in [2, 3] {
            let pool = pool(workers);
            let wait = |other: crossbeam::channel::Receiver<Job<bool, ()>>| {
                pool.submit(&live(), move |_| {
                    let other = other.recv().unwrap();
                    Ok::<_, ()>(matches!(other.wait(&live()), Err(JobError::Circle)))
                })
                .unwrap()
            };
            let (to_first, for_first) = bounded(1);
            let (to_second, for_second) = bounded(1);
            let (first, second) = (wait(for_first), wait(for_second));
            // Each has a handle of the other.
            to_first.send(second).unwrap();
            to_second.send(first).unwrap();
            assert_eq!(drained(&pool).jobs.completed, 2);
        }
    });
}

#[test]
fn waiting_threads_and_idle_workers_use_no_cpu_time() {
    if !alone!(waiting_threads_and_idle_workers_use_no_cpu_time) {
        return;
    }
    watched(|| {
        let (pool, token) = (pool(8), live());
        let gate = occupy(&pool, 8);
        gate.open();
        let hold = occupy(&pool, 1);
        let pending: Vec<_> = (0..64).map(|_| pool.submit(&live(), |job| Ok::<_, ()>(job.token().wait()))).collect();
        scope(&live(), |s| {
            for job in &pending {
                let token = &token;
                s.spawn(move |_| {
                    assert!(job.as_ref().unwrap().wait(token).is_err());
                    Ok(())
                })?;
            }
            crate::util::until_others_sleep();
            let before = cpu_time();
            assert_eq!(token.wait_timeout(Duration::from_millis(300)), None);
            assert!(cpu_time().checked_sub(before).unwrap() < Duration::from_millis(60));
            token.cancel();
            hold.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
    });
}
