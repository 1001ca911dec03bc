//! Panics in every place where user code runs.

use std::process::Command;

use brigade::pool::{Close, Job, JobStatus, OnPanic};
use brigade::{Failure, PoolBuilder};

use super::{HOUR, drained, occupy, pool, value};
use crate::util::{live, watched};

/// A value that panics when it is dropped, also while another panic unwinds.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("bomb"));
    }
}

#[test]
fn panicking_jobs_more_numerous_than_workers_leave_all_workers_alive() {
    watched(|| {
        for workers in [1, 3] {
            let pool = pool(workers);
            let jobs: Vec<Job<(), ()>> = (0..200)
                .map(|number| pool.submit(&live(), move |_| std::panic::resume_unwind(Box::new(number))).unwrap())
                .collect();
            (0..200).for_each(|_| pool.fire(&live(), |_| std::panic::resume_unwind(Box::new(0))).unwrap());
            for (number, job) in (0..).zip(jobs) {
                let Some(Failure::Panic(panic)) = job.wait(&live()).unwrap_err().into_failure() else {
                    panic!("it panicked")
                };
                assert_eq!(panic.index(), usize::try_from(number).unwrap());
                assert_eq!(panic.into_payload().downcast_ref::<i32>(), Some(&number));
            }
            let gate = occupy(&pool, workers);
            assert_eq!(pool.account().busy, workers);
            gate.open();
            assert_eq!(drained(&pool).jobs.panicked, 400);
        }
    });
}

#[test]
fn panicking_drops_of_values_closures_and_payloads_harm_nothing() {
    watched(|| {
        let pool = pool(2);
        // The handles are dropped before the jobs run, because else the test would drop the values.
        let gate = occupy(&pool, 2);
        for _ in 0..50 {
            // The value of a job without a handle, its error, its closure, and its payload.
            drop(pool.submit(&live(), |_| Ok::<_, ()>(Bomb)).unwrap());
            drop(pool.submit(&live(), |_| Err::<(), _>(Bomb)).unwrap());
            let held = Bomb;
            pool.fire(&live(), move |_| _ = std::ptr::from_ref(&held)).unwrap();
            let other = Bomb;
            drop(
                pool.submit(&live(), move |_| {
                    std::mem::forget(other);
                    Ok::<_, ()>(())
                })
                .unwrap(),
            );
            drop(pool.submit(&live(), |_| -> Result<(), ()> { std::panic::resume_unwind(Box::new(Bomb)) }).unwrap());
        }
        gate.open();
        let account = drained(&pool);
        assert_eq!(account.accepted, 252);
    });
}

#[test]
fn panicking_drops_of_skipped_closures_harm_nothing() {
    watched(|| {
        let pool = pool(1);
        let gate = occupy(&pool, 1);
        let mut jobs = Vec::new();
        for _ in 0..20 {
            let held = Bomb;
            jobs.push(
                pool.submit(&live(), move |_| {
                    drop(held);
                    Ok::<_, ()>(())
                })
                .unwrap(),
            );
            let held = Bomb;
            pool.fire(&live(), move |_| drop(held)).unwrap();
        }
        assert!(jobs[3].cancel());
        brigade::scope(&live(), |s| {
            let closing = s.spawn(|_| Ok(pool.close(&live(), Close::Cancel, HOUR).unwrap()))?;
            for job in &jobs {
                assert!(job.wait(&live()).is_err() && job.status() == JobStatus::Skipped);
            }
            gate.open();
            assert_eq!(closing.join()?.jobs.skipped, 40);
            Ok::<_, brigade::Cancelled>(())
        })
        .unwrap();
    });
}

/// ants' test of a panic in a callback during a panic.
#[test]
fn a_callback_that_panics_while_a_job_panics_does_not_abort() {
    watched(|| {
        let pool = pool(1);
        let job = pool.submit(&live(), |job| -> Result<(), ()> {
            let token = job.token().clone();
            token.on_cancel(|_| std::panic::resume_unwind(Box::new("callback"))).detach();
            let _guard = token.drop_guard();
            std::panic::resume_unwind(Box::new("job"))
        });
        let failure = job.unwrap().wait(&live()).unwrap_err().into_failure().unwrap();
        assert_eq!(failure.panic().unwrap().message(), "job");
        assert_eq!(value(&pool, 1).wait(&live()).unwrap(), 1);
    });
}

#[test]
fn a_pool_dropped_while_a_panic_unwinds_does_not_abort() {
    watched(|| {
        let unwound = std::panic::catch_unwind(|| {
            let pool = pool(1);
            let gate = occupy(&pool, 1);
            let held = Bomb;
            pool.fire(&live(), move |_| drop(held)).unwrap();
            gate.open();
            std::panic::resume_unwind(Box::new("first"));
        });
        assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"first"));
    });
}

#[test]
fn on_panic_abort_ends_the_process() {
    const VARIABLE: &str = "BRIGADE_POOL_ABORTS";
    if std::env::var_os(VARIABLE).is_some() {
        let pool = PoolBuilder::new(1).on_panic(OnPanic::Abort).start(&live());
        pool.submit(&live(), |_| -> Result<(), ()> { panic!("told to abort") }).unwrap().wait(&live()).ok();
        return;
    }
    let name = concat!(module_path!(), "::on_panic_abort_ends_the_process").split_once("::").expect("a crate").1;
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(output.status.code(), None, "a signal ended it");
    assert!(String::from_utf8_lossy(&output.stderr).contains("told to abort"));
}
