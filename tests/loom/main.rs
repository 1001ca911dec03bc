//! Models of the token, of `Event`, of the pipeline's `Signal` and of the limits: loom runs each in every order that
//! its steps can take; the larger ones in every order in which no more than so many threads are interrupted.
//!
//! `RUSTFLAGS="--cfg brigade_loom" cargo test --release --test loom`
#![cfg(brigade_loom)]

mod crew;
mod limit;
mod tickets;
mod token;

/// The paths by which the files that `crew` compiles know the rest of the crate.
mod event {
    pub(crate) use brigade::Event;
}
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
}

use brigade::{CancelReason, CancellationToken};
use loom::model::Builder;
use loom::thread::{JoinHandle, spawn};

/// Two cancels of three nodes have more orders than a day has time for.
fn bounded(interruptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(f);
}

const A: CancelReason = CancelReason::Other("a");

fn with<R: 'static>(token: &CancellationToken, f: impl FnOnce(&CancellationToken) -> R + 'static) -> JoinHandle<R> {
    let token = token.clone();
    spawn(move || f(&token))
}
