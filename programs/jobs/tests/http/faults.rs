//! Requests that are wrong, half, cut, or too large; handlers that panic.

use std::io::Write;
use std::net::Shutdown;

use jobs::http::Limits;
use proptest::prelude::*;

use crate::harness::{response, rest, status, with_server};
use crate::util::{until, watched};

#[test]
fn each_limit_has_its_status_and_closes_the_connection() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let long = |count| "x".repeat(count);
            let cases = [
                (400, "\u{16}\u{3}\u{1}\r\n\r\n".to_owned()),
                (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
                (411, "POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
                (413, format!("POST / HTTP/1.0\r\nContent-Length: 2000000\r\n\r\n{}", long(2_000_000))),
                (414, format!("GET /{} HTTP/1.0\r\n\r\n", long(100_000))),
                (431, format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", long(100_000))),
                (431, format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(100))),
                (505, "GET / HTTP/3.0\r\n\r\n".to_owned()),
            ];
            for (expected, request) in cases {
                let response = under.ask(request.as_bytes());
                assert_eq!(status(&response), expected, "{request:.60}");
                assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
                assert!(response.contains("\r\n\r\n{\"error\":\""), "{response}");
            }
        });
    });
}

#[test]
fn bodies_beyond_their_bound_are_refused_before_they_are_read() {
    watched(|| {
        with_server(Limits { body: 1_000_000, bodies: 1_500_000, ..Limits::default() }, |under| {
            let head = "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
            let mut holder = under.connect();
            holder.write_all(head.as_bytes()).expect("it listens");
            assert_eq!(response(&mut holder).0, 100);
            let refused = under.ask(head.as_bytes());
            assert!(status(&refused) == 503 && refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
            assert!(refused.contains("{\"error\":\"bodies\""), "{refused}");
            // A body that has come with its head takes no room.
            let small = under.ask(b"POST /b HTTP/1.0\r\nContent-Length: 2\r\n\r\nxy");
            assert!(status(&small) == 200 && small.ends_with("POST /b xy"), "{small}");
            holder.write_all(&vec![b'x'; 1_000_000]).expect("it is open");
            assert_eq!(response(&mut holder).0, 200);
            // The room is free again once the body has been answered, and when its client is gone.
            for _ in 0..3 {
                let mut next = under.connect();
                next.write_all(head.as_bytes()).expect("it listens");
                assert_eq!(response(&mut next).0, 100);
                drop(next);
                until(|| under.server.stats().open() == 1);
            }
        });
    });
}

#[test]
fn an_endless_header_is_refused_and_not_kept() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut stream = under.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nA: ").expect("it listens");
            // 200 MB, if the server lets the client; it has closed its side long before.
            let part = vec![b'x'; 1_000_000];
            let sent = (0..200).take_while(|_| stream.write_all(&part).is_ok()).count();
            assert!(sent < 100, "{sent} MB were taken");
        });
    });
}

#[test]
fn half_a_request_has_no_answer() {
    watched(|| {
        with_server(Limits::default(), |under| {
            for half in ["", "GE", "GET / HTTP/1.1\r\nHo", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nabc"] {
                let mut stream = under.connect();
                stream.write_all(half.as_bytes()).expect("it listens");
                stream.shutdown(Shutdown::Write).expect("it is open");
                assert_eq!(rest(&mut stream), "");
            }
            assert_eq!(under.server.stats().answered(), 0);
        });
    });
}

#[test]
fn a_handler_that_panics_is_answered_for_and_ends_its_connection_only() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut other = under.connect();
            other.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").expect("it listens");
            assert_eq!(response(&mut other), (200, "GET /1 ".to_owned()));
            let apology = under.ask(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(status(&apology), 500);
            assert!(
                apology.contains("\r\nConnection: close\r\n") && apology.contains("{\"error\":\"panic\""),
                "{apology}"
            );
            other.write_all(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
            assert_eq!(response(&mut other), (200, "GET /2 ".to_owned()));
        });
    });
}

#[test]
fn a_client_that_leaves_before_its_response_harms_no_other() {
    watched(|| {
        with_server(Limits::default(), |under| {
            for _ in 0..50 {
                let mut stream = under.connect();
                stream.write_all(&b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).expect("it listens");
            }
            assert_eq!(status(&under.ask(b"GET / HTTP/1.0\r\n\r\n")), 200);
            until(|| under.server.stats().open() == 0);
        });
    });
}

/// Pieces of which a program makes requests, right ones and wrong ones.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "GET /b HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "\r\n",
        "abc",
        "\n",
        ":",
        "%",
    ]);
    prop_oneof![4 => texts.prop_map(|text| text.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

#[test]
fn random_bytes_get_whole_responses_or_none_and_the_server_goes_on() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(500));
            let bytes = prop::collection::vec(piece(), 0..12);
            let run = runner.run(&bytes, |pieces| {
                let mut stream = under.connect();
                for piece in &pieces {
                    _ = stream.write_all(piece);
                }
                _ = stream.shutdown(Shutdown::Write);
                let all = rest(&mut stream);
                prop_assert!(all.is_empty() || all.starts_with("HTTP/1.1 "), "{all}");
                Ok(())
            });
            run.expect("no bytes harm it");
            assert_eq!(status(&under.ask(b"GET / HTTP/1.0\r\n\r\n")), 200);
        });
    });
}

#[test]
fn a_request_is_the_same_however_it_is_split() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let two =
                b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhelloDELETE /c HTTP/1.1\r\nHost: b\r\n\r\n";
            for cut in 0..two.len() {
                let mut stream = under.connect();
                stream.set_nodelay(true).expect("a socket");
                stream.write_all(&two[..cut]).expect("it listens");
                stream.write_all(&two[cut..]).expect("it listens");
                assert_eq!(response(&mut stream), (200, "POST /a hello".to_owned()), "{cut}");
                assert_eq!(response(&mut stream), (200, "DELETE /c ".to_owned()), "{cut}");
            }
        });
    });
}
