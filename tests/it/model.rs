//! What the models share: values that are counted, how a run ends, and random programs that must leave nothing behind.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use brigade::{CancelReason, Cancelled};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::util::{Census, Counted, reached, threads_but_the_clock, until, watched};

/// What passes through a program: a number, counted. Errors and payloads of panics are counted too.
pub(crate) type Item = Counted<usize>;

pub(crate) enum Error {
    Cancelled(Cancelled),
    /// The number is that of the item, task or act that failed.
    Failed(Item),
}

impl From<Cancelled> for Error {
    fn from(cancelled: Cancelled) -> Self {
        Error::Cancelled(cancelled)
    }
}

/// How a run ended, as its caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Done,
    Cancelled(CancelReason),
    Failed(usize),
    Panicked(usize),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled(cancelled) => End::Cancelled(cancelled.reason()),
            Error::Failed(item) => End::Failed(item.value),
        }
    }
}

/// Panics with the item as the payload, and without a message on the standard error.
pub(crate) fn throw(item: Item) -> ! {
    resume_unwind(Box::new(item))
}

/// Runs `run`, and says how it ended.
pub(crate) fn ending<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, End> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(ended) => ended.map_err(End::from),
        Err(payload) => match payload.downcast::<Item>() {
            Ok(item) => Err(End::Panicked(item.value)),
            // An assertion of a test, or of the library.
            Err(other) => resume_unwind(other),
        },
    }
}

/// Tries so many random programs, or as many as `BRIGADE_CASES` says. After each of them every value has been dropped
/// once, and every thread is gone. Threads are counted, so the calling test runs [alone](crate::util::run_alone).
pub(crate) fn try_programs<S: Strategy<Value: Debug>>(
    cases: u32,
    programs: impl FnOnce() -> S + Send + 'static,
    check: impl Fn(S::Value, &Census) + Send + 'static,
) {
    let cases = std::env::var("BRIGADE_CASES").map_or(cases, |cases| cases.parse().expect("BRIGADE_CASES is a number"));
    watched(move || {
        // Rayon's threads stay, once they are there.
        rayon::join(|| (), || ());
        let before = threads_but_the_clock();
        let config =
            ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
        let tried = TestRunner::new(config).run(&programs(), |program| {
            let shown = format!("{program:?}");
            reached(&shown);
            let census = Census::default();
            check(program, &census);
            census.assert_all_dropped_once();
            reached(&format!("the wait for its threads to be gone, after {shown}"));
            until(|| threads_but_the_clock() == before);
            Ok(())
        });
        if let Err(error) = tried {
            panic!("{error}");
        }
    });
}
