//! [`SingleFlight`]: one computation for all callers that want the same value at the same time.
//!
//! A map has a [`Flight`] for each key that is being computed. The caller that finds none leads: it puts one there, and
//! runs its closure outside of the lock. The others find it, and wait at what the first of them puts there to be
//! [`Shared`]. So a leader alone, which is the common case, allocates nothing.
//!
//! Invariants:
//!
//! 1. A caller joins a flight under the lock of the map, and only while the flight is in the map. When the leader has
//!    taken it out, the callers that wait are all that there will be.
//! 2. The leader takes the flight out first, then sets the outcome. Dropping the flight's [`Promise`] wakes the callers
//!    that have joined it, and tells them that the flight is lost if it has no outcome. So no panic leaves a caller
//!    waiting, not even one of the key's `Hash` that makes the map lose its entries.
//! 3. A forgotten flight is listed until its leader takes it out.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Cancelled;
use crate::event::Event;
use crate::sync::{Mutex, thread_local};
use crate::token::CancellationToken;

/// Lets callers that want the value of one key at the same time share one computation.
///
/// The first caller, the leader, runs its closure. Callers that come with the same key before it has returned wait, and
/// get a clone of its result. The value is not kept: a later caller computes anew. With a map beside it, it makes a
/// cache that computes each value once, as the second example shows.
///
/// # Keys that want each other
///
/// A closure that asks for its own key, on its own thread, gets [`Reentrant`](SingleFlightError::Reentrant). If it asks
/// on another thread, or if two closures ask for each other's keys, they wait for ever, as with locks: a token with a
/// deadline ends that.
///
/// `Hash`, `Eq` and `Clone` of the key run under a lock, so they must not call the flights. If one of them panics, the
/// panic reaches its caller, and callers that wait may compute anew.
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
    flights: Mutex<Flights<K, V, E>>,
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

/// The part that the lock guards.
struct Flights<K, V, E> {
    /// How many flights there were.
    count: u64,
    by_key: HashMap<K, Flight<V, E>>,
    /// The number of each forgotten flight that callers have joined.
    forgotten: Vec<(u64, Promise<V, E>)>,
}

/// One computation.
struct Flight<V, E> {
    number: u64,
    /// The thread that computes.
    leader: u64,
    /// The other callers, if there are any.
    joined: Option<Promise<V, E>>,
}

/// The leader's end of what it shares: dropping it wakes the callers that have joined its flight.
struct Promise<V, E>(Arc<Shared<V, E>>);

/// What a leader shares with the callers that have joined its flight.
struct Shared<V, E> {
    outcome: OnceLock<Outcome<V, E>>,
    landed: Arc<Event>,
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
        let none = Flights { count: 0, by_key: HashMap::new(), forgotten: Vec::new() };
        SingleFlight { flights: Mutex::new(none) }
    }

    /// Runs `compute`, unless another caller is computing the value of `key`: then waits for that caller's result.
    ///
    /// A value and an error are shared alike. If the leader's closure panics, or fails when the leader's token is
    /// cancelled, its result is not shared: one of the callers that wait leads with its own closure.
    ///
    /// # Cancellation
    ///
    /// Fails when the caller's token is cancelled before the call, or while it waits for another caller. As the leader
    /// it returns when `compute` does, which has to look at the token itself.
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
        let me = me();
        loop {
            token.check()?;
            let mut flights = self.flights.lock();
            // Without flights, which is the common case, there is no need to look for one.
            let flight = if flights.by_key.is_empty() { None } else { flights.by_key.get_mut(&key) };
            let Some(flight) = flight else {
                flights.count += 1;
                let number = flights.count;
                flights.by_key.insert(key.clone(), Flight { number, leader: me, joined: None });
                drop(flights);
                return Lead { of: self, key, number, is_out: false }.fly(token, compute);
            };
            if flight.leader == me {
                return Err(SingleFlightError::Reentrant);
            }
            let joined = Arc::clone(&flight.joined.get_or_insert_with(|| Promise(Arc::default())).0);
            drop(flights);
            if let Some(result) = joined.wait(token)? {
                return result.map_err(SingleFlightError::Failed);
            }
        }
    }

    /// Lets the next caller of `key` compute anew, even if another one is computing.
    ///
    /// Callers that wait already get the result that they wait for.
    pub fn forget(&self, key: &K) {
        let mut flights = self.flights.lock();
        let entry = flights.by_key.remove_entry(key);
        // The key is the user's, and is dropped outside of the lock.
        let _key = entry.map(|(key, flight)| {
            flights.forgotten.extend(flight.joined.map(|joined| (flight.number, joined)));
            key
        });
        drop(flights);
    }
}

impl<V, E> Default for Shared<V, E> {
    fn default() -> Self {
        Shared { outcome: OnceLock::new(), landed: Arc::default() }
    }
}

impl<V: Clone, E: Clone> Shared<V, E> {
    /// Waits for the outcome; returns `None` if it is lost.
    fn wait(&self, token: &CancellationToken) -> Result<Option<Result<V, E>>, Cancelled> {
        let _watch = self.landed.observe(token);
        loop {
            let ticket = self.landed.ticket();
            token.check()?;
            match self.outcome.get() {
                Some(Outcome::Landed(result)) => return Ok(Some(result.clone())),
                Some(Outcome::Lost) => return Ok(None),
                None => self.landed.wait_until(ticket, token.look_at()),
            }
        }
    }
}

impl<V, E> Drop for Promise<V, E> {
    fn drop(&mut self) {
        _ = self.0.outcome.set(Outcome::Lost);
        self.0.landed.notify_all();
    }
}

/// The leader's part in a flight: dropping it takes the flight out, which is lost if that has not been done before.
struct Lead<'a, K: Hash + Eq, V, E> {
    of: &'a SingleFlight<K, V, E>,
    key: K,
    number: u64,
    is_out: bool,
}

impl<K: Hash + Eq, V: Clone, E: Clone> Lead<'_, K, V, E> {
    fn fly(
        mut self,
        token: &CancellationToken,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, SingleFlightError<E>> {
        let result = compute();
        // Without callers that wait there is no need for a clone, which may panic.
        if let Some(Promise(joined)) = &self.take_out() {
            if result.is_ok() || !token.is_cancelled() {
                _ = joined.outcome.set(Outcome::Landed(result.clone()));
            }
        }
        result.map_err(SingleFlightError::Failed)
    }
}

impl<K: Hash + Eq, V, E> Lead<'_, K, V, E> {
    /// Takes the flight out; returns the promise to the callers that have joined it, if there are any.
    fn take_out(&mut self) -> Option<Promise<V, E>> {
        let mut flights = self.of.flights.lock();
        let (key, joined) = match flights.by_key.remove_entry(&self.key) {
            Some((key, flight)) if flight.number == self.number => (Some(key), flight.joined),
            other => {
                // This flight was forgotten, and another caller may lead one of the same key.
                flights.by_key.extend(other);
                let at = flights.forgotten.iter().position(|(number, _)| *number == self.number);
                (None, at.map(|at| flights.forgotten.swap_remove(at).1))
            }
        };
        self.is_out = true;
        drop(flights);
        // The key is the user's, and is dropped outside of the lock.
        drop(key);
        joined
    }
}

impl<K: Hash + Eq, V, E> Drop for Lead<'_, K, V, E> {
    fn drop(&mut self) {
        if !self.is_out {
            // A panic. The key's `Hash` may be what has panicked, so the flight is looked for by its number.
            let mut flights = self.of.flights.lock();
            flights.by_key.retain(|_, flight| flight.number != self.number);
            flights.forgotten.retain(|(number, _)| *number != self.number);
        }
    }
}

thread_local! {
    static ME: Cell<u64> = const { Cell::new(0) };
}

/// Returns a number of the calling thread that no other has: a tenth of the cost of its `ThreadId`.
#[inline]
fn me() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    ME.with(|me| {
        if me.get() == 0 {
            me.set(1 + LAST.fetch_add(1, Ordering::Relaxed));
        }
        me.get()
    })
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone> Default for SingleFlight<K, V, E> {
    fn default() -> Self {
        SingleFlight::new()
    }
}

impl<K, V, E> fmt::Debug for SingleFlight<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("flights", &self.flights.lock().by_key.len()).finish()
    }
}
