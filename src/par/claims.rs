//! A call whose jobs claim parts of the items.
//!
//! A limit on one call's parallelism is a number of jobs. Each job claims a part of the items, runs it, and claims the
//! next one, until no item is left. The parts are cut from anything that rayon can split, in the order of the items.
//!
//! - No job waits for another, so no job blocks a worker. A semaphore around the items was rejected, because a job that
//!   waited for it could block the very worker that is to release it.
//! - When an item has failed, all earlier items have been claimed, because the parts are claimed in order. The items
//!   that have not been claimed are all later, and none of them is started.
//!
//! Three more kinds of call run this way: every map of a program that is compiled with `panic = "abort"`, because
//! rayon's own collect cannot be left there; a map for whose outputs the system refused the memory; and, with one job
//! on the calling thread, a call for which rayon has no threads.

use parking_lot::Mutex;
use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};

use super::pool;

/// How the items of a call are claimed, and how a part of them is run.
pub(super) struct Claims<S, M, W> {
    /// How many jobs claim parts.
    pub(super) jobs: usize,
    /// Says how many items the next part has.
    pub(super) share: S,
    /// Makes the value that each job has of its own.
    pub(super) local: M,
    /// Runs a part; returns `None` to give up.
    pub(super) work: W,
}

/// The items that no job has claimed so far.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    /// The index of the first of them.
    pub(super) start: usize,
    pub(super) len: usize,
    /// The least and the most items of a part that the source asks for, by rayon's `with_min_len` and `with_max_len`.
    pub(super) min_len: usize,
    pub(super) max_len: usize,
}

/// A part of the items, claimed by one job.
pub(super) struct Part<'a, T> {
    /// The index of its first item.
    pub(super) start: usize,
    /// How many items it is to have.
    pub(super) len: usize,
    pub(super) items: &'a mut dyn Iterator<Item = T>,
}

/// The results of the parts.
pub(super) struct Claimed<R> {
    /// Each with the index of its part's first item, in order.
    pub(super) parts: Vec<(usize, R)>,
    /// No job has given up.
    pub(super) is_whole: bool,
}

impl<S, M, W> Claims<S, M, W> {
    /// Runs all parts of the items, until a job gives up.
    pub(super) fn run<I, L, R>(self, items: I) -> Claimed<R>
    where
        I: IndexedParallelIterator,
        S: Fn(Rest) -> usize + Sync,
        M: Fn() -> L + Sync,
        W: Fn(&mut L, Part<'_, I::Item>) -> Option<R> + Sync,
        R: Send,
    {
        let len = items.len();
        items.with_producer(Callback { claims: self, len })
    }
}

struct Callback<C> {
    claims: C,
    len: usize,
}

impl<T, S, L, M, W, R> ProducerCallback<T> for Callback<Claims<S, M, W>>
where
    S: Fn(Rest) -> usize + Sync,
    M: Fn() -> L + Sync,
    W: Fn(&mut L, Part<'_, T>) -> Option<R> + Sync,
    R: Send,
{
    type Output = Claimed<R>;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> Claimed<R> {
        let Callback { claims, len } = self;
        let (min_len, max_len) = (producer.min_len().max(1), producer.max_len().max(1));
        let rest = Mutex::new((len > 0).then_some((Rest { start: 0, len, min_len, max_len }, producer)));
        let claimed = Mutex::new(Claimed { parts: Vec::new(), is_whole: true });
        let claim = || {
            let mut unclaimed = rest.lock();
            // The rest is taken out before it is split. So nothing is left to claim if the source panics then.
            let (rest, producer) = unclaimed.take()?;
            let share = (claims.share)(rest);
            if share >= rest.len {
                return Some((rest.start, rest.len, producer));
            }
            let (part, producer) = producer.split_at(share);
            *unclaimed = Some((Rest { start: rest.start + share, len: rest.len - share, ..rest }, producer));
            Some((rest.start, share, part))
        };
        let job = || {
            let mut local = (claims.local)();
            while let Some((start, len, part)) = claim() {
                let part = Part { start, len, items: &mut part.into_iter() };
                let Some(output) = (claims.work)(&mut local, part) else {
                    claimed.lock().is_whole = false;
                    // The unclaimed items are all later than the item that failed.
                    let later = rest.lock().take();
                    drop(later);
                    return;
                };
                claimed.lock().parts.push((start, output));
            }
        };
        pool::run(claims.jobs, job);
        let mut claimed = claimed.into_inner();
        claimed.parts.sort_unstable_by_key(|(start, _)| *start);
        claimed
    }
}
