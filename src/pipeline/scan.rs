//! [`Scan`]: the serial stage with a state.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::Pipeline;
use super::chain::{Chain, Crossed};
use super::serial::Serial;
use crate::panic::Guarded;

/// The chain `C`, then a scan.
type Scanned<C, A, F, G> = Crossed<C, Scan<A, F, G>>;

/// Stages with one state for all items.
impl<C: Chain> Pipeline<C> {
    /// Adds a stage with a state, which takes the items in order and one after the other, as [`Iterator::scan`] does.
    ///
    /// `f` is given the state and the next item, and makes an output of it, or ends the run as if the source had ended
    /// here. A run that ends here waits for a `next()` of the source that is under way; see [Blocking
    /// sources](Pipeline#blocking-sources).
    ///
    /// One thread at a time calls `f`, and which one changes. Stages that are added behind it run in parallel again.
    /// [Unordered](Pipeline::unordered), it takes the items as they arrive. A state that is not [`Send`] belongs into
    /// the sink, which stays on the calling thread: see [`fold`](Self::fold).
    ///
    /// # Examples
    ///
    /// Where each record starts in the output:
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let offsets: Vec<(usize, String)> = Pipeline::from_data(["a", "bbb", "cc"])
    ///     .map(|name| format!("<{name}>"))
    ///     .scan(0, |end, record| {
    ///         let start = *end;
    ///         *end += record.len();
    ///         Some((start, record))
    ///     })
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(offsets, [(0, "<a>".into()), (3, "<bbb>".into()), (8, "<cc>".into())]);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the end that gives nothing has no name")]
    pub fn scan<A, R, F>(self, initial: A, f: F) -> Pipeline<Scanned<C, A, F, fn(A) -> Option<R>>>
    where
        F: FnMut(&mut A, C::Output) -> Option<R> + Send,
        A: Send,
        R: Send,
        C: Chain<Output: Send, Error: Send>,
    {
        self.cross(Scan::new(initial, f, |_| None), None)
    }

    /// Adds a stage as [`scan`](Self::scan) does, whose state is given to `end` behind the last item, for one more
    /// output.
    ///
    /// `end` is called when the items have come to their end, when `f` has ended the run, and before an error of an
    /// earlier stage ends it; not when the run is cancelled or a stage panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// // A line for each item, and one with the sum.
    /// let lines: Vec<String> = Pipeline::from_data([1, 2, 3])
    ///     .scan_with_end(
    ///         0,
    ///         |sum, item| {
    ///             *sum += item;
    ///             Some(format!("{item}"))
    ///         },
    ///         |sum| Some(format!("sum {sum}")),
    ///     )
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(lines, ["1", "2", "3", "sum 6"]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn scan_with_end<A, R, F, G>(self, initial: A, f: F, end: G) -> Pipeline<Scanned<C, A, F, G>>
    where
        F: FnMut(&mut A, C::Output) -> Option<R> + Send,
        G: FnMut(A) -> Option<R> + Send,
        A: Send,
        R: Send,
        C: Chain<Output: Send, Error: Send>,
    {
        self.cross(Scan::new(initial, f, end), None)
    }
}

impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Adds a stage as [`scan`](Self::scan) does, which makes any number of outputs of an item, and may end the run
    /// with some.
    ///
    /// `f` is given the state, the next item, and a function that takes the outputs. If it breaks, the run ends behind
    /// these outputs as if the source had ended here. `end` is called as in [`scan_with_end`](Self::scan_with_end).
    ///
    /// # Examples
    ///
    /// The words of lines, up to the first full stop, with the last one:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use brigade::{CancellationToken, Cancelled, Pipeline};
    ///
    /// let sentence: Vec<String> = Pipeline::from_data(["one two", "three. Four", "five"])
    ///     .flat_scan(
    ///         0,
    ///         |count, line, emit| {
    ///             let (words, is_last) = line.split_once('.').map_or((line, false), |(words, _)| (words, true));
    ///             for word in words.split(' ') {
    ///                 *count += 1;
    ///                 emit(word.to_owned());
    ///             }
    ///             if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    ///         },
    ///         |count, emit| emit(format!("({count} words)")),
    ///     )
    ///     .collect(&CancellationToken::new())?;
    /// assert_eq!(sentence, ["one", "two", "three", "(3 words)"]);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn flat_scan<A, R, F, G>(self, initial: A, f: F, end: G) -> Pipeline<Crossed<C, FlatScan<A, R, F, G>>>
    where
        F: FnMut(&mut A, C::Output, &mut dyn FnMut(R)) -> ControlFlow<()> + Send,
        G: FnMut(A, &mut dyn FnMut(R)) + Send,
        A: Send,
        R: Send,
    {
        self.cross(FlatScan { scan: Scan::new(initial, f, end), outputs: PhantomData }, None)
    }
}

/// Made by [`Pipeline::flat_scan`](super::Pipeline::flat_scan).
#[doc(hidden)]
pub struct FlatScan<A, R, F, G> {
    scan: Scan<A, F, G>,
    outputs: PhantomData<fn() -> R>,
}

impl<T, A, R, F, G> Serial<T> for FlatScan<A, R, F, G>
where
    F: FnMut(&mut A, T, &mut dyn FnMut(R)) -> ControlFlow<()>,
    G: FnMut(A, &mut dyn FnMut(R)),
{
    type Output = R;

    fn take(&mut self, item: T, mut emit: impl FnMut(R)) -> ControlFlow<()> {
        let Scan { state: Some(state), f, .. } = &mut self.scan else { return ControlFlow::Break(()) };
        (f.get_mut())(state.get_mut(), item, &mut emit)
    }

    fn finish(&mut self, mut emit: impl FnMut(R)) {
        if let Some(state) = self.scan.state.take() {
            (self.scan.end.get_mut())(state.into_inner(), &mut emit);
        }
    }
}

impl<A, R, F, G> fmt::Debug for FlatScan<A, R, F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlatScan").finish_non_exhaustive()
    }
}

/// Made by [`Pipeline::scan`](super::Pipeline::scan) and its kind.
#[doc(hidden)]
pub struct Scan<A, F, G> {
    /// Empty behind the end.
    state: Option<Guarded<A>>,
    f: Guarded<F>,
    end: Guarded<G>,
}

impl<A, F, G> Scan<A, F, G> {
    fn new(initial: A, f: F, end: G) -> Self {
        Scan { state: Some(Guarded::new(initial)), f: Guarded::new(f), end: Guarded::new(end) }
    }
}

impl<T, A, R, F, G> Serial<T> for Scan<A, F, G>
where
    F: FnMut(&mut A, T) -> Option<R>,
    G: FnMut(A) -> Option<R>,
{
    type Output = R;

    fn take(&mut self, item: T, mut emit: impl FnMut(R)) -> ControlFlow<()> {
        let output = self.state.as_mut().and_then(|state| (self.f.get_mut())(state.get_mut(), item));
        if let Some(output) = output {
            emit(output);
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }

    fn finish(&mut self, emit: impl FnMut(R)) {
        let state = self.state.take().map(Guarded::into_inner);
        state.and_then(|state| (self.end.get_mut())(state)).into_iter().for_each(emit);
    }
}

impl<A, F, G> fmt::Debug for Scan<A, F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}
