//! A service of three components that stops in good order: a producer, a pipeline, and a consumer.
//!
//! ```text
//! service [--every MS] [--grace MS]
//! ```
//!
//! At each tick the producer makes a job, the pipeline works it, and the consumer counts. SIGUSR1 asks for a report.
//! SIGTERM, SIGINT and SIGHUP stop the producer alone: the jobs that it has made are still worked and counted, and the
//! service ends with status 0.
//!
//! If that takes longer than three quarters of the grace, the service fails, which cancels the components. Each that
//! only waits for another one ends then. So the grace names the one that is slow, and the main thread, which joins it,
//! and the process dies by the signal.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use brigade::limit::Ticker;
use brigade::signal::{self, SIGUSR1, SignalBuilder};
use brigade::{CancellationToken, Pipeline, Until, scope};
use clap::Parser;
use crossbeam::channel::{Receiver, Sender, bounded, select};

/// Counts the prime factors of the natural numbers, one a tick.
#[derive(Parser)]
#[command(name = "service", version)]
struct Args {
    /// The time between two jobs, in milliseconds
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = milliseconds)]
    every: Duration,

    /// How long the service may take to stop, in milliseconds
    #[arg(long, value_name = "MS", default_value = "5000", value_parser = milliseconds)]
    grace: Duration,

    /// Have the consumer hang at this job, to see the grace end the service
    #[arg(long, value_name = "JOB")]
    hang_at: Option<u64>,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// A number, and how many prime factors it has.
struct Counted {
    number: u64,
    factors: u32,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let token = CancellationToken::new();
    let guard = SignalBuilder::new().forward([SIGUSR1]).grace(args.grace).install(&token)?;
    Ok(signal::exit(&token, serve(&args, &token, guard.forwarded())))
}

/// Runs the components until `stop` is cancelled and all is drained, or one of them fails, which ends the others.
fn serve(args: &Args, stop: &CancellationToken, requests: &Receiver<i32>) -> anyhow::Result<()> {
    writeln!(io::stdout(), "started")?;
    // Full queues hold the producer back, so the memory is bounded.
    let (jobs, waiting) = bounded(16);
    let (counted, results) = bounded(16);
    // The consumer's end of this channel is dropped when all is drained, or a component has failed.
    let (draining, drained) = bounded::<()>(0);
    // The scope does not observe `stop`, because a signal ends the producer alone.
    scope(&CancellationToken::never(), |s| {
        s.named("producer").spawn(move |s| {
            produce(args.every, &CancellationToken::any_of([stop, s.token()]), &jobs);
            Ok(())
        })?;
        s.named("pipeline").spawn(move |s| work(s.token(), waiting, &counted))?;
        s.named("consumer").spawn(move |s| {
            let _draining = draining;
            consume(s.token(), &results, requests, args.hang_at)
        })?;
        CancellationToken::any_of([stop, s.token()]).wait();
        match drained.until(s.token()).recv_timeout(args.grace * 3 / 4) {
            Err(error) if error.is_timeout() => anyhow::bail!("not drained in time"),
            _ => Ok(()),
        }
    })
}

/// Makes a job a tick. The drop of the channel's end tells the pipeline that there are no more.
fn produce(every: Duration, stop: &CancellationToken, jobs: &Sender<u64>) {
    let mut ticker = Ticker::new(every);
    for number in 1.. {
        // Both waits end at the stop, and the second also if the pipeline has failed.
        if ticker.tick(stop).is_err() || jobs.until(stop).send(number).is_err() {
            break;
        }
    }
}

fn work(token: &CancellationToken, jobs: Receiver<u64>, counted: &Sender<Counted>) -> anyhow::Result<()> {
    Pipeline::from_receiver(jobs)
        .map(|number| Counted { number, factors: prime_factors(number) })
        .try_for_each(token, |result| Ok(counted.until(token).send(result)?))
}

fn prime_factors(mut number: u64) -> u32 {
    let mut factors = 0;
    let mut prime = 2;
    while prime * prime <= number {
        if number % prime == 0 {
            number /= prime;
            factors += 1;
        } else {
            prime += 1;
        }
    }
    factors + u32::from(number > 1)
}

fn consume(
    token: &CancellationToken,
    results: &Receiver<Counted>,
    requests: &Receiver<i32>,
    hang_at: Option<u64>,
) -> anyhow::Result<()> {
    let (done, mut minute) = (token.done(), Ticker::new(Duration::from_secs(60)));
    let (mut jobs, mut factors) = (0_u64, 0_u64);
    // The reports are for a person, who may have gone, and a terminal may have hung up. The work goes on without them.
    let report = |what: &str, jobs, factors| {
        let _ = writeln!(io::stdout(), "{what}: {jobs} jobs, {factors} factors");
    };
    loop {
        select! {
            recv(results) -> result => {
                // All is drained.
                let Ok(Counted { number, factors: more }) = result else { break };
                if hang_at == Some(number) {
                    CancellationToken::never().wait();
                }
                jobs += 1;
                factors += u64::from(more);
            }
            recv(requests) -> _ => report("so far", jobs, factors),
            recv(minute.due()) -> _ => {
                minute.advance();
                report("so far", jobs, factors);
            }
            // Another component has failed.
            recv(done) -> _ => return Ok(token.check()?),
        }
    }
    report("stopped", jobs, factors);
    Ok(())
}
