//! [`KeyedRateLimiter`]: a rate for each key, of a bounded number of keys.
//!
//! The keys stand in a heap by the time at which their bucket is full. A bucket is used without the heap: its time
//! there is from an earlier use, and therefore too early. So an eviction takes the first key, and if its time has
//! changed, puts it back and takes the next. Each use makes at most one such step.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bucket::Bucket;
use super::pace::Epoch;
use super::rate::{Denied, Rate};
use crate::error::Cancelled;
use crate::token::CancellationToken;

/// Admits callers at a rate for each key: a client, a host, a user.
///
/// Each key has a [`RateLimiter`](super::RateLimiter)'s schedule of its own. The keys are bounded in number: if there
/// are as many as that, a new one takes the place of one whose whole burst is free, which forgets nothing. If there is
/// none, it takes the place of the one that would be so first; then that key has its whole burst again, too early.
/// (Callers that wait for the forgotten key keep their times.) So let the number be that of the keys that are active in
/// the time in which a burst is saved up.
///
/// `Hash`, `Eq` and `Clone` of the key run under the limiter's lock, so they must not call the limiter. If one of them
/// panics, the panic reaches its caller, and the limiter may forget keys.
///
/// # Examples
///
/// ```
/// use brigade::CancellationToken;
/// use brigade::limit::{KeyedRateLimiter, Rate};
///
/// let hosts = KeyedRateLimiter::new(Rate::per_minute(60).burst(2), 10_000);
/// for _ in 0..2 {
///     hosts.acquire(&CancellationToken::new(), &"a.example")?;
/// }
/// assert!(hosts.try_acquire(&"a.example").is_err());
/// assert!(hosts.try_acquire(&"b.example").is_ok());
/// # Ok::<(), brigade::Cancelled>(())
/// ```
pub struct KeyedRateLimiter<K> {
    rate: Rate,
    most: usize,
    epoch: Epoch,
    keys: Mutex<Keys<K>>,
}

struct Keys<K> {
    index: HashMap<K, usize>,
    slots: Vec<(K, Arc<Bucket>)>,
    /// A time at which each slot's bucket was, or is, full.
    full_at: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<K: Hash + Eq + Clone> KeyedRateLimiter<K> {
    /// Creates a limiter that knows up to `keys` keys at a time.
    ///
    /// # Panics
    ///
    /// If `keys` is 0.
    #[must_use]
    pub fn new(rate: Rate, keys: usize) -> Self {
        assert!(keys > 0, "a limiter of 0 keys cannot limit any: let it know one at least");
        let empty = Keys { index: HashMap::new(), slots: Vec::new(), full_at: BinaryHeap::new() };
        KeyedRateLimiter { rate, most: keys, epoch: Epoch::new(), keys: Mutex::new(empty) }
    }

    /// Waits for a permit of `key`.
    ///
    /// # Cancellation
    ///
    /// As [`RateLimiter::acquire`](super::RateLimiter::acquire).
    ///
    /// # Errors
    ///
    /// [`Cancelled`].
    pub fn acquire(&self, token: &CancellationToken, key: &K) -> Result<(), Cancelled> {
        token.check()?;
        let pace = self.rate.pace();
        let taken =
            self.with(key, |bucket, now| bucket.take_or_queue(pace, now, 1).map(|event| (event, bucket.clone())));
        match taken {
            None => Ok(()),
            Some((event, bucket)) => bucket.wait(token, pace, self.epoch, &event),
        }
    }

    /// Takes a permit of `key` if there is one, and does not look at a token.
    ///
    /// # Errors
    ///
    /// [`Denied`], with the time after which it is worth to try again.
    pub fn try_acquire(&self, key: &K) -> Result<(), Denied> {
        self.with(key, |bucket, now| {
            bucket.try_take(self.rate.pace(), now, 1).map_err(|wait| Denied { retry_after: wait.after(now) })
        })
    }

    /// Calls `take` with the bucket of `key`, under the lock, because a bucket that is not used yet may be evicted.
    fn with<R>(&self, key: &K, take: impl FnOnce(&Arc<Bucket>, u64) -> R) -> R {
        let mut keys = self.keys.lock();
        let (slot, evicted) = match keys.index.get(key) {
            Some(slot) => (*slot, None),
            None => keys.add(key.clone(), self.most),
        };
        let result = take(&keys.slots[slot].1, self.epoch.now());
        drop(keys);
        // A key is the user's, and is dropped outside of the lock.
        drop(evicted);
        result
    }
}

impl<K> KeyedRateLimiter<K> {
    /// Returns how many keys the limiter knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.lock().slots.len()
    }

    /// Tells whether the limiter knows no key, which is so before its first call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A key that was replaced, from its slot and from the index.
type Evicted<K> = (K, Option<(K, usize)>);

impl<K: Hash + Eq + Clone> Keys<K> {
    /// Adds a key with a full bucket; returns its slot, and the key that it has replaced.
    fn add(&mut self, key: K, most: usize) -> (usize, Option<Evicted<K>>) {
        let own = key.clone();
        // Wherever the key's `Hash` panics, each slot is in the heap once, or a later call would find the heap empty. A
        // slot whose key the index does not have is evicted in time.
        let (slot, evicted) = if self.slots.len() < most {
            let slot = self.slots.len();
            self.slots.push((own, Arc::default()));
            self.full_at.push(Reverse((0, slot)));
            (slot, None)
        } else {
            let slot = self.first_full();
            self.full_at.push(Reverse((0, slot)));
            let twin = self.index.remove_entry(&self.slots[slot].0);
            let (old, _) = std::mem::replace(&mut self.slots[slot], (own, Arc::default()));
            (slot, Some((old, twin)))
        };
        self.index.insert(key, slot);
        (slot, evicted)
    }

    /// Takes the slot out of the heap whose bucket is full first.
    fn first_full(&mut self) -> usize {
        loop {
            let Reverse((known, slot)) = self.full_at.pop().expect("each slot is in the heap once");
            let full_at = self.slots[slot].1.full_at();
            if full_at <= known {
                return slot;
            }
            self.full_at.push(Reverse((full_at, slot)));
        }
    }
}

impl<K> fmt::Debug for KeyedRateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter")
            .field("rate", &self.rate)
            .field("keys", &self.len())
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
