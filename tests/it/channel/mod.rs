//! Crossbeam's channels with `until(&token)`.

mod error;
mod merge;
mod message;
mod wait;

use std::time::Duration;

use brigade::CancellationToken;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::util::live;

const HOUR: Duration = Duration::from_secs(3600);

fn cancelled() -> CancellationToken {
    let token = live();
    token.cancel();
    token
}

/// Channels of every kind.
fn kinds<T>() -> [(Sender<T>, Receiver<T>); 4] {
    [bounded(0), bounded(1), bounded(5), unbounded()]
}
