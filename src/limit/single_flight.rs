//! [`SingleFlight`]: one computation for all callers who want the same value at the same time.
//!
//! A map has a [`Flight`] for each key that is being computed. The caller who finds none leads: it puts one there, and
//! runs its closure outside of the lock. The others find it, and wait at its event, which the first of them makes.
//!
//! Invariants:
//!
//! 1. A caller joins a flight under the lock of the map, and only while the flight is in the map. When the leader has
//!    taken it out, the callers who wait are all that there will be.
//! 2. The leader takes the flight out first, then sets the outcome, then wakes. [`Lead`] does so in its drop too, so
//!    that a panic leaves no caller waiting.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use crate::error::Cancelled;
use crate::event::Event;
use crate::sync::{Mutex, ThreadId, current};
use crate::token::CancellationToken;

/// Lets callers who want the value of one key at the same time share one computation.
///
/// The first caller, the leader, runs its closure. Callers who come with the same key before it has returned wait, and
/// get a clone of its result. The value is not kept: a later caller computes anew. With a map beside it, it makes a
/// cache that computes each value once, as the second example shows.
///
/// # Keys that want each other
///
/// A closure that asks for its own key, on its own thread, gets [`Reentrant`](SingleFlightError::Reentrant). If it asks
/// on another thread, or if two closures ask for each other's keys, they wait for ever, as with locks: a token with a
/// deadline ends that.
///
/// `Hash`, `Eq` and `Clone` of the key run under a lock, so they must not call the flights.
///
/// # Examples
///
/// ```
/// use brigade::CancellationToken;
/// use brigade::limit::{SingleFlight, SingleFlightError};
///
/// let sizes = SingleFlight::<String, u64, String>::new();
/// let size = sizes.run(&CancellationToken::new(), "Cargo.toml".to_owned(), || {
///     // However many threads ask at once, one of them does this.
///     std::fs::metadata("Cargo.toml").map(|found| found.len()).map_err(|error| error.to_string())
/// })?;
/// assert!(size > 0);
/// # Ok::<(), SingleFlightError<String>>(())
/// ```
///
/// A cache that computes each value once, and keeps the latest hundred:
///
/// ```
/// use std::collections::VecDeque;
/// use std::sync::Mutex;
/// use brigade::CancellationToken;
/// use brigade::limit::{SingleFlight, SingleFlightError};
///
/// struct Cache {
///     values: Mutex<VecDeque<(u64, u64)>>,
///     flights: SingleFlight<u64, u64, String>,
/// }
///
/// impl Cache {
///     fn find(&self, key: u64) -> Option<u64> {
///         self.values.lock().unwrap().iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
///     }
///
///     fn get(
///         &self,
///         token: &CancellationToken,
///         key: u64,
///         compute: impl FnOnce() -> Result<u64, String>,
///     ) -> Result<u64, SingleFlightError<String>> {
///         if let Some(value) = self.find(key) {
///             return Ok(value);
///         }
///         self.flights.run(token, key, || {
///             // Another flight may have landed between the look and this.
///             if let Some(value) = self.find(key) {
///                 return Ok(value);
///             }
///             let value = compute()?;
///             let mut values = self.values.lock().unwrap();
///             values.push_back((key, value));
///             if values.len() > 100 {
///                 values.pop_front();
///             }
///             Ok(value)
///         })
///     }
/// }
///
/// let cache = Cache { values: Mutex::default(), flights: SingleFlight::new() };
/// let token = CancellationToken::new();
/// assert_eq!(cache.get(&token, 7, || Ok(49))?, 49);
/// assert_eq!(cache.get(&token, 7, || unreachable!("it is kept"))?, 49);
/// # Ok::<(), SingleFlightError<String>>(())
/// ```
pub struct SingleFlight<K, V, E> {
    flights: Mutex<HashMap<K, Arc<Flight<V, E>>>>,
}

/// Why [`SingleFlight::run`] has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SingleFlightError<E> {
    /// The caller's token was cancelled before it had the value.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The closure of a key asked for the same key, and would wait for itself.
    #[error("the computation of a key asked for the value of the same key: it would wait for itself")]
    Reentrant,
    /// The closure failed: the caller's own, or the leader's.
    #[error("{0}")]
    Failed(E),
}

/// One computation.
struct Flight<V, E> {
    leader: ThreadId,
    outcome: OnceLock<Outcome<V, E>>,
    /// The event at which the callers wait, if there are any.
    landed: OnceLock<Arc<Event>>,
}

enum Outcome<V, E> {
    Landed(Result<V, E>),
    /// The leader was cancelled, or its closure panicked.
    Lost,
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone> SingleFlight<K, V, E> {
    /// Creates a value without flights.
    #[must_use]
    pub fn new() -> Self {
        SingleFlight { flights: Mutex::new(HashMap::new()) }
    }

    /// Runs `compute`, unless another caller is computing the value of `key`: then waits for that caller's result.
    ///
    /// A value and an error are shared alike. If the leader's closure panics, or fails when the leader's token is
    /// cancelled, its result is not shared: one of the callers who wait leads with its own closure.
    ///
    /// # Cancellation
    ///
    /// Fails when the caller's token is cancelled before the call or while it waits for another caller. As the leader it
    /// returns when `compute` does, which has to look at the token itself.
    ///
    /// # Errors
    ///
    /// [`Failed`](SingleFlightError::Failed), [`Cancelled`](SingleFlightError::Cancelled) or
    /// [`Reentrant`](SingleFlightError::Reentrant).
    ///
    /// # Panics
    ///
    /// A panic of `compute` reaches the leader alone.
    pub fn run(
        &self,
        token: &CancellationToken,
        key: K,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, SingleFlightError<E>> {
        loop {
            token.check()?;
            let me = current().id();
            let mut flights = self.flights.lock();
            let Some(flight) = flights.get(&key) else {
                let flight = Arc::new(Flight { leader: me, outcome: OnceLock::new(), landed: OnceLock::new() });
                flights.insert(key.clone(), Arc::clone(&flight));
                drop(flights);
                return Lead { of: self, key, flight, is_out: false }.fly(token, compute);
            };
            if flight.leader == me {
                return Err(SingleFlightError::Reentrant);
            }
            let flight = Arc::clone(flight);
            flight.landed.get_or_init(Arc::default);
            drop(flights);
            if let Some(result) = flight.wait(token)? {
                return result.map_err(SingleFlightError::Failed);
            }
        }
    }

    /// Lets the next caller of `key` compute anew, even if another one is computing.
    ///
    /// Callers who wait already get the result that they wait for.
    pub fn forget(&self, key: &K) {
        let forgotten = self.flights.lock().remove_entry(key);
        // The key is the user's, and is dropped outside of the lock.
        drop(forgotten);
    }
}

impl<V: Clone, E: Clone> Flight<V, E> {
    /// Waits for the outcome; returns `None` if it is lost.
    fn wait(&self, token: &CancellationToken) -> Result<Option<Result<V, E>>, Cancelled> {
        let landed = self.landed.get().expect("made when the caller joined");
        let _watch = landed.observe(token);
        loop {
            let ticket = landed.ticket();
            token.check()?;
            match self.outcome.get() {
                Some(Outcome::Landed(result)) => return Ok(Some(result.clone())),
                Some(Outcome::Lost) => return Ok(None),
                None => landed.wait_until(ticket, token.look_at()),
            }
        }
    }
}

/// The leader's part in a flight: dropping it ends the flight, which is lost if it has no outcome.
struct Lead<'a, K: Hash + Eq, V, E> {
    of: &'a SingleFlight<K, V, E>,
    key: K,
    flight: Arc<Flight<V, E>>,
    is_out: bool,
}

impl<K: Hash + Eq, V: Clone, E: Clone> Lead<'_, K, V, E> {
    fn fly(
        mut self,
        token: &CancellationToken,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, SingleFlightError<E>> {
        let result = compute();
        self.take_out();
        // Without callers who wait there is no need for a clone, which may panic.
        if self.flight.landed.get().is_some() && (result.is_ok() || !token.is_cancelled()) {
            _ = self.flight.outcome.set(Outcome::Landed(result.clone()));
        }
        result.map_err(SingleFlightError::Failed)
    }
}

impl<K: Hash + Eq, V, E> Lead<'_, K, V, E> {
    /// Takes the flight out of the map, unless it was forgotten.
    fn take_out(&mut self) {
        self.is_out = true;
        let mut flights = self.of.flights.lock();
        let is_there = flights.get(&self.key).is_some_and(|other| Arc::ptr_eq(other, &self.flight));
        let out = if is_there { flights.remove_entry(&self.key) } else { None };
        drop(flights);
        drop(out);
    }
}

impl<K: Hash + Eq, V, E> Drop for Lead<'_, K, V, E> {
    fn drop(&mut self) {
        if !self.is_out {
            self.take_out();
        }
        if let Some(landed) = self.flight.landed.get() {
            _ = self.flight.outcome.set(Outcome::Lost);
            landed.notify_all();
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone> Default for SingleFlight<K, V, E> {
    fn default() -> Self {
        SingleFlight::new()
    }
}

impl<K, V, E> fmt::Debug for SingleFlight<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("flights", &self.flights.lock().len()).finish()
    }
}
