//! Prints the SHA-256 of every file under some paths, or verifies such a list, as `sha256sum` does, on all cores.
//!
//! ```text
//! digest [-j N] PATH...
//! digest [-j N] -c LIST
//! ```
//!
//! It shows how to write a command-line tool with brigade: a source that walks or reads a list, one stage that hashes,
//! and a sink that prints in the order of the source. So the output is the same at any `-j`, and a file that cannot be
//! read costs one message and not the run. A run that ends early leaves whole lines behind, a prefix of the right
//! output.
//!
//! Paths are bytes and signals are Unix's, so this example is for Unix.
//!
//! Exit status: 0 if all files were read and match, 1 if one does not, 2 for a command line that makes no sense.

mod check;
mod hash;
mod list;
mod name;
mod tree;

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use brigade::CancellationToken;
use brigade::io::OutputUntil;
use brigade::signal::{self, SignalBuilder};
use clap::Parser;

/// How far the hashing may run ahead of the printing, in files.
///
/// The default window is a few batches, which is right for items that take about the same time. With it, one large file
/// at the head of a tree would stop the workers as soon as those batches are done. With this window they go on for
/// 32,768 files, and keep as many lines in memory: some 5 MB for names of the usual length.
const WINDOW: usize = 1 << 15;

/// A pipe takes a write of up to this many bytes (`PIPE_BUF` on Linux) whole or not at all.
const WHOLE_WRITE: usize = 4096;

/// How long a cancelled run may take.
///
/// A token ends the read of a pipe or terminal, and the write into one. It does not reach into the system where a FIFO
/// without a writer is opened.
const GRACE: Duration = Duration::from_secs(1);

/// How long a cancelled run waits for a reader that does not take the last lines.
const MOMENT: Duration = Duration::from_millis(100);

/// Prints the SHA-256 of every file under the paths, or verifies a list of them, on all cores.
#[derive(Parser)]
#[command(name = "digest", version)]
struct Args {
    /// How many threads to hash on [default: as many as there are cores]
    #[arg(short, value_name = "N", value_parser = jobs)]
    jobs: Option<usize>,

    /// Verify the checksums that LIST holds; `-` is the standard input
    #[arg(short, value_name = "LIST", conflicts_with = "paths")]
    check: Option<PathBuf>,

    /// Files, and directories to walk
    #[arg(value_name = "PATH", required_unless_present = "check")]
    paths: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Args { jobs, check, paths } = Args::parse();
    let jobs = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get));
    let token = CancellationToken::new();
    let guard = SignalBuilder::new().grace(GRACE).install(&token);
    let _guard = match guard {
        Ok(guard) => guard,
        Err(error) => {
            complain(format!("cannot watch for signals: {}", name::reason(&error)).as_bytes());
            return ExitCode::FAILURE;
        }
    };
    let run = match &check {
        Some(list) => check::check(list, jobs, &token),
        None => tree::print(paths, jobs, &token),
    };
    let code = match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A reader that has seen enough, such as `head`, is no reason for a complaint.
            if error.kind() != ErrorKind::BrokenPipe {
                complain(format!("write error: {}", name::reason(&error)).as_bytes());
            }
            ExitCode::FAILURE
        }
    };
    // A run that a signal has ended dies by it.
    signal::exit(&token, token.check().map(|()| code))
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("hashing needs a thread to run on; 1 is the least".to_owned()),
        Ok(jobs) => Ok(jobs),
        Err(_) => Err("not a number of threads".to_owned()),
    }
}

/// The output, which writes each line in one piece, so that each write to the file or pipe has whole lines. The token
/// ends a write into a full pipe. (Only a line that is longer than [`WHOLE_WRITE`] can be cut then.)
type Output<'a> = BufWriter<OutputUntil<'a, Stdout>>;

fn output<'a>(stdout: &'a mut brigade::io::Output<Stdout>, token: &CancellationToken) -> Output<'a> {
    // A person at a terminal wants to see each line at once.
    let capacity = if stdout.get_ref().is_terminal() { 0 } else { WHOLE_WRITE };
    BufWriter::with_capacity(capacity, stdout.until(token))
}

/// Writes the buffered lines, unless a write error has ended the run.
fn finish(mut output: Output<'_>, run: io::Result<()>, token: &CancellationToken) -> io::Result<()> {
    let run = run.and_then(|()| output.flush());
    if !token.is_cancelled() {
        return run;
    }
    // The lines that a cancelled run has printed are right too, but the token lets no write through now.
    let (_, lines) = output.into_parts();
    let moment = CancellationToken::new().child_with_timeout(MOMENT);
    match brigade::io::stdout().until(&moment).write_all(&lines.unwrap_or_default()) {
        Err(error) if error.kind() != ErrorKind::TimedOut => Err(error),
        _ => Ok(()),
    }
}

/// Writes a message to the standard error, in one piece; if that fails, the message is lost.
fn complain(message: &[u8]) {
    let line = [b"digest: ", message, b"\n"].concat();
    let _ = io::stderr().write_all(&line);
}
