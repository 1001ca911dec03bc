//! A call with a limit: so many jobs, each of which claims a part of the items after the other.
//!
//! None of them waits, so it blocks no worker. They claim from the lowest item on: once one has failed, all that is lower has
//! been claimed, and nothing above is started.

use std::cell::Cell;

use parking_lot::Mutex;
use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};

use super::collect::Steps;
use super::pool;
use super::run::Run;
use crate::panic;

/// As [`Steps::collect`], by so many jobs.
pub(super) fn collect<I, E, J, R, M, F>(steps: &Steps<'_, E, M, F>, items: I, jobs: usize) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> J + Sync,
    F: Fn(&mut J, usize, I::Item) -> Result<R, E> + Sync,
{
    let len = items.len();
    // Large parts first, of which little is lost at the end.
    let share = |_, left: usize, least: usize, most: usize| (left / (4 * jobs)).min(most).max(least);
    let part = |job: &mut J, at: usize, len: usize, items: &mut dyn Iterator<Item = I::Item>| {
        let (look, end, next) = (steps.look(), at + len, Cell::new(at));
        // Not within the catch: what has been made is not to be dropped by unwinding.
        let mut outputs = Vec::new();
        // If that is refused it grows, as the vector of the plain loop does: the call may end long before it is full.
        _ = outputs.try_reserve_exact(len);
        let done = panic::catch(|| {
            for index in at..end {
                let Some(item) = items.next() else { return steps.run.misfits(index, end) };
                outputs.push(steps.one(job, look, index, item)?);
                next.set(index + 1);
            }
            if items.next().is_some() { steps.run.misfits(end + 1, end) } else { Some(()) }
        });
        match done {
            Ok(Some(())) => return Some(outputs),
            Ok(None) => discard(steps.run, outputs),
            Err(payload) => {
                steps.run.panicked::<R>(next.get(), payload);
                discard(steps.run, outputs);
            }
        }
        None
    };
    let (parts, is_whole) = claim_all(items, jobs, share, &steps.job, part);
    if !is_whole {
        discard(steps.run, parts.into_iter().flat_map(|(_, part)| part));
        return None;
    }
    let mut outputs = Vec::new();
    // If that is refused too, each part makes room for itself, and gives up its own.
    _ = outputs.try_reserve_exact(len);
    for (_, part) in parts {
        outputs.reserve_exact(part.len());
        outputs.extend(part);
    }
    Some(outputs)
}

/// Drops outputs one by one; a panic there is the run's.
fn discard<R, E>(run: &Run<'_, E>, outputs: impl IntoIterator<Item = R>) {
    if let Err(payload) = panic::catch(|| panic::drop_each(outputs)) {
        run.dropped(payload);
    }
}

/// Runs `work` on all parts of the items, each with the index of its first item and how many it is to have; returns
/// what they gave, in order, and whether that is all: none gave up. `share` says how many items the next part has, by
/// its first index, how many are left, and how many the items' own
/// [`with_min_len`](IndexedParallelIterator::with_min_len) and [`with_max_len`](IndexedParallelIterator::with_max_len)
/// ask for.
pub(super) fn claim_all<I, J, R>(
    items: I,
    jobs: usize,
    share: impl Fn(usize, usize, usize, usize) -> usize + Sync,
    job: impl Fn() -> J + Sync,
    work: impl Fn(&mut J, usize, usize, &mut dyn Iterator<Item = I::Item>) -> Option<R> + Sync,
) -> (Vec<(usize, R)>, bool)
where
    I: IndexedParallelIterator,
    R: Send,
{
    let len = items.len();
    items.with_producer(Claims { len, jobs, share, job, work })
}

struct Claims<S, J, W> {
    len: usize,
    jobs: usize,
    share: S,
    job: J,
    work: W,
}

impl<T, S, J, M, W, R> ProducerCallback<T> for Claims<S, M, W>
where
    S: Fn(usize, usize, usize, usize) -> usize + Sync,
    M: Fn() -> J + Sync,
    W: Fn(&mut J, usize, usize, &mut dyn Iterator<Item = T>) -> Option<R> + Sync,
    R: Send,
{
    type Output = (Vec<(usize, R)>, bool);

    fn callback<P: Producer<Item = T>>(self, producer: P) -> Self::Output {
        let (least, most) = (producer.min_len().max(1), producer.max_len().max(1));
        let rest = Mutex::new((self.len > 0).then_some((0, self.len, producer)));
        let outputs = Mutex::new((Vec::new(), true));
        let claim = || {
            let mut rest = rest.lock();
            // Taken, so that nothing is left if the source panics when it is split.
            let (at, left, producer) = rest.take()?;
            let share = (self.share)(at, left, least, most);
            if share >= left {
                return Some((at, left, producer));
            }
            let (part, producer) = producer.split_at(share);
            *rest = Some((at + share, left - share, producer));
            Some((at, share, part))
        };
        let run = || {
            let mut job = (self.job)();
            while let Some((at, len, part)) = claim() {
                let Some(output) = (self.work)(&mut job, at, len, &mut part.into_iter()) else {
                    outputs.lock().1 = false;
                    // What is not claimed is above what has failed.
                    let rest = rest.lock().take();
                    drop(rest);
                    return;
                };
                outputs.lock().0.push((at, output));
            }
        };
        pool::run(self.jobs, run);
        let (mut outputs, is_whole) = outputs.into_inner();
        outputs.sort_unstable_by_key(|(at, _)| *at);
        (outputs, is_whole)
    }
}
