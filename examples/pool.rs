//! The core of a server that takes work over time: it accepts, is asked how far a job is, and stops in good order.

use std::time::Duration;

use brigade::pool::{Close, Jobs};
use brigade::{CancellationToken, PoolBuilder};

fn main() -> anyhow::Result<()> {
    let token = CancellationToken::new();
    let pool = PoolBuilder::new(2).queue(16).named("count").start(&token);
    let jobs = Jobs::new(1_000).keep_for(Duration::from_secs(3_600));

    // Clients ask for work, and get a number each.
    let mut ids = Vec::new();
    for limit in [10_u64, 100, 1_000] {
        let name = format!("primes up to {limit}");
        let job = jobs.submit(pool.named(name), &token, move |job| {
            let mut primes = 0;
            for number in 2..=limit {
                job.token().check()?;
                job.progress(number, limit);
                primes += u64::from((2..number).all(|factor| number % factor != 0));
            }
            anyhow::Ok(primes)
        })?;
        ids.push(job.id());
    }

    // Later they come back with it.
    let mut counts = Vec::new();
    for id in ids {
        let job = jobs.get(id).expect("it is kept for an hour");
        counts.push(job.wait(&token)?);
        println!("{} {}: {} of {}", job.name(), job.status(), job.progress().done, job.progress().total);
    }
    assert_eq!(counts, [4, 25, 168]);

    // What is pending is still worked, for ten seconds at most.
    let account = pool.close(&token, Close::Drain, Duration::from_secs(10))?;
    assert_eq!((account.accepted, account.jobs.completed), (3, 3));
    println!("{account:?}");
    Ok(())
}

#[test]
fn it_runs_as_it_asserts() -> anyhow::Result<()> {
    main()
}
