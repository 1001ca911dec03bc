//! [`Connection`]: reading requests and writing responses, one after the other.
//!
//! Each limit of time cancels the connection's token while it is armed ([`arm`]). A cancelled token ends the
//! connection, so what is still to be said to the client goes out under another token, for a moment.

use std::io::{self, BufRead, Read, Write};
use std::mem;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use brigade::io::{Input, InputUntil, Output, OutputUntil};
use brigade::limit::OwnedPermit;
use brigade::token::CancelCallback;
use brigade::{CancelReason, CancellationToken};

use super::client::Client;
use super::parse::{Head, parse};
use super::request::Method;
use super::response::Response;
use super::server::{Handler, Service};

/// How many bytes are read at a time.
const CHUNK: usize = 16 << 10;

/// How long the last words to a client may take, and how many of its bytes are thrown away meanwhile.
const LAST_WORDS: Duration = Duration::from_secs(1);
const THROWN_AWAY: u64 = 16 << 20;

/// A response above this size is written apart from its head.
const LARGE: usize = 64 << 10;

/// Why no request came.
enum Stop {
    /// The client has closed the connection, or was idle for too long, or the server ends.
    Silent,
    /// The request is answered without a handler, and the connection is closed.
    Refused(Response),
    /// The same, by the handler, after it has looked at the head only.
    RefusedByHead(Box<(Head, Response)>),
}

/// A request that has come.
struct Received {
    head: Head,
    /// Its share of the bytes of all bodies, if the body has not come with the head.
    share: Option<OwnedPermit>,
    /// The response, if the handler has refused the request by its head.
    refusal: Option<Response>,
}

/// One connection, while it is open.
pub(super) struct Connection<'a> {
    service: &'a Service,
    stream: &'a TcpStream,
    address: IpAddr,
    /// Cancelled when the grace of the server is over.
    server: &'a CancellationToken,
    /// A child of that one, cancelled by an armed limit too.
    token: &'a CancellationToken,
    input: InputUntil<'a, &'a TcpStream>,
    output: OutputUntil<'a, &'a TcpStream>,
    /// What has come and is no part of an earlier request.
    unread: Vec<u8>,
    to_write: Vec<u8>,
}

/// Serves a connection until it is closed. `server` is cancelled when the grace of the server is over.
pub(super) fn serve(service: &Service, stream: &TcpStream, address: IpAddr, server: &CancellationToken) {
    let token = server.child_token();
    let (mut input, mut output) = (Input::with_capacity(CHUNK, stream), Output::new(stream));
    let mut connection = Connection {
        service,
        stream,
        address,
        server,
        token: &token,
        input: input.until(&token),
        output: output.until(&token),
        unread: Vec::new(),
        to_write: Vec::new(),
    };
    connection.run();
}

/// Answers a connection that is one too many.
pub(super) fn turn_away(service: &Service, stream: &TcpStream, server: &CancellationToken) {
    let response = Response::error(503, "connections", "too many connections are open").with("Retry-After", "1");
    last_words(service, stream, &response, server);
}

impl Connection<'_> {
    fn run(&mut self) {
        let mut is_first = true;
        loop {
            match self.next_request(is_first) {
                Ok(received) => {
                    if !self.answer(received) {
                        return;
                    }
                }
                Err(Stop::Silent) => return,
                Err(Stop::RefusedByHead(refused)) => {
                    let (head, response) = *refused;
                    self.log(&head.request.method.to_string(), &head.target, &response, Instant::now());
                    return last_words(self.service, self.stream, &response, self.server);
                }
                Err(Stop::Refused(response)) => {
                    self.log("-", "-", &response, Instant::now());
                    return last_words(self.service, self.stream, &response, self.server);
                }
            }
            is_first = false;
        }
    }

    /// Reads a whole request.
    fn next_request(&mut self, is_first: bool) -> Result<Received, Stop> {
        let (limits, phases) = (self.service.limits, &self.service.phases);
        if self.unread.is_empty() {
            // A client that has just connected is answered also while the server closes.
            let (phase, limit) = if is_first { (&phases.stop, limits.request) } else { (&phases.closing, limits.idle) };
            let _idle = arm(self.token, phase, limit);
            if !self.read_more().is_ok_and(|length| length > 0) {
                return Err(Stop::Silent);
            }
        }
        // A request that is there at once, as most are, needs no timer.
        let mut limit = None;
        loop {
            if let Some((mut head, length)) = parse(&self.unread, &limits).map_err(Stop::Refused)? {
                self.unread.drain(..length);
                let refusal = self.guarded(|handler| handler.refuse(&head.request, self.address));
                let is_there = self.unread.len() >= head.body;
                let (share, refusal) = match refusal {
                    // What is to be thrown away is not read.
                    Some(response) if !is_there => return Err(Stop::RefusedByHead(Box::new((head, response)))),
                    refusal => (self.read_body(&mut head, limit)?, refusal),
                };
                return Ok(Received { head, share, refusal });
            }
            limit.get_or_insert_with(|| arm(self.token, self.token, limits.request));
            match self.read_more() {
                Ok(1..) => {}
                Ok(0) => return Err(Stop::Silent),
                Err(_) => return Err(self.too_late()),
            }
        }
    }

    /// Adds bytes to the unread ones; returns how many, and 0 at the end.
    fn read_more(&mut self) -> io::Result<usize> {
        let bytes = self.input.fill_buf()?;
        let length = bytes.len();
        self.unread.extend_from_slice(bytes);
        self.input.consume(length);
        Ok(length)
    }

    fn too_late(&self) -> Stop {
        match self.token.reason() {
            Some(CancelReason::Deadline) => {
                Stop::Refused(Response::error(408, "timeout", "the request took too long to come"))
            }
            _ => Stop::Silent,
        }
    }

    /// Reads the body, within the limit of the request, which is armed if bytes were waited for already.
    ///
    /// A body that has not come with the head takes its share of the bytes of all bodies first.
    fn read_body(&mut self, head: &mut Head, limit: Option<CancelCallback>) -> Result<Option<OwnedPermit>, Stop> {
        let there = self.unread.len().min(head.body);
        head.request.body = self.unread.drain(..there).collect();
        if there == head.body {
            return Ok(None);
        }
        let share = self.service.bodies.try_acquire_owned(head.body).map_err(|_| Stop::Refused(no_room()))?;
        let _limit = limit.unwrap_or_else(|| arm(self.token, self.token, self.service.limits.request));
        if head.expects_continue {
            self.output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| self.too_late())?;
        }
        let rest = head.body - there;
        // The buffer grows as the bytes come: a client that says 1 MiB and sends none has no memory.
        let read = (&mut self.input).take(rest as u64).read_to_end(&mut head.request.body);
        if read.map_err(|_| self.too_late())? < rest { Err(Stop::Silent) } else { Ok(Some(share)) }
    }

    /// Answers a request; returns whether the connection goes on.
    fn answer(&mut self, Received { head, share, refusal }: Received) -> bool {
        let started = Instant::now();
        let Head { request, target, is_http_1_0, keeps_alive, .. } = head;
        let method = request.method;
        let response = refusal.unwrap_or_else(|| {
            let client = Client::new(self.stream, self.address, self.token, !self.unread.is_empty());
            self.guarded(|handler| handler.answer(&request, &client))
        });
        drop((request, share));
        // Looked at afterwards: a client that is to stay is told of a close that began meanwhile.
        let goes_on = keeps_alive && !self.service.phases.closing.is_cancelled();
        let connection = match (goes_on, is_http_1_0) {
            (true, true) => Some("keep-alive"),
            (true, false) => None,
            (false, _) => Some("close"),
        };
        let written = self.write(&response, connection, method != Method::Head);
        self.log(&method.to_string(), &target, &response, started);
        if goes_on || written.is_err() {
            return goes_on && written.is_ok();
        }
        linger(self.stream, self.server);
        false
    }

    /// Calls the handler, and answers for it if it panics.
    fn guarded<T>(&self, call: impl FnOnce(&dyn Handler) -> T) -> T {
        let apology = Apology(self);
        let value = call(&*self.service.handler);
        mem::forget(apology);
        value
    }

    fn write(&mut self, response: &Response, connection: Option<&str>, has_body: bool) -> io::Result<()> {
        self.service.stats.count_answer(response.status);
        let _limit = arm(self.token, self.token, self.service.limits.response);
        let is_large = response.body.len() > LARGE;
        self.to_write.clear();
        response.write(&mut self.to_write, connection, has_body && !is_large);
        self.output.write_all(&self.to_write)?;
        if has_body && is_large { self.output.write_all(&response.body) } else { Ok(()) }
    }

    fn log(&self, method: &str, target: &str, response: &Response, started: Instant) {
        if self.service.logs {
            let Response { status, body, .. } = response;
            let (took, length) = (started.elapsed(), body.len());
            // A log that cannot be written is no reason to stop.
            _ = writeln!(io::stderr(), "{} \"{method} {target}\" {status} {length} {took:.1?}", self.address);
        }
    }
}

fn no_room() -> Response {
    Response::error(503, "bodies", "too many bytes of bodies are read").with("Retry-After", "1")
}

/// Answers for a handler that panics, when it is dropped.
struct Apology<'a, 'c>(&'a Connection<'c>);

impl Drop for Apology<'_, '_> {
    fn drop(&mut self) {
        let Connection { service, stream, server, .. } = self.0;
        let response = Response::error(500, "panic", "the request could not be answered");
        self.0.log("-", "-", &response, Instant::now());
        last_words(service, stream, &response, server);
    }
}

/// Has `connection` cancelled when `limit` has passed, or when `phase` is cancelled, until the handle is dropped.
fn arm(connection: &CancellationToken, phase: &CancellationToken, limit: Duration) -> CancelCallback {
    let connection = connection.clone();
    phase.child_with_timeout(limit).on_cancel(move |reason| {
        connection.cancel_with(reason);
    })
}

/// Writes a response to a client that is not heard any more, and closes the connection.
fn last_words(service: &Service, stream: &TcpStream, response: &Response, server: &CancellationToken) {
    service.stats.count_answer(response.status);
    let mut bytes = Vec::new();
    response.write(&mut bytes, Some("close"), true);
    let moment = server.child_with_timeout(LAST_WORDS);
    if Output::new(stream).until(&moment).write_all(&bytes).is_ok() {
        linger(stream, server);
    }
}

/// Closes the sending side, and reads what the client still sends, for a moment. A socket that is closed with unread
/// bytes is reset, and then the client may lose the response.
fn linger(stream: &TcpStream, server: &CancellationToken) {
    let moment = server.child_with_timeout(LAST_WORDS);
    if stream.shutdown(Shutdown::Write).is_ok() {
        let mut input = Input::with_capacity(CHUNK, stream);
        // Any error ends it as well as the end.
        _ = io::copy(&mut input.until(&moment).take(THROWN_AWAY), &mut io::sink());
    }
}
