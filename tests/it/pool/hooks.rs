//! What the hooks are told, and times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::hooks::{Hooks, Outcome, Task};
use brigade::pool::JobStatus;
use brigade::{Panic, PoolBuilder};

use super::{drained, occupy, value};
use crate::util::{live, watched};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Hooks for Log {
    fn started(&self, task: Task<'_>) {
        self.add(format!("{}#{} started", task.name, task.index));
    }

    fn ended(&self, task: Task<'_>, outcome: Outcome, took: Duration) {
        assert_eq!(matches!(outcome, Outcome::Skipped(_)), took == Duration::ZERO);
        self.add(format!("{}#{} {outcome}", task.name, task.index));
    }

    fn panicked(&self, panic: &Panic) {
        self.add(panic.to_string());
    }
}

#[test]
fn the_hooks_are_told_of_every_job_in_its_words() {
    watched(|| {
        let log = Arc::new(Log::default());
        let pool = PoolBuilder::new(1).hooks(Arc::clone(&log) as _).named("job").start(&live());
        value(&pool, ()).wait(&live()).unwrap();
        pool.named("bad").submit(&live(), |_| Err::<(), _>(())).unwrap().wait(&live()).unwrap_err();
        pool.fire(&live(), |_| std::panic::resume_unwind(Box::new("bug"))).unwrap();
        let gate = occupy(&pool, 1);
        let skipped = value(&pool, ());
        skipped.cancel();
        gate.open();
        drained(&pool);
        let expected = [
            "job#0 started",
            "job#0 completed",
            "bad#1 started",
            "bad#1 failed",
            "job#2 started",
            "job#2 panicked: bug",
            "job#2 panicked",
            "job#3 started",
            "job#4 skipped: requested",
            "job#3 completed",
        ];
        assert_eq!(*log.0.lock().unwrap(), expected);
    });
}

#[test]
fn with_hooks_a_job_has_its_times() {
    watched(|| {
        let pool = PoolBuilder::new(1).hooks(Arc::new(Log::default())).start(&live());
        let gate = occupy(&pool, 1);
        let (job, skipped) = (value(&pool, ()), value(&pool, ()));
        let times = job.times().unwrap();
        assert_eq!((times.started, times.ended), (None, None));
        skipped.cancel();
        let times = skipped.times().unwrap();
        assert!(times.started.is_none() && times.ended.unwrap() >= times.created);
        gate.open();
        job.wait(&live()).unwrap();
        let times = job.times().unwrap();
        assert!(times.created <= times.started.unwrap() && times.started <= times.ended);
    });
}

struct Bad;

impl Hooks for Bad {
    fn started(&self, task: Task<'_>) {
        assert!(task.index % 3 != 0, "in started");
    }

    fn ended(&self, task: Task<'_>, _outcome: Outcome, _took: Duration) {
        assert!(task.index % 3 != 1, "in ended");
    }

    fn panicked(&self, _panic: &Panic) {
        panic!("in panicked");
    }

    fn overdue(&self, _job: Task<'_>) {
        panic!("in overdue");
    }
}

#[test]
fn a_panic_in_a_hook_counts_as_the_jobs() {
    watched(|| {
        let pool = PoolBuilder::new(2).hooks(Arc::new(Bad)).start(&live());
        let jobs: Vec<_> = (0..30).map(|number| value(&pool, number)).collect();
        for job in &jobs {
            assert_eq!(job.wait(&live()).is_ok(), job.id() % 3 == 2);
        }
        assert!(jobs.iter().all(|job| (job.status() == JobStatus::Panicked) == (job.id() % 3 != 2)));
        for _ in 0..30 {
            pool.fire(&live(), |_| {}).unwrap();
        }
        let account = drained(&pool);
        assert_eq!((account.jobs.panicked, account.jobs.completed), (40, 20));
    });
}
