//! Slow clients, idle ones, too many, and the end of the server.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use brigade::CancellationToken;
use jobs::http::{Limits, Response};

use crate::harness::{response, rest, status, with_handler, with_server};
use crate::util::{alone, threads_but_the_clock, until, watched};

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn short() -> Limits {
    let moment = Duration::from_millis(300);
    Limits { request: moment, idle: moment, response: moment, ..Limits::default() }
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_timed_out_by_the_whole_request() {
    watched(|| {
        with_server(short(), |under| {
            for request in ["GET /a HTTP/1.1\r\nHost: ", "POST /a HTTP/1.0\r\nContent-Length: 1000\r\n\r\n"] {
                let started = Instant::now();
                let mut stream = under.connect();
                stream.write_all(request.as_bytes()).expect("it listens");
                // Each byte comes well before the limit; all of them do not.
                let pause = CancellationToken::never();
                while stream.write_all(b"x").is_ok() && started.elapsed() < Duration::from_millis(600) {
                    assert!(pause.wait_timeout(Duration::from_millis(20)).is_none());
                }
                assert_eq!(status(&rest(&mut stream)), 408);
                assert!(started.elapsed() >= Duration::from_millis(300));
            }
        });
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    watched(|| {
        with_server(short(), |under| {
            let mut silent = under.connect();
            let mut idle = under.connect();
            idle.write_all(HELLO).expect("it listens");
            assert_eq!(response(&mut idle).0, 200);
            assert_eq!((rest(&mut idle), rest(&mut silent)), (String::new(), String::new()));
        });
    });
}

#[test]
fn a_client_that_does_not_read_its_response_is_given_up() {
    watched(|| {
        let large = |_: &jobs::http::Request, _: &jobs::http::Client<'_>| {
            Response::new(200, "text/plain", vec![b'x'; 50_000_000])
        };
        with_handler(short(), large, |under| {
            let mut stream = under.connect();
            stream.write_all(HELLO).expect("it listens");
            until(|| under.server.stats().answered() == 1);
            until(|| under.server.stats().open() == 0);
        });
    });
}

#[test]
fn three_hundred_idle_clients_and_slow_ones_hold_up_no_other() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let idle: Vec<TcpStream> = (0..300).map(|_| under.connect()).collect();
            let slow: Vec<TcpStream> = (0..20)
                .map(|_| {
                    let mut stream = under.connect();
                    stream.write_all(b"GET / HT").expect("it listens");
                    stream
                })
                .collect();
            until(|| under.server.stats().open() == 320);
            let started = Instant::now();
            for _ in 0..100 {
                assert_eq!(status(&under.ask(b"GET / HTTP/1.0\r\n\r\n")), 200);
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            drop((idle, slow));
            until(|| under.server.stats().open() == 0);
        });
    });
}

#[test]
fn a_connection_too_many_is_told_so_and_the_next_one_is_served() {
    watched(|| {
        with_server(Limits { connections: 2, ..Limits::default() }, |under| {
            let kept: Vec<TcpStream> = (0..2).map(|_| under.connect()).collect();
            until(|| under.server.stats().open() == 2);
            let refused = under.ask(HELLO);
            assert!(status(&refused) == 503 && refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
            assert_eq!(under.server.stats().refused(), 1);
            drop(kept);
            until(|| under.server.stats().open() == 0);
            assert_eq!(status(&under.ask(b"GET / HTTP/1.0\r\n\r\n")), 200);
        });
    });
}

#[test]
fn a_wait_ends_when_its_client_is_gone() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut stream = under.connect();
            stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").expect("it listens");
            until(|| under.server.stats().open() == 1);
            drop(stream);
            until(|| under.server.stats().open() == 0);
        });
    });
}

#[test]
fn closing_ends_idle_connections_and_answers_new_ones_until_the_stop() {
    watched(|| {
        let before = threads_but_the_clock();
        with_server(Limits::default(), |under| {
            let mut idle = under.connect();
            idle.write_all(HELLO).expect("it listens");
            assert_eq!(response(&mut idle).0, 200);
            let mut begun = under.connect();
            begun.write_all(b"GET / HTTP/1.1\r\n").expect("it listens");
            let mut silent = under.connect();
            until(|| under.server.stats().open() == 3);

            under.phases.closing.cancel();
            assert_eq!(rest(&mut idle), "");
            let mut late = under.connect();
            late.write_all(HELLO).expect("it still listens");
            let answer = rest(&mut late);
            assert!(status(&answer) == 200 && answer.contains("\r\nConnection: close\r\n"), "{answer}");
            begun.write_all(b"Host: a\r\n\r\n").expect("it is open");
            let answer = rest(&mut begun);
            assert!(status(&answer) == 200 && answer.contains("\r\nConnection: close\r\n"), "{answer}");

            under.phases.stop.cancel();
            assert_eq!(rest(&mut silent), "");
        });
        until(|| threads_but_the_clock() == before);
    });
}

#[test]
fn the_listener_survives_clients_that_are_gone_before_they_are_accepted() -> io::Result<()> {
    watched(|| {
        with_server(Limits::default(), |under| {
            for _ in 0..200 {
                drop(TcpStream::connect(under.address).expect("it listens"));
            }
            assert_eq!(status(&under.ask(b"GET / HTTP/1.0\r\n\r\n")), 200);
        });
        Ok(())
    })
}

#[test]
fn without_descriptors_the_open_connections_are_served_and_later_the_others() {
    if !alone!(without_descriptors_the_open_connections_are_served_and_later_the_others, "-n 100") {
        return;
    }
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut kept = under.connect();
            let mut ask = || {
                kept.write_all(HELLO).expect("it is open");
                assert_eq!(response(&mut kept).0, 200);
            };
            // A connection makes its two descriptors at its first wait, which the first request may not need.
            (0..1_000).for_each(|_| ask());
            let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            hoard.pop();
            // The system takes the connection, and the server has no descriptor for it.
            let mut waiting = under.connect();
            waiting.write_all(HELLO).expect("it listens");
            (0..1_000).for_each(|_| ask());
            assert_eq!(under.server.stats().open(), 1);
            drop(hoard);
            assert_eq!(response(&mut waiting).0, 200);
            ask();
        });
    });
}
