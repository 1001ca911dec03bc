//! Reading a list of checksums, in each of the forms that `sha256sum -c` takes.
//!
//! - `HASH  NAME` and `HASH *NAME`: the lines of `sha256sum`.
//! - `HASH NAME`: the lines of the BSD tools with `-r`.
//! - `SHA256 (NAME) = HASH`: the lines of the BSD tools and of `sha256sum --tag`.
//!
//! Each may be indented, and a backslash before it says that the name is escaped. Lines that are empty or start with
//! `#` are passed over, and a carriage return before the line's end is not part of it.

use std::io::{self, BufRead, Read};

use crate::hash::{DIGITS, Hash, from_hex};
use crate::name;

/// The longest line that is read.
///
/// The longest name of the system fits several times, with each of its bytes escaped. A file without line ends, which
/// is no list, must not fill the memory.
const LONGEST: u64 = 64 << 10;

/// A line of a list.
pub(crate) enum Line {
    Entry(Entry),
    /// A line that is no entry.
    Malformed,
}

/// The name of a file, and the hash that it should have.
pub(crate) struct Entry {
    pub(crate) hash: Hash,
    pub(crate) name: Vec<u8>,
}

/// An iterator over the lines of a list; an error of the reader is the last item.
pub(crate) struct List<R> {
    reader: R,
    /// The list comes from the standard input, so that the standard input cannot be hashed too.
    is_stdin: bool,
    form: Form,
    line: Vec<u8>,
    broke_off: bool,
}

/// Which of the two forms that begin with the hash the list has.
///
/// The first such line decides for all lines. If each line decided, the second blank of `HASH  NAME` could be part of
/// the name, and a file renamed so would pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Undecided,
    /// A blank or `*` stands before the name.
    Marked,
    /// The name follows at once.
    Bare,
}

impl<R: BufRead> List<R> {
    pub(crate) fn new(reader: R, is_stdin: bool) -> Self {
        List { reader, is_stdin, form: Form::Undecided, line: Vec::new(), broke_off: false }
    }

    /// Reads a line; returns `None` at the end, and `Some(false)` if the line is too long to be an entry.
    fn read(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let length = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.line)?;
        if length as u64 == LONGEST && self.line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(false));
        }
        Ok((length > 0).then_some(true))
    }
}

impl<R: BufRead> Iterator for List<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        while !self.broke_off {
            match self.read() {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Some(Ok(Line::Malformed)),
                Ok(None) => return None,
                Err(error) => {
                    self.broke_off = true;
                    return Some(Err(error));
                }
            }
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.line.starts_with(b"#") || line.is_empty() {
                continue;
            }
            let entry = parse(line, &mut self.form).filter(|entry| !(self.is_stdin && entry.name == b"-"));
            return Some(Ok(entry.map_or(Line::Malformed, Line::Entry)));
        }
        None
    }
}

fn parse(line: &[u8], form: &mut Form) -> Option<Entry> {
    let line = skip_blanks(line);
    let (line, escaped) = line.strip_prefix(br"\").map_or((line, false), |line| (line, true));
    let (hash, name) = match line.strip_prefix(b"SHA256") {
        Some(tagged) => split_tagged(tagged)?,
        None => split_plain(line, form)?,
    };
    let name = if escaped { name::unescape(name)? } else { until_nul(name).to_vec() };
    Some(Entry { hash, name })
}

/// Splits ` (NAME) = HASH`.
fn split_tagged(text: &[u8]) -> Option<(Hash, &[u8])> {
    let text = text.strip_prefix(b" ").unwrap_or(text).strip_prefix(b"(")?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let digits = skip_blanks(skip_blanks(&text[end + 1..]).strip_prefix(b"=")?);
    Some((from_hex(until_nul(digits))?, &text[..end]))
}

/// Splits `HASH  NAME`, `HASH *NAME` or `HASH NAME`.
fn split_plain<'a>(text: &'a [u8], form: &mut Form) -> Option<(Hash, &'a [u8])> {
    let (digits, rest) = text.split_at_checked(DIGITS)?;
    let rest = rest.strip_prefix(b" ").or_else(|| rest.strip_prefix(b"\t"))?;
    let hash = from_hex(digits)?;
    let marked = match rest {
        [] => return None,
        // A mark alone is the name.
        [_] => None,
        [b' ' | b'*', name @ ..] => Some(name),
        _ => None,
    };
    match (marked, *form) {
        (None, Form::Marked) => None,
        (None, _) => {
            *form = Form::Bare;
            Some((hash, rest))
        }
        (Some(_), Form::Bare) => Some((hash, rest)),
        (Some(name), _) => {
            *form = Form::Marked;
            Some((hash, name))
        }
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// Returns the bytes before the first NUL, where C ends a string.
fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or(text)
}
