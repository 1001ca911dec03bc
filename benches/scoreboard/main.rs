//! The scoreboard: what brigade claims of its speed, each claim measured beside its peer in one run.
//!
//! `cargo bench --all-features --bench scoreboard -- [GROUP [WORDS]] [--check]` prints a line a claim: of all groups,
//! of one, or of one group the claims with these words in their names. Ours and the peer take turns, so that a machine
//! whose speed drifts slows both; the ratio is the median of the turns' ratios, and the spread beside it their
//! quartiles. CPU time over wall time stands beside, because code that spins looks fast. With `--check` the exit status
//! is 1 if a claim falls short of its target.

mod board;
mod bounds;
mod cancel;
mod hand_made;
#[cfg(all(unix, feature = "io"))]
mod io;
mod limit;
mod lines;
mod par;
mod pipeline;
mod pool;
mod scope;
mod sections;
mod threads;
mod words;
mod work;

use std::process::ExitCode;

use board::Board;

/// The groups of claims; each has at least one claim.
const GROUPS: &[&str] = &[
    "bounds",
    "cancel",
    #[cfg(all(unix, feature = "io"))]
    "io",
    "limit",
    "pipeline",
    "lines",
    "sections",
    "threads",
    "scope",
    "par",
    "pool",
];

/// How many threads the parallel claims run on.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let (mut group, mut words) = (None, None);
    let mut check = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo passes this one to every bench.
            "--bench" => {}
            "--check" => check = true,
            name if group.is_none() && GROUPS.contains(&name) => group = Some(name.to_owned()),
            other if group.is_some() && words.is_none() && !other.starts_with('-') => words = Some(other.to_owned()),
            other => {
                eprintln!("scoreboard: {other}: no such group or option; groups are {}", GROUPS.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("nothing has used the pool yet");

    let mut board = Board::new(GROUPS, group, words);
    bounds::claims(&mut board);
    cancel::claims(&mut board);
    #[cfg(all(unix, feature = "io"))]
    io::claims(&mut board);
    limit::claims(&mut board);
    pipeline::claims(&mut board);
    lines::claims(&mut board);
    words::claims(&mut board);
    sections::claims(&mut board);
    threads::claims(&mut board);
    scope::claims(&mut board);
    par::claims(&mut board);
    pool::claims(&mut board);
    let claimless = board.claimless();
    if !claimless.is_empty() {
        eprintln!("scoreboard: no claim in {}: take the group out of GROUPS, or measure it", claimless.join(", "));
        return ExitCode::from(2);
    }
    if board.is_empty() {
        eprintln!("scoreboard: no claim of the group has these words in its name");
        return ExitCode::from(2);
    }
    if board.close() || !check { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
