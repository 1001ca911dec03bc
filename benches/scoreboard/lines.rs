//! Lines of a reader against a plain loop with one buffer.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use brigade::{CancellationToken, Pipeline};
use memchr::memmem::Finder;

use crate::THREADS;
use crate::board::{Board, Target};

/// How many bytes the text has.
const SIZE: usize = 1 << 30;

pub(crate) fn claims(board: &mut Board) {
    if board.skips("lines") {
        return;
    }
    let token = CancellationToken::new();
    let file = tempfile::NamedTempFile::new().expect("a file for the text");
    let count = write(file.as_file()).expect("room for the text");
    let open = || BufReader::with_capacity(1 << 16, File::open(file.path()).expect("written above"));
    let finder = Finder::new("77777");
    let is_found = |line: &[u8]| finder.find(line).is_some();

    let bytes = || {
        let (mut reader, mut line, mut found) = (open(), Vec::new(), 0_usize);
        while reader.read_until(b'\n', &mut line).expect("a good disk") > 0 {
            found += usize::from(is_found(&line));
            line.clear();
        }
        black_box(found);
    };
    let text = || {
        let (mut reader, mut line, mut found) = (open(), String::new(), 0_usize);
        while reader.read_line(&mut line).expect("a good disk") > 0 {
            found += usize::from(is_found(line.as_bytes()));
            line.clear();
        }
        black_box(found);
    };
    // A macro, because each source makes a pipeline of another type.
    macro_rules! claim {
        ($name:literal, $target:expr, $source:ident, $threads:expr, $plain:expr) => {
            board.claim_often(
                5,
                ("lines", $name),
                count,
                Target::Speedup($target),
                || {
                    let lines = Pipeline::$source(open()).threads($threads).try_map(|line| line);
                    let found = lines.filter(|line| is_found(line.as_ref())).count(&token);
                    black_box(found.map_err(|error: io::Error| error).expect("a good disk"));
                },
                $plain,
            );
        };
    }
    claim!("byte lines of 77 B, memmem / plain loop over read_until", 1.9, from_byte_lines, THREADS, bytes);
    claim!("text lines of 77 B, memmem / plain loop over read_line", 1.6, from_text_lines, THREADS, text);
    claim!("from_lines of 77 B, memmem / plain loop over read_line", 1.0, from_lines, THREADS, text);
    claim!("byte lines of 77 B, memmem, one thread / plain loop over read_until", 0.7, from_byte_lines, 1, bytes);
    board.claim_often(
        5,
        ("lines", "blocks of lines of 77 B, memmem / plain loop over read_until"),
        count,
        Target::Speedup(1.9),
        || {
            let blocks = Pipeline::from_line_blocks(open()).threads(THREADS).try_map(|block| block);
            let found = blocks.flat_map(|block| block.filter_lines(is_found)).count(&token);
            black_box(found.map_err(|error: io::Error| error).expect("a good disk"));
        },
        bytes,
    );
}

/// Writes lines of 77 bytes, with their ends; returns their number.
fn write(file: &File) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let (mut count, mut number) = (0, 1_u64);
    for _ in (0..SIZE).step_by(77) {
        let mut next = || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number >> 33
        };
        writeln!(
            out,
            "{:010} POST /index/{:010}/page/{:010} for {:010}, {:010}",
            next(),
            next(),
            next(),
            next(),
            next()
        )?;
        count += 1;
    }
    out.flush()?;
    Ok(count)
}
