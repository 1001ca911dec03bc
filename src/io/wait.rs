//! [`Wait`]: waiting for a descriptor and a token at once.
//!
//! `poll(2)` waits for two descriptors, the caller's and one end of a socket pair, the bell. When the token is
//! cancelled, its callback shuts the other end down, and that rings: no thread looks at the clock, and no signal
//! interrupts a call. A socket pair is std's own, closes on `exec`, and is the same on every Unix. A view that never
//! has to wait makes none.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::token::{CancelCallback, CancellationToken};

/// A token, and the bell by which it ends a `poll`.
#[derive(Debug)]
pub(crate) struct Wait {
    token: CancellationToken,
    /// Made at the first wait.
    bell: Option<Bell>,
}

#[derive(Debug)]
struct Bell {
    ours: UnixStream,
    _ringer: CancelCallback,
    /// Kept so that it is open until the callback shuts it down, even if no callback was registered.
    _theirs: Arc<UnixStream>,
}

impl Bell {
    fn new(token: &CancellationToken) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = Arc::new(theirs);
        let ringer = token.wake_on_cancel({
            let theirs = Arc::clone(&theirs);
            move || {
                // It fails only if the pair is shut down already.
                let _ = theirs.shutdown(Shutdown::Both);
            }
        });
        Ok(Bell { ours, _ringer: ringer, _theirs: theirs })
    }
}

impl Wait {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        Wait { token: token.clone(), bell: None }
    }

    /// Returns an error if the token has been cancelled.
    pub(super) fn check(&self) -> io::Result<()> {
        Ok(self.token.check()?)
    }

    pub(super) fn pause(&self, pause: Duration) -> io::Result<()> {
        Ok(self.token.sleep(pause)?)
    }

    /// Waits until a call on `fd` would not block, or would fail at once.
    pub(super) fn ready(&mut self, fd: impl AsFd, events: PollFlags) -> io::Result<()> {
        self.ready_before(fd, events, None).map(drop)
    }

    /// The same, until `deadline` at most; returns whether `fd` is ready.
    pub(super) fn ready_before(
        &mut self,
        fd: impl AsFd,
        events: PollFlags,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        loop {
            self.check()?;
            let bell = match &mut self.bell {
                Some(bell) => bell,
                none => none.insert(Bell::new(&self.token)?),
            };
            let mut fds = [PollFd::new(&fd, events), PollFd::new(&bell.ours, PollFlags::IN)];
            let wake = [deadline, self.token.look_at()].into_iter().flatten().min();
            let timeout = wake.map(|wake| Timespec::try_from(wake.saturating_duration_since(Instant::now())));
            match poll(&mut fds, timeout.and_then(Result::ok).as_ref()) {
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(0) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
