//! The ends that may end well before the last output: `for_each_until`, `any`, `all`, `find`.

use std::convert::Infallible;
use std::ops::ControlFlow;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::stop::{Refused, Stop};
use super::cancellation;
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

/// How a closure ends a run: well or by an error.
enum Broken<B, E> {
    Well(B),
    Failed(E),
}

/// Ends that may end well before the last output. The source may be endless. A `next()` of the source that is under way
/// is waited for; see [Blocking sources](Pipeline#blocking-sources).
impl<C: Chain<Error: Send>> Pipeline<C> {
    /// Runs the pipeline and calls `f` with each output, on the calling thread, until it breaks off, which is no error.
    ///
    /// Returns the value that `f` broke off with, or `Continue` if the source has ended.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// The error of an item before the output at which `f` breaks off; [`Cancelled`], converted, if `token` was
    /// cancelled before.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or `f`.
    ///
    /// # Examples
    ///
    /// Prints squares until there is no more room:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let mut page = String::new();
    /// let left_out = Pipeline::from_iter(1_u64..).map(|number| number * number).for_each_until(
    ///     &CancellationToken::new(),
    ///     |square| {
    ///         let word = format!("{square} ");
    ///         if page.len() + word.len() > 10 {
    ///             return ControlFlow::Break(square);
    ///         }
    ///         page += &word;
    ///         ControlFlow::Continue(())
    ///     },
    /// )?;
    /// assert_eq!((page.as_str(), left_out), ("1 4 9 16 ", ControlFlow::Break(25)));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn for_each_until<B, F>(self, token: &CancellationToken, mut f: F) -> Result<ControlFlow<B>, C::Error>
    where
        F: FnMut(C::Output) -> ControlFlow<B>,
        C: Chain<Output: Send, Error: FromError<Cancelled>>,
    {
        self.break_off(token, move |output| match f(output) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(value) => Err(Broken::Well(value)),
        })
        .map_err(|stop: Stop<_, Infallible>| match stop {
            Stop::Cancelled => cancellation(token).into(),
            Stop::Stage(error) => error,
            Stop::Sink(never) => match never {},
        })
    }

    /// Runs the pipeline as [`for_each_until`](Self::for_each_until) does, with a closure that can also fail.
    ///
    /// # Errors
    ///
    /// As for [`try_for_each`](Self::try_for_each).
    ///
    /// # Examples
    ///
    /// A page that is full ends the run well. So does a reader of the output that has gone away, as `head` does, with
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    ///
    /// ```
    /// use std::io::{self, ErrorKind, Write};
    /// use std::ops::ControlFlow;
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let mut page = [b' '; 6];
    /// let mut room = &mut page[..];
    /// let ended = Pipeline::from_iter(10..).map(|number| format!("{number} ")).try_for_each_until(
    ///     &CancellationToken::new(),
    ///     |word| match room.write_all(word.as_bytes()) {
    ///         Err(error) if error.kind() == ErrorKind::WriteZero => Ok(ControlFlow::Break(word)),
    ///         written => written.map(ControlFlow::Continue),
    ///     },
    /// )?;
    /// assert_eq!((ended, &page), (ControlFlow::Break("12 ".to_owned()), b"10 11 "));
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn try_for_each_until<B, E, F>(self, token: &CancellationToken, mut f: F) -> Result<ControlFlow<B>, E>
    where
        F: FnMut(C::Output) -> Result<ControlFlow<B>, E>,
        E: FromError<C::Error> + FromError<Cancelled>,
        C: Chain<Output: Send>,
    {
        self.break_off(token, move |output| match f(output) {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(value)) => Err(Broken::Well(value)),
            Err(error) => Err(Broken::Failed(error)),
        })
        .map_err(|stop| super::error(stop, token))
    }

    /// Runs the pipeline until `f` is true of an output, and tells whether it was for any.
    ///
    /// `f` runs in parallel, as a stage.
    ///
    /// # Errors
    ///
    /// As for [`first`](Self::first).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let words = Pipeline::from_data(["a", "few", "words"]);
    /// assert!(words.any(&CancellationToken::new(), |word| word.len() > 4)?);
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn any<F>(self, token: &CancellationToken, f: F) -> Result<bool, C::Error>
    where
        F: Fn(C::Output) -> bool + Sync,
        C::Error: FromError<Cancelled>,
    {
        self.filter_map(move |output| f(output).then_some(())).first(token).map(|first| first.is_some())
    }

    /// Runs the pipeline until `f` is false of an output, and tells whether it was true of all.
    ///
    /// `f` runs in parallel, as a stage.
    ///
    /// # Errors
    ///
    /// As for [`first`](Self::first).
    pub fn all<F>(self, token: &CancellationToken, f: F) -> Result<bool, C::Error>
    where
        F: Fn(C::Output) -> bool + Sync,
        C::Error: FromError<Cancelled>,
    {
        self.any(token, move |output| !f(output)).map(|is_any_not| !is_any_not)
    }

    /// Runs the pipeline until `f` is true of an output, and returns that.
    ///
    /// `f` runs in parallel, as a stage.
    ///
    /// # Errors
    ///
    /// As for [`first`](Self::first).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let digit_sum = |number: &u64| number.to_string().bytes().map(|digit| u64::from(digit - b'0')).sum::<u64>();
    /// let found = Pipeline::from_ready(1_u64..).find(&CancellationToken::new(), |number| digit_sum(number) == 20)?;
    /// assert_eq!(found, Some(299));
    /// # Ok::<(), brigade::Cancelled>(())
    /// ```
    pub fn find<F>(self, token: &CancellationToken, f: F) -> Result<Option<C::Output>, C::Error>
    where
        F: Fn(&C::Output) -> bool + Sync,
        C: Chain<Output: Send, Error: FromError<Cancelled>>,
    {
        self.filter(f).first(token)
    }

    fn break_off<B, E, F>(self, token: &CancellationToken, mut f: F) -> Result<ControlFlow<B>, Stop<C::Error, E>>
    where
        F: FnMut(C::Output) -> Result<(), Broken<B, E>>,
        C: Chain<Output: Send>,
    {
        match self.run(token, (), move |(), output| f(output).map_err(Refused::Failed)) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(Stop::Sink(Broken::Well(value))) => Ok(ControlFlow::Break(value)),
            Err(Stop::Sink(Broken::Failed(error))) => Err(Stop::Sink(error)),
            Err(Stop::Stage(error)) => Err(Stop::Stage(error)),
            Err(Stop::Cancelled) => Err(Stop::Cancelled),
        }
    }
}
