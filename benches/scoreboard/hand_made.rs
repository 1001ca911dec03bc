//! What one writes by hand: a thread that feeds, workers, and the caller that puts their outputs in order.
#![expect(clippy::disallowed_methods, reason = "these are the peers")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam::channel::{Receiver, bounded};

/// Room in each channel, in messages: the best of 16, 64, 256 and 1024 for either form.
const ROOM: usize = 64;

/// A message an item.
pub(crate) fn by_item<T: Send, R: Send>(
    items: impl Iterator<Item = T> + Send,
    workers: usize,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut all = Vec::new();
    for_each(items, workers, f, |output| all.push(output));
    all
}

pub(crate) fn for_each<T: Send, R: Send>(
    items: impl Iterator<Item = T> + Send,
    workers: usize,
    f: impl Fn(T) -> R + Sync,
    take: impl FnMut(R),
) {
    run(items.enumerate(), workers, |(at, item)| (at, f(item)), |received| in_order(received, take));
}

/// A message a packet of items.
pub(crate) fn by_packet<T: Send, R: Send>(
    items: impl Iterator<Item = T> + Send,
    workers: usize,
    size: usize,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    fold_by_packet(items, workers, size, f, Vec::new(), |mut all, output| {
        all.push(output);
        all
    })
}

pub(crate) fn fold_by_packet<T: Send, R: Send, A>(
    mut items: impl Iterator<Item = T> + Send,
    workers: usize,
    size: usize,
    f: impl Fn(T) -> R + Sync,
    initial: A,
    mut fold: impl FnMut(A, R) -> A,
) -> A {
    let packets = std::iter::from_fn(move || {
        let packet: Vec<T> = items.by_ref().take(size).collect();
        (!packet.is_empty()).then_some(packet)
    });
    let work = |(at, packet): (usize, Vec<T>)| (at, packet.into_iter().map(&f).collect::<Vec<R>>());
    let mut folded = Some(initial);
    run(packets.enumerate(), workers, work, |received| {
        in_order(received, |packet: Vec<R>| {
            folded = packet.into_iter().fold(folded.take(), |so_far, output| so_far.map(|so_far| fold(so_far, output)));
        });
    });
    folded.expect("the closure does not panic")
}

fn run<T: Send, R: Send>(
    messages: impl Iterator<Item = T> + Send,
    workers: usize,
    work: impl Fn(T) -> R + Sync,
    take: impl FnOnce(Receiver<R>),
) {
    let (feed, jobs) = bounded(ROOM);
    let (done, results) = bounded(ROOM);
    thread::scope(|s| {
        s.spawn(move || messages.for_each(|message| feed.send(message).expect("the workers receive")));
        for _ in 0..workers {
            let (jobs, done, work) = (jobs.clone(), done.clone(), &work);
            s.spawn(move || jobs.iter().for_each(|job| done.send(work(job)).expect("the caller receives")));
        }
        drop((jobs, done));
        take(results);
    });
}

fn in_order<R>(received: Receiver<(usize, R)>, mut take: impl FnMut(R)) {
    let mut early = BTreeMap::new();
    let mut due = 0;
    for (at, output) in received {
        early.insert(at, output);
        while let Some(output) = early.remove(&due) {
            take(output);
            due += 1;
        }
    }
}

/// No more than the work: threads that take batches from a counter, with no order and no output.
pub(crate) fn by_counter(items: usize, workers: usize, batch: usize, f: impl Fn(usize) -> u64 + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sum = 0_u64;
        loop {
            let first = next.fetch_add(batch, Ordering::Relaxed);
            if first >= items {
                break;
            }
            for item in first..items.min(first + batch) {
                sum = sum.wrapping_add(f(item));
            }
        }
        black_box(sum);
    };
    thread::scope(|s| {
        for _ in 1..workers {
            s.spawn(work);
        }
        work();
    });
}
