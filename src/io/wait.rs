//! [`Wait`]: waiting for a descriptor and a token at once.
//!
//! `poll(2)` waits for two descriptors, the caller's and the bell. When the token is cancelled, its callback writes to
//! the bell, and that ends the `poll`: no thread looks at the clock, and no signal interrupts a call. The bell is an
//! `eventfd` on Linux, which is one descriptor, and elsewhere a socket pair of std's, which is two. Both close on
//! `exec`. A view that never has to wait makes none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    /// To be polled: readable once the token is cancelled.
    ours: Arc<OwnedFd>,
    _ringer: CancelCallback,
    /// Kept, because without it `ours` would be at its end, if no callback was registered.
    _theirs: Arc<OwnedFd>,
}

impl Bell {
    fn new(token: &CancellationToken) -> io::Result<Self> {
        let (ours, theirs) = ends()?;
        let ringer = token.wake_on_cancel({
            // With its own end open, the write raises no SIGPIPE, however late it comes.
            let ends = (Arc::clone(&ours), Arc::clone(&theirs));
            move || {
                // An empty bell has room for one write, so it does not fail.
                let _ = rustix::io::write(&ends.1, &1_u64.to_ne_bytes());
            }
        });
        Ok(Bell { ours, _ringer: ringer, _theirs: theirs })
    }
}

/// The end of a bell to be polled, and the one to be written to.
#[cfg(target_os = "linux")]
fn ends() -> io::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    use rustix::event::{EventfdFlags, eventfd};
    let both = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    Ok((Arc::clone(&both), both))
}

#[cfg(not(target_os = "linux"))]
fn ends() -> io::Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    Ok((Arc::new(ours.into()), Arc::new(theirs.into())))
}

impl Wait {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        Wait { token: token.clone(), bell: None }
    }

    /// The same, with the bell made already: no wait needs a descriptor.
    pub(super) fn with_bell(token: &CancellationToken) -> io::Result<Self> {
        Ok(Wait { token: token.clone(), bell: Some(Bell::new(token)?) })
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
