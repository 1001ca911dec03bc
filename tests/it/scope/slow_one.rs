//! One slow task or item among many: it stops no other.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::{Cancelled, ParBuilder, ScopeBuilder};
use rayon::iter::IntoParallelIterator;

use crate::util::{Counter, live, reached, watched};

/// The index of the slow task. The threads know the others as short by then, and take many at a time.
const SLOW: usize = 1_000;

#[test]
fn a_slow_task_stops_no_other_and_the_body_neither() {
    watched(|| {
        for limit in [2, 16, 64] {
            reached(&format!("limit {limit}"));
            // More than fit into the queue.
            let tasks = SLOW + limit * 600;
            let ended = Counter::default();
            let result = ScopeBuilder::new().limit(limit).run(&live(), |s| {
                for task in 0..tasks {
                    let ended = ended.clone();
                    s.spawn(move |_| {
                        if task == SLOW {
                            ended.wait_for(tasks - 1);
                        }
                        ended.add();
                        Ok(())
                    })?;
                }
                Ok::<_, Cancelled>(())
            });
            assert_eq!(result, Ok(()));
        }
    });
}

#[test]
fn several_slow_tasks_stop_no_other_while_a_thread_is_left() {
    const LIMIT: usize = 16;
    const SLOW_ONES: usize = LIMIT - 1;
    watched(|| {
        let (short, tasks) = (Counter::default(), SLOW_ONES * SLOW);
        let ran = AtomicUsize::new(0);
        let values = ScopeBuilder::new().limit(LIMIT).run(&live(), |s| {
            let spawn = |task| {
                let (short, ran) = (short.clone(), &ran);
                s.spawn(move |_| {
                    if task % SLOW == SLOW / 2 {
                        short.wait_for(tasks - SLOW_ONES);
                    } else {
                        short.add();
                    }
                    ran.fetch_add(1, Ordering::Relaxed);
                    Ok(task)
                })
            };
            let spawned = (0..tasks).map(spawn).collect::<Result<Vec<_>, _>>()?;
            s.join_all(spawned)
        });
        assert_eq!(values, Ok::<_, Cancelled>((0..tasks).collect()));
        assert_eq!(ran.into_inner(), tasks);
    });
}

#[test]
fn a_slow_item_of_a_limited_map_stops_none_outside_of_its_part() {
    const LIMIT: usize = 16;
    const ITEMS: usize = 4_096;
    // The first part is the longest: a quarter of a job's share.
    const PART: usize = ITEMS / (4 * LIMIT);
    watched(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(LIMIT).build().unwrap();
        let ended = Counter::default();
        let outputs = pool.install(|| {
            ParBuilder::new().limit(LIMIT).map(&live(), (0..ITEMS).into_par_iter(), |item| {
                if item == PART / 2 {
                    ended.wait_for(ITEMS - PART);
                }
                ended.add();
                item
            })
        });
        assert_eq!(outputs, Ok((0..ITEMS).collect()));
    });
}
