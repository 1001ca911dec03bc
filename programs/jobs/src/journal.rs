//! [`Journal`]: the jobs on disk, as a file to which entries are appended.
//!
//! A frame is the length of its payload and its CRC-32, four bytes each with the lowest first, then the payload: the
//! [`Entry`] in JSON, a line break, and the bytes of the result. A crash may leave half a frame at the end. Reading
//! stops at the first frame that is not whole, because no later one was ever acknowledged.
//!
//! Commits are grouped. The first caller that finds no flush under way takes the frames of all callers, writes them and
//! syncs the file, without the lock; the others wait for it. So a sync serves as many callers as came during the one
//! before. A failed sync breaks the journal for good: the system may have dropped the pages that it could not write.
//!
//! At the start the journal is compacted: the last ends that are kept, and the jobs that have not ended, go to a new
//! file, which takes the place of the old one when it is on disk. So it is whenever it has grown to twice what was left
//! then, and by 64 MiB: a caller whose flush has made it so large does that before the next flush.
//!
//! An embedded store (redb) was weighed. It would save this file. The server asks for an ordered log that is read once,
//! which needs no pages, no tree and no transactions.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use brigade::limit::Monitor;
use brigade::{CancellationToken, Cancelled};
use flate2::Crc;
use parking_lot::Mutex;

use crate::entry::Entry;
use crate::registry::Keep;
use crate::replay::{Replay, Restored};

/// By how many bytes the journal grows at least before it is compacted.
const SPARE: u64 = 64 << 20;

/// A frame that says it is larger is none: no body and no result is.
const LARGEST: u32 = 256 << 20;

/// Why an entry is not on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The journal could not be written, now or earlier.
    #[error("the journal is broken: the disk refused an earlier entry")]
    Broken,
    /// The wait was cancelled. The entry may be written nevertheless.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The entry has no form in JSON.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
}

/// The jobs on disk.
pub(crate) struct Journal {
    folder: PathBuf,
    keep: Keep,
    /// Locked by the caller that flushes.
    disk: Mutex<Disk>,
    state: Monitor<State>,
    /// Locked while the process lives.
    _lock: File,
}

/// The file, at whose end frames are written.
struct Disk {
    file: File,
    length: u64,
    /// From this length on the file is compacted.
    longest: u64,
}

#[derive(Default)]
struct State {
    /// Frames that no caller has begun to write.
    frames: Vec<u8>,
    /// How many frames there have been.
    appended: u64,
    /// How many of them are on disk.
    synced: u64,
    is_flushing: bool,
    is_broken: bool,
}

impl Journal {
    /// Opens the journal in a folder, which is made if there is none, and compacts it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, or another process uses it.
    pub(crate) fn open(folder: &Path, keep: Keep) -> anyhow::Result<(Self, Restored)> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = path(folder);
        let lock = File::create(folder.join("lock")).with_context(|| format!("cannot lock {}", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process uses {}", folder.display()),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the state"),
        }
        let mut restored = read(&path, keep).with_context(|| format!("cannot read {}", path.display()))?;
        // A job whose acceptance is not here was never acknowledged.
        restored.early.clear();
        if restored.dropped > 0 {
            let damaged = folder.join("journal.damaged");
            fs::copy(&path, &damaged).with_context(|| format!("cannot write {}", damaged.display()))?;
        }
        let disk = rewrite(folder, &restored)
            .and_then(|new| Ok(new.install(folder)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (folder, state) = (folder.to_owned(), Monitor::new(State::default()));
        Ok((Journal { folder, keep, disk: Mutex::new(disk), state, _lock: lock }, restored))
    }

    /// Appends an entry, and waits until it is on disk.
    ///
    /// # Cancellation
    ///
    /// A wait for another caller's flush ends; the caller's own flush does not.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    pub(crate) fn commit(&self, token: &CancellationToken, entry: &Entry, output: &[u8]) -> Result<(), CommitError> {
        let frame = frame(entry, output)?;
        let mut state = self.state.lock();
        if state.is_broken {
            return Err(CommitError::Broken);
        }
        state.frames.extend_from_slice(&frame);
        state.appended += 1;
        let own = state.appended;
        loop {
            if state.synced >= own {
                return Ok(());
            }
            if state.is_broken {
                return Err(CommitError::Broken);
            }
            if state.is_flushing {
                drop(state);
                state = self.state.wait(token, |state| state.synced >= own || state.is_broken || !state.is_flushing)?;
                continue;
            }
            state.is_flushing = true;
            let (frames, last) = (std::mem::take(&mut state.frames), state.appended);
            drop(state);
            let written = self.write(&frames);
            state = self.state.lock();
            state.is_flushing = false;
            match written {
                Ok(()) => state.synced = last,
                Err(error) => {
                    state.is_broken = true;
                    // The callers say that it is broken, and this says why.
                    _ = writeln!(io::stderr(), "jobs: cannot write the journal: {error}");
                }
            }
        }
    }

    /// Writes frames and waits until they are on disk. Compacts the file if that has made it too long.
    fn write(&self, frames: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.file.write_all(frames)?;
        disk.file.sync_data()?;
        disk.length += frames.len() as u64;
        if disk.length < disk.longest {
            return Ok(());
        }
        match read(&path(&self.folder), self.keep).and_then(|restored| rewrite(&self.folder, &restored)) {
            Ok(new) => *disk = new.install(&self.folder)?,
            Err(error) => {
                // The journal is as good as before, and longer than it should be.
                disk.longest = disk.length + SPARE;
                _ = writeln!(io::stderr(), "jobs: cannot compact the journal: {error:#}");
            }
        }
        Ok(())
    }

    /// Tells whether entries can be written.
    pub(crate) fn is_sound(&self) -> bool {
        !self.state.lock().is_broken
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("journal")
}

fn frame(entry: &Entry, output: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut frame = vec![0; 8];
    serde_json::to_writer(&mut frame, entry)?;
    frame.push(b'\n');
    frame.extend_from_slice(output);
    let payload = &frame[8..];
    // A body and a result are bounded far below this.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let (length, sum) = (length.to_le_bytes(), sum(payload).to_le_bytes());
    frame[..4].copy_from_slice(&length);
    frame[4..8].copy_from_slice(&sum);
    Ok(frame)
}

fn sum(payload: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(payload);
    crc.sum()
}

/// Reads the frames up to the first one that is not whole.
fn read(path: &Path, keep: Keep) -> anyhow::Result<Restored> {
    let mut replay = Replay::new(keep);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(replay.finish(0)),
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut whole = 0;
    while let Some((entry, output)) = read_frame(&mut reader, &mut whole)? {
        replay.add(entry, output);
    }
    Ok(replay.finish(length - whole))
}

/// Reads a frame, and adds its length to `whole`; `None` at the end, or at what is no whole frame.
fn read_frame(reader: &mut impl Read, whole: &mut u64) -> io::Result<Option<(Entry, Vec<u8>)>> {
    let mut head = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut head)?;
    let Some((length, expected)) = head.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if expected.len() < 4 || length > LARGEST {
        return Ok(None);
    }
    let mut payload = Vec::new();
    reader.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
    if payload.len() as u64 != u64::from(length) || sum(&payload).to_le_bytes() != expected {
        return Ok(None);
    }
    let line = payload.iter().position(|byte| *byte == b'\n').unwrap_or(payload.len());
    let Ok(entry) = serde_json::from_slice(&payload[..line]) else { return Ok(None) };
    *whole += 8 + u64::from(length);
    let output = payload.get(line + 1..).unwrap_or_default().to_vec();
    Ok(Some((entry, output)))
}

/// A compacted file that is on disk beside the journal.
struct New {
    path: PathBuf,
    file: File,
    length: u64,
}

/// Writes what is restored to a new file.
fn rewrite(folder: &Path, restored: &Restored) -> anyhow::Result<New> {
    let path = folder.join("journal.new");
    let mut file = BufWriter::new(OpenOptions::new().create(true).write(true).truncate(true).open(&path)?);
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
    Ok(New { path, file, length })
}

impl New {
    /// Puts the file in the place of the journal. After an error it is not known which of them is there.
    fn install(self, folder: &Path) -> io::Result<Disk> {
        let New { path: new, file, length } = self;
        fs::rename(new, path(folder))?;
        // The new name is on disk when its folder is.
        File::open(folder)?.sync_all()?;
        Ok(Disk { file, length, longest: 2 * length + SPARE })
    }
}

#[cfg(test)]
mod tests;
