//! Verifying a list of checksums.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brigade::io::Input;
use brigade::{CancellationToken, Pipeline};

use crate::hash::{Hash, hash};
use crate::list::{Entry, Line, List};
use crate::{WINDOW, complain, finish, name, output};

/// Verifies the files that a list names; returns whether it names any and all match.
///
/// # Errors
///
/// If the output cannot be written. A closed pipe is an error too, because its reader has not seen every verdict.
pub(crate) fn check(list: &Path, jobs: usize, token: &CancellationToken) -> io::Result<bool> {
    if list == "-" {
        return verify(List::new(brigade::io::stdin().until(token), true), b"'standard input'", jobs, token);
    }
    let name = list.as_os_str().as_bytes();
    match File::open(list) {
        Ok(file) => verify(List::new(Input::new(file).until(token), false), name, jobs, token),
        Err(error) => {
            complain(&name::labelled(name, &name::reason(&error)));
            Ok(false)
        }
    }
}

fn verify<R>(list: List<R>, label: &[u8], jobs: usize, token: &CancellationToken) -> io::Result<bool>
where
    R: BufRead + Send,
{
    let mut tally = Tally::default();
    let mut stdout = brigade::io::stdout();
    let mut output = output(&mut stdout, token);
    let run = Pipeline::from_iter(list)
        .threads(jobs)
        .window(WINDOW)
        .map(|line| line.map(|line| judge(line, token)))
        .try_for_each(token, |verdict| {
            let Ok(verdict) = verdict else {
                tally.broke_off = true;
                return Ok(());
            };
            tally.add(&verdict);
            verdict.print(&mut output)
        });
    finish(output, run, token)?;
    // The rest is about the list as a whole, and a cancelled run has seen only a part of it.
    Ok(!token.is_cancelled() && tally.conclude(label))
}

/// The verdict on a line of the list.
enum Verdict {
    Malformed,
    Match(Vec<u8>),
    Mismatch(Vec<u8>),
    Unreadable(Vec<u8>, io::Error),
}

fn judge(line: Line, token: &CancellationToken) -> Verdict {
    let Line::Entry(Entry { hash: listed, name }) = line else {
        return Verdict::Malformed;
    };
    match hash_of(&name, token) {
        Ok(computed) if computed == listed => Verdict::Match(name),
        Ok(_) => Verdict::Mismatch(name),
        Err(error) => Verdict::Unreadable(name, error),
    }
}

fn hash_of(name: &[u8], token: &CancellationToken) -> io::Result<Hash> {
    if name == b"-" { hash(io::stdin(), token) } else { hash(File::open(OsStr::from_bytes(name))?, token) }
}

impl Verdict {
    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let (name, text) = match self {
            Verdict::Malformed => return Ok(()),
            Verdict::Match(name) => (name, "OK\n"),
            Verdict::Mismatch(name) => (name, "FAILED\n"),
            Verdict::Unreadable(name, error) => {
                complain(&name::labelled(name, &name::reason(error)));
                (name, "FAILED open or read\n")
            }
        };
        output.write_all(&name::labelled(name, text))
    }
}

/// How many lines had each verdict.
#[derive(Default)]
struct Tally {
    matched: u64,
    mismatched: u64,
    unreadable: u64,
    malformed: u64,
    /// The list could not be read to its end.
    broke_off: bool,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Malformed => &mut self.malformed,
            Verdict::Match(_) => &mut self.matched,
            Verdict::Mismatch(_) => &mut self.mismatched,
            Verdict::Unreadable(..) => &mut self.unreadable,
        } += 1;
    }

    /// Complains about the list as a whole; returns whether there was no failure.
    ///
    /// Malformed lines alone are no failure, because a list may be part of a longer text, such as a signed message.
    fn conclude(&self, label: &[u8]) -> bool {
        if self.broke_off {
            complain(&name::labelled(label, "read error"));
            return false;
        }
        if self.matched + self.mismatched + self.unreadable == 0 {
            complain(&name::labelled(label, "no properly formatted checksum lines found"));
            return false;
        }
        warn(self.malformed, "line is improperly formatted", "lines are improperly formatted");
        warn(self.unreadable, "listed file could not be read", "listed files could not be read");
        warn(self.mismatched, "computed checksum did NOT match", "computed checksums did NOT match");
        self.unreadable + self.mismatched == 0
    }
}

fn warn(count: u64, one: &str, several: &str) {
    if count > 0 {
        complain(format!("WARNING: {count} {}", if count == 1 { one } else { several }).as_bytes());
    }
}
