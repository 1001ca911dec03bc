//! Printing the checksums of all files under some paths.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use brigade::{CancellationToken, Pipeline};
use walkdir::{DirEntry, WalkDir};

use crate::hash::{hash, push_hex};
use crate::{WINDOW, complain, finish, name, output};

/// A message that names a file that could not be read, and the reason.
type Complaint = Vec<u8>;

/// Prints a line for each file, and a complaint for each that could not be read; returns whether all could be read.
///
/// # Errors
///
/// If the output cannot be written. A reader that closes the pipe has seen enough, and that is no error.
pub(crate) fn print(paths: Vec<PathBuf>, jobs: usize, token: &CancellationToken) -> io::Result<bool> {
    let mut all_read = true;
    let mut stdout = brigade::io::stdout();
    let mut output = output(&mut stdout, token);
    // A file that cannot be read is a value, not the failure of a stage: the run goes on, and the complaint comes in
    // the file's place. `from_ready` is right, because a walk waits for the disk, but never for the output.
    let run = Pipeline::from_ready(files(paths))
        .threads(jobs)
        .window(WINDOW)
        .map(|path| path.and_then(|path| line(&path, token)))
        .try_for_each(token, |line| match line {
            Ok(line) => output.write_all(&line),
            Err(complaint) => {
                complain(&complaint);
                all_read = false;
                Ok(())
            }
        });
    match finish(output, run, token) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(all_read),
    }
}

/// Walks the paths in their order, each depth first by the bytes of the names.
fn files(paths: Vec<PathBuf>) -> impl Iterator<Item = Result<PathBuf, Complaint>> + Send {
    let entries = paths.into_iter().flat_map(|path| WalkDir::new(path).sort_by_file_name());
    entries.filter_map(|entry| match entry {
        Ok(entry) => is_file(&entry).then(|| Ok(entry.into_path())),
        Err(error) => Some(Err(unwalkable(&error))),
    })
}

/// Tells whether an entry is to be hashed: each path of the command line that is no directory, and the regular files in
/// its directories.
fn is_file(entry: &DirEntry) -> bool {
    if entry.depth() == 0 { !entry.path().is_dir() } else { entry.file_type().is_file() }
}

fn unwalkable(error: &walkdir::Error) -> Complaint {
    match (error.path(), error.io_error()) {
        (Some(path), Some(error)) => unreadable(path, error),
        // The error has no path if a directory ceases to be readable halfway.
        (None, Some(error)) => name::reason(error).into_bytes(),
        (_, None) => error.to_string().into_bytes(),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    name::labelled(path.as_os_str().as_bytes(), &name::reason(error))
}

/// Hashes a file, and returns its line.
fn line(path: &Path, token: &CancellationToken) -> Result<Vec<u8>, Complaint> {
    let hash = File::open(path).and_then(|file| hash(file, token)).map_err(|error| unreadable(path, &error))?;
    let name = path.as_os_str().as_bytes();
    let escape = name::is_special(name);
    let mut line = Vec::with_capacity(name.len() + 72);
    if escape {
        line.push(b'\\');
    }
    push_hex(&mut line, &hash);
    line.extend_from_slice(b"  ");
    name::push(&mut line, name, escape);
    line.push(b'\n');
    Ok(line)
}
