//! [`Response`]: a status, headers and a body.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is to be returned"]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// Headers beside those that the server writes: the length, the type, the date, the connection.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The body of an error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    message: &'a str,
}

impl Response {
    /// Creates a response.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Response { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// Creates a response of JSON; of status 500, if `body` has no form in JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Response::new(status, "application/json", body),
            Err(error) => Response::new(500, "text/plain", error.to_string()),
        }
    }

    /// Creates the response of an error: `{"error": code, "message": message}`.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Response::json(status, &ErrorBody { error: code, message })
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes the head, and the body if `has_body`, to the end of `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, connection: Option<&str>, has_body: bool) {
        let mut head = String::with_capacity(256);
        let Response { status, content_type, .. } = self;
        let length = self.body.len();
        write_head(&mut head, *status, content_type, length);
        for (name, value) in &self.headers {
            // A line break in a value would begin another header.
            let value = value.replace(['\r', '\n'], " ");
            _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(connection) = connection {
            _ = write!(head, "Connection: {connection}\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if has_body {
            out.extend_from_slice(&self.body);
        }
    }
}

fn write_head(head: &mut String, status: u16, content_type: &str, length: usize) {
    _ = write!(head, "HTTP/1.1 {status} {}\r\nDate: ", reason(status));
    write_date(head, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    _ = write!(head, "\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n");
}

/// Writes seconds since 1970 as HTTP has dates: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn write_date(out: &mut String, seconds: u64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have the leap day at their end. Counted from 1 March of the year 0.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or_default()];
    let month = MONTHS[usize::try_from(month).unwrap_or_default()];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    _ = write!(out, "{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT");
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (seconds, text) in known {
            let mut out = String::new();
            write_date(&mut out, seconds);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn a_line_break_in_a_value_begins_no_header() {
        let mut out = Vec::new();
        Response::new(200, "text/plain", "").with("X", "a\r\nSet-Cookie: b").write(&mut out, None, true);
        assert!(!String::from_utf8(out).expect("text").contains("\nSet-Cookie"));
    }
}
