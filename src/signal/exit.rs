//! [`exit`]: from a result to the end of the process.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{ExitCode, Termination};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGPIPE;

use super::default_action::die;
use crate::error::{CancelReason, Cancelled};
use crate::token::CancellationToken;

/// The exit status after a deadline, which is that of `timeout`.
const DEADLINE: u8 = 124;

/// Makes the end of the process of a result, for the last line of `main`: [`ExitBuilder`] with its defaults.
///
/// | the result | the end |
/// |---|---|
/// | `Ok` | what the value means to [`Termination`]: 0 for `()`, even after a signal, because the program has ended well |
/// | [`Cancelled`] by a signal | the process dies by that signal, silently, so that a shell ends its loop |
/// | [`Cancelled`] by a deadline | the error is printed, and the status is 124, as with `timeout` |
/// | a closed pipe, if it is the standard output | the process dies by SIGPIPE, silently, as `cat` does |
/// | another error | the error is printed, and the status is 1 |
///
/// Process 1, the first one of a container, cannot die by a signal on Linux. It exits with 128 and the signal's number.
///
/// An error is printed on the standard error in one line, behind the program's name, with all its sources. It may be
/// any type that makes a `Box<dyn Error + Send + Sync>`: [`std::io::Error`], `anyhow::Error`, an enum of yours.
/// `Cancelled` and a closed pipe count wherever they stand in its chain of sources.
///
/// Call it while the guard of the signals lives, so that its grace bounds the flush of the standard output.
#[must_use = "it is the value of `main`"]
pub fn exit<T, E>(token: &CancellationToken, result: Result<T, E>) -> ExitCode
where
    T: Termination,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    ExitBuilder::new().exit(token, result)
}

/// The options of [`exit`].
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until `exit` is called"]
pub struct ExitBuilder {
    closed_pipe: Option<ExitCode>,
}

impl ExitBuilder {
    /// The end of a closed pipe is a death by SIGPIPE.
    pub fn new() -> Self {
        ExitBuilder::default()
    }

    /// Sets the exit status for a closed standard output, in place of a death by SIGPIPE.
    pub fn closed_pipe(mut self, status: ExitCode) -> Self {
        self.closed_pipe = Some(status);
        self
    }

    /// Makes the end of the process of a result, as [`exit`](fn@exit) does.
    #[must_use = "it is the value of `main`"]
    pub fn exit<T, E>(self, token: &CancellationToken, result: Result<T, E>) -> ExitCode
    where
        T: Termination,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let error = match result {
            Ok(value) => return value.report(),
            Err(error) => error.into(),
        };
        match Cause::of(&*error, token) {
            Cause::Signal(number) => {
                // A process that dies by a signal does not flush.
                let _ = io::stdout().flush();
                die(number)
            }
            Cause::ClosedPipe => self.closed_pipe.unwrap_or_else(|| die(SIGPIPE)),
            Cause::Deadline => {
                complain(&*error);
                ExitCode::from(DEADLINE)
            }
            Cause::Other => {
                complain(&*error);
                ExitCode::FAILURE
            }
        }
    }
}

/// Why a program failed, as far as that decides how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Signal(i32),
    Deadline,
    ClosedPipe,
    Other,
}

impl Cause {
    /// Looks for the cause in the chain of sources, by the messages.
    ///
    /// The types would not do: `anyhow::Error`, a box made of one, a `transparent` variant and `io::Error` show the
    /// message of the error inside, and hide its type.
    fn of(error: &(dyn Error + 'static), token: &CancellationToken) -> Self {
        let mut known = vec![(Cancelled::new(CancelReason::Deadline).to_string(), Cause::Deadline)];
        if let Some(reason @ CancelReason::Signal(number)) = token.reason() {
            known.push((Cancelled::new(reason).to_string(), Cause::Signal(number)));
        }
        // Another pipe or socket may be closed as well, and that is an error like any other.
        if is_stdout_closed() {
            known.push((io::Error::from(ErrorKind::BrokenPipe).to_string(), Cause::ClosedPipe));
            let code = rustix::io::Errno::PIPE.raw_os_error();
            known.push((io::Error::from_raw_os_error(code).to_string(), Cause::ClosedPipe));
        }
        let mut links = chain(error).map(ToString::to_string);
        links
            .find_map(|message| known.iter().find(|(text, _)| *text == message).map(|(_, cause)| *cause))
            .unwrap_or(Cause::Other)
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// Tells whether the standard output is a pipe or socket whose other end is closed.
fn is_stdout_closed() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Prints the error and its sources in one line. If that fails, the message is lost.
fn complain(error: &(dyn Error + 'static)) {
    let program = env::args_os().next();
    let name = program.as_deref().and_then(|path| Path::new(path).file_name()).map(OsStr::to_string_lossy);
    let line = format!("{}: {}\n", name.unwrap_or("error".into()), full_message(error));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The messages of the error and its sources. A source that its owner's message is, or ends with behind a colon, is not
/// said twice.
fn full_message(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for message in chain(error).map(ToString::to_string) {
        if text.is_empty() {
            text = message;
            continue;
        }
        let before = text.strip_suffix(&*message);
        if !before.is_some_and(|before| before.is_empty() || before.ends_with(": ")) {
            text = format!("{text}: {message}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum ToolError {
        #[error(transparent)]
        Cancelled(#[from] Cancelled),
        #[error("cannot read the list: {0}")]
        Read(#[from] io::Error),
    }

    fn cancelled(reason: CancelReason) -> (CancellationToken, Cancelled) {
        let token = CancellationToken::new();
        token.cancel_with(reason);
        let error = token.check().unwrap_err();
        (token, error)
    }

    #[test]
    fn a_cancel_is_found_in_every_error_that_can_hold_it() {
        for (reason, cause) in
            [(CancelReason::Signal(15), Cause::Signal(15)), (CancelReason::Deadline, Cause::Deadline)]
        {
            let (token, error) = cancelled(reason);
            let errors: [Box<dyn Error + Send + Sync>; 7] = [
                error.into(),
                io::Error::from(error).into(),
                ToolError::from(error).into(),
                ToolError::from(io::Error::from(error)).into(),
                anyhow::Error::from(error).into(),
                anyhow::Error::from(ToolError::from(error)).context("while reading").into(),
                anyhow::Error::from(io::Error::from(error)).context("while reading").into(),
            ];
            for error in errors {
                assert_eq!(Cause::of(&*error, &token), cause, "{error:?}");
            }
        }
    }

    #[test]
    fn an_error_after_a_signal_is_an_error() {
        let (token, _) = cancelled(CancelReason::Signal(15));
        assert_eq!(Cause::of(&io::Error::other("disk full"), &token), Cause::Other);
        let (token, error) = cancelled(CancelReason::Requested);
        assert_eq!(Cause::of(&error, &token), Cause::Other);
    }

    #[test]
    fn a_source_is_said_once() {
        let error = anyhow::Error::from(ToolError::Read(io::Error::other("no such list"))).context("check");
        assert_eq!(full_message(&*error), "check: cannot read the list: no such list");
        assert_eq!(full_message(&io::Error::other("alone")), "alone");
        let error = anyhow::Error::from(io::Error::other("twice")).context("twice");
        assert_eq!(full_message(&*error), "twice");
    }

    #[test]
    fn a_source_that_is_a_part_of_a_word_is_said() {
        let error = anyhow::Error::from(io::Error::other("2")).context("exit code 12");
        assert_eq!(full_message(&*error), "exit code 12: 2");
    }
}
