//! [`Journal`]: the jobs on disk, as a file to which entries are appended.
//!
//! A frame is the length of its payload and its CRC-32, four bytes each with the lowest first, then the payload: the
//! [`Entry`] in JSON, a line break, and the bytes of the result. A crash may leave half a frame at the end, which was
//! never acknowledged and is dropped. A frame that is not whole before whole ones is damage: jobs that were accepted
//! stand behind it. The journal is not opened then, because going on would lose them, and give their ids out again.
//! (A system that crashes while it writes a group of frames may leave a later one and not an earlier one. That looks
//! the same, and is refused too.)
//!
//! Commits are grouped. The first caller that finds no flush under way takes the frames of all callers, writes them and
//! syncs the file, without the lock; the others wait for it. So a sync serves as many callers as came during the one
//! before. A failed sync breaks the journal for good: the system may have dropped the pages that it could not write.
//!
//! At the start the journal is compacted: the last ends that are kept, and the jobs that have not ended, go to a new
//! file, which takes the place of the old one when it is on disk. So it is whenever it has grown to twice what was left
//! then, and by 64 MiB: a caller whose flush has made it so large does that before the next flush.
//!
//! An embedded store was weighed: redb 4.6 needs Rust 1.90, where this package needs 1.89. It brings itself and `libc`,
//! and 14 s of a debug build on two cores. It would save this file and its two modules, some 400 lines. The server asks
//! for an ordered log that is read once, and for one sync that serves many callers. That needs no pages, no tree and no
//! transactions, and a transaction of redb has one writer, so callers would be grouped by code like this all the same.

mod folder;
mod frame;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use brigade::limit::Monitor;
use brigade::{CancellationToken, Cancelled};
use parking_lot::Mutex;

use self::folder::{Folder, New, SPARE};
use self::frame::{Found, frame, read};
use crate::entry::Entry;
use crate::registry::Keep;
use crate::replay::Restored;

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
    folder: Folder,
    keep: Keep,
    /// Locked by the caller that flushes.
    disk: Mutex<Disk>,
    state: Monitor<State>,
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
    /// What stands behind the last whole frame is kept in a file of its own. If the file is damaged before its end, the
    /// journal is not opened, unless `repairs`: then what stands behind the damage is dropped, and the file is kept.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, another process uses it, or the file is damaged.
    pub(crate) fn open(folder: &Path, keep: Keep, repairs: bool) -> anyhow::Result<(Self, Restored)> {
        let folder = Folder::open(folder)?;
        let path = folder.journal();
        let Found { mut restored, whole, rest, is_damaged } =
            read(&path, keep).with_context(|| format!("cannot read {}", path.display()))?;
        if is_damaged && !repairs {
            bail!(
                "{} is damaged at byte {whole}, and jobs that were accepted stand behind it: put a good copy of the \
                 file in its place, or start with --repair, which drops all that stands behind that byte",
                path.display()
            );
        }
        // A job whose acceptance is not here was never acknowledged.
        restored.early.clear();
        if !is_damaged && !rest.is_empty() {
            let kept = folder.keep_tail(&rest);
            let kept = kept.map_or_else(|error| format!("and cannot be kept: {error}"), |name| format!("see {name}"));
            tell(&format!("the last {} bytes of the journal were no whole entry; {kept}", rest.len()));
        }
        let disk = match folder.rewrite(&restored) {
            Ok(new) => {
                if is_damaged {
                    // The old file keeps its bytes under a second name, which needs no room.
                    let name = folder.keep_damaged(|kept| fs::hard_link(&path, kept));
                    let name = name.context("the damaged journal cannot be kept under another name")?;
                    tell(&format!("the journal was damaged at byte {whole}, and goes on without the rest; see {name}"));
                }
                folder.install(new).with_context(|| format!("cannot write {}", path.display()))?
            }
            // A full disk: the journal may have room for what comes next.
            Err(error) if !is_damaged && path.exists() => {
                tell(&format!("cannot compact the journal: {error:#}"));
                folder.open_journal(whole).with_context(|| format!("cannot open {}", path.display()))?
            }
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        };
        Ok((Journal { folder, keep, disk: Mutex::new(disk), state: Monitor::new(State::default()) }, restored))
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
                    tell(&format!("cannot write the journal: {error}"));
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
        match self.compacted() {
            Ok(new) => *disk = self.folder.install(new)?,
            Err(error) => {
                // The journal is as good as before, and longer than it should be.
                disk.longest = disk.length + SPARE;
                tell(&format!("cannot compact the journal: {error:#}"));
            }
        }
        Ok(())
    }

    /// Writes what the journal has now to a new file.
    fn compacted(&self) -> anyhow::Result<New> {
        let found = read(&self.folder.journal(), self.keep)?;
        ensure!(found.rest.is_empty(), "it is damaged at byte {}", found.whole);
        self.folder.rewrite(&found.restored)
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

/// Says what callers are not told. A standard error that is gone is no reason to stop.
fn tell(what: &str) {
    _ = writeln!(io::stderr(), "jobs: {what}");
}

#[cfg(test)]
mod tests;
