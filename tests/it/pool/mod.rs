//! Pools: submitting, waiting, cancelling, closing, the account, groups, the registry.

mod account;
mod cancel;
mod close;
mod group;
mod hooks;
mod jobs;
mod model;
mod panics;
mod races;
mod submit;
mod wait;

use std::time::Duration;

use brigade::pool::{Account, Close, Job, JobCx};
use brigade::{Pool, PoolBuilder};

use crate::util::{Counter, Gate, live};

const HOUR: Duration = Duration::from_secs(3600);

fn pool(workers: usize) -> Pool {
    PoolBuilder::new(workers).start(&live())
}

/// Runs what is pending, and returns the final account, which adds up.
fn drained(pool: &Pool) -> Account {
    let account = pool.close(&live(), Close::Drain, Duration::MAX).expect("not in a job");
    assert_adds_up(&account);
    assert_eq!(account.jobs.ended(), account.accepted, "{account:?}");
    account
}

#[track_caller]
fn assert_adds_up(account: &Account) {
    assert_eq!(account.accepted, account.jobs.sum(), "{account:?}");
    assert!(account.busy <= account.workers, "{account:?}");
}

/// Occupies every worker of a pool until the gate opens.
fn occupy(pool: &Pool, workers: usize) -> Gate {
    let (gate, running) = (Gate::default(), Counter::default());
    for _ in 0..workers {
        let (gate, running) = (gate.clone(), running.clone());
        pool.fire(&live(), move |_| {
            running.add();
            gate.pass();
        })
        .expect("there is room");
    }
    running.wait_for(workers);
    gate
}

/// Submits a job whose value is this one.
fn value<T: Send + 'static>(pool: &Pool, value: T) -> Job<T, &'static str> {
    pool.submit(&live(), move |_: &JobCx<'_>| Ok(value)).expect("accepted")
}
