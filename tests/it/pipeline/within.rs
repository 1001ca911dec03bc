//! `batch_within`: batches that do not wait for long.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use brigade::{CancellationToken, Cancelled, Pipeline};
use crossbeam::channel::bounded;

use super::{at_every_setting, live, set};
use crate::util::{alone, cpu_time, reached, watched};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn no_item_is_lost_and_none_is_late_at_every_setting() {
    watched(|| {
        for time in [Duration::ZERO, Duration::from_micros(50), SHORT, LONG, Duration::MAX] {
            at_every_setting(&[None, Some(1), Some(20)], |setting| {
                let pipeline = set(Pipeline::from_iter(0..300_usize), setting);
                let batches: Vec<Vec<usize>> =
                    pipeline.map(|item| item + 1).batch_within(7, time).map(|batch| batch).collect(&live()).unwrap();
                assert!(batches.iter().all(|batch| (1..=7).contains(&batch.len())));
                let mut items: Vec<usize> = batches.into_iter().flatten().collect();
                if !setting.2 {
                    items.sort_unstable();
                }
                assert!(items.into_iter().eq(1..=300));
            });
        }
        let batches: Vec<Vec<usize>> =
            Pipeline::from_iter(0..300).threads(2).batch_within(7, LONG).collect(&live()).unwrap();
        assert_eq!(batches.len(), 300_usize.div_ceil(7));
    });
}

/// Sends the next item when the batch with the last one has come out: with `stages` of these between.
fn dialogue(threads: usize, iter: bool, stages: usize) -> Vec<Vec<u32>> {
    let (sender, receiver) = bounded(1);
    let sender = Mutex::new(Some(sender));
    let send = |item: u32| {
        let mut sender = sender.lock().unwrap();
        match &*sender {
            Some(open) if item < 5 => open.send(item).unwrap(),
            _ => *sender = None,
        }
    };
    send(0);
    let pipeline = Pipeline::from_receiver(receiver).threads(threads).batch_within(1_000, SHORT);
    let mut batches = Vec::new();
    let mut take = |batch: Vec<u32>| {
        let next = batch[batch.len() - 1] + 1;
        batches.push(batch);
        reached("the next item");
        send(next);
    };
    match (iter, stages) {
        (false, 1) => pipeline.for_each(&live(), &mut take).unwrap(),
        (false, _) => {
            pipeline.batch_within(1_000, SHORT).map(|batches| batches.concat()).for_each(&live(), &mut take).unwrap();
        }
        (true, _) => pipeline.iter(&live(), |outputs| outputs.for_each(|batch| take(batch.unwrap()))),
    }
    batches
}

#[test]
fn a_batch_is_handed_on_in_time_while_the_source_waits_for_that() {
    watched(|| {
        for threads in [2, 3, 8] {
            for (iter, stages) in [(false, 1), (false, 2), (true, 1)] {
                assert_eq!(dialogue(threads, iter, stages), [[0], [1], [2], [3], [4]]);
            }
        }
    });
}

#[test]
fn a_batch_that_waits_for_its_time_burns_no_cpu_time() {
    if !alone!(a_batch_that_waits_for_its_time_burns_no_cpu_time) {
        return;
    }
    watched(|| {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let time = Duration::from_millis(300);
        let mut sender = Some(sender);
        let (started, used) = (Instant::now(), cpu_time());
        Pipeline::from_receiver(receiver)
            .threads(4)
            .batch_within(10, time)
            .for_each(&live(), |batch| {
                assert_eq!(batch, [1]);
                sender = None;
            })
            .unwrap();
        assert!(started.elapsed() >= time);
        let used = cpu_time().saturating_sub(used);
        assert!(used < time / 6, "{used:?}");
    });
}

#[test]
fn a_cancel_drops_what_is_held_and_an_error_hands_it_on() {
    watched(|| {
        let token = live();
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let cancels = |item: i32| {
            token.cancel();
            item
        };
        let ended = Pipeline::from_receiver(receiver)
            .threads(2)
            .map(cancels)
            .batch_within(10, LONG)
            .for_each(&token, |_| unreachable!("it was cancelled"));
        assert_eq!(ended, Err(Cancelled::new(brigade::CancelReason::Requested)));

        let mut batches = Vec::new();
        let ended = Pipeline::from_iter(0..10)
            .threads(2)
            .try_map(|item| if item == 5 { Err(anyhow::anyhow!("five")) } else { Ok(item) })
            .batch_within(3, LONG)
            .for_each(&CancellationToken::new(), |batch| batches.push(batch));
        assert_eq!(ended.unwrap_err().to_string(), "five");
        assert_eq!(batches, [vec![0, 1, 2], vec![3, 4]]);
    });
}

#[test]
#[should_panic(expected = "Pipeline::batch_within(0, ..): a batch needs an item")]
fn no_items_are_refused() {
    drop(Pipeline::from_iter(0..3).batch_within(0, LONG));
}
