//! A server in this process, and a client that sends bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use brigade::{CancellationToken, scope};
use jobs::http::{Client, Limits, Method, Phases, Request, Response, Server};

/// Answers with what it was asked: the method, the path and the body. `/wait` waits for its client to go.
fn echo(request: &Request, client: &Client<'_>) -> Response {
    if request.path == "/wait" {
        let waited = client.wait(&CancellationToken::never(), Duration::from_secs(50));
        return Response::new(200, "text/plain", format!("{waited:?}"));
    }
    assert_ne!(request.path, "/panic", "as the test asks");
    let body = [format!("{} {} ", request.method, request.path).as_bytes(), &request.body].concat();
    let status = if request.method == Method::Other { 405 } else { 200 };
    Response::new(status, "text/plain", body)
}

/// What a test has of the server.
pub(crate) struct Under<'a> {
    pub(crate) server: &'a Server,
    pub(crate) address: SocketAddr,
    pub(crate) phases: Phases,
}

/// Runs `test` beside a server with these limits, and ends the server.
pub(crate) fn with_server(limits: Limits, test: impl FnOnce(&Under<'_>)) {
    with_handler(limits, echo, test);
}

/// Runs `test` beside a server with a handler of its own.
pub(crate) fn with_handler(
    limits: Limits,
    handler: impl Fn(&Request, &Client<'_>) -> Response + Send + Sync + 'static,
    test: impl FnOnce(&Under<'_>),
) {
    let server = Server::new(handler, limits);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let phases = Phases { closing: CancellationToken::new(), stop: CancellationToken::new() };
    let result = scope(&CancellationToken::never(), |s| {
        s.spawn(|_| server.serve(&listener, phases.clone(), Duration::from_secs(10)))?;
        // A failed test ends the server too.
        let _ends = (phases.closing.drop_guard(), phases.stop.drop_guard());
        test(&Under { server: &server, address, phases: phases.clone() });
        Ok::<_, io::Error>(())
    });
    result.expect("it serves to its end");
    assert_eq!(server.stats().open(), 0, "each connection is closed");
}

impl Under<'_> {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        // The watchdog is the limit of a test; this names the place.
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout");
        stream
    }

    /// Sends bytes; returns all that comes back until the server closes the connection.
    pub(crate) fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have closed the connection before it has all bytes.
        _ = stream.write_all(bytes);
        rest(&mut stream)
    }
}

/// What comes until the connection is closed.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&response).into_owned()
}

/// Reads one response; returns its status and its body.
pub(crate) fn response(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {head:?}"));
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (status(&head), String::from_utf8(body).expect("text"))
}

pub(crate) fn status(response: &str) -> u16 {
    let code = response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("{response:?} has no status"))
}
