//! The registry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::pool::{JobCx, JobStatus, Jobs};
use brigade::{Cancelled, Panic, PoolBuilder, scope};

use super::{HOUR, drained, occupy, pool};
use crate::util::{Census, Counter, Gate, live, message_of, until, watched};

#[test]
fn the_last_jobs_that_have_ended_are_kept_with_those_that_have_not() {
    watched(|| {
        let (pool, census) = (pool(1), Census::default());
        let jobs = Jobs::<_, ()>::new(10);
        for _ in 0..100 {
            let held = census.make(());
            _ = jobs.submit(&pool, &live(), move |_| Ok(held)).unwrap();
        }
        until(|| jobs.counts().completed == 10 && jobs.counts().sum() == 10);
        until(|| census.alive() == 10);
        let gate = occupy(&pool, 1);
        for _ in 0..20 {
            let held = census.make(());
            _ = jobs.submit(pool.named("later"), &live(), move |_| Ok(held)).unwrap();
        }
        let counts = jobs.counts();
        assert_eq!((counts.completed, counts.pending), (10, 20));
        assert!(jobs.get(90).is_some() && jobs.get(89).is_none() && jobs.get(1_000).is_none());
        assert_eq!(jobs.get(101).unwrap().name(), "later");
        gate.open();
        drained(&pool);
        assert_eq!(jobs.counts().sum(), 10);
        drop(jobs);
        census.assert_all_dropped_once();
    });
}

#[test]
fn a_job_beyond_the_bound_is_forgotten_by_the_first_call_that_asks_for_any() {
    watched(|| {
        let (pool, census) = (pool(1), Census::default());
        let (few, none) = (Jobs::<_, ()>::new(1), Jobs::<_, ()>::new(9).keep_for(Duration::ZERO));
        let gate = occupy(&pool, 1);
        for jobs in [&few, &few, &few, &none] {
            let held = census.make(());
            _ = jobs.submit(&pool, &live(), move |_| Ok(held)).unwrap();
        }
        gate.open();
        drained(&pool);
        assert_eq!(census.alive(), 4);
        assert!(few.get(1).is_none());
        assert_eq!(census.alive(), 2);
        assert!(few.get(2).is_none() && few.get(3).is_some());
        until(|| none.get(4).is_none());
        assert_eq!(census.alive(), 1);
    });
}

/// A result that panics as it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("drop of a result"));
    }
}

/// Counts the panics.
#[derive(Default)]
struct Panics(Counter);

impl Hooks for Panics {
    fn panicked(&self, panic: &Panic) {
        assert_eq!(panic.message(), "drop of a result");
        self.0.add();
    }
}

#[test]
fn a_panic_in_the_drop_of_a_forgotten_result_reaches_the_hooks_and_no_call() {
    watched(|| {
        let hooks = Arc::new(Panics::default());
        let pool = PoolBuilder::new(1).hooks(Arc::clone(&hooks) as _).start(&live());
        let jobs = Jobs::<Bomb, ()>::new(2);
        for number in 0..6 {
            let job = jobs.submit(&pool, &live(), |_| Ok(Bomb)).unwrap();
            until(|| job.status().has_ended());
            drop(job);
            assert_eq!(jobs.counts().completed, 2.min(number + 1));
        }
        hooks.0.wait_for(4);
        drop(jobs);
        hooks.0.wait_for(6);
        assert_eq!(drained(&pool).jobs.completed, 6);
    });
}

#[test]
fn a_list_is_filtered_and_paged() {
    watched(|| {
        let pool = pool(1);
        let jobs = Jobs::new(100);
        for number in 0..30_u64 {
            let job = move |_: &JobCx<'_>| if number % 3 == 0 { Err("third") } else { Ok(number) };
            jobs.submit(&pool, &live(), job).unwrap().wait(&live()).ok();
        }
        let ids = |status, after, most| jobs.list(status, after, most).iter().map(|job| job.id()).collect::<Vec<_>>();
        assert_eq!(ids(None, None, 3), [0, 1, 2]);
        assert_eq!(ids(None, Some(27), 10), [28, 29]);
        assert_eq!(ids(Some(JobStatus::Failed), Some(3), 3), [6, 9, 12]);
        assert!(ids(Some(JobStatus::Pending), None, 10).is_empty() && ids(None, Some(29), 10).is_empty());
        assert_eq!((jobs.counts().failed, jobs.counts().completed), (10, 20));
    });
}

#[test]
fn a_job_is_asked_and_cancelled_by_its_id() {
    watched(|| {
        let pool = pool(1);
        let jobs = Jobs::<(), _>::new(1);
        let started = Counter::default();
        let told = started.clone();
        let id = jobs
            .submit(&pool, &live(), move |job| {
                job.progress(1, 2);
                told.add();
                Err(job.token().wait())
            })
            .unwrap()
            .id();
        started.wait_for(1);
        let times = jobs.get(id).unwrap().times().unwrap();
        assert!(times.started.is_some() && times.ended.is_none());
        assert_eq!(jobs.get(id).unwrap().progress().done, 1);
        assert!(jobs.cancel(id) && !jobs.cancel(id) && !jobs.cancel(id + 1));
        drained(&pool);
        assert_eq!(jobs.get(id).unwrap().status(), JobStatus::Cancelled);
        assert!(jobs.try_submit(&pool, |_| Ok(())).unwrap_err().is_closed());
    });
}

#[test]
fn a_registry_gives_the_closure_back_where_there_is_no_room_in_time() {
    watched(|| {
        let (pool, jobs) = (PoolBuilder::new(1).queue(0).start(&live()), Jobs::<u32, ()>::new(10));
        let gate = occupy(&pool, 1);
        let full = jobs.try_submit(&pool, |_| Ok(1)).unwrap_err();
        assert!(full.is_full());
        let late = jobs.submit_timeout(&pool, &live(), Duration::from_millis(1), full.into_inner()).unwrap_err();
        assert!(late.is_timeout());
        let late = jobs.submit_deadline(&pool, &live(), Instant::now(), late.into_inner()).unwrap_err();
        assert!(late.is_timeout() && jobs.list(None, None, 10).is_empty());
        gate.open();
        let first = jobs.submit_timeout(&pool, &live(), HOUR, late.into_inner()).unwrap();
        let second = jobs.submit_deadline(pool.named("other"), &live(), Instant::now() + HOUR, |_| Ok(2)).unwrap();
        assert_eq!((first.wait(&live()).unwrap(), second.wait(&live()).unwrap(), second.name()), (1, 2, "other"));
        assert_eq!(jobs.list(None, None, 10).len(), 2);
    });
}

#[test]
fn old_jobs_are_forgotten() {
    watched(|| {
        let pool = pool(1);
        let (short, long) = (Jobs::<(), ()>::new(9).keep_for(Duration::ZERO), Jobs::<(), ()>::new(9).keep_for(HOUR));
        for jobs in [&short, &long] {
            let job = jobs.submit(&pool, &live(), |_| Ok(())).unwrap();
            job.wait(&live()).unwrap();
            _ = live().wait_timeout(Duration::from_millis(1));
            assert_eq!(jobs.get(job.id()).is_some(), std::ptr::eq(jobs, &raw const long));
            assert_eq!(jobs.list(None, None, 9).len(), usize::from(std::ptr::eq(jobs, &raw const long)));
        }
    });
}

/// Holds up the thread that skips a job, in the hook.
#[derive(Default)]
struct SlowSkip(Counter, Gate);

impl Hooks for SlowSkip {
    fn ended(&self, _job: Task<'_>, outcome: Outcome, _took: Duration) {
        if matches!(outcome, Outcome::Skipped(_)) {
            self.0.add();
            self.1.pass();
        }
    }
}

#[test]
fn a_job_that_is_being_skipped_is_kept_and_those_that_end_meanwhile_are_too() {
    watched(|| {
        let hooks = Arc::new(SlowSkip::default());
        let pool = PoolBuilder::new(1).hooks(Arc::clone(&hooks) as _).start(&live());
        let jobs = Jobs::<u32, ()>::new(1);
        let gate = occupy(&pool, 1);
        let ids: Vec<_> = (0..4).map(|_| jobs.submit(&pool, &live(), |_| Ok(1)).unwrap().id()).collect();
        scope(&live(), |s| {
            for id in ids {
                let jobs = &jobs;
                s.spawn(move |_| {
                    assert!(jobs.cancel(id));
                    Ok(())
                })?;
            }
            hooks.0.wait_for(4);
            // None of them has been counted by the registry yet.
            assert_eq!(jobs.counts().skipped, 4);
            gate.open();
            let job = jobs.submit(&pool, &live(), |_| Ok(2)).unwrap();
            until(|| job.status() == JobStatus::Completed);
            let next = jobs.submit(&pool, &live(), |_| Err(())).unwrap();
            until(|| next.status() == JobStatus::Failed);
            assert_eq!(jobs.counts().failed, 1);
            hooks.1.open();
            Ok::<_, Cancelled>(())
        })
        .unwrap();
        assert_eq!(jobs.counts().sum(), 1);
        // The count is right again: the last one is kept.
        let last = jobs.submit(&pool, &live(), |_| Ok(3)).unwrap();
        until(|| last.status() == JobStatus::Completed);
        assert!(jobs.get(last.id()).is_some());
    });
}

#[test]
fn a_registry_has_the_jobs_of_one_pool() {
    watched(|| {
        let (one, other) = (pool(1), pool(1));
        let jobs = Jobs::<(), ()>::new(1);
        _ = jobs.submit(&one, &live(), |_| Ok(())).unwrap();
        let message = message_of(|| _ = jobs.submit(&other, &live(), |_| Ok(())));
        assert_eq!(message, "a registry has the jobs of one pool");
    });
}
