//! The end that sends the outputs through a channel: `send_to`.

use crossbeam::channel::Sender;

use super::super::Pipeline;
use super::super::chain::Chain;
use super::super::stop::{Refused, Stop};
use super::cancellation;
use crate::channel::Until;
use crate::error::{Cancelled, FromError};
use crate::panic;
use crate::token::CancellationToken;

/// Outputs for a channel.
impl<C: Chain<Output: Send, Error: FromError<Cancelled> + Send>> Pipeline<C> {
    /// Runs the pipeline and sends its outputs, waiting for room; returns how many were sent.
    ///
    /// The run ends well, too, when every receiver is gone: then nothing is wanted any more. It notices that at its
    /// next output, because a channel does not tell a sender that sends nothing. The sender stays the caller's, so drop
    /// it where the receiver is to see the end.
    ///
    /// Two pipelines with a channel between them end together in a [scope](crate::scope()). Errors do not cross a
    /// channel: the scope cancels the other pipeline, and outputs on their way are lost. Where they must not be, send
    /// `Result`s, by [`keep_going`](Self::keep_going). See the [recipes](crate::pipeline#recipes).
    ///
    /// # Cancellation
    ///
    /// Notices between items, and while it waits for room.
    ///
    /// # Errors
    ///
    /// As for [`for_each`](Self::for_each).
    ///
    /// # Panics
    ///
    /// Resumes a panic of the source or a stage.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{CancellationToken, Cancelled, Pipeline, scope};
    /// use crossbeam::channel::bounded;
    ///
    /// let (sender, receiver) = bounded(4);
    /// let sum = scope(&CancellationToken::new(), |s| {
    ///     s.spawn(move |s| Pipeline::from_iter(1..).map(|number| number * 10).send_to(s.token(), &sender))?;
    ///     // The receiver is gone after three, and the first pipeline ends.
    ///     Pipeline::from_receiver(receiver).take(3).sum::<u64>(s.token())
    /// })?;
    /// assert_eq!(sum, 60);
    /// # Ok::<(), Cancelled>(())
    /// ```
    pub fn send_to(self, token: &CancellationToken, sender: &Sender<C::Output>) -> Result<usize, C::Error> {
        let mut sent = 0;
        let sender = sender.until(token);
        let ended = self.run(token, (), |(), output| match sender.send(output) {
            Ok(()) => {
                sent += 1;
                Ok(())
            }
            Err(error) => {
                let refused = if error.is_disconnected() { Refused::Failed(()) } else { Refused::Cancelled };
                panic::discard(error);
                Err(refused)
            }
        });
        match ended {
            Ok(()) | Err(Stop::Sink(())) => Ok(sent),
            Err(Stop::Stage(error)) => Err(error),
            Err(Stop::Cancelled) => Err(cancellation(token).into()),
        }
    }
}
