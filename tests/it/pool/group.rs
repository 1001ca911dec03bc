//! Groups of jobs.

use std::time::{Duration, Instant};

use brigade::pool::Group;
use brigade::{CancelReason, Cancelled, Failure, Pool, PoolBuilder};

use super::{HOUR, drained, occupy, pool};
use crate::util::{Census, live, payload_of, watched};

#[test]
fn values_come_in_the_order_of_submission() {
    watched(|| {
        let pool = pool(3);
        let mut group: Group<'_, u32, ()> = pool.group(&live());
        (0..500).for_each(|number| group.submit(move |_| Ok(number)).unwrap());
        assert!(group.join().unwrap().into_iter().eq(0..500));
        assert_eq!(pool.group::<(), ()>(&live()).join().unwrap(), []);
    });
}

#[test]
fn the_first_failure_cancels_the_others_and_beats_their_echoes() {
    watched(|| {
        for workers in [1, 2, 4] {
            let (pool, census) = (pool(workers), Census::default());
            let gate = occupy(&pool, workers);
            let mut group = pool.group(&live()).named("part");
            for number in 0..20 {
                let held = census.make(number);
                group
                    .submit(move |job| {
                        if held.value == 0 {
                            return Err(anyhow::anyhow!("disk full"));
                        }
                        job.token().wait();
                        Err(Cancelled::new(CancelReason::Requested).into())
                    })
                    .unwrap();
            }
            gate.open();
            let failure: Failure<anyhow::Error> = group.join().map(|_: Vec<()>| ()).unwrap_err();
            assert_eq!(failure.to_string(), format!("part#{workers} failed: disk full"));
            let account = drained(&pool);
            assert_eq!((account.jobs.failed, account.jobs.cancelled + account.jobs.skipped), (1, 19));
            census.assert_all_dropped_once();
        }
    });
}

#[test]
fn a_group_gives_the_closure_back_where_there_is_no_room_in_time() {
    watched(|| {
        let pool = PoolBuilder::new(1).queue(1).start(&live());
        let gate = occupy(&pool, 1);
        let mut group: Group<'_, u32, ()> = pool.group(&live());
        group.try_submit(|_| Ok(1)).unwrap();
        let full = group.try_submit(|_| Ok(2)).unwrap_err();
        assert!(full.is_full());
        let late = group.submit_timeout(Duration::from_millis(1), full.into_inner()).unwrap_err();
        assert!(late.is_timeout());
        let late = group.submit_deadline(Instant::now(), late.into_inner()).unwrap_err();
        assert!(late.is_timeout());
        gate.open();
        group.submit_timeout(HOUR, late.into_inner()).unwrap();
        group.submit_deadline(Instant::now() + HOUR, |_| Ok(3)).unwrap();
        assert_eq!(group.join().unwrap(), [1, 2, 3]);
        assert_eq!(drained(&pool).refused, 3);
    });
}

#[test]
fn after_a_failure_each_way_into_a_group_accepts_a_job_that_is_skipped() {
    watched(|| {
        let pool = pool(1);
        let mut group: Group<'_, (), &str> = pool.group(&live());
        group.try_submit(|_| Err("first")).unwrap();
        group.token().wait();
        group.try_submit(|_| Err("second")).unwrap();
        group.submit_timeout(HOUR, |_| Err("third")).unwrap();
        group.submit_deadline(Instant::now() + HOUR, |_| Err("fourth")).unwrap();
        assert_eq!(group.join().unwrap_err().to_string(), "pool#0 failed: first");
        let account = drained(&pool);
        assert_eq!((account.jobs.failed, account.jobs.skipped, account.refused), (1, 3, 0));
    });
}

#[test]
fn a_panic_is_resumed_when_all_have_ended() {
    watched(|| {
        let pool = pool(2);
        let mut group: Group<'_, (), ()> = pool.group(&live());
        group.submit(|_| std::panic::resume_unwind(Box::new(7_u8))).unwrap();
        group
            .submit(|job| {
                job.token().wait();
                Err(())
            })
            .ok();
        let payload = payload_of(|| _ = group.join());
        assert_eq!(payload.downcast_ref::<u8>(), Some(&7));
        assert_eq!(drained(&pool).jobs.panicked, 1);
    });
}

/// Submits many jobs of which the first does this, with `?`, and joins them.
fn submit_many_and_join(pool: &Pool, first: fn() -> Result<u64, &'static str>) -> anyhow::Result<Vec<u64>> {
    let mut group = pool.group(&live());
    for number in 0..10_000 {
        group.submit(move |_| if number == 0 { first() } else { Ok(number) })?;
    }
    group.join().map_err(|failure| anyhow::anyhow!("{failure}"))
}

#[test]
fn a_loop_that_submits_with_a_question_mark_comes_to_the_real_failure_or_panic() {
    watched(|| {
        let pool = PoolBuilder::new(2).queue(10).start(&live());
        let error = submit_many_and_join(&pool, || Err("disk full")).unwrap_err();
        assert_eq!(error.to_string(), "pool#0 failed: disk full");
        let payload = payload_of(|| _ = submit_many_and_join(&pool, || std::panic::resume_unwind(Box::new(7_u8))));
        assert_eq!(payload.downcast_ref::<u8>(), Some(&7));
        let account = drained(&pool);
        assert_eq!((account.accepted, account.refused), (20_000, 0));
        assert_eq!((account.jobs.failed, account.jobs.panicked), (1, 1));
    });
}

#[test]
fn a_group_that_keeps_going_lists_each_result() {
    watched(|| {
        let pool = pool(2);
        let mut group: Group<'_, u32, &str> = pool.group(&live()).keep_going();
        group.submit(|_| Ok(1)).unwrap();
        group.submit(|_| Err("broken")).unwrap();
        group.submit(|_| std::panic::resume_unwind(Box::new("bug"))).unwrap();
        group.submit(|_| Ok(4)).unwrap();
        let results = group.join_all();
        assert_eq!(results[0].as_ref().unwrap() + results[3].as_ref().unwrap(), 5);
        assert_eq!(results[1].as_ref().unwrap_err().error(), Some(&"broken"));
        assert_eq!(results[2].as_ref().unwrap_err().panic().unwrap().message(), "bug");
    });
}

#[test]
fn a_group_is_cancelled_with_its_token_and_when_it_is_dropped() {
    watched(|| {
        let pool = pool(1);
        let token = live();
        let mut group: Group<'_, (), CancelReason> = pool.group(&token);
        group.submit(|job| Err(job.token().wait())).unwrap();
        group.submit(|_| Ok(())).unwrap();
        token.cancel_with(CancelReason::Signal(2));
        assert!(group.submit(|_| Ok(())).unwrap_err().cancelled().is_some());
        let failure = group.join().unwrap_err();
        assert_eq!(failure.cancelled().map(|c| c.reason()).or(failure.into_error()), Some(CancelReason::Signal(2)));
        let mut group: Group<'_, (), CancelReason> = pool.group(&live());
        group.submit(|job| Err(job.token().wait())).unwrap();
        drop(group);
        assert_eq!(drained(&pool).jobs.ended(), 3);
    });
}

#[test]
fn a_job_joins_a_group_of_its_own_pool_at_any_size() {
    watched(|| {
        for workers in [1, 3] {
            let pool = std::sync::Arc::new(pool(workers));
            let inner = std::sync::Arc::clone(&pool);
            let job = pool.submit(&live(), move |_| {
                let mut group: Group<'_, u64, ()> = inner.group(&live());
                (0..100).for_each(|number| group.submit(move |_| Ok(number)).unwrap());
                group.join().map(|values| values.into_iter().sum::<u64>()).map_err(drop)
            });
            assert_eq!(job.unwrap().wait(&live()).unwrap(), 4_950);
        }
    });
}
