//! Hashing one file, block by block.

use std::cell::RefCell;
use std::io::{self, Read};
use std::os::fd::AsFd;

use brigade::CancellationToken;
use brigade::io::Input;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// How many hexadecimal digits a [`Hash`] has.
pub(crate) const DIGITS: usize = 64;

/// The size of a read: large enough that system calls do not count, small enough for the second-level cache.
const BLOCK: usize = 128 << 10;

thread_local! {
    /// One block for each thread and not for each file, because most files are much smaller than a block.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK]);
}

/// Hashes the bytes of a file, pipe or terminal.
///
/// Each read checks the token, so that the worker leaves a file of any size at once, and a silent pipe too. The error
/// is then of no interest, because a cancelled pipeline does not call its sink again.
pub(crate) fn hash(file: impl AsFd, token: &CancellationToken) -> io::Result<Hash> {
    let mut input = Input::new(file);
    let mut reader = input.until(token);
    BUFFER.with_borrow_mut(|block| {
        let mut hasher = Sha256::new();
        loop {
            match reader.read(block)? {
                0 => return Ok(hasher.finalize().into()),
                length => hasher.update(&block[..length]),
            }
        }
    })
}

/// Appends a hash in hexadecimal.
pub(crate) fn push_hex(line: &mut Vec<u8>, hash: &Hash) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in hash {
        line.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Reads a hash in hexadecimal of either case; `None` if it is anything else.
pub(crate) fn from_hex(digits: &[u8]) -> Option<Hash> {
    if digits.len() != DIGITS {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut hash = Hash::default();
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(hash)
}
