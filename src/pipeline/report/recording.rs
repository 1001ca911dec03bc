//! [`Recording`]: what a run tells of itself while it goes: to a report, and to a progress count.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use super::figures::{Figures, SectionFigures, Waits};
use super::times::{Lack, Step, Times};
use crate::par;

/// What the figures of a run are measured against.
#[derive(Debug)]
pub(in super::super) struct Bounds {
    pub(in super::super) threads: usize,
    /// How many threads each section has of its own.
    pub(in super::super) own: Vec<Option<NonZeroUsize>>,
    pub(in super::super) window: Option<NonZeroUsize>,
    pub(in super::super) budget: Option<u64>,
}

/// What one run has told so far.
#[derive(Debug)]
pub(in super::super) struct Record {
    begun: Instant,
    bounds: Bounds,
    /// Of the threads that have taken part.
    members: Mutex<Vec<Arc<Times>>>,
    taken: CachePadded<Taken>,
    seen: CachePadded<Seen>,
    /// The items that were worked in the place of one.
    worked: AtomicU64,
    /// How long each bound, or a serial stage, has kept a thread from work, as waits of a single section; written under
    /// the state's lock.
    kept: Times,
    /// How long the run took, once it has ended.
    ended: Mutex<Option<Duration>>,
}

/// What the sink has taken; written by the calling thread alone.
#[derive(Debug, Default)]
struct Taken {
    items: AtomicU64,
    outputs: AtomicU64,
}

/// What members have seen in the state; written under its lock.
#[derive(Debug, Default)]
struct Seen {
    /// The items that came to their end without an output.
    freed: AtomicU64,
    most_ahead: AtomicU64,
    most_held: AtomicU64,
}

/// How far a run is ahead of the sink.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Ahead {
    /// How many items are pulled and not yet output.
    pub(in super::super) items: u64,
    /// How many bytes of the budget are held.
    pub(in super::super) bytes: u64,
    /// What keeps a thread from work: a full bound, or [`Lack::Input`] for a serial stage.
    pub(in super::super) kept_by: Option<Lack>,
}

impl Record {
    pub(super) fn new(bounds: Bounds) -> Self {
        let begun = Instant::now();
        Record {
            begun,
            bounds,
            members: Mutex::default(),
            taken: CachePadded::default(),
            seen: CachePadded::default(),
            worked: AtomicU64::new(0),
            kept: Times::new(begun, 1),
            ended: Mutex::new(None),
        }
    }

    /// Adds the times of all members up.
    pub(super) fn figures(&self) -> Figures {
        let ended = *self.ended.lock();
        let members = self.members.lock().clone();
        // A step that a run left by a panic lasts until its end.
        let now = ended.map_or_else(Instant::now, |ended| self.begun + ended);
        let spent = |step| members.iter().map(|times| times.spent(step, now)).sum::<Duration>();
        let sections = self.bounds.own.iter().enumerate().map(|(at, own)| {
            let counts = || members.iter().map(|times| times.counts(at));
            SectionFigures {
                own_threads: own.map(NonZeroUsize::get),
                serial: spent(Step::Serial(at)),
                busy: spent(Step::Stages(at)),
                items: counts().map(|counts| counts.items).sum(),
                batches: counts().map(|counts| counts.batches).sum(),
                waits: Waits {
                    input: spent(Step::Wait(at, Lack::Input)),
                    output: spent(Step::Wait(at, Lack::Output)),
                    window: spent(Step::Wait(at, Lack::Window)),
                    budget: spent(Step::Wait(at, Lack::Budget)),
                },
            }
        });
        Figures {
            elapsed: ended.unwrap_or_else(|| now - self.begun),
            is_running: ended.is_none(),
            threads: self.bounds.threads,
            started: members.len(),
            items: [&self.taken.items, &self.seen.freed, &self.worked]
                .map(|items| items.load(Ordering::Relaxed))
                .iter()
                .sum(),
            outputs: self.taken.outputs.load(Ordering::Relaxed),
            source: spent(Step::Source),
            sections: sections.collect(),
            sink: spent(Step::Sink),
            window: self.bounds.window.map(NonZeroUsize::get),
            serial_kept: self.kept.spent(Step::Wait(0, Lack::Input), now),
            window_full: self.kept.spent(Step::Wait(0, Lack::Window), now),
            most_ahead: self.seen.most_ahead.load(Ordering::Relaxed),
            budget: self.bounds.budget,
            budget_full: self.kept.spent(Step::Wait(0, Lack::Budget), now),
            most_held: self.seen.most_held.load(Ordering::Relaxed),
        }
    }
}

/// What a run tells of itself. When it is dropped, the run has ended.
#[derive(Default)]
pub(in super::super) struct Recording {
    record: Option<Arc<Record>>,
    progress: Option<par::Count>,
}

impl Recording {
    pub(in super::super) fn new(record: Option<Arc<Record>>, progress: Option<par::Count>) -> Self {
        Recording { record, progress }
    }

    /// The times of one more member.
    pub(in super::super) fn member(&self) -> Option<Arc<Times>> {
        let record = self.record.as_ref()?;
        let times = Arc::new(Times::new(record.begun, record.bounds.own.len()));
        record.members.lock().push(Arc::clone(&times));
        Some(times)
    }

    /// The sink has taken all outputs of `items`. The calling thread alone calls this, as the next.
    pub(in super::super) fn took_items(&self, items: usize) {
        if let Some(record) = &self.record {
            add(&record.taken.items, items);
        }
        if let Some(progress) = &self.progress {
            progress.took(items);
        }
    }

    /// A member has worked `more` items in the place of one.
    pub(in super::super) fn worked(&self, more: usize) {
        if let Some(record) = &self.record {
            // Relaxed: the figures carry no data.
            record.worked.fetch_add(more as u64, Ordering::Relaxed);
        }
        if let Some(progress) = &self.progress {
            progress.worked(more);
        }
    }

    /// The sink has taken `outputs`.
    pub(in super::super) fn took_outputs(&self, outputs: usize) {
        if let Some(record) = &self.record {
            add(&record.taken.outputs, outputs);
        }
    }

    /// A member has seen that `freed` more items came to their end without an output, and how far the run is `ahead` of
    /// the sink. It is called under the state's lock.
    #[inline]
    pub(in super::super) fn saw(&self, freed: usize, ahead: impl FnOnce() -> Ahead) {
        if let Some(progress) = self.progress.as_ref().filter(|_| freed > 0) {
            progress.freed(freed);
        }
        if let Some(record) = &self.record {
            let ahead = ahead();
            record.seen.saw(freed, ahead);
            record.kept.turn_to(ahead.kept_by.map(|lack| Step::Wait(0, lack)));
        }
    }
}

// Relaxed: one thread writes, and the figures carry no data.
fn add(counter: &AtomicU64, more: usize) {
    counter.store(counter.load(Ordering::Relaxed) + more as u64, Ordering::Relaxed);
}

impl Seen {
    fn saw(&self, freed: usize, ahead: Ahead) {
        if freed > 0 {
            add(&self.freed, freed);
        }
        // A store that changes nothing would cost the members that read the line.
        for (most, now) in [(&self.most_ahead, ahead.items), (&self.most_held, ahead.bytes)] {
            if most.load(Ordering::Relaxed) < now {
                most.store(now, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            *record.ended.lock() = Some(record.begun.elapsed());
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("record", &self.record).finish_non_exhaustive()
    }
}

/// The recording of the plain loop, whose thread goes from step to step.
///
/// It looks at the clock at each change, which happens several times an item: so only where there is a report.
#[derive(Debug)]
pub(in super::super) struct Meter {
    recording: Recording,
    times: Option<Arc<Times>>,
    at: Cell<(Step, Instant)>,
}

impl Meter {
    pub(in super::super) fn new(recording: Recording) -> Self {
        recording.saw(0, || Ahead { items: 1, ..Ahead::default() });
        Meter { times: recording.member(), recording, at: Cell::new((Step::Source, Instant::now())) }
    }

    /// Begins a step, and returns the one that ends by that.
    #[inline]
    pub(in super::super) fn switch(&self, step: Step) -> Step {
        match &self.times {
            None => step,
            Some(times) => self.switch_with(times, step),
        }
    }

    fn switch_with(&self, times: &Times, step: Step) -> Step {
        let now = Instant::now();
        let (before, since) = self.at.replace((step, now));
        times.end(before, now - since);
        times.begin(step, now);
        before
    }

    /// Counts an item of a section.
    #[inline]
    pub(in super::super) fn count(&self, section: usize) {
        if let Some(times) = &self.times {
            times.count(section, 1);
        }
    }

    /// Counts more items of the last section.
    pub(in super::super) fn count_more(&self, items: usize) {
        if let Some(times) = &self.times {
            times.count_more(items);
        }
    }

    #[inline]
    pub(in super::super) fn recording(&self) -> &Recording {
        &self.recording
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(times) = &self.times {
            let (step, since) = self.at.get();
            times.end(step, since.elapsed());
        }
    }
}
