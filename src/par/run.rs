//! What the jobs of one call share: its token, and the lowest item that has failed.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::Cancelled;
use crate::panic::{self, Panics, Payload};
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

enum End<E> {
    Error(E),
    Panic(Payload),
}

/// How a call ended that has no outputs.
pub(super) enum Ended<E> {
    Stopped(Stopped<E>),
    Panicked(Payload),
    /// It has met as many failures as it was told to bear.
    Enough,
}

/// Why a call stopped.
pub(super) enum Stopped<E> {
    Cancelled(Cancelled),
    /// The item of this index failed.
    Failed(usize, E),
}

impl<E: From<Cancelled>> Stopped<E> {
    /// The error as the caller has it, who did not ask which item it was.
    pub(super) fn bare(self) -> E {
        match self {
            Stopped::Cancelled(cancelled) => cancelled.into(),
            Stopped::Failed(_, error) => error,
        }
    }
}

impl<'a, E> Run<'a, E> {
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

    /// Has the items behind `index` skipped, which is lower than any such before.
    pub(super) fn skip_behind(&self, index: usize) {
        self.lowest.store(index, Ordering::Relaxed);
    }

    /// The lowest item that was skipped; `usize::MAX` if none was.
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
    pub(super) fn ending<T>(self, outputs: Option<T>) -> Result<T, Ended<E>> {
        let ended = match (self.end.into_inner(), outputs) {
            (None, Some(outputs)) => return Ok(outputs),
            (Some((index, end)), outputs) => {
                panic::discard(outputs);
                match end {
                    End::Error(error) => Ended::Stopped(Stopped::Failed(index, error)),
                    End::Panic(payload) => Ended::Panicked(payload),
                }
            }
            (None, None) => match self.token.check() {
                Err(cancelled) => Ended::Stopped(Stopped::Cancelled(cancelled)),
                Ok(()) if self.lowest.into_inner() < usize::MAX => Ended::Enough,
                Ok(()) => {
                    let (is_long, promised) = (self.is_long.into_inner(), self.promised);
                    let misfit = || -> Infallible {
                        if is_long { panic::long_source(promised) } else { panic::short_source(promised) }
                    };
                    let Err(payload) = panic::catch(misfit);
                    Ended::Panicked(payload)
                }
            },
        };
        Err(ended)
    }

    /// The same; `beside` is dropped if it ends badly.
    pub(super) fn end<T, B>(self, outputs: Option<T>, beside: Vec<B>) -> Result<(T, Vec<B>), Stopped<E>> {
        match self.ending(outputs) {
            Ok(outputs) => Ok((outputs, beside)),
            Err(Ended::Stopped(stopped)) => {
                let mut panics = Panics::default();
                beside.into_iter().for_each(|state| panics.drop(state));
                // The error is dropped before the panic goes on, because its `Drop` may panic too.
                panics.resume_or(Err(stopped))
            }
            Err(Ended::Panicked(payload)) => {
                panic::discard_all(beside);
                panic::resume(payload)
            }
            Err(Ended::Enough) => unreachable!("a call that stops at its first failure has kept that"),
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
