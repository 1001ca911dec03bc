//! The one door to rayon's pool: the pool that a call runs in, or none.
//!
//! rayon starts its global pool at its first use. If the system refuses the threads, rayon panics, then and at every
//! later use. `build_global` is the one function that returns the refusal. So a call asks this module before it uses
//! rayon: the first call outside of a pool runs `build_global`, and the answer is kept. Without a pool, a call is one
//! job on the calling thread.
//!
//! `build_global` says "already initialised" also where the program itself has called it before and was refused. Then
//! only rayon's panic tells. It is caught once, and the panic hook prints its message once.

use std::error::Error;
use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use rayon::ThreadPoolBuilder;

use crate::panic;

/// Returns how many threads share a call: those of the pool, or the calling thread alone.
pub(super) fn threads() -> usize {
    if is_there() { rayon::current_num_threads() } else { 1 }
}

/// Returns how many jobs claim the parts of a call; `None` if rayon splits the items as its workers fall idle.
pub(super) fn jobs(limit: Option<NonZeroUsize>) -> Option<usize> {
    match limit {
        _ if !is_there() => Some(1),
        Some(limit) => Some(limit.get().min(rayon::current_num_threads())),
        None => None,
    }
}

/// Runs `job` in the pool, `jobs` times at once; once, on the calling thread, if there is no pool.
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
    // A worker of a pool takes the first branch, so it never waits here for another thread.
    rayon::current_thread_index().is_some() || *GLOBAL.get_or_init(start)
}

/// Starts the global pool unless it has been started, and tells whether it is there.
fn start() -> bool {
    // On a platform without threads, rayon takes the calling thread for a pool, but only if rayon starts it by itself.
    if cfg!(target_family = "wasm") {
        return true;
    }
    match ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        Err(error) if error.source().is_some_and(<dyn Error>::is::<io::Error>) => false,
        // The pool has been started, or the program has tried to start it in vain. In the second case this panics.
        Err(_) => panic::catch(rayon::current_num_threads).is_ok(),
    }
}
