//! [`Watcher`]: the thread of a guard, which waits for signals.
//!
//! The handlers only mark the signal and ring, and this thread acts: a handler may not lock, allocate or cancel. It
//! must always be there for the next signal, so it cancels on another thread, whose callbacks may take as long as they
//! want.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::default_action;
use crate::error::CancelReason;
use crate::panic;
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// Signals that come within this time of the first are the same request.
const SAME_REQUEST: Duration = Duration::from_millis(250);

/// If the watcher looks later than it meant to by this time, the process was stopped or starved meanwhile.
const LATE: Duration = Duration::from_millis(50);

/// How long the watcher waits if the system cannot wait for it.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest write, in bytes, that a pipe with room takes without waiting: the least that a system may set
/// `PIPE_BUF` to.
const WHOLE_WRITE: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// The name of a guard's thread.
pub(super) const NAME: &str = "brigade-signal";

pub(super) struct Watcher {
    pub(super) token: CancellationToken,
    pub(super) grace: Duration,
    /// Signals to be passed on, and where to.
    pub(super) forward: (Vec<i32>, Sender<i32>),
    pub(super) delivery: Delivery,
    pub(super) stop: Stop,
}

type Delivery = SignalDelivery<UnixStream, SignalOnly>;

/// Ends a [`Watcher`].
///
/// The registry of signals keeps the watcher's handlers for as long as a handle exists. So the only handle that lasts
/// stands where the watcher can take it away.
#[derive(Clone)]
pub(super) struct Stop(Arc<Mutex<Option<Handle>>>);

impl Stop {
    pub(super) fn stop(&self) {
        if let Some(handle) = &*self.0.lock() {
            handle.close();
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.lock().as_ref().is_none_or(Handle::is_closed)
    }
}

impl Watcher {
    pub(super) fn new(
        token: &CancellationToken,
        grace: Duration,
        signals: &[i32],
        forward: (Vec<i32>, Sender<i32>),
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(ours, theirs, SignalOnly, signals)?;
        let stop = Stop(Arc::new(Mutex::new(Some(delivery.handle()))));
        Ok(Watcher { token: token.clone(), grace, forward, delivery, stop })
    }

    /// Waits for signals until it is stopped, and acts on each that came before.
    pub(super) fn run(self) {
        let Watcher { token, grace, forward: (forwarded, sender), mut delivery, stop } = self;
        thread::scope(|scope| {
            let mut canceller = None;
            let mut first: Option<Request> = None;
            let mut act = |signal, first: &mut Option<Request>| {
                if forwarded.contains(&signal) {
                    // A full channel has as many requests as the program can want.
                    let _ = sender.try_send(signal);
                    return;
                }
                let Some(first) = first else {
                    *first = Some(Request::new(signal, grace));
                    let token = &token;
                    let cancel = move || {
                        token.cancel_with(CancelReason::Signal(signal));
                    };
                    let spec = Spec { name: "brigade-cancel", index: 0, stack: None };
                    match thread::spawn(scope, spec, cancel) {
                        Ok(thread) => canceller = Some(thread),
                        // No second thread: then the next signal waits for the callbacks.
                        Err(_) => panic::discard(panic::catch(cancel)),
                    }
                    return;
                };
                if first.same_until.is_none() {
                    default_action::take(signal);
                }
            };
            while !stop.is_stopped() {
                wait(&delivery, first.as_ref().and_then(Request::next_look));
                if stop.is_stopped() {
                    break;
                }
                let now = Instant::now();
                delivery.pending().for_each(|signal| act(signal, &mut first));
                let Some(first) = &mut first else { continue };
                first.has_looked(now);
                if first.end.is_some_and(|end| now >= end) {
                    complain(first.signal, grace);
                    default_action::die(first.signal);
                }
            }
            // A signal that came while the guard lived has marked itself, or its handler still runs. The last handle
            // unregisters the handlers, which waits for those that run.
            let last = delivery.pending();
            drop(delivery);
            drop(stop.0.lock().take());
            last.for_each(|signal| act(signal, &mut first));
            // As at a deadline, no caller is there to resume a callback's panic in, and the hook has shown it.
            if let Some(Err(payload)) = canceller.map(thread::join) {
                panic::discard(payload);
            }
        });
    }
}

/// The first signal, and what follows from it.
struct Request {
    signal: i32,
    /// Until when further signals are the same request. `None` when that is over.
    ///
    /// The system does not say when a signal came, and the watcher may come to it late. So the time is over at a look
    /// and not by the clock: what this look finds still counts as the same request. After a look that was late it
    /// starts anew, because the handlers of signals that came meanwhile may still have to run.
    same_until: Option<Instant>,
    /// The end of the grace.
    end: Option<Instant>,
}

impl Request {
    fn new(signal: i32, grace: Duration) -> Self {
        let now = Instant::now();
        Request { signal, same_until: Some(now + SAME_REQUEST), end: now.checked_add(grace) }
    }

    fn next_look(&self) -> Option<Instant> {
        self.same_until.into_iter().chain(self.end).min()
    }

    /// Takes note of a look at the signals that began at `now`.
    fn has_looked(&mut self, now: Instant) {
        let late = self.same_until.and_then(|until| now.checked_duration_since(until));
        if let Some(late) = late {
            self.same_until = (late > LATE).then(|| now + SAME_REQUEST);
        }
    }
}

/// Waits for a signal, for the watcher to be stopped, or until `end`.
fn wait(delivery: &Delivery, end: Option<Instant>) {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    let mut fds = [PollFd::new(delivery.get_read(), PollFlags::IN)];
    let looks = match poll(&mut fds, timeout.as_ref()) {
        // An interrupted call is a look at the signals too early.
        Err(error) => error == Errno::INTR,
        Ok(ready) => ready == 0 || fds[0].revents().contains(PollFlags::IN),
    };
    if !looks {
        // The system is short of something, or the program has closed our descriptor. The handlers mark the signals in
        // memory, so the watcher looks by the clock.
        let _ = CancellationToken::never().wait_timeout(PAUSE);
    }
}

/// Says which threads still run, if the standard error takes the line at once.
///
/// A thread that is stuck in `eprintln!` on a full pipe, and holds the lock, is what the grace is for. So this takes no
/// lock, and writes only where there is room.
fn complain(signal: i32, grace: Duration) {
    let mut line = format!("still running {grace:?} after signal {signal}");
    let names = threads();
    for (at, name) in names.iter().enumerate() {
        if line.len() + 64 > WHOLE_WRITE {
            let _ = write!(line, ", and {} more", names.len() - at);
            break;
        }
        let _ = write!(line, "{} {name}", if at == 0 { ":" } else { "," });
    }
    line.push('\n');
    // Neither `write` nor `flush` of `Stderr`, which wait for a thread that holds the lock.
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT) {
        let _ = rustix::io::write(&stderr, line.as_bytes());
    }
}

/// The names of the threads that the program has to answer for, where the system tells them.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut names: Vec<String> = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name != NAME && name != "brigade-clock")
        .collect();
    names.sort();
    names
}
