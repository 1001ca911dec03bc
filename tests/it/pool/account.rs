//! The account adds up, at every moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade::pool::{Close, Counts, JobStatus};
use brigade::{CancelReason, Cancelled, PoolBuilder, scope};

use super::{HOUR, assert_adds_up, drained, occupy, pool, value};
use crate::util::{Counter, live, until, watched};

#[test]
fn each_end_is_counted_under_its_own_word() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let completed = value(&pool, ());
        let failed = pool.submit(&live(), |_| Err::<(), _>("broken")).unwrap();
        let panicked = pool.submit(&live(), |_| -> Result<(), ()> { std::panic::resume_unwind(Box::new(1)) }).unwrap();
        let cancelled = pool.submit(&live(), |job| Err::<(), CancelReason>(job.token().wait())).unwrap();
        let skipped = value(&pool, ());
        let account = pool.account();
        assert_eq!((account.jobs.pending, account.jobs.running, account.accepted), (5, 1, 6));
        assert_eq!((account.workers, account.busy, account.idle()), (1, 1, 0));
        assert!(skipped.cancel());
        let account = pool.account();
        assert_eq!((account.jobs.pending, account.jobs.skipped), (4, 1));
        gate.open();
        until(|| cancelled.status() == JobStatus::Running);
        assert!(cancelled.cancel());
        let account = drained(&pool);
        let mut expected = Counts::default();
        (expected.completed, expected.failed, expected.panicked) = (2, 1, 1);
        (expected.cancelled, expected.skipped) = (1, 1);
        assert_eq!(account.jobs, expected);
        let statuses = [completed.status(), failed.status(), panicked.status(), cancelled.status(), skipped.status()];
        assert_eq!(statuses[..], JobStatus::ALL[2..]);
        assert!(JobStatus::ALL.iter().all(|status| account.jobs[*status] == expected[*status]));
    });
}

#[test]
fn the_age_of_the_oldest_pending_job_grows_and_ends_with_it() {
    watched(|| {
        let pool = pool(1);
        assert_eq!(pool.account().oldest, None);
        let gate = occupy(&pool, 1);
        assert_eq!(pool.account().oldest, None);
        let job = value(&pool, ());
        _ = live().wait_timeout(Duration::from_millis(5));
        let later = value(&pool, ());
        let age = pool.account().oldest.expect("one is pending");
        assert!(age >= Duration::from_millis(5) && age < HOUR);
        assert!(job.cancel());
        assert!(pool.account().oldest.expect("the later one") <= age + Duration::from_secs(60));
        gate.open();
        later.wait(&live()).unwrap();
        assert_eq!(drained(&pool).oldest, None);
    });
}

#[test]
fn a_burst_that_has_ended_makes_no_later_job_seem_older() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        (0..300).for_each(|_| pool.fire(&live(), |_| {}).unwrap());
        gate.open();
        until(|| pool.account().jobs.ended() == 301);
        // The time that passes is the fault's, and nothing is awaited by it.
        _ = live().wait_timeout(Duration::from_millis(300));
        let before = Instant::now();
        let gate = occupy(&pool, 1);
        let job = value(&pool, ());
        let age = pool.account().oldest.expect("one is pending");
        assert!(age <= before.elapsed(), "{age:?}");
        gate.open();
        job.wait(&live()).unwrap();
    });
}

#[test]
fn the_account_adds_up_while_jobs_come_and_go() {
    const JOBS: u64 = 20_000;
    watched(|| {
        for workers in [1, 2, 8] {
            let (pool, ends) = (PoolBuilder::new(workers).queue(100).start(&live()), AtomicBool::new(false));
            scope(&live(), |s| {
                let reading = s.spawn(|_| {
                    let (mut looks, mut last) = (0_u64, pool.account());
                    while !ends.load(Ordering::SeqCst) {
                        let account = pool.account();
                        assert_adds_up(&account);
                        assert!(account.accepted >= last.accepted && account.jobs.ended() >= last.jobs.ended());
                        assert!(account.jobs.running <= workers as u64 && account.busy <= workers);
                        assert!(account.jobs.pending <= 100 + workers as u64);
                        assert_eq!(account.busy as u64, account.jobs.running);
                        (looks, last) = (looks + 1, account);
                    }
                    Ok(looks)
                })?;
                for number in 0..JOBS {
                    match number % 4 {
                        0 => pool.fire(&live(), |_| {}).unwrap(),
                        1 => drop(value(&pool, number)),
                        2 => _ = pool.submit(&live(), |_| Err::<(), _>(())).unwrap().cancel(),
                        _ => _ = pool.try_submit(move |_| Ok::<_, ()>(number)),
                    }
                }
                let account = drained(&pool);
                assert_eq!(account.accepted + account.refused, JOBS);
                ends.store(true, Ordering::SeqCst);
                assert!(reading.join()? > 0);
                Ok::<_, Cancelled>(())
            })
            .unwrap();
        }
    });
}

#[test]
fn a_result_that_a_handle_has_is_in_the_account() {
    watched(|| {
        let pool = pool(2);
        for number in 1..2_000 {
            value(&pool, ()).wait(&live()).unwrap();
            assert_eq!(pool.account().jobs.completed, number);
        }
    });
}

#[test]
fn cancelled_jobs_give_up_their_room_and_their_memory_while_the_workers_are_busy() {
    watched(|| {
        let pool = PoolBuilder::new(1).queue(3).start(&live());
        let gate = occupy(&pool, 1);
        let first = value(&pool, 0);
        let mut last = value(&pool, 0);
        for number in 1..5_000 {
            // A live job stays at each end of the queue.
            let next = pool.try_submit(move |_| Ok(number)).expect("there is room");
            assert!(last.cancel() && !last.cancel());
            last = next;
            assert_eq!(pool.account().jobs.pending, 2);
        }
        assert_eq!(pool.account().jobs.skipped, 4_999);
        gate.open();
        assert_eq!((first.wait(&live()).unwrap(), last.wait(&live()).unwrap()), (0, 4_999));
        assert_eq!(drained(&pool).accepted, 5_002);
    });
}

#[test]
fn cancelling_with_jobs_queued_returns_at_once_with_exact_counts() {
    watched(|| {
        let (token, started) = (live(), Counter::default());
        let pool = PoolBuilder::new(2).start(&token);
        for _ in 0..2 {
            let started = started.clone();
            pool.fire(&live(), move |job| {
                started.add();
                job.token().wait();
            })
            .unwrap();
        }
        started.wait_for(2);
        let jobs: Vec<_> = (0..500).map(|number| value(&pool, number)).collect();
        token.cancel();
        assert_eq!(pool.account().jobs.skipped, 500);
        assert!(jobs.iter().all(|job| job.status() == JobStatus::Skipped));
        let account = pool.close(&live(), Close::Cancel, HOUR).unwrap();
        assert_eq!((account.accepted, account.jobs.completed, account.jobs.skipped), (502, 2, 500));
    });
}
