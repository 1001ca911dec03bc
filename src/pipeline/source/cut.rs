//! [`Cut`]: where the lines of a reader end.
//!
//! **Ends are found by std.** [`BufRead::skip_until`] calls the C library's `memchr` where there is one, so the crate of
//! that name would be no quicker. Ends are counted by a loop of which the compiler makes vector instructions.

use std::io::{self, BufRead, ErrorKind};

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
    pub(super) fn first(self, mut bytes: &[u8]) -> usize {
        bytes.skip_until(self.delimiter).unwrap_or_else(|_| unreachable!("a slice does not fail"))
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
        for run in bytes.chunks(LANES * 255) {
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

/// How many counts run side by side.
const LANES: usize = 32;

/// Counts a byte in a run so short that the counts of the lanes are bytes.
fn count(run: &[u8], wanted: u8) -> usize {
    let mut lanes = [0_u8; LANES];
    let pieces = run.chunks_exact(LANES);
    let rest = pieces.remainder().iter().filter(|byte| **byte == wanted).count();
    for piece in pieces {
        for (lane, byte) in lanes.iter_mut().zip(piece) {
            *lane += u8::from(*byte == wanted);
        }
    }
    lanes.iter().map(|lane| usize::from(*lane)).sum::<usize>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_counted_as_by_a_loop() {
        // Ends at all distances, also next to the seams of lanes and runs.
        let mut bytes = vec![b'x'; 3 * LANES * 255 + 77];
        for at in (0..bytes.len()).step_by(61).chain([LANES * 255 - 1, LANES * 255]) {
            bytes[at] = b'\n';
        }
        let cut = Cut::default();
        for len in [0, 1, 31, 62, LANES * 255 - 1, LANES * 255, LANES * 255 + 1, bytes.len()] {
            let bytes = &bytes[..len];
            for most in [1, 2, 60, 140, usize::MAX] {
                let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let whole = lines.iter().filter(|line| line.ends_with(b"\n")).take(most);
                let expected = whole.fold((0, 0), |(bytes, lines), line| (bytes + line.len(), lines + 1));
                assert_eq!(cut.whole_lines(bytes, most), expected, "{len} bytes, {most} at most");
            }
        }
    }
}
