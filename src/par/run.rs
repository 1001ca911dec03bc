//! What the jobs of one call share: its token, and the lowest item that has failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::Cancelled;
use crate::panic::{self, Payload};
use crate::token::{CancellationToken, Watch};

pub(super) struct Run<'a, E> {
    token: &'a CancellationToken,
    /// The lowest index that has failed; items above it are skipped.
    lowest: AtomicUsize,
    /// The lowest index that was skipped.
    skipped: AtomicUsize,
    end: Mutex<Option<(usize, End<E>)>>,
}

enum End<E> {
    Error(E),
    Panic(Payload),
}

impl<'a, E: From<Cancelled>> Run<'a, E> {
    pub(super) fn new(token: &'a CancellationToken) -> Self {
        Run {
            token,
            lowest: AtomicUsize::new(usize::MAX),
            skipped: AtomicUsize::new(usize::MAX),
            end: Mutex::new(None),
        }
    }

    /// Whether the item is not to be started, nor any above it.
    #[inline]
    pub(super) fn skips(&self, index: usize) -> bool {
        // Relaxed: a late look costs one item more. The lock orders what matters.
        let skips = index > self.lowest.load(Ordering::Relaxed) || self.token.is_cancelled();
        if skips {
            self.note(index);
        }
        skips
    }

    /// What a job looks at before each item.
    pub(super) fn watch(&self) -> RunWatch<'_> {
        RunWatch { lowest: &self.lowest, token: self.token.watch() }
    }

    #[cold]
    fn note(&self, index: usize) {
        self.skipped.fetch_min(index, Ordering::Relaxed);
    }

    /// Keeps the error of an item.
    pub(super) fn failed<R>(&self, index: usize, error: E) -> Option<R> {
        self.fail(index, End::Error(error))
    }

    /// Keeps the panic of an item.
    pub(super) fn panicked<R>(&self, index: usize, payload: Payload) -> Option<R> {
        self.fail(index, End::Panic(payload))
    }

    /// The lowest item that was skipped, if any was.
    pub(super) fn skipped(&self) -> usize {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Keeps the end with the lowest index.
    #[cold]
    fn fail<R>(&self, index: usize, end: End<E>) -> Option<R> {
        let mut lost = Some((index, end));
        {
            let mut kept = self.end.lock();
            if kept.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                self.lowest.store(index, Ordering::Relaxed);
                lost = kept.replace((index, lost.take()?.1));
            }
        }
        // A payload's `Drop` may panic, and so may an error's.
        panic::discard(lost);
        None
    }

    /// How the call ends; `beside` is dropped if it ends badly.
    pub(super) fn end<T, B>(self, outputs: Option<T>, beside: Vec<B>) -> Result<(T, Vec<B>), E> {
        let error = match (self.end.into_inner(), outputs) {
            (Some((_, End::Panic(payload))), outputs) => {
                panic::discard(outputs);
                panic::discard_all(beside);
                panic::resume(payload)
            }
            (Some((_, End::Error(error))), _) => error,
            (None, Some(outputs)) => return Ok((outputs, beside)),
            (None, None) => match self.token.check() {
                Err(cancelled) => cancelled.into(),
                Ok(()) => unreachable!("a map stops by an error, a panic or its token"),
            },
        };
        panic::drop_each(beside);
        Err(error)
    }
}

/// What is looked at before each item, without a call.
#[derive(Clone, Copy)]
pub(super) struct RunWatch<'a> {
    lowest: &'a AtomicUsize,
    token: Watch<'a>,
}

impl RunWatch<'_> {
    /// Whether it is certain that the item is to be started.
    #[inline]
    pub(super) fn surely_runs(self, index: usize) -> bool {
        index <= self.lowest.load(Ordering::Relaxed) && self.token.is_surely_live()
    }
}
