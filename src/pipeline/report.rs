//! [`Report`]: what a run did with its time.

mod times;

mod figures;

mod bottleneck;
mod counted;
mod recording;
mod table;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use self::recording::Record;

pub(super) use self::recording::{Ahead, Bounds, Meter, Recording};
pub(super) use self::times::{Lack, Step, Times, during};
pub use bottleneck::Bottleneck;
pub use figures::{Figures, SectionFigures, Waits};

/// What a run does with its time, to be read while it goes and when it has ended.
///
/// Hand it to a pipeline by [`report`](crate::Pipeline::report). It is a handle: clones share the report, and another
/// thread can print it meanwhile. It is complete however the run ends: by its last item, an error, a cancel, a panic,
/// or an iterator that is dropped.
///
/// A report that is used again starts anew with the second run. If two runs have it at once, it tells of the one that
/// began last.
///
/// # Costs
///
/// Each thread keeps times of its own, by the looks at the clock that a batch takes anyway, and a few more where the
/// window or the budget is full. The plain loop, as with [`threads(1)`](crate::Pipeline::threads), looks at the clock
/// some four times an item for it. On a busy machine that took 0.3 µs an item: 1.16 times as long with items of 1.6
/// µs, and ten times with items of 40 ns. So leave it out there if items are cheap.
///
/// # Examples
///
/// ```
/// use brigade::pipeline::{Bottleneck, Report};
/// use brigade::{CancellationToken, Pipeline};
///
/// let report = Report::new();
/// let mut out = Vec::new();
/// Pipeline::from_data(0..1_000_u32)
///     .threads(2)
///     .report(&report)
///     .map(|number| format!("{number}\n"))
///     .for_each(&CancellationToken::new(), |line| out.extend(line.bytes()))?;
/// // A table with the shares of the time.
/// eprintln!("{report}");
/// let figures = report.figures();
/// assert_eq!((figures.items, figures.outputs, figures.is_running), (1_000, 1_000, false));
/// if let Bottleneck::Sink { share, .. } = report.bottleneck() {
///     assert!(share > 0.5);
/// }
/// # Ok::<(), brigade::Cancelled>(())
/// ```
#[derive(Clone, Default)]
pub struct Report {
    /// Of the run that began last.
    record: Arc<Mutex<Option<Arc<Record>>>>,
}

impl Report {
    /// Returns a report of no run.
    #[must_use]
    pub fn new() -> Self {
        Report::default()
    }

    /// Returns the figures as they are now. Without a run all of them are 0.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let record = self.record.lock().clone();
        record.map_or_else(Figures::default, |record| record.figures())
    }

    /// Returns what bounds the run, and so what to change.
    ///
    /// # Examples
    ///
    /// A sink that takes long:
    ///
    /// ```
    /// use brigade::pipeline::{Bottleneck, Report};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let report = Report::new();
    /// Pipeline::from_iter(0..100_u64).threads(1).report(&report).for_each(&CancellationToken::new(), |number| {
    ///     let burnt = (0..number * 1_000).fold(1_u64, |hash, next| hash.wrapping_mul(31) ^ next);
    ///     assert_ne!(burnt, 0);
    /// })?;
    /// assert!(matches!(report.bottleneck(), Bottleneck::Sink { .. }));
    /// assert!(report.bottleneck().to_string().starts_with("the sink is busy"));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    #[must_use]
    pub fn bottleneck(&self) -> Bottleneck {
        self.figures().bottleneck()
    }

    /// Begins the report of a run.
    pub(super) fn begin(&self, bounds: Bounds) -> Arc<Record> {
        let record = Arc::new(Record::new(bounds));
        *self.record.lock() = Some(Arc::clone(&record));
        record
    }
}

/// The table of the [figures](Figures).
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures().fmt(f)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("figures", &self.figures()).finish()
    }
}
