//! Frames: writing one, and reading a file of them.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::Crc;

use crate::entry::Entry;
use crate::registry::Keep;
use crate::replay::{Replay, Restored};

/// A frame that says it is larger is none: no body and no result is.
const LARGEST: u32 = 256 << 20;

/// How many bytes of a frame come before its payload.
const HEAD: usize = 8;

/// With what the JSON of each entry begins.
const START: &[u8] = b"{\"";

/// What a file has.
pub(super) struct Found {
    pub(super) restored: Restored,
    /// How many bytes the whole frames at its start have.
    pub(super) whole: u64,
    /// What stands behind them.
    pub(super) rest: Vec<u8>,
    /// The rest is not what a crash leaves: a whole frame is in it, or it is too long.
    pub(super) is_damaged: bool,
}

pub(super) fn frame(entry: &Entry, output: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut frame = vec![0; HEAD];
    serde_json::to_writer(&mut frame, entry)?;
    frame.push(b'\n');
    frame.extend_from_slice(output);
    let payload = &frame[HEAD..];
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

/// Reads the frames up to the first one that is not whole, and what stands behind them.
pub(super) fn read(path: &Path, keep: Keep) -> io::Result<Found> {
    let mut replay = Replay::new(keep);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Found { restored: replay.finish(), whole: 0, rest: Vec::new(), is_damaged: false });
        }
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(&file);
    let mut whole = 0;
    while let Some((entry, output)) = read_frame(&mut reader, &mut whole)? {
        replay.add(entry, output);
    }
    drop(reader);
    file.seek(SeekFrom::Start(whole))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    let mut is_damaged = rest.len() > LARGEST as usize + HEAD;
    for entry in frames_in(&rest) {
        is_damaged = true;
        entry.iter().for_each(|entry| replay.pass(entry));
    }
    Ok(Found { restored: replay.finish(), whole, rest, is_damaged })
}

/// Reads a frame, and adds its length to `whole`; `None` at the end, or at what is no whole frame.
fn read_frame(reader: &mut impl Read, whole: &mut u64) -> io::Result<Option<(Entry, Vec<u8>)>> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
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
    let (entry, output) = split(&payload);
    let Some(entry) = entry else { return Ok(None) };
    *whole += HEAD as u64 + u64::from(length);
    Ok(Some((entry, output.to_vec())))
}

/// Splits a payload into its entry, if it is one that this program knows, and the bytes of the result.
fn split(payload: &[u8]) -> (Option<Entry>, &[u8]) {
    let line = payload.iter().position(|byte| *byte == b'\n').unwrap_or(payload.len());
    (serde_json::from_slice(&payload[..line]).ok(), payload.get(line + 1..).unwrap_or_default())
}

/// Finds the frames that are whole wherever they begin, by their sums. An entry may be one of a later program.
fn frames_in(bytes: &[u8]) -> impl Iterator<Item = Option<Entry>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > HEAD) {
            if let Some(payload) = payload_at(rest) {
                at += HEAD + payload.len();
                return Some(split(payload).0);
            }
            at += 1;
        }
        None
    })
}

/// Returns the payload of the frame with which the bytes begin, if they do. Almost always two bytes tell that they do
/// not; a sum is computed of few payloads.
fn payload_at(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    if !rest.starts_with(START) {
        return None;
    }
    let length = u32::from_le_bytes(*head.first_chunk()?);
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    (sum(payload).to_le_bytes() == head[4..]).then_some(payload)
}
