//! The parallel maps.

mod adapt;
mod drops;
mod failures;
mod forms;
mod limit;
mod map;
mod map_init;
mod memory;
mod pool;
mod progress;
mod reduce;
mod source;
mod with_token;

use brigade::{CancellationToken, ParBuilder};
use rayon::{ThreadPool, ThreadPoolBuilder};

fn live() -> CancellationToken {
    CancellationToken::new()
}

/// A pool with this number of threads.
fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// A builder with this limit, or without one.
fn limited<'a>(limit: Option<usize>) -> ParBuilder<'a> {
    limit.map_or(ParBuilder::new(), |limit| ParBuilder::new().limit(limit))
}

/// A builder without a limit, and one with each of these.
fn builders<'a, const N: usize>(limits: [usize; N]) -> Vec<ParBuilder<'a>> {
    [None].into_iter().chain(limits.map(Some)).map(limited).collect()
}

/// The end of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Pass,
    Fail,
    Panic,
}

fn run(item: usize, fate: Fate) -> Result<usize, anyhow::Error> {
    match fate {
        Fate::Pass => Ok(item * 3),
        Fate::Fail => Err(anyhow::anyhow!("item {item} failed")),
        Fate::Panic => panic!("item {item} panicked"),
    }
}

/// Values, error or panic, as text.
fn ending<T: std::fmt::Debug>(run: impl FnOnce() -> Result<T, anyhow::Error>) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(values)) => format!("{values:?}"),
        Ok(Err(error)) => error.to_string(),
        Err(payload) => *payload.downcast::<String>().expect("a formatted message"),
    }
}
