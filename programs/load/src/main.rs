//! How many requests a second the job server answers, beside its bare hello and that of oxhttp.
//!
//! ```text
//! cargo run --release -- [CONNECTIONS] [REQUESTS] [ROUNDS]
//! ```
//!
//! Server and clients share one process and its cores, so the ratios count, not the numbers. The rounds take turns; the
//! median of each figure is printed, and how large the process is after each round.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use brigade::{CancellationToken, scope};
use jobs::http::{Client, Limits, Phases, Request, Response, Server};
use jobs::{Options, Settings, run};

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
const JOB: &str = r#"{"kind":"hash","text":"a small job"}"#;

/// What one round of a scenario has shown.
#[derive(Clone, Copy)]
struct Figures {
    a_second: f64,
    median: Duration,
    ninety_nine: Duration,
}

struct Scenario {
    name: &'static str,
    address: SocketAddr,
    request: String,
    status: &'static str,
    rounds: Vec<Figures>,
}

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let mut number = |default| numbers.next().transpose().map(|number| number.unwrap_or(default));
    let (connections, requests, rounds) = (number(8)?, number(100_000)?, number(5)?);
    let state = tempfile::tempdir()?;
    let closing = CancellationToken::new();
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let [hello, memory, disk, peer] = listeners.map(|listener| listener.expect("a free port"));
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
    let post = format!("POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{JOB}", JOB.len());
    let get = "GET /jobs?most=1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let of = |name, listener: &TcpListener, request: &str, status| {
        let (address, request) = (address(listener), request.to_owned());
        Scenario { name, address, request, status, rounds: Vec::new() }
    };
    let peer_address = address(&peer);
    drop(peer);
    let mut scenarios = [
        of("bare hello", &hello, HELLO, "200"),
        of("POST /jobs", &memory, &post, "202"),
        of("GET /jobs?most=1", &memory, &get, "200"),
        of("POST /jobs, --state", &disk, &post, "202"),
        Scenario {
            name: "hello of oxhttp",
            address: peer_address,
            request: HELLO.to_owned(),
            status: "200",
            rounds: Vec::new(),
        },
    ];
    // It cannot be stopped: it ends with the process.
    let _peer = oxhttp::Server::new(|_| {
        oxhttp::model::Response::builder().body(oxhttp::model::Body::from("hello")).expect("a response")
    })
    .bind((Ipv4Addr::LOCALHOST, peer_address.port()))
    .spawn()?;

    let (small, large) = (options(None), options(Some(state.path().to_owned())));
    let bare = Server::new(|_: &Request, _: &Client<'_>| Response::new(200, "text/plain", "hello"), Limits::default());
    scope(&CancellationToken::new(), |s| {
        let ends = closing.drop_guard();
        let phases = Phases { closing: closing.clone(), stop: closing.clone() };
        s.spawn(|_| Ok(bare.serve(&hello, phases, Duration::from_secs(5))?))?;
        s.spawn(|_| run(&small, &memory, &closing))?;
        s.spawn(|_| run(&large, &disk, &closing))?;
        let mut resident_after = Vec::new();
        for _ in 0..rounds {
            for scenario in &mut scenarios {
                // A sync of the disk takes its time.
                let requests = if scenario.name.ends_with("--state") { requests / 20 } else { requests };
                scenario.rounds.push(measure(scenario, connections, requests)?);
            }
            resident_after.push(resident()?);
        }
        tell(&mut scenarios, connections);
        println!("resident after each round, in KiB: {resident_after:?}");
        drop(ends);
        anyhow::Ok(())
    })
}

fn options(state: Option<std::path::PathBuf>) -> Options {
    let settings =
        Settings { workers: 2, queue: 100_000, queue_bytes: 1 << 30, keep: 10_000, keep_bytes: 64 << 20, rate: None };
    let grace = Duration::from_secs(30);
    Options { state, repairs: false, settings, limits: Limits::default(), grace, access_log: false }
}

/// Sends requests one after the other on each connection.
fn measure(scenario: &Scenario, connections: usize, requests: usize) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let mut times = scope(&CancellationToken::new(), |s| {
        let clients = (0..connections).map(|_| s.spawn(|_| client(scenario, requests / connections)));
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        let times = clients.into_iter().map(|client| Ok(client.join()?)).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::Ok(times.concat())
    })?;
    let took = started.elapsed();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let a_second = times.len() as f64 / took.as_secs_f64();
    Ok(Figures { a_second, median: times[times.len() / 2], ninety_nine: times[times.len() * 99 / 100] })
}

fn client(scenario: &Scenario, requests: usize) -> anyhow::Result<Vec<Duration>> {
    let stream = TcpStream::connect(scenario.address)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let started = Instant::now();
        stream.get_mut().write_all(scenario.request.as_bytes())?;
        line.clear();
        stream.read_line(&mut line)?;
        anyhow::ensure!(line.get(9..12) == Some(scenario.status), "{}: {line}", scenario.name);
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn tell(scenarios: &mut [Scenario], connections: usize) {
    println!("{connections} connections, a request at a time on each");
    let mut hello = 0.0;
    for Scenario { name, rounds, .. } in scenarios {
        rounds.sort_by(|a, b| a.a_second.total_cmp(&b.a_second));
        let a_second = rounds[rounds.len() / 2].a_second;
        rounds.sort_by_key(|round| round.median);
        let median = rounds[rounds.len() / 2].median;
        rounds.sort_by_key(|round| round.ninety_nine);
        let ninety_nine = rounds[rounds.len() / 2].ninety_nine;
        if hello == 0.0 {
            hello = a_second;
        }
        let ratio = a_second / hello;
        println!(
            "{name:<20} {a_second:>9.0}/s {ratio:>5.2}  median {median:>9.1?}  99th percentile {ninety_nine:>9.1?}"
        );
    }
}

/// The resident memory of this process, in KiB.
fn resident() -> anyhow::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?)
}
