//! [`Failures`]: the failed, cancelled and skipped tasks or items of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::vec;

use crate::error::{CancelReason, Cancelled};
use crate::failure::{Failure, Panic};
use crate::panic;

/// The failures of a run that goes on past them, in the order of the items, or in the order in which tasks were
/// spawned.
///
/// Three kinds are told apart, because only the first is a fault of the task or the item:
///
/// | kind | the task or the item | see |
/// |---|---|---|
/// | failed | returned an error, or panicked | [`count`](Self::count), [`iter`](Self::iter) |
/// | cancelled | returned an error after the run had been cancelled, most often because of that | [`cancelled_count`](Self::cancelled_count), [`cancelled`](Self::cancelled) |
/// | skipped | never started, because the run had been cancelled | [`skipped`](Self::skipped) |
///
/// The list keeps the first failures of the first two kinds, up to the bound that
/// [`failures`](crate::ScopeBuilder::failures) sets for each kind, and beyond it the failure of a scope's own body.
/// [`omitted`](Self::omitted) counts the failed ones that are not kept. An error that comes after the cancel may be an
/// echo of the cancel or a fault of the task's own. No list can tell the two apart, so both count as cancelled. The
/// list is shown on one line: the first failure, and the number of each kind.
///
/// # Examples
///
/// The exit status of a batch program is the number of failed jobs, but at most 101, as in GNU parallel:
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
#[must_use = "only this list tells of the failures"]
pub struct Failures<E> {
    list: Vec<Failure<E>>,
    omitted: usize,
    /// The first panic that was not kept. It is boxed, because this list is the error of a call and should be small.
    panic: Option<Box<Panic>>,
    cancelled: Vec<Failure<E>>,
    cancelled_omitted: usize,
    skipped: usize,
    /// The reason of the cancel, if a task or an item was cancelled or skipped.
    reason: Option<CancelReason>,
}

impl<E> Failures<E> {
    /// Lists the failure that ended a run, of which `before` others have been handed to the program.
    pub(crate) fn last_of(failure: Failure<E>, before: usize) -> Self {
        Failures {
            list: vec![failure],
            omitted: before,
            panic: None,
            cancelled: Vec::new(),
            cancelled_omitted: 0,
            skipped: 0,
            reason: None,
        }
    }

    /// Drops the list; panics of its errors' `Drop` are lost.
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

    /// Adds a failure behind the others; `after` is the reason if the run had been cancelled before.
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

    /// Returns how many tasks or items failed, including those whose failures were not kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// Returns how many failures were not kept; they are those of the last items, or of the tasks spawned last.
    ///
    /// In the error of a [pipeline](crate::Pipeline::fail_after) they are the earlier ones, which its sink was given.
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

    /// Returns the errors that were returned after the run had been cancelled, as far as they were kept.
    ///
    /// Most often such an error only says that the run was cancelled. But it may be a real error that came a moment too
    /// late to be told apart.
    #[must_use]
    pub fn cancelled(&self) -> &[Failure<E>] {
        &self.cancelled
    }

    /// Returns how many tasks or items returned an error after the run had been cancelled, including those whose errors
    /// were not kept.
    #[must_use]
    pub fn cancelled_count(&self) -> usize {
        self.cancelled.len() + self.cancelled_omitted
    }

    /// Returns how many tasks or items never started, because the run had been cancelled.
    ///
    /// A task that the scope refused to spawn because of the cancel counts.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns why the run was cancelled, if a task or an item was cancelled or skipped.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.reason
    }

    /// Resumes the first panic of the list, or returns the list if it has none.
    ///
    /// # Panics
    ///
    /// If one of the failures is a panic, kept or not. The payload is as it was thrown, and the hook does not run
    /// again.
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

/// Makes an empty list of a run that was cancelled.
impl<E> From<Cancelled> for Failures<E> {
    fn from(cancelled: Cancelled) -> Self {
        Listing { reason: Some(cancelled.reason()), ..Listing::new(0) }.into_failures()
    }
}

/// Iterates over the failures that were kept, and at once drops the errors that came [after the
/// cancel](Failures::cancelled).
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

// The alternate flag is passed on to the error, because some errors show their causes by it.
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

/// How many failures a run lists, and how many it bears.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// How many failures of each kind are kept in the list.
    pub(crate) kept: usize,
    /// How many failures stop the run, if any number does.
    pub(crate) fail_after: Option<NonZeroUsize>,
}

impl Bounds {
    /// The bounds of a run for which the program sets none.
    pub(crate) const DEFAULT: Bounds = Bounds { kept: 1_000, fail_after: None };
}

/// A [`Failures`] in the making, whose length is bounded.
pub(crate) struct Listing<E> {
    failed: Bounded<E>,
    cancelled: Bounded<E>,
    skipped: usize,
    reason: Option<CancelReason>,
    most: usize,
    /// The first panic that is not kept, with its index.
    panic: Option<(usize, Panic)>,
}

/// The first failures of one kind.
struct Bounded<E> {
    /// By the index of the task or item, then by the order in time.
    list: BTreeMap<(usize, usize), Failure<E>>,
    /// How many failures there were, kept or not.
    listed: usize,
}

impl<E> Listing<E> {
    pub(crate) fn new(most: usize) -> Self {
        let bounded = || Bounded { list: BTreeMap::new(), listed: 0 };
        Listing { failed: bounded(), cancelled: bounded(), skipped: 0, reason: None, most, panic: None }
    }

    /// Lists a failure; returns the last one if there are now more than the bound.
    ///
    /// The first panic is kept in any case.
    ///
    /// `after` is the reason if the run had been cancelled before.
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

    /// Counts `number` tasks or items that were not started.
    pub(crate) fn skip(&mut self, number: usize, reason: CancelReason) {
        self.skipped += number;
        self.reason = self.reason.or(Some(reason).filter(|_| number > 0));
    }

    /// Keeps the failures with an index up to `last`: the first `most`, and `cancelled` of those that came after the
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
    /// Keeps the failures with an index up to `last`, of which there were `listed`; returns the others.
    fn truncate(&mut self, last: usize, listed: usize) -> BTreeMap<(usize, usize), Failure<E>> {
        self.listed = self.listed.min(listed);
        self.list.split_off(&(last, usize::MAX))
    }

    /// Keeps a failure; returns the last one, with its index, if there are now more than `most`.
    fn keep(&mut self, index: usize, failure: Failure<E>, most: usize) -> Option<(usize, Failure<E>)> {
        self.list.insert((index, self.listed), failure);
        self.listed += 1;
        if self.list.len() <= most {
            return None;
        }
        self.list.pop_last().map(|((index, _), failure)| (index, failure))
    }
}
