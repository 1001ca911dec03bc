//! File names as checksum lists write them, and the reasons the system gives.

use std::borrow::Cow;
use std::io;

/// Tells whether a name has to be escaped in a list of checksums.
pub(crate) fn is_special(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
}

/// Tells whether a name has to be escaped in a message or a verdict: only if it would break the line.
pub(crate) fn breaks_line(name: &[u8]) -> bool {
    name.contains(&b'\n')
}

/// Appends a name, escaped if `escape`. The caller starts such a line with a backslash.
pub(crate) fn push(line: &mut Vec<u8>, name: &[u8], escape: bool) {
    if !escape {
        line.extend_from_slice(name);
        return;
    }
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(br"\\"),
            b'\n' => line.extend_from_slice(br"\n"),
            b'\r' => line.extend_from_slice(br"\r"),
            _ => line.push(byte),
        }
    }
}

/// Undoes [`push`]; `None` if no name could have been written so.
pub(crate) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            0 => return None,
            _ => byte,
        });
    }
    Some(name)
}

/// Returns `NAME: TEXT`, escaped as a whole if the name would break the line.
pub(crate) fn labelled(name: &[u8], text: &str) -> Vec<u8> {
    let escape = breaks_line(name);
    let mut line = Vec::with_capacity(name.len() + text.len() + 4);
    if escape {
        line.push(b'\\');
    }
    push(&mut line, name, escape);
    line.extend_from_slice(b": ");
    line.extend_from_slice(text.as_bytes());
    line
}

/// Returns the system's message for an error, without the number that `io::Error` adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map_or(Cow::Borrowed(""), |code| format!(" (os error {code})").into());
    text.strip_suffix(&*number).unwrap_or(&text).to_owned()
}
