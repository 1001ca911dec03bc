//! The one door to rayon's pool: the one a call runs in, or none.
//!
//! rayon starts its global pool at its first use, and panics if it cannot, then and ever after. So a call asks here
//! before it uses rayon: this starts the global pool by the function that returns the refusal. Without a pool a call is
//! one job, on the calling thread.

use std::error::Error;
use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use rayon::ThreadPoolBuilder;

use crate::panic;

/// How many threads share a call: those of the pool, or the calling one.
pub(super) fn threads() -> usize {
    if is_there() { rayon::current_num_threads() } else { 1 }
}

/// How many jobs claim the parts of a call; `None` where rayon splits the items as its workers fall idle.
pub(super) fn jobs(limit: Option<NonZeroUsize>) -> Option<usize> {
    match limit {
        _ if !is_there() => Some(1),
        Some(limit) => Some(limit.get().min(rayon::current_num_threads())),
        None => None,
    }
}

/// Runs `job` at once as often as `jobs` says in the pool; once, on the calling thread, where there is none.
pub(super) fn run(jobs: usize, job: impl Fn() + Sync) {
    if !is_there() {
        return job();
    }
    rayon::scope(|s| {
        for _ in 1..jobs {
            s.spawn(|_| job());
        }
        job();
    });
}

fn is_there() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    // A worker has the pool it belongs to, and waits for no other thread here.
    rayon::current_thread_index().is_some() || *GLOBAL.get_or_init(start)
}

/// Starts the global pool unless it has been started; tells whether it is there.
fn start() -> bool {
    // Where no thread can be had at all rayon takes the calling one for a pool, but only if it starts by itself.
    if cfg!(target_family = "wasm") {
        return true;
    }
    match ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        Err(error) if error.source().is_some_and(<dyn Error>::is::<io::Error>) => false,
        // Says that the pool has been started, also where the program itself has tried that in vain. Then asking
        // panics.
        Err(_) => panic::catch(rayon::current_num_threads).is_ok(),
    }
}
