//! [`Pipeline`]: the sequential loop over a source, with its middle in parallel.

mod claim;
mod commit;
mod crew;
mod data;
mod end;
mod lines;
mod located;
mod parts;
mod pulled;
mod run;
mod scan;
mod signal;
mod stage;
mod state;
mod step;
mod weight;
mod window;
mod work;

use std::fmt;
use std::io::BufRead;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use crossbeam::channel::Receiver;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator};

use crate::error::Cancelled;
use data::FromData;
use lines::FromLines;
use pulled::{FromIter, FromReceiver};
use run::Settings;
use stage::Identity;

pub use claim::Source;
pub use stage::Stage;

/// A loop over a source whose middle runs on several threads: same outputs, same order, same first error, same panic.
///
/// A pipeline has a source ([`from_iter`](Self::from_iter), [`from_ready`](Self::from_ready),
/// [`from_data`](Self::from_data), [`from_lines`](Self::from_lines), [`from_receiver`](Self::from_receiver)), stages that
/// run in parallel, fused into one call an item ([`map`](Self::map), [`try_map`](Self::try_map),
/// [`filter`](Self::filter), [`filter_map`](Self::filter_map), [`flat_map`](Self::flat_map),
/// [`inspect`](Self::inspect)), or in order ([`scan`](Self::scan)), and an end that takes the outputs one by one on the calling thread
/// ([`for_each`](Self::for_each), [`try_for_each`](Self::try_for_each), [`collect`](Self::collect),
/// [`fold`](Self::fold), [`count`](Self::count), [`first`](Self::first)). Nothing runs before the end is called, and no
/// thread is left when it returns. Everything may borrow from the stack.
///
/// # Order
///
/// By default outputs come in the order of their inputs, and the run ends as the plain loop would: with the error or
/// panic of the lowest item that fails, after the output of every item below it has been taken. Items above a failing
/// one may have been started, up to the [`window`](Self::window); their outcome is dropped, and so is a panic among
/// them, which the plain loop would not have met. With [`unordered`](Self::unordered) outputs come as they are ready,
/// and the first failure to arrive ends the run.
///
/// # Memory
///
/// Between a pull and its output lie at most a [`window`](Self::window) of items: by default four batches a thread,
/// which are up to 1024 items each where items cost next to nothing, and one where an item takes 100 µs or more of the
/// source's, the stages' and the sink's time together. What a [`flat_map`](Self::flat_map) makes of them beyond one
/// output an item is bounded for the whole run; its page says how.
///
/// # Blocking sources
///
/// An iterator may wait in `next()`, even for the output of an item it gave earlier: what was pulled is worked on and
/// output meanwhile, at every setting. For that the calling thread, which outputs, never pulls; on two threads there is
/// then one that pulls, and while an item keeps it busy for long, the other soon runs out of work, however wide the
/// window. An iterator that never waits has no such limit as [`from_ready`](Self::from_ready).
///
/// A run that ends early, by [`first`](Self::first), a [`scan`](Self::scan) that ends or a sink that fails, waits for a
/// `next()` that is under way, as a cancelled one does. The plain loop would not have called it: `(echo one; sleep 3) |
/// tool` takes three seconds longer on two threads than on one. With [`window(1)`](Self::window) no item is pulled
/// before the output of the one before has been taken, so such a run ends at once, as the loop does, and as slowly as
/// the loop works. The sink is dropped before the wait, with all that it owns, so that an iterator which waits for
/// something the sink owns, such as the other end of a channel, is let go. Waiting for a channel [of its
/// own](Self::from_receiver) simply ends.
///
/// # Stages that wait
///
/// A stage, unlike a source, must not wait for another item: neither for its output nor for its stage to begin or end,
/// nor for an earlier output of its own item. Items share a batch, and are worked one after the other then. It may seem
/// to work, as batches are of one item when a run begins. No window lifts this, since the calling thread, which alone
/// outputs, may be in such a stage itself while the item it waits for is outside of the window.
///
/// A stage that prints hangs on two threads if the calling thread holds `stdout().lock()` meanwhile, in its sink say:
/// print in the sink, or lock for each line. A stage that recurses deeply wants a larger
/// [`stack_size`](Self::stack_size).
///
/// # Cancellation
///
/// A cancelled run starts no further item, does not call the sink again, and returns [`Cancelled`] as soon as the items
/// in hand are done. It does so even if every output had been taken, since a source that observes the token may have
/// ended early for it. A failure or panic that was met before, of an item whose turn has not come, still counts, as the
/// cancellation may be its echo, unless the sink itself cancelled: that is where the plain loop ends. A source, stage or
/// sink that is blocked in a system call can only be left when that call returns: give it a timeout, or have it observe
/// the token itself.
///
/// A program that itself cancels the token it has given to the run, say a stage that fails and cancels first so that
/// its siblings' inner waits end, ends the run by that cancellation. A failure that was met before still counts, but
/// which is met first is a matter of time: the error that is returned may be an echo, that of a sibling whose wait
/// ended. So do not cancel the token by hand: return the error, and the run stops by itself.
///
/// # Panics
///
/// A panic in the source, a stage or the sink is resumed on the calling thread, payload intact, when every thread has
/// been joined.
///
/// Values are dropped one by one, so two whose `Drop` panics do not abort the process. What the plain loop would not
/// have met counts for nothing: an error stays that error though items behind it, pulled or data, or their outputs
/// panic when they are dropped. The loop does meet the `Drop` of the sink, of what it has collected and of the source,
/// with the items that this still owns: a panic there is resumed in place of an error.
///
/// # On a rayon worker
///
/// Inside a rayon job a pipeline runs as the plain loop, since its threads and the pool's could wait for each other.
///
/// # Costs
///
/// Items are worked in batches that size themselves to some 100 µs; the rest of one that takes much longer is handed to
/// a thread that has nothing to do. So a cheap item costs a few ns more than in a plain loop from data or a ready
/// iterator, and some 25 ns more from an arbitrary one. Starting a thread costs 20 to 80 µs.
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
pub struct Pipeline<S, W> {
    source: S,
    stage: W,
    settings: Settings,
}

impl<I: Iterator + Send> Pipeline<FromIter<I, false>, Identity<Cancelled>>
where
    I::Item: Send,
{
    /// Starts from any iterator. It may block, be endless, or wait for the output of an earlier item.
    ///
    /// Items are pulled one at a time, by one thread at a time, and never by the calling thread, which alone could output
    /// what the iterator may wait for; at most a [`window`](Self::window) ahead of the output. Where the items lie in memory or come from a range,
    /// [`from_data`](Pipeline::from_data) is cheaper; where the iterator never waits, [`from_ready`](Pipeline::from_ready) is.
    ///
    /// The iterator goes to another thread, so it must be [`Send`]. The lines of a locked standard input are not; those of
    /// `BufReader::new(io::stdin())` are.
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait has no place for the bounds, and the name is the term"
    )]
    pub fn from_iter<T: IntoIterator<IntoIter = I>>(items: T) -> Self {
        Pipeline::new(FromIter(items.into_iter()))
    }
}

impl<I: Iterator + Send> Pipeline<FromIter<I, true>, Identity<Cancelled>>
where
    I::Item: Send,
{
    /// Starts from an iterator of which you know that it never waits for anything that this pipeline, its sink included,
    /// has yet to do: a computation, a directory walk, a file on a disk.
    ///
    /// Whoever needs work pulls it then, the calling thread too, and a whole batch at a time. That is cheaper than
    /// [`from_iter`](Pipeline::from_iter), and the calling thread is never short of work while the others are busy. An
    /// iterator that does wait for an earlier output, directly or not, hangs here.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    /// let digits: Vec<usize> =
    ///     Pipeline::from_ready(powers).map(|power| power.to_string().len()).collect(&CancellationToken::new())?;
    /// assert_eq!(digits, (1..=20).collect::<Vec<_>>());
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn from_ready<T: IntoIterator<IntoIter = I>>(items: T) -> Self {
        Pipeline::new(FromIter(items.into_iter()))
    }
}

impl<P: IndexedParallelIterator> Pipeline<FromData<P>, Identity<Cancelled>> {
    /// Starts from data that is all there: slices, vectors, arrays, ranges of up to 32 bits or `usize`, and whatever else
    /// rayon knows the length of, such as `chunks`, `zip` or `enumerate` of these.
    ///
    /// Batches are split off without copying an item. A range of 64-bit integers, or an inclusive one of more than 16 bits,
    /// has no length that rayon trusts: use a range of `usize`, or [`from_iter`](Pipeline::from_iter).
    ///
    /// # Panics
    ///
    /// The run panics if the data has fewer or more items than their `len` says: in the same words at every number of
    /// threads, and once the outputs before that have been taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    /// use rayon::slice::ParallelSlice;
    ///
    /// let bytes = [1_u8, 2, 3, 4, 5];
    /// let sums: Vec<u32> = Pipeline::from_data(bytes.par_chunks(2))
    ///     .map(|chunk| chunk.iter().copied().map(u32::from).sum())
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sums, [3, 7, 5]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn from_data<T: IntoParallelIterator<Iter = P>>(data: T) -> Self {
        Pipeline::new(FromData(data.into_par_iter()))
    }
}

impl<T: Send> Pipeline<FromReceiver<T>, Identity<Cancelled>> {
    /// Starts from a channel: all that is sent through it until every sender is gone.
    ///
    /// What lies in the channel is taken in one go, up to the [`window`](Self::window), so a message costs less here than by
    /// [`from_iter`](Pipeline::from_iter). Waiting for one observes the token. What was taken from the channel when a run fails or is
    /// cancelled is dropped with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    /// use crossbeam::channel::unbounded;
    ///
    /// let (sender, receiver) = unbounded();
    /// for word in ["three", "little", "words"] {
    ///     sender.send(word)?;
    /// }
    /// drop(sender);
    /// let lengths: Vec<usize> = Pipeline::from_receiver(receiver).map(str::len).collect(&CancellationToken::new())?;
    /// assert_eq!(lengths, [5, 6, 5]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn from_receiver(receiver: Receiver<T>) -> Self {
        Pipeline::new(FromReceiver(receiver))
    }
}

impl<B: BufRead + Send> Pipeline<FromLines<B>, Identity<Cancelled>> {
    /// Starts from the lines of a reader, which may be a pipe or a terminal: the items of [`BufRead::lines`], without
    /// their ends, as `io::Result<String>`. So the first stage is, most often, a `try_map(|line| parse(&line?))`.
    ///
    /// It is [`from_iter`](Pipeline::from_iter) of `lines()` at less cost: one worker takes the contents of the reader's
    /// buffer in one piece, and all workers cut it into lines. No line is held back while the reader waits for more.
    ///
    /// The size of the buffer hardly matters for a file. Lines of 79 bytes took the same time within 3 % with 8 KiB, 64 KiB,
    /// 256 KiB and 1 MiB, on two threads, at 40 and at 275 ns of work each.
    ///
    /// A locked standard input cannot be sent to another thread; `BufReader::new(io::stdin())` can.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, BufReader};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let input: &[u8] = b"3\n4\n5\n";
    /// let sum = Pipeline::from_lines(BufReader::with_capacity(1 << 16, input))
    ///     .try_map(|line| line?.parse::<u64>().map_err(io::Error::other))
    ///     .fold(&CancellationToken::new(), 0, |sum, number| sum + number)?;
    /// assert_eq!(sum, 12);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn from_lines(reader: B) -> Self {
        Pipeline::new(FromLines(reader))
    }
}

impl<S: Source<Error = Cancelled>> Pipeline<S, Identity<Cancelled>> {
    fn new(source: S) -> Self {
        Pipeline {
            source,
            stage: Identity(PhantomData),
            settings: Settings { threads: None, window: None, ordered: true, name: None, stack: None },
        }
    }
}

/// The switches.
impl<S, W> Pipeline<S, W> {
    /// Runs on `threads` threads in all, of which the calling thread is one. The default is
    /// [`available_parallelism`](std::thread::available_parallelism), asked once in a process; 1 is the plain loop on the
    /// calling thread.
    ///
    /// Should the system refuse to start a thread, the run goes on with those it has.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    #[track_caller]
    pub fn threads(mut self, threads: usize) -> Self {
        let Some(threads) = NonZeroUsize::new(threads) else {
            panic!("Pipeline::threads(0): a pipeline needs a thread to run on; 1 is the plain loop");
        };
        self.settings.threads = Some(threads);
        self
    }

    /// Lets at most `items` be pulled and not yet output: input `k + items` is not pulled before the sink has taken
    /// output `k`. The default is four batches a thread, so it grows with cheap items and stays small with costly ones.
    ///
    /// A wide window lets the others go on past an item that takes long, for the price of keeping their outputs, which
    /// a [`flat_map`](Self::flat_map) bounds by itself. A window narrower than the number of threads leaves some of
    /// them idle. With 1, the items are worked one after the other, and nothing is pulled that an early end would not
    /// want.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    #[track_caller]
    pub fn window(mut self, items: usize) -> Self {
        let Some(items) = NonZeroUsize::new(items) else {
            panic!("Pipeline::window(0): no item could ever be pulled; 1 is the narrowest window");
        };
        self.settings.window = Some(items);
        self
    }

    /// Outputs come in the order of their inputs. This is the default.
    pub fn ordered(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// Outputs come as they are ready, in no specified order.
    pub fn unordered(mut self) -> Self {
        self.settings.ordered = false;
        self
    }

    /// Names the threads of the run, `name#1` and so on (Linux shows 15 bytes), as debuggers, `/proc` and panic messages
    /// show them. The default is `pipeline`. A NUL becomes the replacement character.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.settings.name = Some(name.as_ref().into());
        self
    }

    /// Gives each thread that the run starts a stack of so many bytes. The default is std's: `RUST_MIN_STACK`, or 2
    /// MiB.
    ///
    /// Set this for stages that recurse deeply. The calling thread runs stages too, and keeps the stack that it has: 8
    /// MiB most often for the main thread, less for others, which
    /// [`ScopeBuilder::stack_size`](crate::ScopeBuilder::stack_size) can give a larger one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// fn depth(levels: u32) -> u32 {
    ///     if levels == 0 { 0 } else { 1 + depth(levels - 1) }
    /// }
    ///
    /// let depths = Pipeline::from_data([10, 1_000]).stack_size(8 << 20).map(depth);
    /// assert_eq!(depths.collect::<Vec<_>>(&CancellationToken::new())?, [10, 1_000]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.settings.stack = Some(bytes);
        self
    }
}

impl<S: fmt::Debug, W> fmt::Debug for Pipeline<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("source", &self.source)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
