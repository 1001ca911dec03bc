//! [`Failures`]: what failed, as a list.

use std::collections::BTreeMap;
use std::fmt;
use std::vec;

use crate::error::{CancelReason, Cancelled};
use crate::failure::{Failure, Panic};
use crate::panic;

/// The failures of a run that goes on past them, in the order of the items, or in that in which the tasks were spawned.
///
/// Three kinds of end are told apart, because only the first of them is a fault of the task or the item:
///
/// | kind | what happened | |
/// |---|---|---|
/// | failed | it returned an error, or it panicked | [`count`](Self::count), [`iter`](Self::iter) |
/// | cancelled | it returned an error after the run had been cancelled, most often because of that | [`cancelled_count`](Self::cancelled_count), [`cancelled`](Self::cancelled) |
/// | skipped | it never started, because the run had been cancelled | [`skipped`](Self::skipped) |
///
/// As many of the first two kinds are kept as [`failures`](crate::ScopeBuilder::failures) says, the first of each;
/// [`omitted`](Self::omitted) counts the failed ones that are not. The list is shown on one line: the first failure and how
/// many there are of each kind.
///
/// # Examples
///
/// The exit status of a batch program, which is the number of failed jobs but at most 101, as GNU parallel has it:
///
/// ```
/// use brigade::{CancellationToken, ScopeBuilder};
///
/// let failures = ScopeBuilder::new()
///     .limit(1)
///     .named("job")
///     .fail_after(3)
///     .collect_all(&CancellationToken::new(), |s| {
///         for job in 0..20 {
///             if s.spawn(move |_| if job % 2 == 1 { anyhow::bail!("broken") } else { Ok(()) }).is_err() {
///                 break;
///             }
///         }
///         Ok(())
///     })
///     .unwrap_err();
/// assert_eq!(failures.count().min(101), 3);
/// assert!(failures.to_string().starts_with("job#1 failed: broken, and 2 other failures; "));
/// ```
#[must_use = "what failed is known from here only"]
pub struct Failures<E> {
    list: Vec<Failure<E>>,
    omitted: usize,
    /// The first panic of those that were not kept. Boxed, as all of this is the error of a call.
    panic: Option<Box<Panic>>,
    cancelled: Vec<Failure<E>>,
    cancelled_omitted: usize,
    skipped: usize,
    /// Why the run was cancelled, if a task or an item met that.
    reason: Option<CancelReason>,
}

impl<E> Failures<E> {
    /// Drops the list, even if what is in it panics then.
    pub(crate) fn discard(self) {
        panic::discard_all(self.list);
        panic::discard_all(self.cancelled);
        panic::discard(self.panic);
    }

    /// Gives each failure the label of its index.
    pub(crate) fn labelled(self, label: impl Fn(usize) -> Option<Box<str>>) -> Self {
        let give = |list: Vec<Failure<E>>| {
            let give = |failure: Failure<E>| {
                let label = label(failure.index());
                failure.labelled(label)
            };
            list.into_iter().map(give).collect()
        };
        Failures { list: give(self.list), cancelled: give(self.cancelled), ..self }
    }

    /// Adds a failure behind the others. `after`: the run had been cancelled for that.
    pub(crate) fn push(&mut self, failure: Failure<E>, after: Option<CancelReason>) {
        if after.is_some() && failure.panic().is_none() {
            self.reason = after;
            self.cancelled.push(failure);
        } else {
            self.list.push(failure);
        }
    }

    pub(crate) fn has_panic(&self) -> bool {
        self.panic.is_some() || self.list.iter().any(|failure| failure.panic().is_some())
    }

    /// Tells whether nothing failed, and nothing was cancelled or skipped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0 && self.cancelled_count() == 0 && self.skipped == 0
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

    /// Returns the errors of tasks or items that had started and ended after the run was cancelled, as many as were kept.
    ///
    /// Most often such an error says only that. But it may be a real one, which came a moment too late to be told apart.
    #[must_use]
    pub fn cancelled(&self) -> &[Failure<E>] {
        &self.cancelled
    }

    /// Returns how many tasks or items ended with an error after the run was cancelled, those included that were not kept.
    #[must_use]
    pub fn cancelled_count(&self) -> usize {
        self.cancelled.len() + self.cancelled_omitted
    }

    /// Returns how many tasks or items never started, because the run had been cancelled. A task that the scope refused to
    /// spawn for that reason counts.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns why the run was cancelled, if a task or an item was cancelled or skipped.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.reason
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
        match listed.or_else(|| self.panic.take().map(|panic| *panic)) {
            Some(panic) => {
                self.discard();
                panic.resume()
            }
            None => self,
        }
    }
}

/// Over the failures that were kept, as [`Failures::iter`]. The errors that came [after the cancel](Failures::cancelled) are
/// dropped at once.
impl<E> IntoIterator for Failures<E> {
    type Item = Failure<E>;
    type IntoIter = vec::IntoIter<Failure<E>>;

    fn into_iter(self) -> Self::IntoIter {
        panic::discard_all(self.cancelled);
        panic::discard(self.panic);
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
        f.debug_struct("Failures")
            .field("list", &self.list)
            .field("omitted", &self.omitted)
            .field("cancelled", &self.cancelled_count())
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

// The alternate flag goes on to the error, which may show its causes by it.
impl<E: fmt::Display> fmt::Display for Failures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.list.first(), self.reason) {
            (Some(first), _) => {
                first.fmt(f)?;
                match self.count() - 1 {
                    0 => {}
                    1 => f.write_str(", and 1 other failure")?,
                    others => write!(f, ", and {others} other failures")?,
                }
            }
            (None, _) if self.omitted == 1 => f.write_str("1 failure")?,
            (None, _) if self.omitted > 1 => write!(f, "{} failures", self.omitted)?,
            (None, Some(reason)) => Cancelled::new(reason).fmt(f)?,
            (None, None) => f.write_str("nothing failed")?,
        }
        match (self.cancelled_count(), self.skipped) {
            (0, 0) => Ok(()),
            (0, skipped) => write!(f, "; {skipped} skipped"),
            (cancelled, 0) => write!(f, "; {cancelled} cancelled"),
            (cancelled, skipped) => write!(f, "; {cancelled} cancelled, {skipped} skipped"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failures<E> {}

/// A list of failures in the making, whose number is bounded.
pub(crate) struct Listing<E> {
    failed: Bounded<E>,
    cancelled: Bounded<E>,
    skipped: usize,
    reason: Option<CancelReason>,
    most: usize,
    /// The first panic of those that are not kept.
    panic: Option<(usize, Panic)>,
}

/// Failures by the task or item, and the order of time.
struct Bounded<E> {
    list: BTreeMap<(usize, usize), Failure<E>>,
    /// How many there were.
    listed: usize,
}

impl<E> Listing<E> {
    pub(crate) fn new(most: usize) -> Self {
        let bounded = || Bounded { list: BTreeMap::new(), listed: 0 };
        Listing { failed: bounded(), cancelled: bounded(), skipped: 0, reason: None, most, panic: None }
    }

    /// Lists the failure, if it is among the first; returns the one that is not. The first panic is kept even so. `after`:
    /// the run had been cancelled for that.
    pub(crate) fn keep(
        &mut self,
        index: usize,
        failure: Failure<E>,
        after: Option<CancelReason>,
    ) -> Option<Failure<E>> {
        let after = after.filter(|_| failure.panic().is_none());
        self.reason = self.reason.or(after);
        let bounded = if after.is_some() { &mut self.cancelled } else { &mut self.failed };
        match bounded.keep(index, failure, self.most)? {
            (index, Failure::Panic(panic)) => match &self.panic {
                Some((first, _)) if *first <= index => Some(Failure::Panic(panic)),
                _ => self.panic.replace((index, panic)).map(|(_, panic)| Failure::Panic(panic)),
            },
            (_, lost) => Some(lost),
        }
    }

    /// Counts tasks or items that were not started.
    pub(crate) fn skip(&mut self, number: usize, reason: CancelReason) {
        self.skipped += number;
        self.reason = self.reason.or(Some(reason).filter(|_| number > 0));
    }

    /// Keeps what has an index up to `last` alone: the first `most` failures, and `cancelled` of those that came after the
    /// cancel. Returns the others.
    pub(crate) fn truncate(&mut self, last: usize, most: usize, cancelled: usize) -> Vec<Failure<E>> {
        let lost = self.failed.truncate(last, most).into_values();
        let lost = lost.chain(self.cancelled.truncate(last, cancelled).into_values());
        let panic = self.panic.take_if(|(index, _)| *index > last);
        lost.chain(panic.map(|(_, panic)| Failure::Panic(panic))).collect()
    }

    pub(crate) fn into_failures(self) -> Failures<E> {
        let omitted = self.failed.listed - self.failed.list.len();
        let cancelled_omitted = self.cancelled.listed - self.cancelled.list.len();
        Failures {
            list: self.failed.list.into_values().collect(),
            omitted,
            panic: self.panic.map(|(_, panic)| Box::new(panic)),
            cancelled: self.cancelled.list.into_values().collect(),
            cancelled_omitted,
            skipped: self.skipped,
            reason: self.reason,
        }
    }
}

impl<E> Bounded<E> {
    /// Keeps what has an index up to `last` alone, of which there were `listed`; returns the others.
    fn truncate(&mut self, last: usize, listed: usize) -> BTreeMap<(usize, usize), Failure<E>> {
        self.listed = self.listed.min(listed);
        self.list.split_off(&(last, usize::MAX))
    }

    /// Keeps the failure, and returns the last one, with its index, if there are more than `most`.
    fn keep(&mut self, index: usize, failure: Failure<E>, most: usize) -> Option<(usize, Failure<E>)> {
        self.list.insert((index, self.listed), failure);
        self.listed += 1;
        if self.list.len() <= most {
            return None;
        }
        self.list.pop_last().map(|((index, _), failure)| (index, failure))
    }
}
