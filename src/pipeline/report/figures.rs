//! [`Figures`]: what a [`Report`](super::Report) says at one time.

use std::time::Duration;

/// The figures of a run at one time, which [`Report::figures`](super::Report::figures) takes.
///
/// Its `Display` is a table, with the [bottleneck](Self::bottleneck) in the last line. Durations of several threads add
/// up: two threads that are busy for a second each make two seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Since the run began, until now or its end.
    pub elapsed: Duration,
    /// Whether the run goes on.
    pub is_running: bool,
    /// How many threads work the stages that have no threads of their own, as set by
    /// [`threads`](crate::Pipeline::threads).
    pub threads: usize,
    /// How many threads have taken part so far, the calling thread and those of blocking stages included.
    pub started: usize,
    /// The items whose outputs the sink has taken.
    pub items: u64,
    /// The outputs that the sink has taken.
    pub outputs: u64,
    /// How long threads were in the source, be it at work or waiting in it. Data take no time there.
    pub source: Duration,
    /// The [sections](crate::Pipeline#sections), from the source on.
    pub sections: Vec<SectionFigures>,
    /// How long the calling thread was in the sink; for an iterator, how long its consumer was at the outputs.
    pub sink: Duration,
    /// How long a thread had nothing to do, or was not even started, while another was in a serial stage, and no more
    /// could come from the source: because it has ended, or the window or the budget was full.
    pub serial_kept: Duration,
    /// The window, if one was set.
    pub window: Option<usize>,
    /// How long the window was full while a thread had nothing to do because of it, or was not even started. It counts
    /// once, however many threads these are, and not while the sink or a serial stage is at work.
    pub window_full: Duration,
    /// How many items were pulled, or claimed from data, and not yet output, at most.
    pub most_ahead: u64,
    /// The [budget](crate::Pipeline::budget) in bytes, if one was set, or else that of the [outputs] of the first
    /// section.
    ///
    /// [outputs]: crate::Pipeline::weigh_output
    pub budget: Option<u64>,
    /// The same of the budget.
    pub budget_full: Duration,
    /// How many bytes of it were held, at most.
    pub most_held: u64,
}

/// The figures of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SectionFigures {
    /// How many threads of its own a [blocking](crate::Pipeline::blocking) stage has.
    pub own_threads: Option<usize>,
    /// How long threads were in the serial stage in front of it, such as a [`scan`](crate::Pipeline::scan).
    pub serial: Duration,
    /// How long threads were at its items. For data that includes the making of an item, for lines the cutting.
    pub busy: Duration,
    /// How many of its items were worked.
    pub items: u64,
    /// How many batches these made.
    pub batches: u64,
    /// How long threads waited. Those of the run, which serve all sections, wait for the first, unless they have an
    /// item of another in hand. The calling thread is not counted while it does nothing but output.
    pub waits: Waits,
}

/// How long threads waited, by what they waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// For items: the source, or the section before, had none.
    pub input: Duration,
    /// For room for the outputs of an item that makes many.
    pub output: Duration,
    /// For room in the [window](crate::Pipeline::window).
    pub window: Duration,
    /// For room in the [budget](crate::Pipeline::budget) of bytes.
    pub budget: Duration,
}

impl Figures {
    /// Returns the share of `spent` in the time that `threads` threads had, from 0 to 1.
    pub(super) fn share(&self, spent: Duration, threads: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share of a time")]
        let whole = self.elapsed.as_secs_f64() * threads.max(1) as f64;
        if whole > 0.0 { (spent.as_secs_f64() / whole).min(1.0) } else { 0.0 }
    }

    /// How many threads serve a section.
    pub(super) fn threads_of(&self, section: &SectionFigures) -> usize {
        section.own_threads.unwrap_or(self.threads)
    }

    /// How many threads there are that serve one section alone.
    pub(super) fn own_threads(&self) -> usize {
        self.sections.iter().filter_map(|section| section.own_threads).sum()
    }
}
