//! [`OnIdle`]: a sink that is told when the calling thread is about to wait or to work.

use std::fmt;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::sink::{Keeps, Sink};
use super::super::stop::Refused;
use super::error;
use crate::error::{Cancelled, FromError};
use crate::token::CancellationToken;

/// A sink that is told of the end of a row of outputs.
impl<C: Chain<Output: Send, Error: Send>> Pipeline<C> {
    /// Adds a `sink`, such as a buffered writer, and a closure `f` that is given it at the end of each row of outputs.
    ///
    /// [`OnIdle::try_for_each`] runs the pipeline. On the calling thread `f` is called behind outputs, once, before
    /// this thread waits or takes items to work, and at the end of a run that ends well. So a buffered writer that is
    /// flushed there, and only there, holds no line back while the source waits or an item takes long, and makes no
    /// system call for each line. The writer need not flush by itself.
    ///
    /// On [one thread](Self::threads) the thread goes on with an item behind each output, and cannot know how long that
    /// takes. There `f` is called behind each output, until nine in a row have come within 20 µs of each other. Behind
    /// such quick ones it is called before the source may wait, and every 100 µs: so while a long item is worked, quick
    /// outputs of at most the last 100 µs are held back. Data, [`from_ready`](Self::from_ready) and the lines of a
    /// block never wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, BufWriter, Write};
    /// use brigade::{CancellationToken, Pipeline};
    ///
    /// let out = BufWriter::new(Vec::new());
    /// let out = Pipeline::from_text_lines(&b"one\ntwo\n"[..])
    ///     .try_map(|line| Ok::<_, io::Error>(line?.to_uppercase()))
    ///     .on_idle(out, |out| out.flush())
    ///     .try_for_each(&CancellationToken::new(), |out, line| writeln!(out, "{line}"))?;
    /// assert_eq!(out.get_ref(), b"ONE\nTWO\n");
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn on_idle<A, E, F>(self, sink: A, f: F) -> OnIdle<C, A, F>
    where
        F: FnMut(&mut A) -> Result<(), E>,
    {
        OnIdle { pipeline: self, sink, told: f }
    }
}

/// A pipeline, and a sink that is told when the calling thread is idle; see [`Pipeline::on_idle`].
#[must_use = "a pipeline does nothing until its end is called, such as `try_for_each`"]
pub struct OnIdle<C, A, F> {
    pipeline: Pipeline<C>,
    sink: A,
    told: F,
}

impl<C, A, F> OnIdle<C, A, F> {
    /// Runs the pipeline, calls `f` with the sink and each output, on the calling thread, until it fails, and returns
    /// the sink.
    ///
    /// # Cancellation
    ///
    /// Notices between items; see [`Pipeline`].
    ///
    /// # Errors
    ///
    /// As for [`Pipeline::try_for_each`]. An error of the closure of [`on_idle`](Pipeline::on_idle) is one of the sink.
    /// After an error the sink is dropped; a [`BufWriter`](std::io::BufWriter) flushes then.
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source, a stage or a closure.
    pub fn try_for_each<E, G>(self, token: &CancellationToken, f: G) -> Result<A, E>
    where
        F: FnMut(&mut A) -> Result<(), E>,
        G: FnMut(&mut A, C::Output) -> Result<(), E>,
        E: FromError<C::Error> + FromError<Cancelled>,
        C: Chain<Output: Send, Error: Send>,
    {
        let OnIdle { pipeline, sink, told } = self;
        pipeline.run_into(token, Telling { sink, f, told }).map_err(|stop| error(stop, token))
    }
}

impl<C: fmt::Debug, A, F> fmt::Debug for OnIdle<C, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnIdle").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

struct Telling<A, G, F> {
    sink: A,
    f: G,
    told: F,
}

impl<R, A, E, G, F> Sink<R> for Telling<A, G, F>
where
    G: FnMut(&mut A, R) -> Result<(), E>,
    F: FnMut(&mut A) -> Result<(), E>,
{
    type Error = E;

    const IS_TOLD: bool = true;

    fn take(&mut self, output: R) -> Result<(), Refused<E>> {
        (self.f)(&mut self.sink, output).map_err(Refused::Failed)
    }

    fn tell(&mut self) -> Result<(), Refused<E>> {
        (self.told)(&mut self.sink).map_err(Refused::Failed)
    }
}

impl<A, G, F> Keeps for Telling<A, G, F> {
    type State = A;

    fn into_parts(self) -> (A, impl Sized) {
        (self.sink, (self.f, self.told))
    }
}
