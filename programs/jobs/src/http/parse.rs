//! [`parse`]: from the bytes of a head to what they ask for, or to the response that refuses them.

use super::limits::Limits;
use super::request::{Method, Request};
use super::response::Response;

/// How many headers a request may have.
const HEADERS: usize = 64;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    /// The request, whose body has not been read.
    pub(super) request: Request,
    /// The path and the query as they came, for the log.
    pub(super) target: String,
    /// The number of bytes of the body.
    pub(super) body: usize,
    pub(super) is_http_1_0: bool,
    pub(super) keeps_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Parses a head; returns it and its length, or `None` if it is not whole yet.
///
/// It is called after each read with all bytes so far, so what is wrong is found at the first wrong byte. That costs
/// the square of the head's limit for a client that sends single bytes: 0.1 s for 16 KiB, in as many packets.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Head, usize)>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes).map_err(|error| refuse(error, bytes, limits));
    // Line breaks before the request line are skipped, as the parser does.
    let breaks = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let line = &bytes[breaks..];
    if line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len()) > limits.line {
        return Err(too_long());
    }
    let length = match parsed? {
        httparse::Status::Complete(length) if length <= limits.head => length,
        httparse::Status::Partial if bytes.len() <= limits.head => return Ok(None),
        _ => return Err(Response::error(431, "head_too_large", "the headers are too large")),
    };
    read_head(&request, limits).map(|head| Some((head, length)))
}

fn too_long() -> Response {
    Response::error(414, "line_too_long", "the request line is too long")
}

fn bad(message: &str) -> Response {
    Response::error(400, "bad_request", message)
}

fn refuse(error: httparse::Error, bytes: &[u8], limits: &Limits) -> Response {
    match error {
        httparse::Error::TooManyHeaders => Response::error(431, "too_many_headers", "there are more than 64 headers"),
        httparse::Error::Version if bytes.len() > limits.line => too_long(),
        httparse::Error::Version => Response::error(505, "version", "the server speaks HTTP/1.0 and HTTP/1.1"),
        _ => bad(&format!("the head is not one of HTTP/1: {error}")),
    }
}

fn read_head(request: &httparse::Request<'_, '_>, limits: &Limits) -> Result<Head, Response> {
    let method = Method::of(request.method.unwrap_or_default());
    let is_http_1_0 = request.version == Some(0);
    let target = request.path.unwrap_or_default();
    let (path, query) = read_target(target)?;
    let (mut length, mut hosts, mut is_chunked) = (None, 0, false);
    let (mut host, mut origin) = (&[][..], None);
    let (mut closes, mut asks_to_keep, mut expects_continue) = (false, false, false);
    for header in &*request.headers {
        let (name, value) = (header.name, header.value);
        if name.eq_ignore_ascii_case("content-length") {
            let found = read_length(value, limits)?;
            if length.is_some_and(|length| length != found) {
                return Err(bad("two lengths of the content differ"));
            }
            length = Some(found);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = true;
        } else if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            host = value;
        } else if name.eq_ignore_ascii_case("origin") {
            origin = Some(value);
        } else if name.eq_ignore_ascii_case("connection") {
            closes |= has_word(value, "close");
            asks_to_keep |= has_word(value, "keep-alive");
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Response::error(417, "expectation", "only 100-continue can be expected"));
            }
            expects_continue = !is_http_1_0;
        }
    }
    if hosts > 1 || (hosts == 0 && !is_http_1_0) {
        return Err(bad("a request has one Host"));
    }
    match (is_chunked, length) {
        // A proxy before the server may have believed the other one of the two.
        (true, Some(_)) => return Err(bad("a length and an encoding exclude each other")),
        (true, None) => return Err(length_required()),
        (false, None) if method.has_body() => return Err(length_required()),
        (false, _) => {}
    }
    let is_cross_site = origin.is_some_and(|origin| !is_origin_of(origin, host));
    Ok(Head {
        request: Request { method, path, query, is_cross_site, body: Vec::new() },
        target: target.to_owned(),
        body: length.unwrap_or(0),
        is_http_1_0,
        keeps_alive: !closes && (!is_http_1_0 || asks_to_keep),
        expects_continue,
    })
}

fn length_required() -> Response {
    Response::error(411, "length_required", "send a Content-Length")
}

fn read_length(value: &[u8], limits: &Limits) -> Result<usize, Response> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is not a number"));
    }
    // Digits that are no `usize` are too many.
    let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    length
        .filter(|length| *length <= limits.body)
        .ok_or_else(|| Response::error(413, "body_too_large", &format!("a body has at most {} bytes", limits.body)))
}

fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Tells whether an origin, such as `http://a:1`, is that of a host. The origin `null` is that of none.
fn is_origin_of(origin: &[u8], host: &[u8]) -> bool {
    [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(*scheme).is_some_and(|origin| origin.eq_ignore_ascii_case(host)))
}

type Target = (String, Vec<(String, String)>);

/// Splits a target, in its origin form (`/path?query`) or its absolute form (`http://host/path?query`).
fn read_target(target: &str) -> Result<Target, Response> {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        _ => target,
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let path = if path.is_empty() { "/" } else { path };
    if !path.starts_with('/') {
        return Err(bad("the target is not a path"));
    }
    let wrong = || bad("the target is not encoded as a URL is");
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
    });
    let pairs = pairs.collect::<Option<_>>().ok_or_else(wrong)?;
    Ok((decode(path).ok_or_else(wrong)?, pairs))
}

/// Decodes `%2F` and its kind, to UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match parse(head.as_bytes(), &Limits::default()) {
            Ok(Some(_)) => 200,
            Ok(None) => 100,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn each_fault_of_a_head_has_its_status() {
        let long = |count| "x".repeat(count);
        let cases = [
            (200, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            (200, "GET / HTTP/1.0\r\n\r\n".to_owned()),
            (200, "\r\n\r\nGET / HTTP/1.0\r\n\r\n".to_owned()),
            (200, "GET http://a:1/b?c HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            (200, "PUT / HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n".to_owned()),
            (100, "GET / HTTP/1.1\r\nHost: a\r\n".to_owned()),
            (100, "G".to_owned()),
            (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
            (400, "GET /%zz HTTP/1.0\r\n\r\n".to_owned()),
            (400, "GET /%ff HTTP/1.0\r\n\r\n".to_owned()),
            (400, "GET * HTTP/1.0\r\n\r\n".to_owned()),
            (400, "\u{16}\u{3}\u{1}".to_owned()),
            (400, "GET / HTTP/1.0\r\nA : b\r\n\r\n".to_owned()),
            (400, "GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n".to_owned()),
            (400, "GET / HTTP/1.0\r\nContent-Length: 1, 1\r\n\r\n".to_owned()),
            (400, "POST / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned()),
            (400, "POST / HTTP/1.0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
            (411, "POST / HTTP/1.0\r\n\r\n".to_owned()),
            (411, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
            (413, "POST / HTTP/1.0\r\nContent-Length: 1048577\r\n\r\n".to_owned()),
            (413, format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", "9".repeat(60))),
            (414, format!("GET /{}", long(9_000))),
            (414, format!("GET /{} HTTP/1.0\r\n\r\n", long(9_000))),
            (414, format!("\r\nGET /{}", long(9_000))),
            (414, format!("\r\n\r\nGET /{} HTTP/1.0\r\n\r\n", long(9_000))),
            (431, "\r\n".repeat(10_000)),
            (417, "POST / HTTP/1.0\r\nExpect: more\r\n\r\n".to_owned()),
            (431, format!("GET / HTTP/1.0\r\nA: {}", long(17_000))),
            (431, format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(65))),
            (505, "GET / HTTP/2.0\r\n\r\n".to_owned()),
        ];
        for (expected, head) in cases {
            assert_eq!(status(&head), expected, "{head:.80}");
        }
    }

    #[test]
    fn a_target_is_decoded() {
        let (path, query) = read_target("/a%2Fb%20c?d=%26&e&f=1+2").expect("a target");
        assert_eq!(path, "/a/b c");
        let expected = [("d", "&"), ("e", ""), ("f", "1 2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query, expected);
    }

    #[test]
    fn an_origin_is_compared_with_the_host() {
        let cases = [
            ("", false),
            ("Origin: http://a:1\r\n", false),
            ("Origin: https://A:1\r\n", false),
            ("Origin: http://a\r\n", true),
            ("Origin: http://b:1\r\n", true),
            ("Origin: null\r\n", true),
        ];
        for (header, expected) in cases {
            let head = format!("POST / HTTP/1.1\r\n{header}Host: a:1\r\nContent-Length: 0\r\n\r\n");
            let parsed = parse(head.as_bytes(), &Limits::default()).expect("a head").expect("a whole one").0;
            assert_eq!(parsed.request.is_cross_site, expected, "{header}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_its_header_say() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ];
        for (head, expected) in cases {
            let parsed = parse(head.as_bytes(), &Limits::default()).expect("a head").expect("a whole one").0;
            assert_eq!(parsed.keeps_alive, expected, "{head}");
        }
    }
}
