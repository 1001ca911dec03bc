//! Limits: how many at once, how often, how many times, and one computation for many callers.
//!
//! | you want | use |
//! |---|---|
//! | at most n at once: open files, connections, bytes in memory | [`Semaphore`] |
//! | at most n a second | [`RateLimiter`] with a [`Rate`] |
//! | at most n a second for each client, host or user | [`KeyedRateLimiter`] |
//! | to do a thing every so often | [`Ticker`] |
//! | one computation for all callers who want the same value now | [`SingleFlight`] |
//! | to try again what failed | [`Retry`] |
//! | to wait for a state of your own, which a lock guards | [`Monitor`] |
//!
//! A few tasks that share all three kinds of limit:
//!
//! ```
//! use std::time::Duration;
//! use brigade::limit::{Rate, RateLimiter, Retry, Semaphore};
//! use brigade::{CancellationToken, ScopeBuilder};
//!
//! fn fetch(page: u32) -> anyhow::Result<u32> {
//!     Ok(page * 2)
//! }
//!
//! let connections = Semaphore::new(2);
//! let requests = RateLimiter::new(Rate::per_second(1_000).burst(10));
//! let retry = Retry::new(3).backoff(Duration::from_millis(1), Duration::from_millis(10));
//!
//! let sum = ScopeBuilder::new().limit(4).run(&CancellationToken::new(), |s| {
//!     let mut pages = Vec::new();
//!     for page in 1..=5 {
//!         let (connections, requests, retry) = (&connections, &requests, &retry);
//!         pages.push(s.spawn(move |s| {
//!             let _permit = connections.acquire(s.token(), 1)?;
//!             retry.run(s.token(), || {
//!                 requests.acquire(s.token())?;
//!                 fetch(page)
//!             })
//!         })?);
//!     }
//!     pages.into_iter().map(|page| Ok(page.join()?)).sum::<anyhow::Result<u32>>()
//! })?;
//! assert_eq!(sum, 30);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Cancellation
//!
//! Each call that may wait takes a token first, and looks at it before all else: with a cancelled token it fails, even
//! if it need not wait. A cancel wakes it by notification, and gives back what it stood in line for. Calls named `try_`
//! do not wait, and do not look at a token.
//!
//! # Waiting in rayon's jobs
//!
//! Do not wait for a permit, a rate or a flight in a closure that rayon runs, such as that of a parallel map: rayon's
//! threads are as many as the cores, and one that waits does no work. If all of them wait for permits whose holders
//! need a thread of rayon's, they wait for ever. Use a [scope](crate::scope()), or
//! [`Pipeline::blocking`](crate::Pipeline) threads, for work that waits.

mod bucket;
mod error;
mod keyed;
mod monitor;
mod pace;
mod permit;
mod permits;
mod rate;
mod retry;
mod semaphore;
mod single_flight;
mod ticker;

pub use error::{AcquireError, TryAcquireError, WaitError};
pub use keyed::KeyedRateLimiter;
pub use monitor::{Monitor, MonitorGuard};
pub use permit::{OwnedPermit, Permit};
pub use rate::{Denied, Rate, RateLimiter};
pub use retry::Retry;
pub use semaphore::Semaphore;
pub use single_flight::{SingleFlight, SingleFlightError};
pub use ticker::{Tick, Ticker};
