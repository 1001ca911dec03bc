//! The switches.

use std::num::NonZeroUsize;

use super::report::Report;
use super::{Order, Pipeline};
use crate::par::Progress;

/// Switches.
impl<C> Pipeline<C> {
    /// Runs on `threads` threads in all, of which the calling thread is one.
    ///
    /// The default is [`available_parallelism`](std::thread::available_parallelism), asked once in a process; 1 is the
    /// plain loop on the calling thread, unless a stage has threads of its own. No variable of the environment sets it,
    /// because a library cannot know which of a program's pipelines is meant: read one in the program, and call this. A
    /// thread is started when there is something for it to do, so a short run starts few. Should the system refuse to
    /// start one, the run goes on with those it has.
    ///
    /// Stages run on `threads` threads at once at most. Where an item takes more than a millisecond on average, the
    /// calling thread leaves the stages to the others, so that it can output at once, and one more thread does its
    /// share; see [`dedicated_caller`](Self::dedicated_caller). With one thread, and a calling thread that only
    /// outputs, one more waits for a source that may block.
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

    /// Outputs come in the order of their inputs, which is the default.
    pub fn ordered(mut self) -> Self {
        self.settings.order = Order::Source;
        self
    }

    /// Outputs come as they are ready, in no specified order.
    pub fn unordered(mut self) -> Self {
        self.settings.order = Order::Arrival;
        self
    }

    /// Lets at most `items` be pulled and not yet output: input `k + items` is not pulled before the sink has taken
    /// output `k`.
    ///
    /// The default is four batches a thread, so it grows with cheap items and stays small with costly ones. While the
    /// other threads would have to wait for an item that takes long, it widens to up to 64 batches a thread, but to no
    /// more than 65,536 items and 64 MiB, by the size of the item or output itself without what it owns on the heap. It
    /// narrows again when four windows have gone by without such a wait.
    ///
    /// With a wide window the other threads go on past an item that takes long, for the price
    /// of keeping their outputs, which a [`flat_map`](Self::flat_map) bounds by itself. With a
    /// window narrower than the number of threads, some of them are idle. With 1, the items
    /// are worked one after the other, and no item is pulled that an early end would not want.
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

    /// Keeps the calling thread free for the sink: it runs no stage, and one more thread does its share.
    ///
    /// Use this for a program that must show each output at once, such as a search that prints matches. By default the
    /// calling thread works as the others do, and outputs between two batches, which take 100 µs. It stops to work by
    /// itself where an item takes more than a millisecond on average. That leaves an item that takes long among cheap
    /// ones: if the calling thread meets it, outputs wait until it is done. With cheap items this costs a thread more
    /// than there are cores, so it is slower.
    ///
    /// Without effect where the run is the plain loop, as with [`threads(1)`](Self::threads).
    /// Should the system refuse the additional thread, the calling thread works as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let files = ["a needle", "hay", "hay and a needle"];
    /// let found = Pipeline::from_data(files)
    ///     .dedicated_caller()
    ///     .filter(|file| file.contains("needle"))
    ///     .count(&CancellationToken::new())?;
    /// assert_eq!(found, 2);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn dedicated_caller(mut self) -> Self {
        self.settings.is_caller_reserved = true;
        self
    }

    /// Has the run tell `report` what it does with its time: what bounds it, and so what to change.
    ///
    /// # Examples
    ///
    /// Another thread prints the report while the run goes:
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::pipeline::Report;
    /// use brigade::{CancellationToken, Cancelled, Pipeline, scope};
    ///
    /// let report = Report::new();
    /// let sum = scope(&CancellationToken::new(), |s| {
    ///     let numbers = Pipeline::from_data(0..10_000_u64 as usize).report(&report);
    ///     let sum = s.spawn(move |s| numbers.map(|number| number % 7).fold(s.token(), 0, |sum, next| sum + next))?;
    ///     while !sum.is_finished() {
    ///         eprintln!("{report}");
    ///         s.token().sleep(Duration::from_millis(5))?;
    ///     }
    ///     Ok::<_, Cancelled>(sum.join()?)
    /// })?;
    /// assert_eq!((sum, report.figures().items), (29_994, 10_000));
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn report(mut self, report: &Report) -> Self {
        self.settings.report = Some(report.clone());
        self
    }

    /// Has `progress` count the items of the source whose outputs the sink has taken.
    ///
    /// Its total is the length of the source, if that knows one: data do, and iterators whose `size_hint` is exact. If
    /// not, as with lines or a channel, the items that are done count as the total.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::par::Progress;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let progress = Progress::new();
    /// let words = Pipeline::from_data(["three", "little", "words"]).progress(&progress);
    /// words.map(str::len).for_each(&CancellationToken::new(), |_| eprint!("\r{progress}"))?;
    /// assert_eq!(progress.to_string(), "3 of 3");
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn progress(mut self, progress: &Progress) -> Self {
        self.settings.progress = Some(progress.clone());
        self
    }

    /// Gives each thread that the run starts a stack of `bytes`.
    ///
    /// The default is std's: `RUST_MIN_STACK`, or 2 MiB. Set this for stages that recurse deeply. The calling
    /// thread runs stages too, and keeps the stack that it has: most often 8 MiB for the main thread, and less
    /// for others, which [`ScopeBuilder::stack_size`](crate::ScopeBuilder::stack_size) can give a larger one.
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

    /// Names the threads of the run, `name#1` and so on, and the failures of a later [`located`](Self::located) or
    /// [`keep_going`](Self::keep_going).
    ///
    /// Debuggers, `/proc` and panic messages show the names of the threads (Linux shows 15 bytes). Their default is
    /// `pipeline`, and that of failures is `item`. A NUL becomes the replacement character.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.settings.name = Some(name.as_ref().into());
        self
    }
}
