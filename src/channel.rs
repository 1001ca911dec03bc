//! [`Until`]: crossbeam's channels, with calls that observe a token.

mod error;
mod merge;
mod receiver;
mod sender;

use std::hint;

use crossbeam::channel::{Receiver, Sender};

use crate::token::CancellationToken;

pub use error::{RecvError, SendError};
pub use merge::{Merge, merge};
pub use receiver::{ReceiverUntil, RecvIter, TryRecvIter};
pub use sender::SenderUntil;

/// Crossbeam's channels, with calls that observe a [`CancellationToken`].
///
/// `receiver.until(&token)` and `sender.until(&token)` are views of the channel's ends that have the calls of the ends
/// themselves. A blocking call of a view returns when the token is cancelled, woken by notification, and if there is
/// something to receive at the same time the cancellation wins. A `try_` call never waits, and so does not look at the
/// token: with it a worker drains what is left after a cancellation.
///
/// Inside a rayon job, such as the closure of [`par_map`](crate::par_map), do not block on a channel: the pool has one
/// thread less meanwhile, and may be waiting for you.
///
/// | | receiving | sending |
/// |---|---|---|
/// | blocks | [`recv`](ReceiverUntil::recv), [`iter`](ReceiverUntil::iter), [`recv_many`](ReceiverUntil::recv_many) | [`send`](SenderUntil::send), [`send_all`](SenderUntil::send_all) |
/// | blocks, up to a time | [`recv_timeout`](ReceiverUntil::recv_timeout), [`recv_deadline`](ReceiverUntil::recv_deadline) | [`send_timeout`](SenderUntil::send_timeout), [`send_deadline`](SenderUntil::send_deadline) |
/// | never blocks | [`try_recv`](ReceiverUntil::try_recv), [`try_iter`](ReceiverUntil::try_iter) | [`try_send`](SenderUntil::try_send) |
///
/// The views are two references. Make one where it is needed, or once before a loop.
///
/// # Who closes
///
/// Nobody: a channel is disconnected when the last sender, or the last receiver, has been dropped. A receiver gets what was
/// sent before that. So move a sender into each task that sends, and keep none: where a loop over a receiver does not end,
/// somebody still holds a sender. A message that means "the end" is not needed, and would wait in a full channel for the
/// receiver that is to be told.
///
/// A task that fails drops its ends of channels, and whoever is at the other end may hear of that before anybody hears of
/// the failure. So to a sender, that the receivers are gone is rarely an error of its own: it has nothing left to do, and
/// they will tell why. If the token has been cancelled already, the cancellation is what is reported.
///
/// Which way a channel goes is told by the type: a function that takes a `&Sender<T>` sends.
///
/// # Examples
///
/// A worker pool by hand, fan-out and fan-in: one task sends jobs, two work, the caller receives. Where one fails, the
/// scope's token stops the others, whatever they are blocked in. (A [`Pipeline`](crate::Pipeline) is this in one line, in
/// order, and faster.)
///
/// ```
/// use brigade::{CancellationToken, Until, scope};
/// use crossbeam::channel::bounded;
///
/// let squares = scope(&CancellationToken::new(), |s| {
///     let (jobs, todo) = bounded::<u64>(16);
///     let (results, done) = bounded::<u64>(16);
///     s.named("feed").spawn(move |s| match jobs.until(s.token()).send_all(1..=100) {
///         // Should the workers be gone, they have failed, and it is for them to say.
///         Err(error) if !error.is_disconnected() => Err(error.into()),
///         _ => Ok(()),
///     })?;
///     for _ in 0..2 {
///         let (todo, results) = (todo.clone(), results.clone());
///         s.named("work").spawn(move |s| {
///             for job in todo.until(s.token()) {
///                 let job = job?;
///                 results.until(s.token()).send(job * job)?;
///             }
///             Ok(())
///         })?;
///     }
///     // The workers have theirs: the loop below ends when they have ended.
///     drop((todo, results));
///     done.until(s.token()).iter().sum::<Result<u64, _>>().map_err(anyhow::Error::from)
/// })?;
/// assert_eq!(squares, 338_350);
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// One result, handed over once: a channel of capacity 1, whose sender never waits.
///
/// ```
/// use std::time::Duration;
/// use brigade::{CancellationToken, Until, scope};
/// use crossbeam::channel::bounded;
///
/// let token = CancellationToken::new();
/// let answer = scope(&token, |s| {
///     let (sender, receiver) = bounded(1);
///     s.spawn(move |_| {
///         sender.try_send(6 * 7)?;
///         Ok(())
///     })?;
///     match receiver.until(s.token()).recv_timeout(Duration::from_secs(60)) {
///         Ok(answer) => Ok(Some(answer)),
///         // Nobody answered, in time or at all.
///         Err(error) if error.is_timeout() || error.is_disconnected() => Ok(None),
///         Err(error) => Err(anyhow::Error::from(error)),
///     }
/// })?;
/// assert_eq!(answer, Some(42));
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// Several channels of different types: crossbeam's own `select_biased!`, with [`done`](CancellationToken::done) as the
/// first arm. Several of one type: [`merge`].
///
/// ```
/// use brigade::{CancellationToken, Cancelled};
/// use crossbeam::channel::{Receiver, select_biased, unbounded};
///
/// enum Event {
///     Line(String),
///     Size(u64),
///     End,
/// }
///
/// fn next(token: &CancellationToken, lines: &Receiver<String>, sizes: &Receiver<u64>) -> Result<Event, Cancelled> {
///     select_biased! {
///         recv(token.done()) -> _ => Err(token.check().unwrap_err()),
///         recv(lines) -> line => Ok(line.map_or(Event::End, Event::Line)),
///         recv(sizes) -> size => Ok(size.map_or(Event::End, Event::Size)),
///     }
/// }
///
/// let (send_line, lines) = unbounded();
/// let (_send_size, sizes) = unbounded();
/// let token = CancellationToken::new();
/// send_line.send("one".to_owned())?;
/// assert!(matches!(next(&token, &lines, &sizes), Ok(Event::Line(line)) if line == "one"));
/// token.cancel();
/// assert!(next(&token, &lines, &sizes).is_err());
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// # Costs
///
/// A send and a receive cost what crossbeam's own do, or less; where a call has to fall asleep, it registers at two places
/// instead of one. `select!` on both sides would cost more than twice as much.
pub trait Until: sealed::Sealed {
    /// What has the calls that observe the token.
    type View<'a>
    where
        Self: 'a;

    /// Returns this end of the channel with calls that observe `token`.
    fn until<'a>(&'a self, token: &'a CancellationToken) -> Self::View<'a>;
}

impl<T> Until for Receiver<T> {
    type View<'a>
        = ReceiverUntil<'a, T>
    where
        T: 'a;

    fn until<'a>(&'a self, token: &'a CancellationToken) -> ReceiverUntil<'a, T> {
        ReceiverUntil::new(self, token)
    }
}

impl<T> Until for Sender<T> {
    type View<'a>
        = SenderUntil<'a, T>
    where
        T: 'a;

    fn until<'a>(&'a self, token: &'a CancellationToken) -> SenderUntil<'a, T> {
        SenderUntil::new(self, token)
    }
}

mod sealed {
    use super::{Receiver, Sender};

    pub trait Sealed {}
    impl<T> Sealed for Receiver<T> {}
    impl<T> Sealed for Sender<T> {}
}

/// Looks away for less than a microsecond, when the channel was found empty, or full.
///
/// Who looks again at once takes the channel's memory away from the other end for each message, and both get slow: two
/// threads pass messages through 1024 places in 24 ns each with this pause, in 60 ns without, and crossbeam's own calls
/// take 36 ns.
fn pause() {
    for _ in 0..16 {
        hint::spin_loop();
    }
}
