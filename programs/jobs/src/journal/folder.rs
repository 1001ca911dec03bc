//! [`Folder`]: the folder of the state, and the names in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Disk;
use super::frame::frame;
use crate::entry::Entry;
use crate::replay::Restored;

/// By how many bytes the journal grows at least before it is compacted.
pub(super) const SPARE: u64 = 64 << 20;

/// The folder of the state.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// It is kept open, so that it can be synced when the process has no descriptors left.
    file: File,
    /// Locked while the process lives.
    _lock: File,
}

/// A compacted file that is on disk beside the journal.
pub(super) struct New {
    file: File,
    length: u64,
}

impl Folder {
    /// Makes the folder if there is none, and locks it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let new: Vec<&Path> =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        for folder in new {
            // The name of a new folder is on disk when the folder that has it is.
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.with_context(|| format!("cannot sync {}", parent.display()))?;
        }
        let cannot_lock = || format!("cannot lock {}", path.display());
        let file = File::open(path).with_context(cannot_lock)?;
        let lock = File::create(path.join("lock")).with_context(cannot_lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process uses {}", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot_lock),
        }
        Ok(Folder { path: path.to_owned(), file, _lock: lock })
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    fn new_journal(&self) -> PathBuf {
        self.path.join("journal.new")
    }

    /// Writes what stood behind the last whole frame to a file of its own; returns its name.
    pub(super) fn keep_tail(&self, bytes: &[u8]) -> io::Result<String> {
        self.keep_damaged(|path| {
            let mut file = File::create_new(path)?;
            let written = file.write_all(bytes).and_then(|()| file.sync_all());
            if written.is_err() {
                // A part of it is no use, and has the bytes that the journal needs next.
                _ = fs::remove_file(path);
            }
            written
        })
    }

    /// Calls `make` with names for what is damaged, until one is free; returns that name.
    pub(super) fn keep_damaged(&self, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<String> {
        let mut number = 1;
        loop {
            let name = format!("journal.damaged-{number}");
            match make(&self.path.join(&name)) {
                Ok(()) => return Ok(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is restored to a new file. After an error there is no such file.
    pub(super) fn rewrite(&self, restored: &Restored) -> anyhow::Result<New> {
        let path = self.new_journal();
        let new = write_new(&path, restored);
        if new.is_err() {
            // It has the bytes that the journal needs next. If it cannot be removed, the first error says more.
            _ = fs::remove_file(path);
        }
        new
    }

    /// Puts a new file in the place of the journal. After an error it is not known which of them is there.
    pub(super) fn install(&self, new: New) -> io::Result<Disk> {
        let New { file, length } = new;
        fs::rename(self.new_journal(), self.journal())?;
        // The new name is on disk when its folder is.
        self.file.sync_all()?;
        Ok(Disk { file, length, longest: 2 * length + SPARE })
    }

    /// Opens the journal as it is, without what stands behind its first `length` bytes.
    pub(super) fn open_journal(&self, length: u64) -> io::Result<Disk> {
        let file = OpenOptions::new().append(true).open(self.journal())?;
        file.set_len(length)?;
        file.sync_all()?;
        Ok(Disk { file, length, longest: length + SPARE })
    }
}

fn write_new(path: &Path, restored: &Restored) -> anyhow::Result<New> {
    let mut file = BufWriter::new(OpenOptions::new().create(true).write(true).truncate(true).open(path)?);
    let mut length = 0;
    let mut write = |entry: &Entry, output: &[u8]| -> anyhow::Result<()> {
        let frame = frame(entry, output)?;
        length += frame.len() as u64;
        Ok(file.write_all(&frame)?)
    };
    write(&Entry::Next(restored.next), &[])?;
    for id in &restored.early {
        write(&Entry::Early(*id), &[])?;
    }
    for (ended, output) in &restored.ended {
        write(&Entry::Kept(ended.clone()), output)?;
    }
    for accepted in &restored.pending {
        write(&Entry::Accepted(accepted.clone()), &[])?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(New { file, length })
}
