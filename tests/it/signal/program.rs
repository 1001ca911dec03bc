//! The roles that this test binary plays in a process of its own.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::signal::{self, ExitBuilder, SIGHUP, SIGTERM, SIGUSR1, SignalBuilder};
use brigade::{CancellationToken, Pipeline, scope};
use signal_hook::low_level::raise;

use super::ROLE;

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Says a line on the standard error, where the test listens, in one write.
fn say(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn ready() {
    say(&format!("ready {}", std::process::id()));
}

fn wait_for_ever() -> ! {
    unreachable!("never is {}", CancellationToken::never().wait())
}

#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let token = CancellationToken::new();
    let roles = [ends, guards, signals_itself, results];
    let code = roles.into_iter().find_map(|play| play(&role, &token));
    let code = code.unwrap_or_else(|| panic!("{role} is no role"));
    // What `main` would do with it.
    let number = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap();
    std::process::exit(number.into());
}

/// Ways to end when a signal has come.
fn ends(role: &str, token: &CancellationToken) -> Option<ExitCode> {
    Some(match role {
        // A program that cleans up and says why it has ended.
        "ends" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            ready();
            token.wait();
            say("clean");
            signal::exit(token, token.check())
        }
        // A service for which a signal is the usual end.
        "drains" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            ready();
            token.wait();
            signal::exit(token, Ok::<_, io::Error>(()))
        }
        "works" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            ready();
            let ended = Pipeline::from_iter(0_u64..).threads(2).map(|number| number.pow(2)).for_each(token, drop);
            say("clean");
            signal::exit(token, ended)
        }
        #[cfg(feature = "io")]
        "squares" => {
            let _guard = SignalBuilder::new().grace(Duration::MAX).install(token).unwrap();
            ready();
            signal::exit(token, square(token))
        }
        "lingers" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            ready();
            token.wait();
            say("cancelled");
            wait_for_ever()
        }
        "lingers in a callback" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            token
                .on_cancel(|_| {
                    say("cancelled");
                    wait_for_ever()
                })
                .detach();
            ready();
            wait_for_ever()
        }
        "is stuck with the standard error locked" => {
            let _guard = SignalBuilder::new().grace(Duration::from_millis(300)).install(token).unwrap();
            let mut stderr = io::stderr().lock();
            writeln!(stderr, "ready {}", std::process::id()).unwrap();
            wait_for_ever()
        }
        "is stuck in a message" => {
            let _guard = SignalBuilder::new().grace(Duration::from_millis(300)).install(token).unwrap();
            ready();
            raise(SIGTERM).unwrap();
            loop {
                say("the test reads no more");
            }
        }
        "is stuck" => {
            let _guard = SignalBuilder::new().grace(Duration::from_millis(300)).install(token).unwrap();
            signal::exit(token, stuck(token))
        }
        _ => return None,
    })
}

/// Guards that come and go.
fn guards(role: &str, token: &CancellationToken) -> Option<ExitCode> {
    Some(match role {
        "was guarded" => {
            drop(signal::cancel_on_signals(token).unwrap());
            ready();
            token.sleep(Duration::from_secs(3600)).unwrap();
            unreachable!()
        }
        "has two guards" => {
            let first = signal::cancel_on_signals(token).unwrap();
            let other = CancellationToken::new();
            let second = SignalBuilder::new().cancel([SIGTERM]).install(&other).unwrap();
            ready();
            token.wait();
            other.wait();
            drop(first);
            let third = CancellationToken::new();
            let last = SignalBuilder::new().cancel([SIGTERM]).install(&third).unwrap();
            drop(second);
            say("the last is left");
            third.wait();
            drop(last);
            say("none is left");
            wait_for_ever()
        }
        "has guards that come and go" => {
            drop(signal::cancel_on_signals(token).unwrap());
            ready();
            while !token.is_cancelled() {
                drop(signal::cancel_on_signals(token).unwrap());
            }
            signal::exit(token, token.check())
        }
        "has a handler" => {
            // A handler of the program's own, from before.
            let count = Arc::new(AtomicUsize::new(0));
            signal_hook::flag::register_usize(SIGTERM, Arc::clone(&count), 7).unwrap();
            let guard = signal::cancel_on_signals(token).unwrap();
            ready();
            token.wait();
            assert_eq!(count.swap(0, Ordering::SeqCst), 7);
            drop(guard);
            say("unguarded");
            while count.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            say("handled");
            ExitCode::SUCCESS
        }
        "forwards" => {
            let guard = SignalBuilder::new().forward([SIGUSR1, SIGHUP]).install(token).unwrap();
            ready();
            for _ in 0..2 {
                say(&format!("got {}", guard.forwarded().recv().unwrap()));
            }
            token.wait();
            assert!(guard.forwarded().try_recv().is_err());
            signal::exit(token, token.check())
        }
        _ => return None,
    })
}

/// Signals that come from the process itself.
fn signals_itself(role: &str, token: &CancellationToken) -> Option<ExitCode> {
    let signal_itself = || raise(SIGTERM).unwrap();
    let guard = SignalBuilder::new().grace(Duration::MAX);
    Some(match role {
        "signals itself" => {
            let _guard = guard.install(token).unwrap();
            ready();
            signal_itself();
            token.wait();
            signal::exit(token, token.check())
        }
        "signals itself twice" => {
            let _guard = guard.install(token).unwrap();
            ready();
            signal_itself();
            token.wait();
            loop {
                CancellationToken::new().sleep(Duration::from_millis(300)).unwrap();
                signal_itself();
            }
        }
        "signals itself, and is stuck" => {
            let _guard = guard.grace(Duration::from_millis(100)).install(token).unwrap();
            ready();
            signal_itself();
            wait_for_ever()
        }
        "signals itself, and was guarded" => {
            drop(guard.install(token).unwrap());
            ready();
            signal_itself();
            unreachable!()
        }
        _ => return None,
    })
}

/// Results.
fn results(role: &str, token: &CancellationToken) -> Option<ExitCode> {
    Some(match role {
        "fails" => {
            ready();
            let error = io::Error::new(ErrorKind::NotFound, "no such list");
            signal::exit(token, Ended::Err(anyhow::Error::from(error).context("check").into()))
        }
        "fails after a signal" => {
            let _guard = signal::cancel_on_signals(token).unwrap();
            ready();
            token.wait();
            signal::exit(token, Err::<(), _>(anyhow::anyhow!("disk full")))
        }
        "is late" => {
            ready();
            let late = token.child_with_timeout(Duration::from_millis(1));
            signal::exit(token, late.sleep(Duration::from_secs(3600)))
        }
        "prints" => {
            ready();
            signal::exit(token, print())
        }
        "prints, and says how it ends" => {
            ready();
            ExitBuilder::new().closed_pipe(ExitCode::from(3)).exit(token, print())
        }
        "loses a peer" => {
            ready();
            let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(theirs);
            signal::exit(token, ours.write_all(b"x"))
        }
        _ => return None,
    })
}

fn stuck(token: &CancellationToken) -> Ended {
    scope(token, |s| {
        s.named("deaf").spawn(|_| -> Ended {
            ready();
            wait_for_ever()
        })?;
        Ok(())
    })
}

/// The program of the first page.
#[cfg(feature = "io")]
fn square(token: &CancellationToken) -> anyhow::Result<()> {
    use std::io::BufWriter;

    let mut output = brigade::io::stdout();
    let output = BufWriter::with_capacity(4096, output.until(token));
    Pipeline::from_lines(brigade::io::stdin())
        .try_map(|line| anyhow::Ok(line?.trim().parse::<u64>()?.pow(2)))
        .on_idle(output, |output| anyhow::Ok(output.flush()?))
        .try_for_each(token, |output, square| Ok(output.write_all(format!("{square}\n").as_bytes())?))?;
    Ok(())
}

/// Prints until the pipe is closed.
fn print() -> io::Result<()> {
    loop {
        io::stdout().write_all(b"line\n")?;
    }
}
