//! [`run`]: the server from its start to its end.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brigade::pool::Account;
use brigade::{CancellationToken, scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::Api;
use crate::app::{App, Settings};
use crate::http::{Limits, Phases, Server};

/// How many descriptors a connection has at most: the socket, and two for each of the reader, the writer and a watch.
const DESCRIPTORS: u64 = 7;

/// How many descriptors the rest of the program has at most.
const OTHER_DESCRIPTORS: u64 = 32;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the state, for jobs that survive the process.
    pub state: Option<PathBuf>,
    /// Whether a state that is damaged is used, without what stands behind the damage.
    pub repairs: bool,
    /// How large everything may become.
    pub settings: Settings,
    /// What clients may do.
    pub limits: Limits,
    /// How long the jobs may take to end when the server closes, and the responses after them.
    pub grace: Duration,
    /// Whether each request is written to the standard error.
    pub access_log: bool,
}

/// Serves what connects to `listener` until `closing` is cancelled; then ends in good order.
///
/// The last thing is an account of all jobs on the standard error.
///
/// 1. `closing` is cancelled: new jobs are refused with 503, idle connections are closed, responses are the last of
///    their connections. Clients can still ask for their jobs.
/// 2. The pool drains, within the grace. Then pending jobs are skipped, and those that run are cancelled.
/// 3. No connection is accepted any more, and the responses under way are written, within another grace.
///
/// # Errors
///
/// If the state cannot be opened, or the listener fails.
pub fn run(options: &Options, listener: &TcpListener, closing: &CancellationToken) -> anyhow::Result<()> {
    let limits = Limits { connections: fit(options.limits.connections), ..options.limits };
    let app = App::open(&options.settings, options.state.as_deref(), options.repairs, closing)?;
    let app = Arc::new(app);
    let api = Arc::new(Api::new(Arc::clone(&app)));
    let server = Server::new(Arc::clone(&api), limits).access_log(options.access_log);
    let stats = server.stats();
    api.set_stats(Arc::clone(&stats));
    writeln!(io::stdout(), "listening at http://{}", listener.local_addr()?)?;

    let stop = CancellationToken::new();
    // The scope does not observe `closing`, which is only the first step of the end.
    let account = scope(&CancellationToken::never(), |s| {
        let phases = Phases { closing: closing.clone(), stop: stop.clone() };
        s.named("server").spawn(|_| Ok(server.serve(listener, phases, options.grace)?))?;
        s.named("resume").spawn(|_| app.resume())?;
        // Without the server or the restored jobs there is no reason to go on.
        CancellationToken::any_of([closing, s.token()]).wait();
        let account = app.close(options.grace);
        stop.cancel();
        account
    })?;
    tell(&account, stats.answered());
    Ok(())
}

fn tell(account: &Account, answered: u64) {
    let Account { accepted, refused, jobs, .. } = account;
    let mut line = format!("jobs: accepted {accepted}, refused {refused}");
    for status in brigade::pool::JobStatus::ALL.into_iter().filter(|status| status.has_ended()) {
        _ = write!(line, ", {status} {}", jobs[status]);
    }
    // A reader that is gone takes nothing from the good end.
    _ = writeln!(io::stderr(), "{line}; responses {answered}");
}

/// Raises the limit on descriptors if it has to; returns how many connections there can be, up to `connections`.
fn fit(connections: usize) -> usize {
    let wanted = (connections as u64).saturating_mul(DESCRIPTORS).saturating_add(OTHER_DESCRIPTORS);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let mut there = current.unwrap_or(wanted);
    if there < raised && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
        there = raised;
    }
    let fitting = there.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS;
    connections.min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1)
}
