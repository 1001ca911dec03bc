//! Crossbeam's channels, with calls that observe a [`CancellationToken`](crate::CancellationToken).
//!
//! [`receiver.until(&token)`](Until::until) and `sender.until(&token)` are views of the channel's ends, with the calls
//! of the ends themselves. A blocking call of a view returns when the token is cancelled, woken by notification. If
//! there is a message at the same time, the cancel wins. A `try_` call never waits, and so does not look at the token:
//! use it to drain the messages that are left after a cancel.
//!
//! | | receiving | sending |
//! |---|---|---|
//! | blocks | [`recv`](ReceiverUntil::recv), [`iter`](ReceiverUntil::iter), [`recv_many`](ReceiverUntil::recv_many) | [`send`](SenderUntil::send), [`send_all`](SenderUntil::send_all) |
//! | blocks, up to a time | [`recv_timeout`](ReceiverUntil::recv_timeout), [`recv_deadline`](ReceiverUntil::recv_deadline) | [`send_timeout`](SenderUntil::send_timeout), [`send_deadline`](SenderUntil::send_deadline) |
//! | never blocks | [`try_recv`](ReceiverUntil::try_recv), [`try_iter`](ReceiverUntil::try_iter) | [`try_send`](SenderUntil::try_send) |
//!
//! The views are two references. Make one where you need it, or once before a loop. [`merge`] receives from several
//! channels in one iterator.
//!
//! Do not block on a channel inside a rayon job, such as the closure of [`par_map`](crate::par_map): the pool has one
//! thread less meanwhile, and may be waiting for that job.
//!
//! # How a channel closes
//!
//! No call closes a channel: it is disconnected when the last sender, or the last receiver, has been dropped. The
//! receivers still get the messages that were sent before. So move a sender into each task that sends, and keep none:
//! if a loop over a receiver does not end, a sender is still held. A message that means "the end" is not needed. In a
//! full channel it would wait for the very receiver that is to be told.
//!
//! A task that fails drops its ends of channels, and the task at the other end may notice that before the failure is
//! known. So for a sender, a channel without receivers is rarely an error of its own: the sender has nothing left to
//! do, and the receivers' own failure says why. If the token has been cancelled already, the call reports the cancel.
//!
//! The type tells which way a channel goes: a function that takes a `&Sender<T>` sends.
//!
//! # Examples
//!
//! A worker pool by hand, fan-out and fan-in: one task sends jobs, two tasks work, the caller receives. If one task
//! fails, the scope's token stops the others in any call of these. (A [`Pipeline`](crate::Pipeline) does this in one
//! line, in order, and faster.)
//!
//! ```
//! use brigade::{CancellationToken, Until, scope};
//! use crossbeam::channel::bounded;
//!
//! let squares = scope(&CancellationToken::new(), |s| {
//!     let (jobs, todo) = bounded::<u64>(16);
//!     let (results, done) = bounded::<u64>(16);
//!     s.named("feed").spawn(move |s| match jobs.until(s.token()).send_all(1..=100) {
//!         // If the workers are gone, they have failed, and the scope reports their error.
//!         Err(error) if !error.is_disconnected() => Err(error.into()),
//!         _ => Ok(()),
//!     })?;
//!     for _ in 0..2 {
//!         let (todo, results) = (todo.clone(), results.clone());
//!         s.named("work").spawn(move |s| {
//!             for job in todo.until(s.token()) {
//!                 let job = job?;
//!                 results.until(s.token()).send(job * job)?;
//!             }
//!             Ok(())
//!         })?;
//!     }
//!     // The workers have their own ends, so the sum is complete when they have ended.
//!     drop((todo, results));
//!     done.until(s.token()).iter().sum::<Result<u64, _>>().map_err(anyhow::Error::from)
//! })?;
//! assert_eq!(squares, 338_350);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! One result, sent once: a channel of capacity 1, whose sender never waits.
//!
//! ```
//! use std::time::Duration;
//! use brigade::{CancellationToken, Until, scope};
//! use crossbeam::channel::bounded;
//!
//! let token = CancellationToken::new();
//! let answer = scope(&token, |s| {
//!     let (sender, receiver) = bounded(1);
//!     s.spawn(move |_| {
//!         sender.try_send(6 * 7)?;
//!         Ok(())
//!     })?;
//!     match receiver.until(s.token()).recv_timeout(Duration::from_secs(60)) {
//!         Ok(answer) => Ok(Some(answer)),
//!         // No answer came, in time or at all.
//!         Err(error) if error.is_timeout() || error.is_disconnected() => Ok(None),
//!         Err(error) => Err(anyhow::Error::from(error)),
//!     }
//! })?;
//! assert_eq!(answer, Some(42));
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Several channels of different types: crossbeam's own `select_biased!`, with [`done`](crate::CancellationToken::done)
//! as the first arm. Several of one type: [`merge`].
//!
//! ```
//! use brigade::{CancellationToken, Cancelled};
//! use crossbeam::channel::{Receiver, select_biased, unbounded};
//!
//! enum Event {
//!     Line(String),
//!     Size(u64),
//!     End,
//! }
//!
//! fn next(token: &CancellationToken, lines: &Receiver<String>, sizes: &Receiver<u64>) -> Result<Event, Cancelled> {
//!     select_biased! {
//!         recv(token.done()) -> _ => Err(token.check().unwrap_err()),
//!         recv(lines) -> line => Ok(line.map_or(Event::End, Event::Line)),
//!         recv(sizes) -> size => Ok(size.map_or(Event::End, Event::Size)),
//!     }
//! }
//!
//! let (send_line, lines) = unbounded();
//! let (_send_size, sizes) = unbounded();
//! let token = CancellationToken::new();
//! send_line.send("one".to_owned())?;
//! assert!(matches!(next(&token, &lines, &sizes), Ok(Event::Line(line)) if line == "one"));
//! token.cancel();
//! assert!(next(&token, &lines, &sizes).is_err());
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Costs
//!
//! A send and a receive cost as much as crossbeam's own, or less. A call that has to fall asleep registers at two
//! places instead of one. A `select!` on both sides would cost more than twice as much.
//!
//! A call looks at the channel for some microseconds before it sleeps, as crossbeam itself does, because a blocked
//! `select` costs more than a blocked `recv`, and both cost much more than finding a message. After its first look it
//! pauses, for a reason that `src/channel/pause.rs` tells. Then it selects, with the cancel as the first arm. The
//! `select` receives the message itself: two calls that only waited until a channel of capacity 0 is ready would never
//! meet.

mod error;
mod merge;
mod pause;
mod receiver;
mod sender;
mod until;

pub use error::{RecvError, SendError};
pub use merge::{Merge, merge};
pub use receiver::{ReceiverUntil, RecvIter, TryRecvIter};
pub use sender::SenderUntil;
pub use until::Until;
