//! Submissions, cancels and closes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brigade::pool::Close;
use brigade::{Cancelled, PoolBuilder, scope};

use super::{HOUR, assert_adds_up};
use crate::util::{Census, alone, live, reached, threads, until_threads, watched};

/// pond's test of a pool that is stopped while jobs are submitted, and more.
#[test]
fn of_ten_thousand_submissions_that_race_a_close_each_runs_or_is_refused_or_is_skipped() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2_500;
    if !alone!(of_ten_thousand_submissions_that_race_a_close_each_runs_or_is_refused_or_is_skipped) {
        return;
    }
    watched(|| {
        let before = threads();
        for round in 0..24_u64 {
            reached(&format!("round {round}"));
            let how = [Close::Drain, Close::Cancel][usize::try_from(round % 2).unwrap()];
            let by_token = round % 3 == 2;
            let queue = [0, 5, 1_000, 100_000][usize::try_from(round / 2 % 4).unwrap()];
            let (token, census) = (live(), Census::default());
            let pool = PoolBuilder::new(3).queue(queue).start(&token);
            let (ran, refused, ends) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0), AtomicBool::new(false));
            let account = scope(&live(), |s| {
                s.spawn(|_| {
                    while !ends.load(Ordering::SeqCst) {
                        assert_adds_up(&pool.account());
                    }
                    Ok(())
                })?;
                let submitting = (0..THREADS).map(|thread| {
                    let (pool, refused, ran, census) = (&pool, &refused, &ran, &census);
                    s.spawn(move |_| {
                        for number in 0..EACH {
                            let (held, ran) = (census.make(()), Arc::clone(ran));
                            let run = move || {
                                drop(held);
                                Ok::<_, ()>(ran.fetch_add(1, Ordering::SeqCst))
                            };
                            let is_refused = match (number + thread) % 3 {
                                0 => pool.fire(&live(), move |_| _ = run()).is_err(),
                                1 => pool.submit(&live(), move |_| run()).map(drop).is_err(),
                                _ => pool.try_submit(move |_| run()).map(drop).is_err(),
                            };
                            refused.fetch_add(u64::from(is_refused), Ordering::SeqCst);
                        }
                        Ok(())
                    })
                });
                let submitting = submitting.collect::<Result<Vec<_>, _>>()?;
                while ran.load(Ordering::SeqCst) < round * 50 {
                    std::thread::yield_now();
                }
                if by_token {
                    token.cancel();
                }
                let account = pool.close(&live(), how, HOUR).unwrap();
                s.join_all(submitting)?;
                ends.store(true, Ordering::SeqCst);
                Ok::<_, Cancelled>(account)
            })
            .unwrap();
            let (ran, refused) = (ran.load(Ordering::SeqCst), refused.load(Ordering::SeqCst));
            assert_eq!(account.accepted + refused, THREADS * EACH);
            assert_eq!((account.jobs.completed, account.jobs.ended()), (ran, account.accepted));
            assert!(how == Close::Cancel || by_token || account.jobs.skipped == 0);
            assert_eq!(pool.account().refused, refused);
            census.assert_all_dropped_once();
            drop(pool);
            until_threads(before);
        }
    });
}

#[test]
fn of_a_cancel_a_start_and_a_wait_of_one_job_exactly_one_decides() {
    watched(|| {
        let pool = PoolBuilder::new(2).start(&live());
        for _ in 0..3_000 {
            let job = pool.submit(&live(), |job| job.token().check().map(|()| 1)).unwrap();
            let (cancelled, waited) = scope(&live(), |s| {
                let cancelling = s.spawn(|_| Ok(job.cancel()))?;
                let waited = job.wait(&live());
                Ok::<_, Cancelled>((cancelling.join()?, waited))
            })
            .unwrap();
            assert!(waited.is_ok() || cancelled, "{waited:?}");
        }
        super::drained(&pool);
    });
}

#[test]
fn pools_are_dropped_at_any_moment() {
    if !alone!(pools_are_dropped_at_any_moment) {
        return;
    }
    watched(|| {
        let (before, census) = (threads(), Census::default());
        for round in 0..400 {
            let pool = PoolBuilder::new(1 + round % 4).queue(round % 7).start(&live());
            for _ in 0..round % 50 {
                let held = census.make(());
                let timeout = Duration::from_micros(1);
                _ = pool.timeout(timeout).submit(&live(), move |job| {
                    drop(held);
                    job.token().check()
                });
            }
            drop(pool);
            census.assert_all_dropped_once();
        }
        crate::util::until(|| crate::util::threads_but_the_clock() <= before);
        until_threads(before);
    });
}
