//! [`run`] and [`wait`]: a child process that a token ends.
//!
//! The caller waits for the child's end at a descriptor, so that `poll` waits for the token too: the one of
//! `pidfd_open`, or where the system has none, one end of a socket pair that a thread closes when `waitid` returns.
//! Both leave the dead child in the system's table. So the number of the process, which is that of the group, cannot
//! come to mean another one before the child is waited for. After that the system keeps the number as long as the group
//! has members, and the group gets a signal only if a look has just found some.

#[cfg(target_os = "linux")]
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, kill_process, kill_process_group, test_kill_process_group, waitid,
};

use super::wait::Wait;
use crate::thread::{self, Spec};
use crate::token::CancellationToken;

/// Runs a command to its end: [`Command::status`], ended by a token.
///
/// The child gets a process group of its own, so that its own children end with it. In a terminal such a group is in
/// the background: Ctrl-C does not reach it but by the token, and a child that reads from the terminal is stopped by
/// the system. So give it [no input](std::process::Stdio::null), or a pipe.
///
/// To read the child's output meanwhile, start it yourself, and [`wait`] for it.
///
/// # Cancellation
///
/// The token is checked before the child is started. A cancel sends SIGTERM to the group, and SIGCONT, so that
/// stopped processes act on it. The call returns when no process of the group runs. If some still run when `grace` has
/// passed, SIGKILL ends them. So when this returns, the child has ended, and its group gets no more time.
///
/// The system does not tell when the last process of a group ends. So while others of the group outlive the child, the
/// call looks for them by the clock: after 1 ms first, then less and less often, up to 50 ms apart.
///
/// If the child ends before a cancel, the call returns at once. Processes that the child has left running in its group
/// go on, as those of a shell's `x &` do, and get no signal from this call.
///
/// # The end of the program
///
/// The group gets its signals from this call only. If the program dies before this call returns, by a signal or in
/// `process::exit`, the group goes on without it. With a guard of the module `signal` that happens at a second signal,
/// and when the guard's grace has passed, which is 5 s by default. So choose a `grace` that is shorter than the guard's
/// by a second or more: at most 4 s for a guard of 5 s.
///
/// Linux can signal a child at the death of its parent (`PR_SET_PDEATHSIG`), but a parent cannot ask for it without
/// `unsafe`. `setpriv --pdeathsig TERM` of util-linux in front of the command asks for it. It reaches the child alone,
/// not its group, and it also acts when the thread that started the child ends.
///
/// # Errors
///
/// [`Cancelled`](crate::Cancelled) as an [`io::Error`] if the token was cancelled before the child had ended, even if
/// the child then ended well. The error of the system if the command cannot be started, or if the system refuses the
/// descriptors for the wait; then the group is killed at once.
///
/// # Examples
///
/// ```
/// use std::process::Command;
/// use std::time::Duration;
/// use brigade::{CancellationToken, io};
///
/// let token = CancellationToken::new().child_with_timeout(Duration::from_millis(10));
/// let error = io::run(Command::new("sleep").arg("3600"), &token, Duration::from_secs(1)).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
pub fn run(command: &mut Command, token: &CancellationToken, grace: Duration) -> io::Result<ExitStatus> {
    token.check()?;
    let mut child = command.process_group(0).spawn()?;
    wait(&mut child, token, grace)
}

/// Waits for a child process: [`Child::wait`], ended by a token, which ends the child.
///
/// The signals go to the child's process group if it has one of its own, by
/// [`process_group(0)`](std::os::unix::process::CommandExt::process_group), otherwise to the child alone. The child's
/// input is closed first, if the program has not taken it.
///
/// # Cancellation
///
/// As in [`run`]. The child does not outlive this call. If the token is cancelled already when the call begins, the
/// child's group gets the signals even if the child itself has ended, unless the child has been waited for.
///
/// # Errors
///
/// As in [`run`], and also if the token is cancelled already when the call begins. For a child that has been waited
/// for, the call returns the status again.
///
/// # Examples
///
/// The output of a child through a pipeline:
///
/// ```
/// use std::os::unix::process::CommandExt;
/// use std::process::{Command, Stdio};
/// use std::time::Duration;
/// use brigade::io::{self, Input};
/// use brigade::{CancellationToken, Pipeline, scope};
///
/// let token = CancellationToken::new();
/// let mut child = Command::new("seq").arg("1000").process_group(0).stdout(Stdio::piped()).spawn()?;
/// let output = Input::new(child.stdout.take().expect("piped"));
/// let sum = scope(&token, |s| {
///     // If the pipeline fails, the scope's token ends the child.
///     let child = s.named("seq").spawn(move |s| Ok(io::wait(&mut child, s.token(), Duration::from_secs(1))?))?;
///     let sum = Pipeline::from_lines(output)
///         .try_map(|line| Ok::<u64, anyhow::Error>(line?.parse()?))
///         .fold(s.token(), 0, |sum, number| sum + number)?;
///     anyhow::ensure!(child.join()?.success(), "seq failed");
///     Ok(sum)
/// })?;
/// assert_eq!(sum, 500_500);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn wait(child: &mut Child, token: &CancellationToken, grace: Duration) -> io::Result<ExitStatus> {
    drop(child.stdin.take());
    if !token.is_cancelled() {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
    }
    let family = Family::of(child);
    if family.was_waited_for() {
        return child.wait();
    }
    match end_of(family.child) {
        Ok(end) => family.watch(child, end, token, grace),
        Err(_) => thread::scope(|scope| {
            let waiter = UnixStream::pair().and_then(|(ours, theirs)| {
                let spec = Spec { name: "brigade-child", index: 0, stack: None };
                thread::spawn(scope, spec, move || wait_until_dead(family.child, theirs)).map(|waiter| (ours, waiter))
            });
            match waiter {
                Ok((end, waiter)) => {
                    let status = family.watch(child, end, token, grace);
                    drop(thread::join(waiter));
                    status
                }
                Err(error) => {
                    family.kill(Signal::KILL);
                    child.wait()?;
                    Err(error)
                }
            }
        }),
    }
}

/// A descriptor that becomes readable when the process has ended.
#[cfg(target_os = "linux")]
fn end_of(child: Pid) -> Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(child, PidfdFlags::empty())
}

#[cfg(not(target_os = "linux"))]
fn end_of(_child: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Waits until the child has ended, leaves it to be waited for, and closes `end`.
fn wait_until_dead(child: Pid, end: UnixStream) {
    while let Err(Errno::INTR) = waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    drop(end);
}

/// How long the first pause between two looks for members of a group is, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A child, and the processes that get its signals.
#[derive(Clone, Copy)]
struct Family {
    child: Pid,
    is_group: bool,
}

impl Family {
    fn of(child: &Child) -> Self {
        let child = Pid::from_child(child);
        Family { child, is_group: getpgid(Some(child)) == Ok(child) }
    }

    fn kill(self, signal: Signal) {
        // It fails if all have ended, or if they belong to another user by now.
        let _ = if self.is_group { kill_process_group(self.child, signal) } else { kill_process(self.child, signal) };
    }

    /// Whether the child is no child any more, because the program has waited for it.
    fn was_waited_for(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.child), options).is_err_and(|error| error == Errno::CHILD)
    }

    /// Waits for the child's end, or ends it and its group if the token is cancelled or waiting fails.
    fn watch(
        self,
        child: &mut Child,
        end: impl AsFd,
        token: &CancellationToken,
        grace: Duration,
    ) -> io::Result<ExitStatus> {
        let Err(error) = Wait::new(token).ready(&end, PollFlags::IN) else { return child.wait() };
        let deadline = Instant::now().checked_add(grace);
        self.kill(Signal::TERM);
        self.kill(Signal::CONT);
        let never = CancellationToken::never();
        // An error is as the deadline: SIGKILL is next.
        if let Ok(true) = Wait::new(&never).ready_before(&end, PollFlags::IN, deadline) {
            child.wait()?;
            if !self.is_group || self.ends_before(deadline) {
                return Err(error);
            }
        }
        self.kill(Signal::KILL);
        child.wait()?;
        Err(error)
    }

    /// Waits until no process of the group runs; returns false at the deadline.
    ///
    /// The child has been waited for: else it would count as a member.
    fn ends_before(self, deadline: Option<Instant>) -> bool {
        let never = CancellationToken::never();
        let (mut pause, longest) = PAUSES;
        while test_kill_process_group(self.child).is_ok() && !only_dead_are_left_of(self.child) {
            let left = deadline.map_or(longest, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            // No call waits for this: a group has no descriptor, and its members are not children of this process.
            let _ = never.sleep(pause.min(left));
            pause = (pause * 2).min(longest);
        }
        true
    }
}

/// Whether a group has members, all of which have ended, and wait for a parent to take note.
///
/// A child's orphans go to the first process of the system or of the container, and some of these take note of none.
#[cfg(target_os = "linux")]
fn only_dead_are_left_of(group: Pid) -> bool {
    let group = group.to_string();
    let stats = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|process| {
        let stat = fs::read(process.path().join("stat")).ok()?;
        // The name in parentheses comes before, and can be anything.
        String::from_utf8_lossy(&stat).rsplit_once(") ").map(|(_, rest)| rest.to_owned())
    });
    let mut states = stats.filter_map(|stat| {
        let mut fields = stat.split(' ');
        let (state, _parent, of) = (fields.next()?.to_owned(), fields.next()?, fields.next()?);
        (of == group).then_some(state)
    });
    // If the process sees no member, it cannot tell.
    states.next().is_some_and(|first| states.chain([first]).all(|state| matches!(&*state, "Z" | "X")))
}

#[cfg(not(target_os = "linux"))]
fn only_dead_are_left_of(_group: Pid) -> bool {
    false
}
