//! [`Scan`]: the serial stage with a state.

use std::fmt;
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
