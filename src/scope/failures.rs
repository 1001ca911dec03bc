//! [`Failures`]: what failed, as a list.

use std::collections::BTreeMap;
use std::fmt;
use std::vec;

use crate::error::{Failure, Panic};
use crate::panic;

/// The failures of a run that goes on past them, in the order of the items, or in that in which the tasks were spawned.
///
/// As many are kept as [`failures`](crate::ScopeBuilder::failures) says, the first of them; [`omitted`](Self::omitted)
/// counts the others. It is shown on one line, the first failure and how many there are.
#[must_use = "what failed is known from here only"]
pub struct Failures<E> {
    list: Vec<Failure<E>>,
    omitted: usize,
    /// The first panic of those that were not kept.
    panic: Option<Panic>,
}

impl<E> Failures<E> {
    /// Drops the list, even if what is in it panics then.
    pub(super) fn discard(self) {
        panic::discard_all(self.list);
        panic::discard(self.panic);
    }

    pub(crate) fn push(&mut self, failure: Failure<E>) {
        self.list.push(failure);
    }

    pub(super) fn has_panic(&self) -> bool {
        self.panic.is_some() || self.list.iter().any(|failure| failure.panic().is_some())
    }

    /// Tells whether nothing failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.omitted == 0
    }

    /// Returns how many failed, those included that were not kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// Returns how many failures were not kept: those of the last items, or of the tasks that were spawned last.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Returns the failures that were kept.
    #[must_use]
    pub fn as_slice(&self) -> &[Failure<E>] {
        &self.list
    }

    /// Iterates over the failures that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Failure<E>> {
        self.list.iter()
    }

    /// Goes on with the first panic of the list, if there is one; else gives the list back.
    ///
    /// # Panics
    ///
    /// If one of the failures is a panic, kept or not, with its payload as it was thrown. The hook does not run again.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Failures, ScopeBuilder};
    ///
    /// let failures = ScopeBuilder::new()
    ///     .collect_all(&CancellationToken::new(), |s| {
    ///         s.spawn(|_| Err::<(), _>(anyhow::anyhow!("disk full")))?;
    ///         Ok(())
    ///     })
    ///     .map_err(Failures::resume_panic)
    ///     .unwrap_err();
    /// assert_eq!(failures.count(), 1);
    /// ```
    pub fn resume_panic(mut self) -> Self {
        let at = self.list.iter().position(|failure| failure.panic().is_some());
        let listed = at.and_then(|at| self.list.swap_remove(at).into_panic());
        match listed.or_else(|| self.panic.take()) {
            Some(panic) => {
                self.discard();
                panic.resume()
            }
            None => self,
        }
    }
}

impl<E> IntoIterator for Failures<E> {
    type Item = Failure<E>;
    type IntoIter = vec::IntoIter<Failure<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Failures<E> {
    type Item = &'a Failure<E>;
    type IntoIter = std::slice::Iter<'a, Failure<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: fmt::Debug> fmt::Debug for Failures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").field("list", &self.list).field("omitted", &self.omitted).finish_non_exhaustive()
    }
}

// The alternate flag goes on to the error, which may show its causes by it.
impl<E: fmt::Display> fmt::Display for Failures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.first() {
            None if self.omitted == 0 => f.write_str("nothing failed"),
            None if self.omitted == 1 => f.write_str("1 failure"),
            None => write!(f, "{} failures", self.omitted),
            Some(first) => {
                first.fmt(f)?;
                match self.count() - 1 {
                    0 => Ok(()),
                    1 => f.write_str(", and 1 other failure"),
                    others => write!(f, ", and {others} other failures"),
                }
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failures<E> {}

/// A list of failures in the making, whose number is bounded.
pub(crate) struct Listing<E> {
    /// By the task or item, and the order of time.
    list: BTreeMap<(usize, usize), Failure<E>>,
    most: usize,
    /// How many there were.
    listed: usize,
    /// The first panic of those that are not kept.
    panic: Option<(usize, Panic)>,
}

impl<E> Listing<E> {
    pub(crate) fn new(most: usize) -> Self {
        Listing { list: BTreeMap::new(), most, listed: 0, panic: None }
    }

    /// Lists the failure, if it is among the first; returns the one that is not. The first panic is kept even so.
    pub(crate) fn keep(&mut self, index: usize, failure: Failure<E>) -> Option<Failure<E>> {
        self.list.insert((index, self.listed), failure);
        self.listed += 1;
        if self.list.len() <= self.most {
            return None;
        }
        match self.list.pop_last()? {
            ((index, _), Failure::Panic(panic)) => match &self.panic {
                Some((first, _)) if *first <= index => Some(Failure::Panic(panic)),
                _ => self.panic.replace((index, panic)).map(|(_, panic)| Failure::Panic(panic)),
            },
            (_, error) => Some(error),
        }
    }

    pub(crate) fn into_failures(self) -> Failures<E> {
        let omitted = self.listed - self.list.len();
        let panic = self.panic.map(|(_, panic)| panic);
        Failures { list: self.list.into_values().collect(), omitted, panic }
    }
}
