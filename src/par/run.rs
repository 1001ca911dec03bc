//! What the jobs of one call share: its token, and the lowest item that has failed.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::Cancelled;
use crate::panic::{self, Payload};
use crate::token::{CancellationToken, Watch};

pub(super) struct Run<'a, E> {
    token: &'a CancellationToken,
    /// How many items the source says it has.
    promised: usize,
    /// The source has had more of them.
    is_long: AtomicBool,
    /// The lowest index that has failed; items above it are skipped.
    lowest: AtomicUsize,
    /// The lowest index that was skipped.
    skipped: AtomicUsize,
    end: Mutex<Option<(usize, End<E>)>>,
}

pub(super) enum End<E> {
    Error(E),
    Panic(Payload),
}

impl<'a, E: From<Cancelled>> Run<'a, E> {
    pub(super) fn new(token: &'a CancellationToken, promised: usize) -> Self {
        Run {
            token,
            promised,
            is_long: AtomicBool::new(false),
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

    /// Notes that a part of the source has ended at the index `at` instead of `end`. A part that is skipped as a whole
    /// ends where it starts.
    #[cold]
    pub(super) fn misfits<R>(&self, at: usize, end: usize) -> Option<R> {
        if at > end {
            self.is_long.store(true, Ordering::Relaxed);
        }
        self.note(at.min(end));
        None
    }

    /// Runs the call. A panic of something that belongs to no item, such as the splitting of the source, counts more
    /// than any.
    pub(super) fn guard<T>(&self, call: impl FnOnce() -> Option<T>) -> Option<T> {
        panic::catch(call).unwrap_or_else(|payload| {
            let lost = self.end.lock().replace((0, End::Panic(payload)));
            panic::discard(lost);
            None
        })
    }

    /// Keeps the panic of an output's `Drop`. It counts more than an error, and less than a panic.
    pub(super) fn dropped(&self, payload: Payload) {
        let mut lost = Some((0, End::Panic(payload)));
        {
            let mut kept = self.end.lock();
            if !matches!(*kept, Some((_, End::Panic(_)))) {
                lost = std::mem::replace(&mut *kept, lost);
            }
        }
        panic::discard(lost);
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

    /// How the call ends. The source had the wrong number of items where nothing else has kept it from its outputs.
    pub(super) fn ending<T>(self, outputs: Option<T>) -> Result<T, End<E>> {
        match (self.end.into_inner(), outputs) {
            (Some((_, end)), outputs) => {
                panic::discard(outputs);
                Err(end)
            }
            (None, Some(outputs)) => Ok(outputs),
            (None, None) => Err(match self.token.check() {
                Err(cancelled) => End::Error(cancelled.into()),
                Ok(()) => {
                    let (is_long, promised) = (self.is_long.into_inner(), self.promised);
                    let misfit = || -> Infallible {
                        if is_long { panic::long_source(promised) } else { panic::short_source(promised) }
                    };
                    let Err(payload) = panic::catch(misfit);
                    End::Panic(payload)
                }
            }),
        }
    }

    /// The same; `beside` is dropped if it ends badly.
    pub(super) fn end<T, B>(self, outputs: Option<T>, beside: Vec<B>) -> Result<(T, Vec<B>), E> {
        match self.ending(outputs) {
            Ok(outputs) => Ok((outputs, beside)),
            Err(End::Error(error)) => {
                panic::drop_each(beside);
                Err(error)
            }
            Err(End::Panic(payload)) => {
                panic::discard_all(beside);
                panic::resume(payload)
            }
        }
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
