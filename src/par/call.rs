//! [`Call`]: the state that the jobs of one call share, which is its token and its earliest failure.
//!
//! Three words, each with one meaning. An item has *failed* if its closure returned an error or panicked. An item is
//! *skipped* if it is never started, because an earlier item has failed or the token is cancelled. A call *stops* if it
//! ends without its outputs: [`Stop`] says why.
//!
//! An item before the earliest failure is never skipped, unless the token is cancelled. So the
//! failure that is left when all jobs have ended is the one that the plain loop would meet first.
//!
//! A source of the wrong length is a panic. rayon's sources promise a number of items, and each part of them does. A
//! job notes that its part ended early or late, and moves no output to another place. The call panics if nothing else
//! has stopped it.

use std::convert::Infallible;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{CancelReason, Cancelled, FromError};
use crate::item_tokens::ItemTokens;
use crate::panic::{self, Panics, Payload};
use crate::token::{CancellationToken, Watch};

/// One call of a form.
pub(super) struct Call<'a, E> {
    token: &'a CancellationToken,
    /// How many items the source says it has.
    promised: usize,
    /// The source has had more items than it promised.
    is_long: AtomicBool,
    /// The earliest index that has failed; later items are skipped.
    earliest: AtomicUsize,
    /// The earliest index that was skipped.
    skipped: AtomicUsize,
    /// The earliest failure, with its index.
    failure: Mutex<Option<(usize, Fault<E>)>>,
    tokens: ItemTokens,
}

/// How an item failed.
enum Fault<E> {
    Error(E),
    Panic(Payload),
}

/// Why a call stopped, if it was not by a panic.
pub(super) enum Stop<E> {
    Cancelled(Cancelled),
    /// The item of this index returned this error.
    Failed(usize, E),
}

impl<E: FromError<Cancelled>> Stop<E> {
    /// Returns the bare error, without the index of the item that failed.
    pub(super) fn into_error(self) -> E {
        match self {
            Stop::Cancelled(cancelled) => cancelled.into(),
            Stop::Failed(_, error) => error,
        }
    }
}

impl<'a, E> Call<'a, E> {
    pub(super) fn new(token: &'a CancellationToken, promised: usize) -> Self {
        Call {
            token,
            promised,
            is_long: AtomicBool::new(false),
            earliest: AtomicUsize::new(usize::MAX),
            skipped: AtomicUsize::new(usize::MAX),
            failure: Mutex::new(None),
            tokens: ItemTokens::new(token),
        }
    }

    /// Tells whether this item is to be skipped, and all later ones.
    #[inline]
    pub(super) fn skips(&self, index: usize) -> bool {
        // Relaxed, because a late look costs no more than one item. The lock orders the failures.
        let skips = index > self.earliest.load(Ordering::Relaxed) || self.token.is_cancelled();
        if skips {
            self.note_skipped(index);
        }
        skips
    }

    /// Returns the view of the call that a job looks at before each item.
    pub(super) fn watch(&self) -> CallWatch<'_> {
        CallWatch { earliest: &self.earliest, token: self.token.watch() }
    }

    /// Makes a token for the items from `index` on of the calling job.
    pub(super) fn give_token(&self, index: usize) -> CancellationToken {
        // SeqCst pairs with the store in `fail`.
        self.tokens.give(0, index as u64, || index > self.earliest.load(Ordering::SeqCst))
    }

    /// The items whose token began with `index` are done.
    pub(super) fn forget_token(&self, index: usize) {
        self.tokens.forget(0, index as u64);
    }

    #[cold]
    fn note_skipped(&self, index: usize) {
        self.skipped.fetch_min(index, Ordering::Relaxed);
    }

    /// Keeps the error of an item.
    pub(super) fn failed<R>(&self, index: usize, error: E) -> Option<R> {
        self.fail(index, Fault::Error(error))
    }

    /// Keeps the panic of an item.
    pub(super) fn panicked<R>(&self, index: usize, payload: Payload) -> Option<R> {
        self.fail(index, Fault::Panic(payload))
    }

    /// Has the items after `index` skipped.
    ///
    /// Each index given is at most the one given before.
    pub(super) fn skip_after(&self, index: usize) {
        self.earliest.store(index, Ordering::Relaxed);
    }

    /// Returns the earliest item that was skipped; `usize::MAX` if none was.
    pub(super) fn first_skipped(&self) -> usize {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Notes that a part of the source has ended at the index `at` instead of `end`.
    ///
    /// A part that is skipped as a whole ends where it starts.
    #[cold]
    pub(super) fn misfits<R>(&self, at: usize, end: usize) -> Option<R> {
        if at > end {
            self.is_long.store(true, Ordering::Relaxed);
        }
        self.note_skipped(at.min(end));
        None
    }

    /// Runs `jobs`, and keeps a panic that belongs to no item.
    ///
    /// Such a panic, of the splitting of the source for example, counts more than any other.
    pub(super) fn guard<T>(&self, jobs: impl FnOnce() -> Option<T>) -> Option<T> {
        panic::catch(jobs).unwrap_or_else(|payload| {
            let lost = self.failure.lock().replace((0, Fault::Panic(payload)));
            panic::discard(lost);
            None
        })
    }

    /// Keeps the panic of an output's `Drop`.
    ///
    /// It counts more than an error, and less than a panic.
    pub(super) fn dropped(&self, payload: Payload) {
        let mut lost = Some((0, Fault::Panic(payload)));
        {
            let mut kept = self.failure.lock();
            if !matches!(*kept, Some((_, Fault::Panic(_)))) {
                lost = mem::replace(&mut *kept, lost);
            }
        }
        panic::discard(lost);
    }

    /// Keeps the earlier one of this failure and the failure so far.
    #[cold]
    fn fail<R>(&self, index: usize, fault: Fault<E>) -> Option<R> {
        let mut lost = Some((index, fault));
        {
            let mut kept = self.failure.lock();
            if kept.as_ref().is_none_or(|(earliest, _)| index < *earliest) {
                self.tokens.fail();
                // SeqCst pairs with the load in `give_token`.
                self.earliest.store(index, Ordering::SeqCst);
                lost = kept.replace((index, lost.take()?.1));
            }
        }
        self.tokens.cancel_from(0, index as u64 + 1, CancelReason::Failed);
        // The `Drop` of a payload may panic, and so may that of an error.
        panic::discard(lost);
        None
    }

    /// Ends the call; returns its outputs, or why it stopped.
    ///
    /// A panic of the call is resumed.
    pub(super) fn finish<T>(self, outputs: Option<T>) -> Result<T, Stop<E>> {
        self.finish_with(outputs, Vec::<()>::new()).map(|(outputs, _)| outputs)
    }

    /// As [`finish`](Self::finish), with the states of the workers, which are dropped if the call stopped.
    pub(super) fn finish_with<T, S>(self, outputs: Option<T>, states: Vec<S>) -> Result<(T, Vec<S>), Stop<E>> {
        match self.finish_caught(outputs) {
            Ok(Ok(outputs)) => Ok((outputs, states)),
            Ok(Err(stop)) => {
                let mut panics = Panics::default();
                states.into_iter().for_each(|state| panics.drop(state));
                // The error is dropped before the panic goes on, because its `Drop` may panic too.
                panics.resume_or(Err(stop))
            }
            Err(payload) => {
                panic::discard_all(states);
                panic::resume(payload)
            }
        }
    }

    /// As [`finish`](Self::finish), but a panic of the call comes back as its payload.
    pub(super) fn finish_caught<T>(self, outputs: Option<T>) -> Result<Result<T, Stop<E>>, Payload> {
        match (self.failure.into_inner(), outputs) {
            (None, Some(outputs)) => Ok(Ok(outputs)),
            (Some((index, fault)), outputs) => {
                panic::discard(outputs);
                match fault {
                    Fault::Error(error) => Ok(Err(Stop::Failed(index, error))),
                    Fault::Panic(payload) => Err(payload),
                }
            }
            (None, None) => match self.token.check() {
                Err(cancelled) => Ok(Err(Stop::Cancelled(cancelled))),
                // No item has failed and the token is live, so the outputs are missing because the source misfits.
                Ok(()) => {
                    let (is_long, promised) = (self.is_long.into_inner(), self.promised);
                    let misfit = || -> Infallible {
                        if is_long { panic::long_source(promised) } else { panic::short_source(promised) }
                    };
                    let Err(payload) = panic::catch(misfit);
                    Err(payload)
                }
            },
        }
    }
}

/// A view of a [`Call`] that can be looked at before each item without a call of a function.
#[derive(Clone, Copy)]
pub(super) struct CallWatch<'a> {
    earliest: &'a AtomicUsize,
    token: Watch<'a>,
}

impl CallWatch<'_> {
    /// Tells whether it is certain that the item is to be started.
    #[inline]
    pub(super) fn surely_runs(self, index: usize) -> bool {
        index <= self.earliest.load(Ordering::Relaxed) && self.token.is_surely_live()
    }
}
