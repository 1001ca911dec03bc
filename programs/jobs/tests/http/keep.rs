//! Connections that carry several requests, and the two versions.

use std::io::{Read, Write};

use jobs::http::{Limits, Method, Request, Response};

use crate::harness::{response, rest, status, with_handler, with_server};
use crate::util::watched;

#[test]
fn ten_thousand_requests_on_one_connection_are_answered_in_order() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut stream = under.connect();
            stream.set_nodelay(true).expect("a socket");
            for number in 0..10_000 {
                stream.write_all(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("it is open");
                assert_eq!(response(&mut stream), (200, format!("GET /{number} ")));
            }
            assert_eq!(under.server.stats().answers().collect::<Vec<_>>(), [(200, 10_000)]);
        });
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut stream = under.connect();
            let mut requests = Vec::new();
            for number in 0..200 {
                write!(requests, "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy").expect("memory");
            }
            stream.write_all(&requests).expect("it listens");
            for number in 0..200 {
                assert_eq!(response(&mut stream), (200, format!("POST /{number} xy")));
            }
        });
    });
}

#[test]
fn a_connection_ends_as_the_version_and_the_header_say() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let old = under.ask(b"GET / HTTP/1.0\r\n\r\n");
            assert!(status(&old) == 200 && old.contains("\r\nConnection: close\r\n"), "{old}");
            let closing = under.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert!(status(&closing) == 200 && closing.contains("\r\nConnection: close\r\n"), "{closing}");
            let mut kept = under.connect();
            for _ in 0..2 {
                kept.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("it is open");
                assert_eq!(response(&mut kept).0, 200);
            }
        });
    });
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let response = under.ask(b"HEAD /abc HTTP/1.0\r\n\r\n");
            assert!(response.contains("\r\nContent-Length: 10\r\n") && response.ends_with("\r\n\r\n"), "{response}");
        });
    });
}

#[test]
fn a_client_that_expects_it_is_told_to_continue() {
    watched(|| {
        with_server(Limits::default(), |under| {
            let mut stream = under.connect();
            let head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
            stream.write_all(head).expect("it listens");
            assert_eq!(response(&mut stream), (100, String::new()));
            stream.write_all(b"body").expect("it is open");
            assert_eq!(response(&mut stream), (200, "POST /a body".to_owned()));
            // A body that is there already needs no word.
            stream.write_all(&[&head[..], b"more"].concat()).expect("it is open");
            assert_eq!(response(&mut stream), (200, "POST /a more".to_owned()));
            // One that is too large is refused before it is sent.
            stream
                .write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n")
                .expect("it is open");
            assert_eq!(response(&mut stream).0, 413);
            assert_eq!(rest(&mut stream), "");
        });
    });
}

#[test]
fn a_large_response_is_whole() {
    watched(|| {
        let large = |request: &Request, _: &jobs::http::Client<'_>| {
            assert_eq!(request.method, Method::Get);
            Response::new(200, "text/plain", vec![b'x'; 10_000_000])
        };
        with_handler(Limits::default(), large, |under| {
            let mut stream = under.connect();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it listens");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("it is whole");
            assert!(all.len() > 10_000_000 && all.ends_with(&vec![b'x'; 10_000_000]));
        });
    });
}
