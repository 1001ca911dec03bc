//! [`Pipeline`]: the sequential loop over a source, with its middle in parallel.
#![doc = include_str!("pipeline/RECIPES.md")]

mod report;

// In the order of the docs: sources, stages, switches, ends.
mod buffers;
mod source;

mod chain;
mod init;
mod keep_going;
mod located;
mod try_stages;

mod budget;
mod weigh_output;

mod blocking;
mod with_token;

mod batch;
mod enumerate;
mod scan;
mod take;

mod switches;

mod end;
mod outputs;

mod at;
mod crew;
mod gate;
mod leaves;
mod local;
mod on_demand;
mod opening;
mod plain;
mod refill;
mod row;
mod run;
mod serial;
mod sink;
mod stage;
mod stop;
mod then;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use self::report::{Bounds, Recording};

use crate::par::Progress;

pub use buffers::{Buffer, Buffers};
pub use chain::Chain;
pub use end::OnIdle;
pub use init::Init;
pub use outputs::{Outputs, OwnedOutputs};
pub use report::{Bottleneck, Figures, Report, SectionFigures, Waits};
pub use source::{Line, LineBlock};

/// A loop over a source whose middle runs on several threads: same outputs, same order, same first error, same panic.
///
/// A pipeline has
///
/// - a source: [`from_iter`](Self::from_iter), [`from_ready`](Self::from_ready), [`from_data`](Self::from_data),
///   [`from_lines`](Self::from_lines), [`from_text_lines`](Self::from_text_lines),
///   [`from_byte_lines`](Self::from_byte_lines), [`from_line_blocks`](Self::from_line_blocks),
///   [`from_receiver`](Self::from_receiver);
/// - stages that run in parallel, fused into one call an item: [`map`](Self::map), [`try_map`](Self::try_map),
///   [`filter`](Self::filter), [`filter_map`](Self::filter_map), [`flat_map`](Self::flat_map), and the `try_` form of
///   each; [`inspect`](Self::inspect); with a state for each thread, [`map_init`](Self::map_init) and its kind; with a
///   token of the item, [`try_map_with_token`](Self::try_map_with_token) and its kind;
/// - stages that wait, on threads of their own: [`blocking`](Self::blocking), [`try_blocking`](Self::try_blocking),
///   [`blocking_keep_going`](Self::blocking_keep_going), [`blocking_init`](Self::blocking_init),
///   [`try_blocking_init`](Self::try_blocking_init);
/// - serial stages, which take the items one after the other: [`scan`](Self::scan),
///   [`scan_with_end`](Self::scan_with_end), [`flat_scan`](Self::flat_scan), [`take`](Self::take),
///   [`take_while`](Self::take_while), [`skip_while`](Self::skip_while), [`enumerate`](Self::enumerate),
///   [`batch`](Self::batch), [`batch_by`](Self::batch_by), [`batch_within`](Self::batch_within),
///   [`chunk_by`](Self::chunk_by), [`dedup`](Self::dedup), [`dedup_by_key`](Self::dedup_by_key);
/// - [`keep_going`](Self::keep_going), which makes values of failures;
/// - an end, which takes the outputs one by one on the calling thread: [`for_each`](Self::for_each),
///   [`try_for_each`](Self::try_for_each), [`for_each_until`](Self::for_each_until), [`collect`](Self::collect),
///   [`fold`](Self::fold), [`reduce`](Self::reduce), [`count`](Self::count), [`sum`](Self::sum), [`min`](Self::min),
///   [`max`](Self::max), [`last`](Self::last), [`first`](Self::first), [`find`](Self::find), [`any`](Self::any),
///   [`all`](Self::all), [`send_to`](Self::send_to); in slices: [`for_each_batch`](Self::for_each_batch); with a buffer
///   that is flushed when the thread is idle: [`on_idle`](Self::on_idle); in parallel: [`reduce_by`](Self::reduce_by);
///   or has them asked for: [`iter`](Self::iter), [`into_iter`](Self::into_iter).
///
/// Nothing runs before the end is called, and no thread is left when it returns, or when the iterator of `into_iter` is
/// dropped. Everything may borrow from the stack, but for `into_iter`.
///
/// # Order
///
/// By default outputs come in the order of their inputs, and the run ends as the plain loop would: with the
/// error or panic of the earliest item that fails, after the sink has taken the output of every earlier item.
/// Items later than a failing one may have been started, up to the [`window`](Self::window). Their outcome is
/// dropped, and so is a panic among them, because the plain loop would not have met it. With
/// [`unordered`](Self::unordered) outputs come as they are ready, and the first failure to arrive ends the run.
///
/// # Memory
///
/// Between a pull and its output lie at most a [`window`](Self::window) of items. By default these are four batches a
/// thread. A batch has up to 4096 items where items cost next to nothing, or 1024 if items or outputs have 256 bytes
/// and more, and one where an item takes 100 µs or more of the source's, the stages' and the sink's time together. In
/// items:
///
/// | source, stages and sink of an item take | 2 threads | 16 threads | 64 threads |
/// |---|---|---|---|
/// | 25 ns or less | 33,000 | 262,000 | 1,050,000 |
/// | 100 ns | 8,000 | 64,000 | 1,020,000 |
/// | 1 µs | 800 | 6,400 | 102,000 |
/// | 10 µs | 80 | 640 | 10,200 |
/// | 100 µs or more | 8 | 64 | 256 to 1,000 |
///
/// While one item takes much longer than the others, or the system keeps its thread from running, the window widens up
/// to 16 times, but to no more than 65,536 items if it holds less by the table. (On more than 16 cores a batch takes
/// longer than 100 µs, in proportion.) These are items, not bytes: a source of buffers of 1 MB holds 128 MB behind an
/// item that takes long, on two threads, and up to 4 GB on 64. Set a [`budget`](Self::budget) there, or for data a
/// bound on the [outputs](Self::weigh_output). The outputs of a [`flat_map`](Self::flat_map) beyond one an item are
/// bounded for the whole run, as its page says.
///
/// # Blocking sources
///
/// An iterator may wait in `next()`, even for the output of an item it gave earlier: the items that were pulled are
/// worked and output meanwhile, at every setting. They may lie for a millisecond or two before, because no thread is
/// woken for a single item of a quick source. For that the calling thread, which outputs, never pulls. On two
/// threads one thread is then left to pull, and while an item keeps it busy for long, the other soon runs out of
/// work, however wide the window. An iterator that never waits has no such limit as [`from_ready`](Self::from_ready).
///
/// A run that ends early, by [`first`](Self::first), a [`scan`](Self::scan) that ends or a sink that fails, waits for a
/// `next()` that is under way, as a cancelled one does. The plain loop would not have called it: `(echo one; sleep 3) |
/// tool` takes three seconds longer on two threads than on one. With [`window(1)`](Self::window) no item is pulled
/// before the sink has taken the output of the one before, so such a run ends at once, as the loop does, and works as
/// slowly as the loop. The sink is dropped before the wait, with all that it owns. So an iterator that waits for
/// something the sink owns, such as the other end of a channel, is released. Waiting for a channel [of its
/// own](Self::from_receiver) simply ends.
///
/// # Sections
///
/// A serial stage, and a stage with threads of its own, end a *section*: the parallel stages behind it are the next.
/// The threads of the run serve all sections, those nearest to the sink first, so there is nothing to tune. First
/// error, order, panic and window hold across the whole: if item 300 fails anywhere, the outputs of the items before it
/// arrive, and the error is its.
///
/// A program that joins several pipelines by channels has to see to that by hand: a scope cancels all of them at the
/// first failure, and outputs that were on their way are lost. There, send `Result`s through the channels, and let the
/// last pipeline end the run.
///
/// # Stages that wait
///
/// A stage without threads of its own, unlike a source, must not wait for another item: neither for its output nor for
/// its stage to begin or end, nor for an earlier output of its own item. Items share a batch, and are then worked one
/// after the other. It may seem to work, because batches have one item when a run begins. No window lifts this, because
/// the calling thread, which alone outputs, may be in such a stage itself while the item it waits for is outside of the
/// window.
///
/// A stage that prints hangs on two threads if the calling thread holds `stdout().lock()` meanwhile, say in its sink:
/// print in the sink, or lock for each line. A stage that recurses deeply needs a larger
/// [`stack_size`](Self::stack_size).
///
/// # Cancellation
///
/// A cancelled run starts no further item, does not call the sink again, and returns
/// [`Cancelled`](crate::Cancelled) as soon as the items in hand are done. It does so even if every output had been
/// taken, because a source that observes the token may have ended early for it. A failure or panic that was met
/// before, of an item whose turn has not come, still counts, because the cancellation may be its echo. It does not
/// count if the sink itself cancelled: there the plain loop ends. A source, stage or sink that is blocked in a
/// system call can only be left when that call returns: give it a timeout, or have it observe the token itself.
///
/// A program may itself cancel the token it has given to the run: a stage that fails, say, cancels first so that its
/// siblings' inner waits end. That cancellation then ends the run. A failure that was met before still counts, but time
/// decides which is met first: the returned error may be an echo, that of a sibling whose wait ended. So do not cancel
/// the token by hand: return the error, and the run stops by itself.
///
/// # Errors
///
/// Errors convert towards the end. The error type of a fallible stage must be [`From`] that of the stages before it,
/// and the error type of a fallible sink, or of the whole, must be able to hold all others, and
/// [`Cancelled`](crate::Cancelled), which says for which types that is so. Without a fallible stage or sink the error
/// is [`Cancelled`](crate::Cancelled) itself. If rustc asks for a type (E0283), name it in the last fallible closure:
/// `anyhow::Ok(value)`, or `Ok::<_, MyError>(value)`.
///
/// # Panics
///
/// A panic in the source, a stage or the sink is resumed on the calling thread, payload intact, when every thread has
/// been joined. Behind [`keep_going`](Self::keep_going) a panic of an item is a value.
///
/// Values are dropped one by one, so two whose `Drop` panics do not abort the process. Values that the plain loop would
/// not have met count for nothing: an error stays that error though items behind it, pulled or data, or their outputs
/// panic when they are dropped. The loop does meet the `Drop` of the sink, of the collected outputs, of the [states of
/// the stages](Self::map_init) and of the source, with the items that this still owns: a panic there is resumed in
/// place of an error.
///
/// # On a rayon worker
///
/// Inside a rayon job a pipeline runs as the plain loop, because its threads and the pool's could wait for each other.
///
/// # Costs
///
/// Items are worked in batches. The batch size adapts so that a batch takes about 100 µs. If
/// one takes much longer, its thread gives the unfinished items to an idle one. So a cheap
/// item costs a few ns more than in a plain loop if it comes from data or a ready iterator,
/// and some 10 ns more from an arbitrary iterator. Starting a thread costs 20 to 80 µs. Threads that have nothing
/// to do sleep, so a run that its source holds back costs about what the plain loop costs.
///
/// A [`report`](Self::report) tells what bounds a run, and what to change.
///
/// The sink is one thread. If it takes `s` for an output and the stages take `c`, no number of threads makes the run
/// faster than `c / s` times: format in [`map`](Self::map), and write bytes in the sink.
///
/// # Examples
///
/// ```
/// use brigade::{CancellationToken, Pipeline};
///
/// let token = CancellationToken::new();
/// let mut report = String::new();
/// Pipeline::from_iter("3\n4\nx\n5".lines())
///     .try_map(|line| line.parse::<u64>().map_err(anyhow::Error::from))
///     .map(|number| number * number)
///     .for_each(&token, |square| report += &format!("{square} "))
///     .unwrap_err();
/// assert_eq!(report, "9 16 ");
/// ```
#[must_use = "a pipeline does nothing until its end is called, such as `for_each`"]
pub struct Pipeline<C> {
    chain: C,
    settings: Settings,
}

/// The switches, as the user set them.
#[derive(Clone, Debug)]
struct Settings {
    threads: Option<NonZeroUsize>,
    window: Option<NonZeroUsize>,
    order: Order,
    /// Of the threads.
    name: Option<Arc<str>>,
    /// In bytes, of each thread.
    stack: Option<usize>,
    /// The caller does nothing but output.
    is_caller_reserved: bool,
    report: Option<Report>,
    progress: Option<Progress>,
    /// How many items the source has, if it knows; set as the run begins.
    expected: Option<usize>,
}

impl Settings {
    /// Notes how many items the source of the run has, by its size hint.
    fn expecting(self, (least, most): (usize, Option<usize>)) -> Self {
        Settings { expected: most.filter(|most| *most == least), ..self }
    }

    /// How many threads the run has in all.
    fn threads(&self) -> usize {
        self.threads.map_or_else(Settings::cores, NonZeroUsize::get)
    }

    /// Begins what a run tells of itself. `own` is how many threads each section has of its own, and `items` how many
    /// items the source has, if it knows.
    fn recording(
        &self,
        threads: usize,
        own: &[Option<NonZeroUsize>],
        budget: Option<u64>,
        items: Option<usize>,
    ) -> Recording {
        let bounds = || Bounds { threads, own: own.into(), window: self.window, budget };
        let progress = self.progress.as_ref().map(|progress| progress.begin_run(items));
        Recording::new(self.report.as_ref().map(|report| report.begin(bounds())), progress)
    }

    /// How many threads can run at once.
    fn cores() -> usize {
        // Asked once, because on Linux it reads the files of the control group, which
        // takes as long as starting a thread.
        static AVAILABLE: OnceLock<usize> = OnceLock::new();
        *AVAILABLE.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

/// The order in which outputs reach the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// That of the source's items.
    Source,
    /// As they are ready.
    Arrival,
}

impl<C: fmt::Debug> fmt::Debug for Pipeline<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("chain", &self.chain).field("settings", &self.settings).finish_non_exhaustive()
    }
}
