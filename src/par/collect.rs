//! From items to a vector of outputs: through rayon's own collect, or in claimed parts.
//!
//! A call does not demand the memory for its outputs. rayon's collect aborts the process if the system refuses the
//! memory for all outputs, even if the first item is to fail. So the call asks for the memory first. If it is refused,
//! the jobs claim parts whose vectors grow, as the vector of the plain loop does.

use std::cell::Cell;
use std::num::NonZeroUsize;

use rayon::iter::IndexedParallelIterator;

use super::builder::ParBuilder;
use super::call::Call;
use super::claims::{Claimed, Claims, Part, Rest};
#[cfg(panic = "unwind")]
use super::indexed;
use super::mapper::Mapper;
use super::pool;
use crate::panic;

impl ParBuilder<'_> {
    /// Returns the outputs of all items; `None` if an item failed, the token was cancelled or the source misfits.
    pub(super) fn outputs<I, L, R, E>(
        &self,
        call: &Call<'_, E>,
        items: I,
        local: impl Fn() -> L + Sync,
        f: impl Fn(&mut L, usize, I::Item) -> Result<R, E> + Sync,
    ) -> Option<Vec<R>>
    where
        I: IndexedParallelIterator,
        R: Send,
        E: Send,
    {
        let counted = self.counted(items.len());
        call.guard(|| collect(&Mapper { call, count: counted.as_ref(), local, f }, items, self.limit))
    }
}

/// Maps `items` into a vector in their order; `None` if one failed or was skipped.
///
/// At most `limit` run at once.
fn collect<I, E, L, R, M, F>(mapper: &Mapper<'_, E, M, F>, items: I, limit: Option<NonZeroUsize>) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, I::Item) -> Result<R, E> + Sync,
{
    if let Some(jobs) = pool::jobs(limit) {
        return collect_parts(mapper, items, jobs);
    }
    // A program that cannot unwind cannot leave a job of rayon's own collect.
    #[cfg(panic = "unwind")]
    {
        let mut room = Vec::new();
        if room.try_reserve_exact(items.len()).is_ok() {
            return indexed::collect(mapper, items, room);
        }
    }
    // The call may end at one of the first items, long before it needs the memory that was refused.
    collect_parts(mapper, items, pool::threads())
}

/// As [`collect`], by this many jobs, which claim parts of the items.
pub(super) fn collect_parts<I, E, L, R, M, F>(mapper: &Mapper<'_, E, M, F>, items: I, jobs: usize) -> Option<Vec<R>>
where
    I: IndexedParallelIterator,
    E: Send,
    R: Send,
    M: Fn() -> L + Sync,
    F: Fn(&mut L, usize, I::Item) -> Result<R, E> + Sync,
{
    let len = items.len();
    // The first parts are the largest. The last ones are small, so the jobs end at nearly the same time.
    let share = |rest: Rest| (rest.len / (4 * jobs)).min(rest.max_len).max(rest.min_len);
    let work = |local: &mut L, part: Part<'_, I::Item>| {
        let Part { start, len, items } = part;
        let (view, end, next) = (mapper.view(), start + len, Cell::new(start));
        // Outside of the catch, so that no unwinding drops these outputs.
        let mut outputs = Vec::new();
        // If the memory is refused, the vector grows, as that of the plain loop does: the call may end before it is
        // full.
        _ = outputs.try_reserve_exact(len);
        let done = panic::catch(|| {
            for index in start..end {
                let Some(item) = items.next() else { return mapper.call.misfits(index, end) };
                outputs.push(mapper.run_item(local, view, index, item)?);
                next.set(index + 1);
            }
            if items.next().is_some() { mapper.call.misfits(end + 1, end) } else { Some(()) }
        });
        match done {
            Ok(Some(())) => return Some(outputs),
            Ok(None) => discard(mapper.call, outputs),
            Err(payload) => {
                mapper.call.panicked::<R>(next.get(), payload);
                discard(mapper.call, outputs);
            }
        }
        None
    };
    let Claimed { parts, is_whole } = Claims { jobs, share, local: &mapper.local, work }.run(items);
    if !is_whole {
        discard(mapper.call, parts.into_iter().flat_map(|(_, part)| part));
        return None;
    }
    let mut outputs = Vec::new();
    // If the memory for all is refused, the vector grows by one part at a time, and each part frees its own memory.
    _ = outputs.try_reserve_exact(len);
    for (_, part) in parts {
        outputs.reserve_exact(part.len());
        outputs.extend(part);
    }
    Some(outputs)
}

/// Drops outputs one by one; the call keeps a panic of their `Drop`.
fn discard<R, E>(call: &Call<'_, E>, outputs: impl IntoIterator<Item = R>) {
    if let Err(payload) = panic::catch(|| panic::drop_each(outputs)) {
        call.dropped(payload);
    }
}
