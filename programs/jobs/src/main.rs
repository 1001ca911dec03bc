//! `jobs`, a job server over HTTP. The README tells how it is used.

use std::net::TcpListener;
use std::num::ParseFloatError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use brigade::signal::{self, SignalBuilder};
use brigade::{CancellationToken, Semaphore};
use clap::Parser;
use jobs::http::Limits;
use jobs::{Options, Settings, run};

/// How long a program that does not end in good order is waited for, beyond its own two graces.
const MARGIN: Duration = Duration::from_secs(5);

/// Runs jobs that clients send over HTTP: hashes, compression, counts of primes.
#[derive(Parser)]
#[command(name = "jobs", version)]
struct Args {
    /// The address to listen at; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,

    /// Keep the jobs in this folder, so that they survive the process
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Go on with a damaged journal, without the jobs behind the damage; the file is kept
    #[arg(long, requires = "state")]
    repair: bool,

    /// The threads that run jobs; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,

    /// The jobs that may wait
    #[arg(long, value_name = "JOBS", default_value_t = 1_000)]
    queue: usize,

    /// The bytes of the jobs that wait or run
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = permits)]
    queue_bytes: usize,

    /// The bytes of the bodies that are read or answered at once; 1 MiB at least
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = at_least_a_body)]
    body_bytes: usize,

    /// The ended jobs that are kept
    #[arg(long, value_name = "JOBS", default_value_t = 10_000)]
    keep: usize,

    /// The bytes of the results that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    keep_bytes: usize,

    /// The jobs a second that one client may send, with twice as many at once; 0 is no limit
    #[arg(long, value_name = "JOBS", default_value_t = 100)]
    rate: u32,

    /// The connections that may be open
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    connections: usize,

    /// The seconds in which a request must have come
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    request_timeout: Duration,

    /// The seconds after which an idle connection is closed
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle_timeout: Duration,

    /// The seconds in which the jobs must have ended after SIGTERM, and the responses after them
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    grace: Duration,

    /// Write a line for each request to the standard error
    #[arg(long)]
    access_log: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error: ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time.is_zero() { Err("more than 0, because no request comes in no time".to_owned()) } else { Ok(time) }
}

fn at_least_a_body(text: &str) -> Result<usize, String> {
    let (bytes, least) = (permits(text)?, Limits::default().body);
    if bytes < least { Err(format!("at least {least}, the most that a body has")) } else { Ok(bytes) }
}

/// Reads the size of a semaphore.
fn permits(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().map_err(|error| error.to_string())?;
    let most = Semaphore::MAX_PERMITS;
    if number > most { Err(format!("at most {most}")) } else { Ok(number) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().map_err(|error| error.to_string())?;
    if number == 0 { Err("at least 1".to_owned()) } else { Ok(number) }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let cores = available_parallelism().map_or(1, usize::from);
    let options = Options {
        state: args.state,
        repairs: args.repair,
        settings: Settings {
            workers: if args.workers == 0 { cores } else { args.workers },
            queue: args.queue,
            queue_bytes: args.queue_bytes,
            keep: args.keep,
            keep_bytes: args.keep_bytes,
            rate: (args.rate > 0).then(|| (args.rate, args.rate.saturating_mul(2))),
        },
        limits: Limits {
            bodies: args.body_bytes,
            connections: args.connections,
            request: args.request_timeout,
            idle: args.idle_timeout,
            ..Limits::default()
        },
        grace: args.grace,
        access_log: args.access_log,
    };
    let listener = TcpListener::bind(&args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
    let closing = CancellationToken::new();
    let grace = args.grace.saturating_mul(2).saturating_add(MARGIN);
    let _guard = SignalBuilder::new().grace(grace).install(&closing)?;
    Ok(signal::exit(&closing, run(&options, &listener, &closing)))
}
