//! The ways into a pool, and refusals.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::pool::{Close, Job, JobCx, JobStatus};
use brigade::{CancelReason, CancellationToken, PoolBuilder};

use super::{HOUR, drained, occupy, pool, value};
use crate::util::{Census, Counter, Gate, alone, live, message_of, threads, until_threads, watched};

#[test]
fn jobs_run_and_give_their_values() {
    watched(|| {
        let pool = pool(3);
        let jobs: Vec<Job<u64, ()>> =
            (0..1_000).map(|number| pool.submit(&live(), move |job| Ok(number * 2 + job.id())).unwrap()).collect();
        for (number, job) in (0..).zip(jobs) {
            assert_eq!(job.id(), number);
            assert_eq!(job.wait(&live()).unwrap(), 3 * number);
        }
        assert_eq!(drained(&pool).jobs.completed, 1_000);
    });
}

#[test]
fn a_pool_of_no_workers_is_refused_where_it_is_built() {
    let message = message_of(|| drop(PoolBuilder::new(0)));
    assert!(message.contains("no job could ever run"), "{message}");
}

#[test]
fn a_full_queue_refuses_try_submit_and_gives_the_closure_back() {
    watched(|| {
        for queue in [1, 2, 7] {
            let pool = PoolBuilder::new(2).queue(queue).start(&live());
            let gate = occupy(&pool, 2);
            let census = Census::default();
            let jobs: Vec<_> = (0..queue).map(|number| value(&pool, number)).collect();
            let held = census.make(());
            let job = move |_: &JobCx<'_>| {
                drop(held);
                Ok::<_, ()>(())
            };
            let error = pool.try_submit(job).unwrap_err();
            assert!(error.is_full() && !error.is_closed() && !error.is_timeout());
            assert_eq!((error.to_string().as_str(), census.alive()), ("the queue of the pool is full", 1));
            let error = pool.submit_timeout(&live(), Duration::from_millis(1), error.into_inner()).unwrap_err();
            assert!(error.is_timeout());
            let error = pool.submit_deadline(&live(), Instant::now(), error.into_inner()).unwrap_err();
            assert!(error.is_timeout());
            assert!(pool.try_fire(|_| {}).unwrap_err().is_full());
            assert_eq!((pool.account().refused, pool.account().jobs.pending), (4, queue as u64));
            gate.open();
            let job = pool.submit(&live(), error.into_inner()).unwrap();
            job.wait(&live()).unwrap();
            for (number, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.wait(&live()).unwrap(), number);
            }
            assert_eq!(census.alive(), 0);
        }
    });
}

/// The claim of ants' and pond's tests of a queue of size 0.
#[test]
fn with_a_queue_of_zero_a_job_is_accepted_while_a_worker_is_free_for_it() {
    watched(|| {
        let pool = PoolBuilder::new(3).queue(0).start(&live());
        let gate = occupy(&pool, 3);
        for _ in 0..3 {
            assert!(pool.try_fire(|_| {}).unwrap_err().is_full());
        }
        let refused = pool.submit_timeout(&live(), Duration::from_millis(1), |_| Ok::<_, ()>(())).unwrap_err();
        assert!(refused.is_timeout());
        gate.open();
        for number in 0..500 {
            assert_eq!(pool.submit(&live(), move |_| Ok::<_, ()>(number)).unwrap().wait(&live()).unwrap(), number);
        }
        assert_eq!(drained(&pool).jobs.completed, 503);
    });
}

#[test]
fn a_submission_that_waits_for_room_goes_on_when_a_job_has_started() {
    watched(|| {
        let pool = PoolBuilder::new(1).queue(1).start(&live());
        for _ in 0..200 {
            let gate = occupy(&pool, 1);
            let first = value(&pool, 1);
            let (waits, opened) = (Counter::default(), gate.clone());
            brigade::scope(&live(), |s| {
                let waiting = s.spawn(|_| {
                    waits.add();
                    Ok(value(&pool, 2))
                })?;
                waits.wait_for(1);
                opened.open();
                let second = waiting.join()?;
                assert_eq!((first.wait(&live()).unwrap(), second.wait(&live()).unwrap()), (1, 2));
                Ok::<_, brigade::Cancelled>(())
            })
            .unwrap();
        }
    });
}

#[test]
fn cancel_wakes_a_submission_that_waits_for_room_and_gives_the_closure_back() {
    watched(|| {
        let pool = PoolBuilder::new(1).queue(0).start(&live());
        let gate = occupy(&pool, 1);
        for deadline in [false, true] {
            let token = CancellationToken::new();
            let token = if deadline { token.child_with_timeout(Duration::from_millis(5)) } else { token };
            let waits = Counter::default();
            brigade::scope(&live(), |s| {
                let waiting = s.spawn(|_| {
                    waits.add();
                    Ok(pool.submit(&token, |_| Ok::<_, ()>(7)).map(drop).unwrap_err())
                })?;
                waits.wait_for(1);
                if !deadline {
                    token.cancel();
                }
                let error = waiting.join()?;
                let reason = if deadline { CancelReason::Deadline } else { CancelReason::Requested };
                assert_eq!(error.cancelled().map(|cancelled| cancelled.reason()), Some(reason));
                Ok::<_, brigade::Cancelled>(())
            })
            .unwrap();
        }
        gate.open();
        assert_eq!(drained(&pool).refused, 2);
    });
}

#[test]
fn a_cancelled_token_refuses_a_submission_even_if_there_is_room() {
    watched(|| {
        let (pool, token) = (pool(1), live());
        token.cancel();
        assert!(pool.submit(&token, |_| Ok::<_, ()>(())).unwrap_err().cancelled().is_some());
        assert!(pool.fire(&token, |_| {}).unwrap_err().cancelled().is_some());
        assert_eq!((pool.account().refused, pool.account().workers), (2, 0));
    });
}

#[test]
fn a_closed_pool_gives_the_closure_back() {
    watched(|| {
        let pool = pool(1);
        pool.close(&live(), Close::Drain, HOUR).unwrap();
        let error = pool.submit(&live(), |_| Ok::<_, ()>(5)).unwrap_err();
        assert!(error.is_closed() && error.to_string() == "the pool is closed");
        assert!(pool.try_submit(error.into_inner()).unwrap_err().is_closed());
        assert!(pool.fire(&live(), |_| {}).unwrap_err().is_closed());
    });
}

#[test]
fn a_submission_that_waits_for_room_is_refused_when_the_pool_closes() {
    watched(|| {
        for how in [Close::Drain, Close::Cancel] {
            let pool = PoolBuilder::new(1).queue(0).start(&live());
            let gate = occupy(&pool, 1);
            let waits = Counter::default();
            brigade::scope(&live(), |s| {
                for _ in 0..5 {
                    s.spawn(|_| {
                        waits.add();
                        assert!(pool.submit(&live(), |_| Ok::<_, ()>(())).unwrap_err().is_closed());
                        Ok(())
                    })?;
                }
                waits.wait_for(5);
                let closing = s.spawn(|_| Ok(pool.close(&live(), how, HOUR).unwrap()))?;
                // It is released by the refusals, which the close makes first.
                while pool.try_fire(|_| {}).unwrap_err().is_full() {
                    std::thread::yield_now();
                }
                gate.open();
                assert_eq!(closing.join()?.accepted, 1);
                Ok::<_, brigade::Cancelled>(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_refused_submission_passes_through_anyhow_whatever_it_captured() {
    watched(|| {
        let pool = pool(1);
        pool.close(&live(), Close::Cancel, HOUR).unwrap();
        let (_sender, receiver) = mpsc::channel::<()>();
        // A receiver is not `Sync`, and nor is the closure.
        let submitted = || {
            pool.fire(&live(), move |_| drop(receiver))?;
            anyhow::Ok(())
        };
        assert_eq!(submitted().unwrap_err().to_string(), "the pool is closed");
    });
}

#[test]
fn jobs_submit_jobs_and_never_wait_for_room() {
    fn grow(pool: &std::sync::Arc<brigade::Pool>, depth: usize, done: &Counter) {
        done.add();
        if depth > 0 {
            for _ in 0..2 {
                let (inner, counted) = (std::sync::Arc::clone(pool), done.clone());
                pool.fire(&live(), move |_| grow(&inner, depth - 1, &counted)).unwrap();
            }
        }
    }
    watched(|| {
        for (workers, queue) in [(1, 0), (1, 1), (2, 0), (4, 3)] {
            let pool = std::sync::Arc::new(PoolBuilder::new(workers).queue(queue).start(&live()));
            let done = Counter::default();
            grow(&pool, 8, &done);
            done.wait_for(511);
            assert_eq!(drained(&pool).jobs.completed, 510);
        }
    });
}

#[test]
fn a_name_and_the_progress_are_seen_at_the_handle() {
    watched(|| {
        let pool = PoolBuilder::new(1).named("files").start(&live());
        let (told, gate) = (Counter::default(), Gate::default());
        let job = pool.named("a.txt").submit(&live(), {
            let (told, gate) = (told.clone(), gate.clone());
            move |job| {
                assert_eq!((job.name(), job.id()), ("a.txt", 0));
                assert_eq!(std::thread::current().name(), Some("files#0"));
                job.progress(3, 9);
                job.message("reading");
                told.add();
                gate.pass();
                job.message(String::from("done"));
                Ok::<_, ()>(())
            }
        });
        let job = job.unwrap();
        assert_eq!(job.name(), "a.txt");
        told.wait_for(1);
        let progress = job.progress();
        assert_eq!((progress.done, progress.total, progress.message.as_str()), (3, 9, "reading"));
        assert_eq!((job.status(), job.times()), (JobStatus::Running, None));
        gate.open();
        job.wait(&live()).unwrap();
        assert_eq!((job.status(), job.progress().message.as_str()), (JobStatus::Completed, "done"));
        let plain = value(&pool, ());
        assert_eq!(plain.name(), "files");
        let (sender, name) = mpsc::channel();
        pool.named("fired").fire(&live(), move |job| sender.send(job.name().to_owned()).unwrap()).unwrap();
        assert_eq!(name.recv().unwrap(), "fired");
    });
}

#[test]
fn workers_start_as_they_are_needed_and_are_gone_after_close_or_drop() {
    if !alone!(workers_start_as_they_are_needed_and_are_gone_after_close_or_drop) {
        return;
    }
    watched(|| {
        let before = threads();
        let pool = pool(4);
        assert_eq!((threads(), pool.account().workers), (before, 0));
        value(&pool, ()).wait(&live()).unwrap();
        let gate = occupy(&pool, 4);
        assert_eq!((threads(), pool.account().workers, pool.account().busy), (before + 4, 4, 4));
        gate.open();
        drained(&pool);
        until_threads(before);
        let pool = super::pool(2);
        let gate = occupy(&pool, 2);
        gate.open();
        drop(pool);
        until_threads(before);
    });
}
