//! Limits: semaphores, rates, ticks, flights, retries and monitors.

mod keyed;
mod monitor;
mod permits;
mod queue;
mod rate;
mod retry;
mod single_flight;
mod ticker;
mod waits;

use std::time::Duration;

use brigade::CancellationToken;

use crate::util::live;

const HOUR: Duration = Duration::from_secs(3600);

fn cancelled() -> CancellationToken {
    let token = live();
    token.cancel();
    token
}
