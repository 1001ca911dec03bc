//! [`Cut`]: where the lines of a reader end.
//!
//! **Ends are counted and found by loops of which the compiler makes vector instructions.** For lines of 77 bytes they
//! take 2 and 4 ns. [`BufRead::skip_until`](std::io::BufRead::skip_until) takes 20. The crate memchr would be a
//! dependency, and is left out for what it could save of the 4.

use std::io::{self, ErrorKind};

/// How long a line may be if the user does not say.
const LONGEST: usize = 1 << 30;

/// How a reader is cut into lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) delimiter: u8,
    pub(super) keeps_ends: bool,
    /// How many bytes a line may have, without its end.
    pub(super) longest: usize,
}

impl Default for Cut {
    fn default() -> Self {
        Cut { delimiter: b'\n', keeps_ends: false, longest: LONGEST }
    }
}

impl Cut {
    /// How many bytes the first line has, with its end if that is there.
    #[inline]
    pub(super) fn first(self, bytes: &[u8]) -> usize {
        find(bytes, self.delimiter).map_or(bytes.len(), |end| end + 1)
    }

    /// How many bytes a line has without its end, which is `\n`, `\r\n`, or a delimiter that the user has set.
    #[inline]
    pub(super) fn without_end(self, line: &[u8]) -> usize {
        match line {
            [line @ .., b'\r', b'\n'] if self.delimiter == b'\n' => line.len(),
            [line @ .., last] if *last == self.delimiter => line.len(),
            line => line.len(),
        }
    }

    /// How many bytes of a line are given.
    #[inline]
    pub(super) fn given(self, line: &[u8]) -> usize {
        if self.keeps_ends { line.len() } else { self.without_end(line) }
    }

    /// Whether a line is too long, whose end has not been read. It may end in the first byte of `\r\n`.
    pub(super) fn is_too_long(self, begun: &[u8]) -> bool {
        let may_end = self.delimiter == b'\n' && begun.last() == Some(&b'\r');
        begun.len() - usize::from(may_end) > self.longest
    }

    pub(super) fn too_long(self, number: u64) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, format!("line {number} has more than {} bytes", self.longest))
    }

    /// Counts the first lines, `most` at most: returns how many bytes and how many lines they are.
    pub(super) fn whole_lines(self, bytes: &[u8], most: usize) -> (usize, usize) {
        let (mut lines, mut seen) = (0, 0);
        // The last run that has an end.
        let mut last = 0..0;
        for run in bytes.chunks(RUN) {
            let ends = count(run, self.delimiter);
            if lines + ends >= most {
                let mut end = seen;
                for _ in lines..most {
                    end += self.first(&bytes[end..]);
                }
                return (end, most);
            }
            if ends > 0 {
                last = seen..seen + run.len();
            }
            lines += ends;
            seen += run.len();
        }
        let end = bytes[last.clone()].iter().rposition(|byte| *byte == self.delimiter);
        (end.map_or(0, |end| last.start + end + 1), lines)
    }
}

/// How many bytes are counted together: so few that a byte holds the count, and a multiple of a vector.
const RUN: usize = 192;

/// Counts a byte in a run.
fn count(run: &[u8], wanted: u8) -> usize {
    usize::from(run.iter().map(|byte| u8::from(*byte == wanted)).sum::<u8>())
}

/// How many bytes are looked at together.
const PIECE: usize = 32;

/// Finds the first of a byte: its piece, in that its word, in that the byte, whose bits are the lowest that are not 0.
#[inline]
fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut seen = 0;
    for piece in bytes.chunks_exact(PIECE) {
        if piece.iter().fold(0, |found, byte| found | u8::from(*byte == wanted)) != 0 {
            break;
        }
        seen += PIECE;
    }
    for word in bytes[seen..].chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes")) ^ (u64::from(wanted) * ONES);
        // The high bit of each byte that is 0, and perhaps of some behind it.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(seen + zeros.trailing_zeros() as usize / 8);
        }
        seen += 8;
    }
    bytes[seen..].iter().position(|byte| *byte == wanted).map(|at| seen + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_counted_as_by_a_loop() {
        // Ends at all distances, also next to the seams of runs.
        let mut bytes = vec![b'x'; 9 * RUN + 77];
        for at in (0..bytes.len()).step_by(61).chain([RUN - 1, RUN]) {
            bytes[at] = b'\n';
        }
        let cut = Cut::default();
        for len in [0, 1, 31, 62, 64, RUN - 1, RUN, RUN + 1, bytes.len()] {
            let bytes = &bytes[..len];
            for most in [1, 2, 5, 20, usize::MAX] {
                let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let whole = lines.iter().filter(|line| line.ends_with(b"\n")).take(most);
                let expected = whole.fold((0, 0), |(bytes, lines), line| (bytes + line.len(), lines + 1));
                assert_eq!(cut.whole_lines(bytes, most), expected, "{len} bytes, {most} at most");
            }
        }
    }

    #[test]
    fn the_first_of_a_byte_is_found_wherever_it_is() {
        // Bytes that differ from the wanted one in the lowest or the highest bit, which words could mistake.
        for (wanted, other) in [(b'\n', b'\x0b'), (0, 1), (0, 0x80), (0xff, 0x7f), (0x80, 0)] {
            for len in 0..100 {
                for at in 0..=len {
                    let mut bytes = vec![other; len];
                    bytes[at..].fill(wanted);
                    assert_eq!(find(&bytes, wanted), (at < len).then_some(at), "{wanted} at {at} of {len}");
                    assert_eq!(count(&bytes, wanted), len - at);
                }
            }
        }
    }
}
